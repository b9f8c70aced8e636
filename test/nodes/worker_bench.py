"""A worker with a model that answers as it is told: no ROS, no network."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from conftest import wait_until

from lisa_ros.model.errors import InstructionError, OutOfMemoryError, TooLongError
from lisa_ros.model.preprocessing import MaskGeometry
from lisa_ros.nodes.answering import AnswerSettings
from lisa_ros.nodes.camera_geometry import NoGeometryError
from lisa_ros.nodes.frames import Frame, FrameBuffer
from lisa_ros.nodes.lifting import Lifted
from lisa_ros.nodes.questions import Outcome, Question, QuestionDesk, Source
from lisa_ros.nodes.worker import Worker
from lisa_ros.perception import (
    Answer,
    Finished,
    ObjectFound,
    Scores,
    SegmentedObject,
    Status,
    Words,
)

HEIGHT, WIDTH = 48, 64
TICK = 0.005  # seconds that the fake model takes for a word


def image(stamp_ns: int | None = None, **fields) -> SimpleNamespace:
    """A sensor_msgs/Image without ROS; without a stamp it is of now."""
    stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    plain = {
        "header": SimpleNamespace(stamp=stamp, frame_id="camera"),
        "height": HEIGHT,
        "width": WIDTH,
        "encoding": "rgb8",
        "is_bigendian": 0,
        "step": 3 * WIDTH,
        "data": bytes(3 * WIDTH * HEIGHT),
    }
    return SimpleNamespace(**{**plain, **fields})


def found(x: int = 10, size: int = 20) -> SegmentedObject:
    """An object whose mask is a square."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10 : 10 + size, x : x + size] = True
    return SegmentedObject(
        mask=mask,
        box_xyxy=(x, 10, x + size, 10 + size) if size else None,
        area=int(mask.sum()),
        scores=Scores(0.9, 0.8, 0.7),
        embedding=np.zeros(4, np.float32),
        low_res_mask=torch.zeros(16, 16),
        geometry=MaskGeometry((HEIGHT, WIDTH), (HEIGHT, WIDTH), WIDTH),
    )


class FakeSegmenter:
    """Answers by the instruction, and remembers what it was given.

    "forever" talks until it is cancelled, "crash" and "memory" fail, "nothing" finds nothing,
    "describe" wants no mask, "[SEG]" is refused, "long" in a conversation; all else finds `object`.
    """

    model_id, precision = "fake", "fp32"
    model = SimpleNamespace(config=SimpleNamespace(default_template="explain"))
    language_view = (8, 0, 56, 48)
    encodes_in_background = False

    def __init__(self) -> None:
        self.object = found()  # that an answer finds
        self.followed = found()  # that follow mode sees in a new frame
        self.looks = np.ones(4, np.float32)  # of what is under the mask that follow mode sees
        self.looks_found = np.ones(4, np.float32)  # of what an answer finds
        self.images: list[np.ndarray] = []
        self.asked: list[SimpleNamespace] = []
        self.resets = 0

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        self.images.append(rgb)
        return rgb

    def set_image(self, rgb: np.ndarray) -> None:
        self.image = rgb

    def reset_image(self) -> None:
        self.resets += 1

    def decode(self, embedding: np.ndarray) -> SegmentedObject:
        return self.followed

    def take_image_times(self) -> dict[str, float]:
        return {"sam_encoder": 3.0, "mask_decoder": 2.0}

    def pooled_features(self, item: SegmentedObject) -> np.ndarray:
        return self.looks if item is self.followed else self.looks_found

    def stream(self, instruction, *, cancelled, **options) -> Iterator:
        self.asked.append(SimpleNamespace(instruction=instruction, **options))
        if instruction == "[SEG]":
            raise InstructionError("expected an instruction in words, got only control tokens")
        if options["history"] and instruction == "long":
            raise TooLongError("the instruction is too long")
        return self._events(instruction, cancelled)

    def _events(self, instruction, cancelled) -> Iterator:
        text, objects, status = "", [], Status.FOUND
        while instruction == "forever":
            if cancelled():
                yield Finished(self._answer(instruction, text, objects, Status.CANCELLED))
                return
            text += "word "
            time.sleep(TICK)
            yield Words("word ")
            if not objects:
                objects.append(self.object)
                yield ObjectFound(self.object)
        if instruction == "crash":
            raise RuntimeError("boom")
        if instruction == "memory":
            raise OutOfMemoryError("cuda:0 ran out of memory")
        if instruction in ("nothing", "describe"):
            status = Status.NOT_FOUND if instruction == "nothing" else Status.TEXT_ONLY
            yield Words("A room.")
        else:
            yield Words("It is ")
            objects.append(self.object)
            yield ObjectFound(self.object)
        yield Finished(self._answer(instruction, "It is [SEG].", objects, status))

    def _answer(self, instruction, text, objects, status) -> Answer:
        return Answer(
            status=status,
            message="the model's own words about the status",
            instruction=instruction,
            question=f"{instruction}?",
            text=text,
            explanation=text,
            objects=tuple(objects),
            prompt_ids=(),
            answer_ids=(1, 2),
            language_view=(8, 0, 56, 48),
            timings_ms={"prefill": 1.0, "first_mask": 5.0, "total": 9.0},
            model_id=self.model_id,
            precision=self.precision,
        )


class FakeLifter:
    """Lifts nothing for the reason given, and remembers the frames and masks."""

    def __init__(self) -> None:
        self.problem: NoGeometryError | None = None
        self.note = ""
        self.located: list[Frame] = []
        self.lifted: list[tuple[Frame, np.ndarray, list[np.ndarray]]] = []

    def locate(self, frame, settings) -> str:
        self.located.append(frame)
        return "here"

    def lift(self, frame, rgb, masks, transform, settings) -> Lifted:
        assert transform == "here"
        self.lifted.append((frame, rgb, masks))
        return Lifted("camera", (None,) * len(masks), self.problem, self.note)


class Bench:
    """A worker with a fake model, and how all its questions went."""

    def __init__(self) -> None:
        self.settings = AnswerSettings(image_timeout=0.1, context_timeout=60.0)
        self.frames = FrameBuffer()
        self.desk = QuestionDesk()
        self.segmenter = FakeSegmenter()
        self.lifter = FakeLifter()
        self.outcomes: dict[int, Outcome] = {}
        self.progress: dict[int, list] = {}
        self.followed: list[Question] = []
        self.may_follow = True
        self.idle_calls = 0
        self.worker = Worker(
            self.desk,
            self.frames,
            settings=lambda: self.settings,
            lifter=self.lifter,
            idle=self._idle,
            new_follow_question=self._follow_question,
        )

    def start(self) -> None:
        self.worker.load(lambda: self.segmenter)
        self.worker.active = True

    def submit(self, instruction: str, source: Source = Source.ACTION, **options) -> Question:
        question = self._question(source, instruction, **options)
        self.desk.submit(question)
        return question

    def ask(self, instruction: str, source: Source = Source.ACTION, **options) -> Outcome:
        return self.end(self.submit(instruction, source, **options))

    def end(self, question: Question) -> Outcome:
        assert question.wait(10)
        return self.outcomes[question.id]

    def talks(self, question: Question) -> bool:
        """Whether the question has got its first word."""
        return wait_until(lambda: any(p.text for p in self.progress[question.id]))

    def _question(self, source: Source, instruction: str, **options) -> Question:
        number = self.desk.next_id()
        self.progress[number] = []

        def end(question: Question, outcome: Outcome) -> None:
            assert question.id not in self.outcomes, "ended twice"
            self.outcomes[question.id] = outcome

        def progress(question: Question, event) -> None:
            self.progress[question.id].append(event)

        return Question(number, source, instruction, on_end=end, on_progress=progress, **options)

    def _idle(self) -> None:
        self.idle_calls += 1

    def _follow_question(self, followed: Question) -> Question | None:
        if not self.may_follow:
            return None
        question = self._question(Source.FOLLOW, followed.instruction)
        self.followed.append(question)
        return question

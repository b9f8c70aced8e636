"""The worker's thread with a model that answers as it is told: no ROS, no network."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import wait_until

from lisa_ros.model.conversation import Turn
from lisa_ros.model.errors import InstructionError, OutOfMemoryError
from lisa_ros.model.preprocessing import MaskGeometry
from lisa_ros.nodes.answering import AnswerSettings
from lisa_ros.nodes.camera_geometry import NoGeometryError
from lisa_ros.nodes.frames import Frame, FrameBuffer
from lisa_ros.nodes.lifting import Lifted, LiftSettings
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
from lisa_ros.perception.follow import FollowLimits

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
    "describe" wants no mask, "[SEG]" is refused; all else finds `object`.
    """

    model_id, precision = "fake", "fp32"
    model = SimpleNamespace(config=SimpleNamespace(default_template="explain"))
    language_view = (8, 0, 56, 48)

    def __init__(self) -> None:
        self.object = found()  # that an answer finds
        self.followed = found()  # that follow mode sees in a new frame
        self.looks = np.ones(4, np.float32)  # of what is under the mask
        self.images: list[np.ndarray] = []
        self.asked: list[SimpleNamespace] = []
        self.resets = 0

    def set_image(self, rgb: np.ndarray) -> None:
        self.images.append(rgb)

    def reset_image(self) -> None:
        self.resets += 1

    def decode(self, embedding: np.ndarray) -> SegmentedObject:
        return self.followed

    def pooled_features(self, item: SegmentedObject) -> np.ndarray:
        return self.looks

    def stream(self, instruction, *, cancelled, **options) -> Iterator:
        self.asked.append(SimpleNamespace(instruction=instruction, **options))
        if instruction == "[SEG]":
            raise InstructionError("expected an instruction in words, got only control tokens")
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


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.worker.shutdown(10)


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """Loaded, active, and one frame old enough to be told from the next."""
    bench.start()
    bench.frames.add_image(image())
    return bench


# --- one question ---


def test_a_question_and_its_progress(ready):
    question = ready.submit("the cup")
    outcome = ready.end(question)
    assert (outcome.status, outcome.message) == (Status.FOUND, "")
    assert outcome.frame is ready.frames.newest()
    assert outcome.image_size == (HEIGHT, WIDTH)
    assert not outcome.context_kept
    stages = [event.stage for event in ready.progress[question.id]]
    assert stages == ["waiting", "encoding", "answering", "answering"]
    words, mask = ready.progress[question.id][2:]
    assert (words.text, words.objects, words.is_new_object) == ("It is ", (), False)
    assert (mask.objects, mask.is_new_object) == ((ready.segmenter.object,), True)
    assert mask.frame is outcome.frame
    seconds = outcome.seconds
    assert seconds["prefill"] == 0.001
    assert 0 <= seconds["wait"] <= seconds["first_mask"] <= seconds["total"] < 10
    assert ready.segmenter.images[0].shape == (HEIGHT, WIDTH, 3)


def test_settings_are_read_for_each_question(ready):
    question = ready.submit("the cup")
    ready.end(question)
    assert question.template == "explain"  # the model's
    ready.settings = AnswerSettings(template="mask", max_new_tokens=7)
    ready.ask("the cup")
    ready.ask("the cup", template="phrase")
    templates = [asked.template for asked in ready.segmenter.asked]
    assert templates == ["explain", "mask", "phrase"]
    assert [asked.max_new_tokens for asked in ready.segmenter.asked] == [512, 7, 7]


@pytest.mark.parametrize(
    ("instruction", "status", "has_message"),
    [("nothing", Status.NOT_FOUND, True), ("describe", Status.TEXT_ONLY, False)],
)
def test_answers_without_a_mask(ready, instruction, status, has_message):
    outcome = ready.ask(instruction)
    assert outcome.status is status
    assert bool(outcome.message) is has_message
    assert outcome.image_size == (HEIGHT, WIDTH)


def test_a_second_question_about_a_frame_encodes_nothing(ready):
    ready.ask("the cup")
    second = ready.ask("the dog")
    assert len(ready.segmenter.images) == 1
    assert "conversion" not in second.seconds
    assert second.image_size == (HEIGHT, WIDTH)
    ready.frames.add_image(image())
    ready.ask("the dog")
    assert len(ready.segmenter.images) == 2


def test_a_question_brings_its_own_image(bench):
    bench.start()
    own = Frame(image(stamp_ns=5))
    outcome = bench.ask("the cup", frame=own)
    assert outcome.status is Status.FOUND
    assert outcome.frame is own


# --- frames ---


def test_no_image(bench):
    bench.start()
    outcome = bench.ask("the cup")
    assert outcome.status is Status.NO_IMAGE
    assert outcome.message.startswith("no image arrived within 0.1 s; check the image topic")
    assert outcome.frame is None


def test_a_stale_image(bench):
    bench.start()
    bench.frames.add_image(image(time.time_ns() - 5 * 10**9))
    outcome = bench.ask("the cup")
    assert outcome.status is Status.STALE_IMAGE
    assert outcome.message.startswith("the newest image is 5.")
    assert "max_image_age is 2 s" in outcome.message
    assert not bench.segmenter.asked
    bench.settings = AnswerSettings(max_image_age=0)  # no limit
    assert bench.ask("the cup").status is Status.FOUND


def test_a_question_waits_for_a_fresh_image(bench):
    bench.start()
    bench.settings = AnswerSettings(image_timeout=5)
    question = bench.submit("the cup")
    assert wait_until(lambda: bench.progress[question.id])
    fresh = image()
    bench.frames.add_image(fresh)
    assert bench.end(question).frame.image is fresh


@pytest.mark.parametrize(
    "fields",
    [
        {"height": 0, "width": 0, "step": 0, "data": b""},
        {"step": WIDTH},
        {"encoding": "nv77"},
        {"data": b"123"},
    ],
)
def test_an_image_that_cannot_be_read(ready, fields):
    good = ready.frames.newest()
    outcome = ready.ask("the cup", frame=Frame(image(**fields)))
    assert outcome.status is Status.NO_IMAGE
    assert "expected" in outcome.message
    assert "got" in outcome.message
    assert outcome.image_size == (0, 0)
    assert ready.ask("the cup", frame=good).status is Status.FOUND


# --- ends before the end ---


def test_cancel_between_two_words(ready):
    question = ready.submit("forever")
    assert ready.talks(question)
    question.stop(Status.CANCELLED)
    outcome = ready.end(question)
    assert outcome.status is Status.CANCELLED
    assert outcome.message == "whoever asked it cancelled it"
    assert len(outcome.answer.objects) == 1
    assert ready.ask("the cup").status is Status.FOUND


def test_timeout_between_two_words(ready):
    started = time.monotonic()
    outcome = ready.ask("forever", timeout=0.1)
    assert outcome.status is Status.TIMEOUT
    assert "timeout of 0.1 s" in outcome.message
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("reason", ["timeout", "cancel"])
def test_a_stop_while_the_image_is_missing(bench, reason):
    bench.start()
    bench.settings = AnswerSettings(image_timeout=30)
    question = bench.submit("the cup", timeout=0.05 if reason == "timeout" else None)
    if reason == "cancel":
        question.stop(Status.CANCELLED)
    expected = {"timeout": Status.TIMEOUT, "cancel": Status.CANCELLED}[reason]
    assert bench.end(question).status is expected


def test_pre_emption_ends_both(ready):
    first = ready.submit("forever")
    assert ready.talks(first)
    second = ready.submit("the cup")
    assert ready.end(first).status is Status.PREEMPTED
    assert (
        ready.outcomes[first.id].message == f"question {second.id} (source action) took its place"
    )
    assert ready.end(second).status is Status.FOUND


@pytest.mark.parametrize(
    ("instruction", "status", "words"),
    [
        ("crash", Status.ERROR, "RuntimeError: boom"),
        ("memory", Status.ERROR, "cuda:0 ran out of memory"),
        ("[SEG]", Status.REJECTED, "expected an instruction in words"),
    ],
)
def test_a_failure_is_an_answer_and_the_next_question_works(ready, instruction, status, words):
    outcome = ready.ask(instruction)
    assert outcome.status is status
    assert words in outcome.message
    # After an error the image's features are not trusted.
    is_error = status is Status.ERROR
    assert ready.segmenter.resets == int(is_error)
    assert ready.ask("the cup").status is Status.FOUND
    assert len(ready.segmenter.images) == 1 + int(is_error)


def test_a_callback_that_fails_costs_its_own_question_alone(ready):
    def fail(question, event):
        raise RuntimeError("cannot publish")

    question = Question(99, Source.ACTION, "the cup", on_end=fail)
    ready.desk.submit(question)
    assert question.wait(5)
    question = Question(98, Source.ACTION, "the cup", on_progress=fail)
    ready.desk.submit(question)
    assert question.wait(5)
    assert ready.ask("the cup").status is Status.FOUND


def test_a_storm_of_questions(ready):
    questions, lock = [], threading.Lock()

    def storm(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            words = rng.choice(["the cup", "forever", "crash", "nothing"])
            source = Source(int(rng.integers(1, 4)))
            with lock:
                questions.append(ready.submit(str(words), source, timeout=0.05))
            if rng.random() < 0.3:
                questions[-1].stop(Status.CANCELLED)
            time.sleep(rng.random() * 0.01)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for question in questions:
        ready.end(question)
    assert len(ready.outcomes) == 160
    assert ready.ask("the cup").status is Status.FOUND


# --- 3D ---


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


@pytest.fixture
def lifter(ready) -> FakeLifter:
    """Of a node that expects depth."""
    ready.settings = replace(ready.settings, lift=LiftSettings())
    return ready.lifter


MISMATCH = NoGeometryError(Status.DEPTH_MISMATCH, "not registered")


def test_masks_are_lifted_before_the_question_ends(ready, lifter):
    question = ready.submit("the cup")
    outcome = ready.end(question)
    assert (outcome.status, outcome.message) == (Status.FOUND, "")
    assert outcome.lifted.frame_id == "camera"
    [(frame, rgb, masks)] = lifter.lifted
    assert frame is outcome.frame
    assert lifter.located == [frame]
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert masks[0] is outcome.answer.objects[0].mask
    stages = [progress.stage for progress in ready.progress[question.id]]
    assert stages[-2:] == ["answering", "lifting"]
    assert 0 <= outcome.seconds["geometry"] < outcome.seconds["total"]


def test_why_there_is_no_3d(ready, lifter):
    lifter.problem, lifter.note = MISMATCH, "not registered"
    outcome = ready.ask("the cup")
    assert (outcome.status, outcome.message) == (Status.FOUND, "not registered")
    outcome = ready.ask("the cup", require_3d=True)
    assert (outcome.status, outcome.message) == (Status.DEPTH_MISMATCH, "not registered")
    assert outcome.answer.objects
    outcome = ready.ask("nothing", require_3d=True)
    assert outcome.status is Status.NOT_FOUND
    assert "registered" not in outcome.message


def test_some_objects_without_3d_are_no_failure(ready, lifter):
    lifter.note = "object 2 has none"
    outcome = ready.ask("the cup", require_3d=True)
    assert (outcome.status, outcome.message) == (Status.FOUND, "object 2 has none")


def test_who_wants_no_3d_hears_nothing_of_it(ready, lifter):
    lifter.problem, lifter.note = MISMATCH, "no depth"
    own = Frame(image())
    assert ready.ask("the cup", frame=own).message == ""
    ready.settings = replace(ready.settings, lift=LiftSettings(use_depth=False))
    assert ready.ask("the cup").message == ""
    assert lifter.lifted == []
    assert ready.ask("the cup", frame=own, require_3d=True).status is Status.DEPTH_MISMATCH
    assert ready.ask("the cup", frame=Frame(image(), depth=image())).message == "no depth"


def test_a_cancelled_question_is_not_lifted(ready, lifter):
    question = ready.submit("forever")
    assert ready.talks(question)
    question.stop(Status.CANCELLED)
    assert ready.end(question).status is Status.CANCELLED
    assert lifter.lifted == []


def test_each_followed_image_is_lifted(ready, lifter):
    assert ready.ask("the cup", follow=True).status is Status.FOUND
    lifter.note = "object 1 has none"
    outcome = next_followed(ready)
    assert (outcome.status, outcome.message) == (Status.FOUND, "object 1 has none")
    assert outcome.seconds["geometry"] >= 0
    assert lifter.lifted[-1][0].image is outcome.frame.image
    assert lifter.lifted[-1][2][0] is ready.segmenter.followed.mask


# --- conversations ---


def test_keep_context_pins_the_frame_and_sends_the_rounds_before(ready):
    pinned = ready.ask("the cup").frame
    ready.frames.add_image(image())
    ready.settings = AnswerSettings(max_image_age=1e-9, image_timeout=0)  # the pin is exempt
    second = ready.ask("no, the other one", keep_context=True)
    third = ready.ask("and the dog", keep_context=True)
    assert [second.context_kept, third.context_kept] == [True, True]
    assert second.frame is pinned
    assert third.frame is pinned
    assert len(ready.segmenter.images) == 1
    assert list(ready.segmenter.asked[1].history) == [Turn("the cup?", "It is [SEG].")]
    rounds = [turn.question for turn in ready.segmenter.asked[2].history]
    assert rounds == ["the cup?", "no, the other one?"]


def test_a_question_without_keep_context_forgets(ready):
    ready.ask("the cup")
    ready.frames.add_image(image())
    ready.frames.clear()  # it finds no image, and still ends the conversation
    assert ready.ask("the dog").status is Status.NO_IMAGE
    outcome = ready.ask("no, the other one", keep_context=True)
    assert (outcome.status, outcome.context_kept) == (Status.NO_IMAGE, False)


def test_a_cancelled_round_is_not_remembered(ready):
    ready.ask("the cup")
    assert ready.ask("forever", keep_context=True, timeout=0.05).status is Status.TIMEOUT
    assert ready.ask("the dog", keep_context=True).context_kept
    assert len(ready.segmenter.asked[-1].history) == 1


def test_context_timeout_and_unload_forget(ready):
    ready.ask("the cup")
    ready.settings = AnswerSettings(context_timeout=0.05)
    time.sleep(0.1)
    assert not ready.ask("no, the other one", keep_context=True).context_kept
    assert ready.ask("and that?", keep_context=True).context_kept
    ready.worker.unload()
    ready.worker.load(lambda: ready.segmenter)
    assert not ready.ask("and that?", keep_context=True).context_kept


# --- loading ---


def test_load_and_unload_twice(bench):
    bench.frames.add_image(image())
    for _ in range(2):
        bench.worker.active = True
        assert bench.ask("the cup").status is Status.NOT_ACTIVE
        bench.worker.load(lambda: bench.segmenter)
        assert bench.worker.segmenter is bench.segmenter
        assert bench.ask("the cup").status is Status.FOUND
        bench.worker.unload()
        assert bench.worker.segmenter is None


def test_a_model_that_cannot_be_loaded(bench):
    def fail():
        raise OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError, match="too large"):
        bench.worker.load(fail)
    bench.start()
    bench.frames.add_image(image())
    assert bench.ask("the cup").status is Status.FOUND


@pytest.mark.parametrize("source", [Source.TOPIC, Source.ACTION])
def test_pause_ends_open_questions(ready, source):
    running = ready.submit("forever", source)
    assert ready.talks(running)
    waiting = ready.submit("the cup", source)
    ready.worker.pause(Outcome(Status.NOT_ACTIVE, "deactivated"))
    assert ready.outcomes[waiting.id] == Outcome(Status.NOT_ACTIVE, "deactivated")
    assert ready.outcomes[running.id].status is Status.PREEMPTED  # it was before
    assert ready.ask("the cup").status is Status.NOT_ACTIVE
    ready.worker.active = True
    assert ready.ask("the cup").status is Status.FOUND


def test_shutdown_ends_open_questions_and_takes_no_more(bench):
    bench.start()
    bench.frames.add_image(image())
    running = bench.submit("forever")
    assert bench.talks(running)
    assert bench.worker.shutdown(5)
    assert bench.outcomes[running.id].status is Status.NOT_ACTIVE
    assert bench.outcomes[running.id].message == "the node is shutting down"
    assert bench.ask("the cup").status is Status.NOT_ACTIVE
    with pytest.raises(RuntimeError, match="shutting down"):
        bench.worker.unload()


def test_shutdown_does_not_wait_for_a_model_that_is_being_loaded(bench):
    may_end = threading.Event()
    thread = threading.Thread(target=lambda: bench.worker.load(may_end.wait))
    thread.start()
    time.sleep(0.1)
    assert not bench.worker.shutdown(0.1)
    may_end.set()
    thread.join(5)
    assert not thread.is_alive()


def test_idle_is_called_only_while_active_and_unasked(ready):
    assert wait_until(lambda: ready.idle_calls > 2)
    question = ready.submit("forever")
    assert ready.talks(question)
    calls = ready.idle_calls
    time.sleep(0.1)
    assert ready.idle_calls == calls
    ready.worker.pause(Outcome(Status.NOT_ACTIVE))
    calls = ready.idle_calls
    time.sleep(0.1)
    assert ready.idle_calls == calls


# --- follow mode ---


def next_followed(bench: Bench) -> Outcome:
    """Show a new image, and give the answer of follow mode about it."""
    count = len(bench.followed)
    shown = image()
    bench.frames.add_image(shown)
    assert wait_until(lambda: len(bench.followed) > count and bench.followed[-1].wait(0))
    outcome = bench.outcomes[bench.followed[-1].id]
    assert outcome.frame is None or outcome.frame.image is shown
    return outcome


def test_follow_finds_the_object_without_asking(ready):
    assert ready.ask("the cup", follow=True).status is Status.FOUND
    for x in (11, 12, 13):
        ready.segmenter.followed = found(x)
        outcome = next_followed(ready)
        assert outcome.status is Status.FOUND
        assert outcome.answer.objects == (ready.segmenter.followed,)
        assert outcome.answer.explanation == ""
        assert outcome.image_size == (HEIGHT, WIDTH)
    assert len(ready.segmenter.asked) == 1
    assert len(ready.segmenter.images) == 4


@pytest.mark.parametrize(
    ("limits", "change"),
    [
        ({}, lambda s: setattr(s, "followed", found(x=40))),  # IoU 0
        ({"min_iou": 0}, lambda s: setattr(s, "followed", found(x=40))),  # far away
        ({"min_iou": 0}, lambda s: setattr(s, "followed", found(size=6))),
        ({}, lambda s: setattr(s, "followed", found(size=0))),
        ({}, lambda s: setattr(s, "looks", -s.looks)),
        ({"reground_interval": 0.0}, lambda s: None),
    ],
    ids=["iou", "shift", "area", "empty", "looks", "time"],
)
def test_in_doubt_it_asks_again(ready, limits, change):
    ready.settings = AnswerSettings(follow=FollowLimits(**limits))
    ready.ask("the cup", follow=True, template="phrase")
    ready.segmenter.object = found(x=30)  # where it really is
    change(ready.segmenter)
    outcome = next_followed(ready)
    assert outcome.status is Status.FOUND
    assert outcome.answer.objects == (ready.segmenter.object,)
    assert len(ready.segmenter.asked) == 2
    ready.settings = AnswerSettings()
    ready.segmenter.followed = found(x=30)  # trusted from there on
    assert next_followed(ready).status is Status.FOUND


def test_lost_and_found_again(ready):
    limits = FollowLimits(reground_interval=0.2)
    ready.settings = AnswerSettings(follow=limits)
    ready.ask("the cup", follow=True)
    ready.segmenter.followed = ready.segmenter.object = found(size=0)
    outcome = next_followed(ready)
    assert outcome.status is Status.LOST
    assert outcome.message.startswith("the mask is empty, and asking again did not find it")
    assert outcome.image_size == (HEIGHT, WIDTH)
    outcome = next_followed(ready)
    assert outcome.status is Status.LOST  # and does not ask for each image
    assert "asked again in 0." in outcome.message
    assert len(ready.segmenter.asked) == 2
    time.sleep(0.25)
    ready.segmenter.object = found(x=30)
    assert next_followed(ready).status is Status.FOUND
    assert len(ready.segmenter.asked) == 3


def test_a_users_question_ends_following(ready):
    ready.ask("the cup", follow=True)
    next_followed(ready)
    assert ready.ask("the dog", Source.TOPIC).status is Status.FOUND
    count = len(ready.followed)
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert len(ready.followed) == count


def test_a_users_question_interrupts_follow_modes_own(ready):
    ready.settings = AnswerSettings(follow=FollowLimits(reground_interval=0.0))
    ready.ask("the cup", follow=True)
    asks = ready.segmenter.stream
    ready.segmenter.stream = lambda words, **options: asks("forever", **options)
    ready.frames.add_image(image())
    assert wait_until(lambda: ready.followed and ready.talks(ready.followed[-1]))
    ready.segmenter.stream = asks
    assert ready.ask("the dog", Source.TOPIC).status is Status.FOUND
    assert ready.end(ready.followed[-1]).status is Status.PREEMPTED


@pytest.mark.parametrize("how", ["pause", "node", "error"])
def test_what_ends_following(ready, how):
    ready.ask("the cup", follow=True)
    if how == "pause":
        ready.worker.pause(Outcome(Status.NOT_ACTIVE))
        ready.worker.active = True
    elif how == "node":
        ready.may_follow = False
    else:
        ready.segmenter.followed = None
        assert next_followed(ready).status is Status.ERROR
        ready.segmenter.followed = found()
    count = len(ready.followed)
    ready.frames.add_image(image())
    time.sleep(0.1)
    ready.may_follow = True
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert len(ready.followed) == count


def test_nothing_found_or_cancelled_is_not_followed(ready):
    ready.ask("nothing", follow=True)
    ready.ask("forever", follow=True, timeout=0.05)
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert not ready.followed


# --- the real model ---


def test_with_the_golden_model(bench, segmenter, first_golden):
    case = next(c for c in first_golden.cases("generate") if c["key"] == "gen0")
    rgb = first_golden.image(case["image"])
    height, width = rgb.shape[:2]
    shown = Frame(image(height=height, width=width, step=3 * width, data=rgb.tobytes()))
    bench.settings = AnswerSettings(template="raw")
    bench.worker.load(lambda: segmenter)
    bench.worker.active = True
    first = bench.ask(case["instruction"], frame=shown)
    assert first.status is Status.FOUND
    assert first.answer.objects[0].area == pytest.approx(case["mask_area"][0], rel=0.01)
    assert {"clip", "sam_encoder", "prefill", "decode"} <= set(first.seconds)
    second = bench.ask(case["instruction"], frame=shown)
    assert not {"clip", "sam_encoder", "preprocess", "conversion"} & set(second.seconds)
    assert second.answer.text == first.answer.text
    third = bench.ask(case["instruction"], keep_context=True)
    assert third.context_kept
    assert len(third.answer.prompt_ids) > len(first.answer.prompt_ids)

"""The one thread that owns the model: loads it, answers questions, lets go of it.

Nothing here knows ROS; the node hands in callbacks.  So the same worker can be run and measured
where no ROS is installed.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lisa_ros.model.errors import InstructionError, LisaError
from lisa_ros.model.precision import free_quantisation_tables
from lisa_ros.nodes.frames import Frame, FrameBuffer
from lisa_ros.nodes.image_conversion import ConversionError, image_to_rgb
from lisa_ros.nodes.questions import Outcome, Progress, Question, QuestionDesk
from lisa_ros.perception import (
    Answer,
    Finished,
    ObjectFound,
    SegmentedObject,
    Segmenter,
    Status,
    Turn,
    Words,
)
from lisa_ros.perception.follow import Follower, FollowLimits

if TYPE_CHECKING:  # it needs Open3D, which a worker without 3D does not
    from lisa_ros.nodes.lifting import Lifted, Lifter, LiftSettings

_POLL = 0.02  # seconds between looks for work while idle
_PLAIN = (Status.FOUND, Status.TEXT_ONLY)  # nothing is to be said beyond the answer
_LOG = logging.getLogger(__name__)
_Lift = Callable[[Sequence[np.ndarray]], "Lifted"]  # of the masks of an answer


@dataclass(frozen=True)
class WorkerSettings:
    """What the node's parameters say; read anew for each question.

    Attributes:
        template: prompt template; empty for the model's own.
        max_new_tokens: longest answer.
        image_timeout: seconds that a question waits for a (fresh) image.
        max_image_age: seconds by stamp beyond which an image is stale; 0 for no limit.
        context_timeout: seconds after which a conversation is forgotten.
        follow: limits of follow mode.
        lift: how objects get 3D; None for masks alone.
    """

    template: str = ""
    max_new_tokens: int = 512
    image_timeout: float = 1.0
    max_image_age: float = 2.0
    context_timeout: float = 60.0
    follow: FollowLimits = field(default_factory=FollowLimits)
    lift: LiftSettings | None = None


@dataclass
class _Conversation:
    """The rounds so far about one pinned frame."""

    frame: Frame
    turns: list[Turn]
    used_at: float


@dataclass
class _Following:
    """The question that is being followed, and where its object was last."""

    question: Question
    follower: Follower
    frame: Frame
    answer: Answer  # the last time it was asked


class Worker:
    """Answers the questions of a desk about the frames of a buffer.

    Args:
        desk: where questions come from.
        frames: where images come from.
        settings: read at the start of each question.
        lifter: makes 3D of masks; None for masks alone.
        now_ns: the clock of the image stamps, in nanoseconds.
        idle: called while there is no question; may submit one to the desk.
        new_follow_question: makes the question that carries one frame of follow mode; None from
            it ends following.
    """

    def __init__(
        self,
        desk: QuestionDesk,
        frames: FrameBuffer,
        *,
        settings: Callable[[], WorkerSettings] = WorkerSettings,
        lifter: Lifter | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        idle: Callable[[], None] = lambda: None,
        new_follow_question: Callable[[Question], Question | None] = lambda question: None,
    ) -> None:
        self.active = False
        self._desk = desk
        self._frames = frames
        self._settings = settings
        self._lifter = lifter
        self._now_ns = now_ns
        self._idle = idle
        self._new_follow_question = new_follow_question
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]]
        self._jobs = queue.SimpleQueue()
        self._segmenter: Segmenter | None = None
        self._encoded: Frame | None = None
        self._rgb = np.empty((0, 0, 3), np.uint8)  # of what is encoded
        self._conversation: _Conversation | None = None
        self._following: _Following | None = None
        self._lock = threading.Lock()  # between new jobs and the end of the thread
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="lisa_worker", daemon=True)
        self._thread.start()

    @property
    def segmenter(self) -> Segmenter | None:
        """The loaded model, for reading its properties from other threads."""
        return self._segmenter

    def load(self, make: Callable[[], Segmenter]) -> None:
        """Load the model on the worker's thread, and wait for it.

        Raises:
            LisaError: as `make` does.
        """

        def job() -> None:
            self._release()
            self._segmenter = make()

        self._call(job)

    def unload(self) -> None:
        """Let go of the model and of all its memory, and wait for it."""
        self._call(self._release)

    def pause(self, outcome: Outcome) -> None:
        """Stop answering: open questions end with `outcome`, and none runs on return."""

        def job() -> None:
            self._following = None

        self.active = False
        self._desk.stop_all(outcome)
        self._call(job)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Unload the model and end the thread; False if it is still busy after `timeout` s."""
        self.active = False
        with self._lock:
            self._is_ending = True
        self._desk.close(Outcome(Status.NOT_ACTIVE, "the node is shutting down"))
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _call(self, job: Callable[[], object]) -> None:
        """Run a job on the worker's thread, between two questions, and wait for it."""
        future: Future[object] = Future()
        with self._lock:
            if self._is_ending:
                raise RuntimeError("the worker is shutting down and takes no more jobs")
            self._jobs.put((job, future))
        future.result()

    def _run(self) -> None:
        while not self._is_ending:
            try:
                self._run_jobs()
                self._find_work()
            except Exception:  # of a callback: who waits for an answer still gets the next one
                _LOG.exception("the worker goes on after an error")
        self._run_jobs()
        self._release()

    def _run_jobs(self) -> None:
        while not self._jobs.empty():
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

    def _find_work(self) -> None:
        question = self._desk.take(0.0 if self._following else _POLL)
        if question is not None:
            self._answer_safely(question)
        elif self.active and self._following is not None:
            self._follow_safely(self._following)
        elif self.active:
            self._idle()

    def _release(self) -> None:
        self._conversation = self._following = None
        self._encoded = None
        self._rgb = np.empty((0, 0, 3), np.uint8)
        self._segmenter = None
        gc.collect()  # modules refer to themselves; their memory must be free when this returns
        free_quantisation_tables()
        if torch.cuda.is_initialized():
            torch._C._cuda_clearCublasWorkspaces()  # cuBLAS keeps megabytes otherwise
            torch.cuda.empty_cache()

    # --- one question ---

    def _answer_safely(self, question: Question) -> None:
        """Whatever happens, the question ends exactly once."""
        try:
            outcome = self._answer(question)
        except Exception as error:
            outcome = self._failure(error)
        self._end(question, outcome)

    def _end(self, question: Question, outcome: Outcome) -> None:
        if outcome.frame is not None and self._is_encoded(outcome.frame):
            height, width = self._rgb.shape[:2]
            outcome = replace(outcome, image_size=(height, width))
        self._desk.done(question)
        question.end(outcome)

    def _failure(self, error: Exception) -> Outcome:
        if isinstance(error, InstructionError):
            return Outcome(Status.REJECTED, str(error))
        # Image features may be what did not fit, and are not to be trusted after an error.
        self._encoded = None
        if self._segmenter is not None:
            self._segmenter.reset_image()
        if isinstance(error, LisaError):
            return Outcome(Status.ERROR, str(error))
        _LOG.exception("a question failed")
        return Outcome(Status.ERROR, f"{type(error).__name__}: {error}")

    def _answer(self, question: Question) -> Outcome:
        started = time.monotonic()
        segmenter, settings = self._segmenter, self._settings()
        if segmenter is None or not self.active:
            return Outcome(
                Status.NOT_ACTIVE,
                "the node is not active; activate it, or wait until its model is loaded",
            )
        default_template = segmenter.model.config.default_template
        question.template = question.template or settings.template or default_template
        self._following = None
        conversation = self._conversation = self._current_conversation(question, settings)
        question.on_progress(question, Progress("waiting"))
        frame = self._choose_frame(question, conversation, settings)
        if isinstance(frame, Outcome):
            return frame
        seconds = {"wait": started - question.asked_at}
        question.on_progress(question, Progress("encoding", frame=frame))
        lift = self._locate(question, frame, settings)
        failure = self._stopped(question, frame) or self._encode(segmenter, frame, seconds)
        if failure is not None:
            return failure
        turns = conversation.turns if conversation is not None else []
        answer = self._ask(segmenter, question, frame, turns, settings, seconds)
        # An answer that was complete before the stop is given as it is.
        end = question.stopped() if answer.status is Status.CANCELLED else None
        if end is None:
            self._conversation = _Conversation(frame, [*turns, answer.turn], time.monotonic())
            self._start_following(question, frame, answer, segmenter, settings)
            end = self._end_of(question, frame, answer, lift, seconds)
        seconds["total"] = question.age
        return replace(
            end,
            frame=frame,
            answer=answer,
            seconds=seconds,
            context_kept=conversation is not None,
        )

    def _choose_frame(
        self, question: Question, conversation: _Conversation | None, settings: WorkerSettings
    ) -> Frame | Outcome:
        """The frame to answer: the question's own, the conversation's, or the newest one."""
        if question.frame is not None:
            return question.frame
        if conversation is not None:
            return conversation.frame
        deadline = time.monotonic() + settings.image_timeout
        frame = self._frames.newest()
        while frame is None or self._age(frame) > (settings.max_image_age or float("inf")):
            stopped = self._stopped(question, None)
            if stopped is not None:
                return stopped
            if time.monotonic() > deadline:
                return self._no_fresh_image(frame, settings)
            frame = self._frames.wait_newer(frame, _POLL) or frame
        return frame

    def _stopped(self, question: Question, frame: Frame | None) -> Outcome | None:
        """The end of a question that was stopped before the model was asked."""
        outcome = question.stopped()
        return None if outcome is None else replace(outcome, frame=frame)

    def _no_fresh_image(self, frame: Frame | None, settings: WorkerSettings) -> Outcome:
        if frame is None:
            return Outcome(
                Status.NO_IMAGE,
                f"no image arrived within {settings.image_timeout:g} s; check the image topic "
                "(/diagnostics says which ones are missing, and why)",
            )
        return Outcome(
            Status.STALE_IMAGE,
            f"the newest image is {self._age(frame):.1f} s old by its stamp, max_image_age is "
            f"{settings.max_image_age:g} s; check the camera, or the clocks of both machines, or "
            "set use_sim_time when playing a bag",
            frame,
        )

    def _age(self, frame: Frame) -> float:
        return (self._now_ns() - frame.stamp_ns) / 1e9

    def _encode(
        self, segmenter: Segmenter, frame: Frame, seconds: dict[str, float]
    ) -> Outcome | None:
        """Make the frame the segmenter's image, unless it is already."""
        if self._is_encoded(frame):
            return None
        started = time.monotonic()
        try:
            image = image_to_rgb(frame.image)
        except ConversionError as error:
            return Outcome(Status.NO_IMAGE, str(error), frame)
        seconds["conversion"] = time.monotonic() - started
        self._encoded = None
        segmenter.set_image(image)
        self._encoded, self._rgb = frame, image
        return None

    def _is_encoded(self, frame: Frame) -> bool:
        return self._encoded is not None and self._encoded.image is frame.image

    def _ask(
        self,
        segmenter: Segmenter,
        question: Question,
        frame: Frame,
        history: Sequence[Turn],
        settings: WorkerSettings,
        seconds: dict[str, float],
    ) -> Answer:
        text = ""
        objects: list[SegmentedObject] = []
        for event in segmenter.stream(
            question.instruction,
            template=question.template,
            max_new_tokens=settings.max_new_tokens,
            history=history,
            cancelled=lambda: question.stopped() is not None,
        ):
            if isinstance(event, Finished):
                stages = event.answer.timings_ms.items()
                seconds.update({name: ms / 1000 for name, ms in stages if name != "first_mask"})
                return event.answer
            if isinstance(event, ObjectFound):
                objects.append(event.object)
                seconds.setdefault("first_mask", question.age)
            elif isinstance(event, Words):
                text += event.text
            is_new = isinstance(event, ObjectFound)
            progress = Progress(
                "answering",
                text,
                frame,
                tuple(objects),
                is_new,
                segmenter.language_view,
                context_kept=bool(history),
            )
            question.on_progress(question, progress)
        raise AssertionError("a stream ends with Finished")

    # --- 3D ---

    def _locate(self, question: Question, frame: Frame, settings: WorkerSettings) -> _Lift | None:
        """Look up where the camera was; gives what lifts the masks, or None if nobody wants 3D."""
        lifter, lift = self._lifter, settings.lift
        if lifter is None or lift is None:
            return None
        is_expected = question.require_3d or (lift.use_depth and question.frame is None)
        if frame.depth is None and not is_expected:
            return None
        transform = lifter.locate(frame, lift)

        def lift_masks(masks: Sequence[np.ndarray]) -> Lifted:
            # A camera_info may have come after its image, while the model was at work.
            own = question.frame is not None
            shown = frame if own else self._frames.with_own_infos(frame, settings.image_timeout)
            return lifter.lift(shown, self._rgb, masks, transform, lift)

        return lift_masks

    def _end_of(
        self,
        question: Question,
        frame: Frame,
        answer: Answer,
        lift: _Lift | None,
        seconds: dict[str, float],
    ) -> Outcome:
        """How a question ends that the model has answered: with 3D, or with why there is none."""
        message = "" if answer.status in _PLAIN else answer.message
        if lift is None:
            return Outcome(answer.status, message, frame, answer)
        progress = Progress("lifting", answer.text, frame, answer.objects)
        question.on_progress(question, progress)
        started = time.monotonic()
        lifted = lift([item.mask for item in answer.objects])
        seconds["geometry"] = time.monotonic() - started
        status = answer.status
        if any(item.area for item in answer.objects):
            message = "; ".join(text for text in (message, lifted.note) if text)
            if lifted.problem is not None and question.require_3d:
                status = lifted.problem.status
        return Outcome(status, message, frame, answer, lifted)

    def _current_conversation(
        self, question: Question, settings: WorkerSettings
    ) -> _Conversation | None:
        """The conversation that a question goes on with; None if it begins a new one."""
        conversation = self._conversation
        if conversation is None or not question.keep_context or question.frame is not None:
            return None
        if time.monotonic() - conversation.used_at > settings.context_timeout:
            return None
        return conversation

    # --- follow mode ---

    def _start_following(
        self,
        question: Question,
        frame: Frame,
        answer: Answer,
        segmenter: Segmenter,
        settings: WorkerSettings,
    ) -> None:
        target = _first_object(answer)
        if question.follow and target is not None:
            follower = Follower(segmenter, target, time.monotonic(), settings.follow)
            self._following = _Following(question, follower, frame, answer)

    def _follow_safely(self, following: _Following) -> None:
        """Carry the followed object into the next frame, as a question of its own."""
        frame = self._frames.wait_newer(following.frame, _POLL)
        if frame is None:
            return
        question = self._new_follow_question(following.question)
        if question is None:
            self._following = None
            return
        if not self._desk.start(question):
            return  # somebody asks; the number is simply not used
        following.frame = frame
        try:
            outcome = self._follow(question, following, frame)
        except Exception as error:
            outcome = self._failure(error)
            self._following = None
        self._end(question, outcome)

    def _follow(self, question: Question, following: _Following, frame: Frame) -> Outcome:
        segmenter, settings = self._segmenter, self._settings()
        assert segmenter is not None  # active, and the same thread unloads
        seconds: dict[str, float] = {}
        lift = self._locate(question, frame, settings)
        failure = self._encode(segmenter, frame, seconds)
        if failure is not None:
            return failure
        answers = []

        def ask() -> SegmentedObject | None:
            answers.append(self._ask(segmenter, question, frame, (), settings, seconds))
            return _first_object(answers[-1])

        step = following.follower.step(ask, time.monotonic())
        stopped = self._stopped(question, frame) if answers else None
        if stopped is not None:
            return stopped
        if step.object is None:
            return Outcome(Status.LOST, step.message, frame)
        if answers:
            following.answer = answer = answers[-1]
        else:
            answer = replace(
                following.answer, objects=(step.object,), text="", explanation="", answer_ids=()
            )
        answer = replace(answer, status=Status.FOUND, message="")
        end = self._end_of(question, frame, answer, lift, seconds)
        seconds["total"] = question.age
        return replace(end, seconds=seconds)


def _first_object(answer: Answer) -> SegmentedObject | None:
    return next((item for item in answer.objects if item.area), None)

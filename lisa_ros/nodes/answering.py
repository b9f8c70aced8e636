"""From a question and a camera's frames to an outcome, with one loaded model.

Nothing here knows ROS or threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lisa_ros.model.errors import LisaError, TooLongError
from lisa_ros.nodes.frames import DEPTH_PATIENCE, Frame, FrameBuffer
from lisa_ros.nodes.image_conversion import ConversionError, image_to_rgb
from lisa_ros.nodes.questions import Outcome, Progress, Question
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
from lisa_ros.perception.answer_clock import EncodedImage
from lisa_ros.perception.follow import FollowLimits

if TYPE_CHECKING:  # it needs Open3D, which only 3D needs
    from lisa_ros.nodes.lifting import Lifted, Lifter, LiftSettings

_POLL = 0.02  # seconds between looks for a fresh image
_PLAIN = (Status.FOUND, Status.TEXT_ONLY)  # nothing is to be said beyond the answer
_Lift = Callable[[Sequence[np.ndarray]], "Lifted"]  # of the masks of an answer


@dataclass(frozen=True)
class AnswerSettings:
    """What the node's parameters say; read anew for each question.

    Attributes:
        template: prompt template; empty for the model's own.
        max_new_tokens: longest answer.
        image_timeout: seconds that a question waits for a (fresh) image.
        max_image_age: seconds by stamp, back or ahead, beyond which an image is stale; 0: none is.
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


@dataclass(frozen=True)
class _EncodedFrame:
    """A frame with its image, RGB uint8 (H, W, 3), the features of it and what converting took."""

    frame: Frame
    rgb: np.ndarray
    features: EncodedImage
    conversion_seconds: float

    def is_of(self, frame: Frame) -> bool:
        """Whether it has the frame's image; depth or camera_info may have come since."""
        return self.frame.image is frame.image


class Answerer:
    """Answers questions about the frames of a buffer; it lives as long as its model is loaded.

    Args:
        frames: where images come from.
        lifter: makes 3D of masks; None for masks alone.
        now_ns: the clock of the image stamps, in nanoseconds.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        frames: FrameBuffer,
        *,
        lifter: Lifter | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.segmenter = segmenter
        self._frames = frames
        self._lifter = lifter
        self._now_ns = now_ns
        self._encoded: _EncodedFrame | None = None  # the segmenter's image
        self._ahead: _EncodedFrame | None = None  # the one after it, if that was begun
        self._conversation: _Conversation | None = None

    def answer(self, question: Question, settings: AnswerSettings) -> Outcome:
        """Choose a frame, ask the model about it and lift what it found."""
        started = time.monotonic()
        default_template = self.segmenter.model.config.default_template
        question.template = question.template or settings.template or default_template
        conversation = self._conversation = self._current_conversation(question, settings)
        frame = self._choose_frame(question, conversation, settings)
        if isinstance(frame, Outcome):
            return frame
        seconds = {"wait": started - question.asked_at}
        question.on_progress(question, Progress("encoding", frame=frame))
        lift = self.locate(question, frame, settings)
        failure = early_end(question, frame) or self.encode(frame, seconds)
        if failure is not None:
            return failure
        turns = conversation.turns if conversation is not None else []
        try:
            answer = self.ask(question, frame, turns, settings, seconds)
        except TooLongError:
            self._conversation = None  # its rounds may be what was too long
            raise
        # An answer that was complete before the stop is given as it is.
        end = question.stopped() if answer.status is Status.CANCELLED else None
        if end is None:
            self._conversation = _Conversation(frame, [*turns, answer.turn], time.monotonic())
            end = self.finish(question, frame, answer, lift, seconds)
        seconds["total"] = question.age
        return replace(
            end,
            frame=frame,
            answer=answer,
            seconds=seconds,
            context_kept=conversation is not None,
        )

    def rgb(self, frame: Frame) -> np.ndarray | None:
        """A frame's image, uint8 (H, W, 3), if it is the one that was decoded last."""
        return self._encoded.rgb if self._encoded and self._encoded.is_of(frame) else None

    def forget_image(self) -> None:
        """Let go of the image's features, which are not to be trusted after an error."""
        self._encoded = self._ahead = None
        self.segmenter.reset_image()

    def encode(self, frame: Frame, seconds: dict[str, float]) -> Outcome | None:
        """Make the frame the segmenter's image, unless it is already; gives why it cannot be."""
        if self.rgb(frame) is not None:
            return None
        ahead, self._ahead = self._ahead, None
        self._encoded = None
        try:
            encoded = ahead if ahead is not None and ahead.is_of(frame) else self._read(frame)
        except ConversionError as error:
            return Outcome(Status.NO_IMAGE, str(error), frame)
        seconds["conversion"] = encoded.conversion_seconds
        self.segmenter.set_image(encoded.features)
        self._encoded = encoded
        return None

    def encode_ahead(self) -> Frame | None:
        """Begin to encode the newest frame, where the host is free meanwhile; gives it, if any."""
        frame = self._frames.newest() if self.segmenter.encodes_in_background else None
        if frame is None or self.rgb(frame) is not None:
            return None
        try:
            self._ahead = self._read(frame)
        except LisaError:
            return None  # told when it is the frame's turn, if it fails again
        return frame

    def _read(self, frame: Frame) -> _EncodedFrame:
        started = time.monotonic()
        rgb = image_to_rgb(frame.image)
        conversion = time.monotonic() - started
        return _EncodedFrame(frame, rgb, self.segmenter.encode(rgb), conversion)

    def ask(
        self,
        question: Question,
        frame: Frame,
        history: Sequence[Turn],
        settings: AnswerSettings,
        seconds: dict[str, float],
    ) -> Answer:
        """Ask the model about the frame that is encoded, and tell of each word and mask."""
        text = ""
        objects: list[SegmentedObject] = []
        for event in self.segmenter.stream(
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
                self.segmenter.language_view,
                context_kept=bool(history),
            )
            question.on_progress(question, progress)
        raise AssertionError("a stream ends with Finished")

    def locate(self, question: Question, frame: Frame, settings: AnswerSettings) -> _Lift | None:
        """Look up where the camera was; gives what lifts the masks, or None if nobody wants 3D."""
        lifter, lift = self._lifter, settings.lift
        if lifter is None or lift is None:
            return None
        is_expected = question.require_3d or (lift.use_depth and not frame.is_of_request)
        if frame.depth is None and not is_expected:
            return None
        transform = lifter.locate(frame, lift)

        def lift_masks(masks: Sequence[np.ndarray]) -> Lifted:
            # A camera_info may have come after its image, while the model was at work.
            shown = frame
            if not frame.is_of_request:
                patience = settings.image_timeout
                shown = self._frames.with_own_infos(frame, patience, question.stopped)
            assert self._encoded is not None
            return lifter.lift(shown, self._encoded.rgb, masks, transform, lift)

        return lift_masks

    def finish(
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
        self, question: Question, settings: AnswerSettings
    ) -> _Conversation | None:
        """The conversation that a question goes on with; None if it begins a new one."""
        conversation = self._conversation
        if conversation is None or not question.keep_context or question.frame is not None:
            return None
        if time.monotonic() - conversation.used_at > settings.context_timeout:
            return None
        return conversation

    def _choose_frame(
        self, question: Question, conversation: _Conversation | None, settings: AnswerSettings
    ) -> Frame | Outcome:
        """The frame to answer: the question's own, the conversation's, or the newest one."""
        if question.frame is not None:
            return question.frame
        if conversation is not None:
            return conversation.frame
        started = time.monotonic()
        frame = self._frames.newest()
        while True:
            waited = time.monotonic() - started
            if frame is not None and self._is_fresh(question, frame, settings):
                if waited > DEPTH_PATIENCE or not _waits_for_depth(question, frame, settings):
                    return frame
            elif waited > settings.image_timeout:
                return self._no_fresh_image(question, frame, settings)
            end = early_end(question, None)
            if end is not None:
                return end
            self._frames.wait_newer(frame, _POLL)
            frame = self._frames.newest()  # the same one may have got its depth

    def _is_fresh(self, question: Question, frame: Frame, settings: AnswerSettings) -> bool:
        # One from the future is as old as the clocks are apart, and nobody knows how old.
        is_stale = abs(self._age(frame)) > (settings.max_image_age or float("inf"))
        return not is_stale and frame.stamp_ns >= question.not_before

    def why_stale(
        self, question: Question, frame: Frame, settings: AnswerSettings
    ) -> Outcome | None:
        """The end of a question about a frame that is too old; None if it is not."""
        if self._is_fresh(question, frame, settings):
            return None
        return self._no_fresh_image(question, frame, settings)

    def _no_fresh_image(
        self, question: Question, frame: Frame | None, settings: AnswerSettings
    ) -> Outcome:
        if frame is None:
            return Outcome(
                Status.NO_IMAGE,
                f"no image arrived within {settings.image_timeout:g} s; check the image topic "
                "(/diagnostics says which ones are missing, and why)",
            )
        if not frame.stamp_ns:
            without = "ask without not_before" if question.not_before else "set max_image_age to 0"
            return Outcome(
                Status.STALE_IMAGE,
                "expected an image with the time at which it was taken, got stamp 0; let the "
                f"driver set it, or {without}",
                frame,
            )
        early = (question.not_before - frame.stamp_ns) / 1e9
        if early > 0:
            return Outcome(
                Status.STALE_IMAGE,
                f"expected an image stamped at not_before or later, got one of {early:.3g} s "
                f"before, and none came within {settings.image_timeout:g} s; check the camera, "
                "the clock that gave not_before, or raise image_timeout",
                frame,
            )
        age = self._age(frame)
        if age < 0:
            return Outcome(
                Status.STALE_IMAGE,
                f"the newest image is stamped {-age:.1f} s ahead of this node's clock, "
                f"max_image_age is {settings.max_image_age:g} s; check the clocks of both "
                "machines; with use_sim_time, whether somebody publishes /clock",
                frame,
            )
        return Outcome(
            Status.STALE_IMAGE,
            f"the newest image is {age:.1f} s old by its stamp, max_image_age is "
            f"{settings.max_image_age:g} s; check the camera, or the clocks of both machines, or "
            "set use_sim_time when playing a bag",
            frame,
        )

    def _age(self, frame: Frame) -> float:
        return (self._now_ns() - frame.stamp_ns) / 1e9


def _waits_for_depth(question: Question, frame: Frame, settings: AnswerSettings) -> bool:
    """Whether a frame will not do yet: 3D is required of it, and its depth may still come."""
    has_camera = settings.lift is not None and settings.lift.use_depth
    is_new = time.monotonic() - frame.received_at < DEPTH_PATIENCE
    return question.require_3d and has_camera and frame.depth is None and is_new


def early_end(question: Question, frame: Frame | None) -> Outcome | None:
    """The end of a question that was stopped before the model was asked."""
    outcome = question.stopped()
    return None if outcome is None else replace(outcome, frame=frame)

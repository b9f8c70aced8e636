"""Questions on their way through the node: one is answered at a time, each ends exactly once.

Nothing here knows ROS, so that the rules can be read and tested on their own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from lisa_ros.nodes.frames import Frame
from lisa_ros.perception import Answer, SegmentedObject, Status

if TYPE_CHECKING:  # it needs Open3D, which only 3D needs
    from lisa_ros.nodes.lifting import Lifted


class Source(IntEnum):
    """Where a question came from; the values of Answer.msg."""

    TOPIC = 1
    ACTION = 2
    SERVICE = 3
    FOLLOW = 4


@dataclass(frozen=True)
class Progress:
    """What has become of a running question.

    Attributes:
        stage: one of the STAGE_* constants of Ask.action.
        text: the words so far, for people.
        frame: the frame that is being answered, once it is chosen.
        objects: all objects so far.
        is_new_object: whether the last object has just come.
        language_view: box of the image that the language model sees, once it is known.
        context_kept: answered on the pinned frame of an earlier question.
    """

    stage: str
    text: str = ""
    frame: Frame | None = None
    objects: tuple[SegmentedObject, ...] = ()
    is_new_object: bool = False
    language_view: tuple[int, int, int, int] = (0, 0, 0, 0)
    context_kept: bool = False


@dataclass(frozen=True)
class Outcome:
    """The one end of a question.

    Attributes:
        status: how it ended.
        message: what happened and what to do, for people.
        frame: the frame that was answered, if it came to that.
        answer: the model's answer, if it came to that.
        lifted: its 3D; None where there is neither depth nor a wish for it.
        seconds: time of each stage, and `total` and `first_mask` since the question arrived.
        context_kept: answered on the pinned frame of an earlier question.
        rgb: uint8 (H, W, 3), the frame's image; None if it was not decoded.
    """

    status: Status
    message: str = ""
    frame: Frame | None = None
    answer: Answer | None = None
    lifted: Lifted | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    context_kept: bool = False
    rgb: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the frame's image; zeros if it was not decoded."""
        return (0, 0) if self.rgb is None else (self.rgb.shape[0], self.rgb.shape[1])


@dataclass(eq=False)
class Question:
    """One question, its limits and who wants to hear of it.

    Attributes:
        id: rising number, never used twice by a node.
        template: prompt template; empty for the node's own.
        frame: images that the question brought along; None for the camera's newest.
        not_before: least stamp of the camera's image, in nanoseconds.
        timeout: seconds from arrival to the end; None for no limit.
        on_progress: called on the worker's thread.
        on_end: called exactly once, on the thread that ends the question.
        messages: its objects so far with their messages, kept by whoever makes these; each is made
            once.
    """

    id: int
    source: Source
    instruction: str
    template: str = ""
    frame: Frame | None = None
    not_before: int = 0
    require_3d: bool = False
    keep_context: bool = False
    follow: bool = False
    timeout: float | None = None
    on_progress: Callable[[Question, Progress], None] = lambda question, progress: None
    on_end: Callable[[Question, Outcome], object] = lambda question, outcome: None
    asked_at: float = field(default_factory=time.monotonic)
    messages: list[Any] = field(default_factory=list)
    _stopped: Outcome | None = None
    _is_ending: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, status: Status, message: str = "whoever asked it cancelled it") -> None:
        """Ask the question to end, if it runs between two tokens; the first reason counts."""
        with self._lock:
            self._stopped = self._stopped or Outcome(status, message)

    def stopped(self) -> Outcome | None:
        """How the question should end now: cancelled, pre-empted, out of time; None to go on."""
        if self._stopped is None and self.timeout is not None and self.age > self.timeout:
            message = f"no answer within its timeout of {self.timeout:g} s; raise it, or ask again"
            self.stop(Status.TIMEOUT, message)
        return self._stopped

    def end(self, outcome: Outcome) -> None:
        """End the question; later calls do nothing."""
        with self._lock:
            if self._is_ending:
                return
            self._is_ending = True
        try:
            self.on_end(self, outcome)
        finally:
            self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the question has ended and `on_end` has returned."""
        return self._ended.wait(timeout)

    @property
    def age(self) -> float:
        """Seconds since the question arrived."""
        return time.monotonic() - self.asked_at


class QuestionDesk:
    """Decides which question is answered: at most one runs, and at most one waits behind it.

    - A topic instruction pre-empts another one from the topic, but never an action goal or a
      service call: then it is REJECTED.
    - An action goal or service call pre-empts a topic instruction; against its own kind
      `busy_policy` decides: `preempt` or `reject`.
    """

    def __init__(self, busy_policy: str = "preempt") -> None:
        self.busy_policy = busy_policy
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._running: Question | None = None
        self._waiting: Question | None = None
        self._closed: Outcome | None = None

    def next_id(self) -> int:
        """A number for a new question."""
        return next(self._ids)

    def submit(self, question: Question) -> bool:
        """Accept a question, or end it as REJECTED; gives whether it was accepted."""
        replaced = None
        with self._changed:
            rivals = [q for q in (self._running, self._waiting) if q is not None]
            refusal = self._closed or self._refusal(rivals, question)
            if refusal is None:
                for rival in rivals:
                    rival.stop(Status.PREEMPTED, f"{_name(question)} took its place")
                replaced, self._waiting = self._waiting, question
                self._changed.notify_all()
        if refusal is not None:
            question.end(refusal)
            return False
        if replaced is not None:
            outcome = replaced.stopped()
            assert outcome is not None  # stopped above, or before
            replaced.end(outcome)
        return True

    def take(self, timeout: float) -> Question | None:
        """The question to answer now; None if none came within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None, timeout)
            self._running, self._waiting = self._waiting, None
            return self._running

    def start(self, question: Question) -> bool:
        """Let the worker run a question of its own, if nobody else's waits."""
        with self._changed:
            if self._waiting is None and self._closed is None:
                self._running = question
            return self._running is question

    def submit_if_free(self, question: Question) -> bool:
        """Accept a question that interrupts nobody, if none runs or waits; else it is not used."""
        with self._changed:
            is_free = self._waiting is None and self._running is None and self._closed is None
            if is_free:
                self._waiting = question
            return is_free

    def stop_following(self) -> Question | None:
        """What is open is only answered and not followed; gives what was to be followed, if any."""
        with self._changed:
            wanted = [q for q in (self._running, self._waiting) if q is not None and q.follow]
            for question in wanted:
                question.follow = False
        return wanted[-1] if wanted else None

    def done(self, question: Question) -> None:
        """The worker has ended this question."""
        with self._changed:
            if self._running is question:
                self._running = None

    def stop_all(self, outcome: Outcome) -> None:
        """End what waits with `outcome`, and ask what runs to stop for the same reason."""
        with self._changed:
            running, waiting, self._waiting = self._running, self._waiting, None
        if running is not None:
            running.stop(outcome.status, outcome.message)
        if waiting is not None:
            waiting.end(outcome)

    def close(self, outcome: Outcome) -> None:
        """End all questions with `outcome`, and each that is still to come as well."""
        with self._changed:
            self._closed = outcome
        self.stop_all(outcome)

    def _refusal(self, rivals: list[Question], question: Question) -> Outcome | None:
        """Why a question may not take the place of those that are open; None if it may."""
        for rival in rivals:
            if rival.stopped() is not None or rival.source in (Source.TOPIC, Source.FOLLOW):
                continue
            if question.source is Source.TOPIC:
                why = "and the topic never interrupts it; ask again later"
            elif self.busy_policy == "reject":
                why = "and busy_policy is reject; ask again later, or cancel it"
            else:
                continue
            return Outcome(Status.REJECTED, f"{_name(rival)} is being answered, {why}")
        return None


def _name(question: Question) -> str:
    return f"question {question.id} (source {question.source.name.lower()})"

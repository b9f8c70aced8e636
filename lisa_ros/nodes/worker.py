"""The one thread that owns the model: loads it, answers questions, lets go of it.

Nothing here knows ROS; the node hands in callbacks.  So the same worker can be run and measured
where no ROS is installed.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lisa_ros.model.errors import InstructionError, LisaError
from lisa_ros.model.precision import free_quantisation_tables
from lisa_ros.nodes.answering import Answerer, AnswerSettings
from lisa_ros.nodes.following import Following
from lisa_ros.nodes.frames import FrameBuffer
from lisa_ros.nodes.questions import Outcome, Question, QuestionDesk
from lisa_ros.perception import Segmenter, Status

if TYPE_CHECKING:  # it needs Open3D, which a worker without 3D does not
    from lisa_ros.nodes.lifting import Lifter

_POLL = 0.02  # seconds between looks for work while idle
_LOG = logging.getLogger(__name__)


def leave_a_core() -> None:
    """Let a model on the CPU leave one core to the camera's topics and the other nodes.

    OMP_NUM_THREADS, where it is set, counts instead; threads are never more than before.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


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
        settings: Callable[[], AnswerSettings] = AnswerSettings,
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
        self._answerer: Answerer | None = None  # while a model is loaded
        self._following: Following | None = None
        self._lock = threading.Lock()  # between new jobs and the end of the thread
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="lisa_worker", daemon=True)
        self._thread.start()

    @property
    def segmenter(self) -> Segmenter | None:
        """The loaded model, for reading its properties from other threads."""
        answerer = self._answerer
        return None if answerer is None else answerer.segmenter

    def load(self, make: Callable[[], Segmenter]) -> None:
        """Load the model on the worker's thread, and wait for it.

        Raises:
            LisaError: as `make` does.
        """

        def job() -> None:
            self._release()
            self._answerer = Answerer(
                make(), self._frames, lifter=self._lifter, now_ns=self._now_ns
            )

        self._call(job)

    def stop_following(self) -> Question | None:
        """End follow mode; gives the question that was followed or to be, None if none was.

        A question at work is still answered, and so is the frame at work.
        """
        question = self._desk.stop_following()
        following, self._following = self._following, None
        return question if following is None else following.question

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
        elif self.active and (following := self._following) is not None:
            self._follow_safely(following)
        elif self.active:
            self._idle()

    def _release(self) -> None:
        self._answerer = self._following = None
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

    def _answer(self, question: Question) -> Outcome:
        answerer, settings = self._answerer, self._settings()
        if answerer is None or not self.active:
            return Outcome(
                Status.NOT_ACTIVE,
                "the node is not active; activate it, or wait until its model is loaded",
            )
        self._following = None
        outcome = answerer.answer(question, settings)
        self._following = Following.begin(question, outcome, answerer, settings)
        if not question.follow:  # `stop_following` came since `begin` has looked
            self._following = None
        return outcome

    def _follow_safely(self, following: Following) -> None:
        """Carry the followed object into the next frame, as a question of its own."""
        settings = self._settings()
        frame = following.next_frame or self._frames.wait_newer(following.frame, _POLL)
        if frame is None and not following.is_silence_news(settings):
            return
        if self._following is not following:
            return  # it was stopped meanwhile
        question = self._new_follow_question(following.question)
        if question is None:
            self._following = None
            return
        if not self._desk.start(question):
            return  # somebody asks; the number is simply not used
        try:
            if frame is None:
                outcome = following.tell_silence()
            else:
                outcome = following.step(question, frame, settings)
        except Exception as error:
            outcome = self._failure(error)
            self._following = None
        self._end(question, outcome)

    def _failure(self, error: Exception) -> Outcome:
        if isinstance(error, InstructionError):
            return Outcome(Status.REJECTED, str(error))
        if self._answerer is not None:  # image features may be what did not fit
            self._answerer.forget_image()
        if isinstance(error, LisaError):
            return Outcome(Status.ERROR, str(error))
        _LOG.exception("a question failed")
        return Outcome(
            Status.ERROR,
            f"{type(error).__name__}: {error}; this should not happen: see the node's log, and "
            "report it",
        )

    def _end(self, question: Question, outcome: Outcome) -> None:
        if outcome.frame is not None and self._answerer is not None:
            outcome = replace(outcome, rgb=self._answerer.rgb(outcome.frame))
        self._desk.done(question)
        question.end(outcome)

"""Follow mode on a robot: an answer's object, carried into each new frame."""

from __future__ import annotations

import time
from dataclasses import replace

from lisa_ros.nodes.answering import Answerer, AnswerSettings, early_end
from lisa_ros.nodes.frames import Frame
from lisa_ros.nodes.questions import Outcome, Question
from lisa_ros.perception import Answer, SegmentedObject, Status
from lisa_ros.perception.follow import Follower


class Following:
    """A question that is being followed.

    Attributes:
        question: the one that was asked.
        frame: where its object was looked for last.
        next_frame: the one to look in next, if that is being encoded already.
    """

    def __init__(
        self,
        question: Question,
        frame: Frame,
        answer: Answer,
        target: SegmentedObject,
        answerer: Answerer,
        settings: AnswerSettings,
    ) -> None:
        self.question = question
        self.frame = frame
        self.next_frame: Frame | None = None
        self._last_frame_at = time.monotonic()
        self._has_told_silence = False
        self._answer = answer  # the last time that the model was asked
        self._answerer = answerer
        self._follower = Follower(answerer.segmenter, target, time.monotonic(), settings.follow)

    @classmethod
    def begin(
        cls, question: Question, outcome: Outcome, answerer: Answerer, settings: AnswerSettings
    ) -> Following | None:
        """Follow what a question has found; None if it does not want that, or found nothing."""
        frame, answer = outcome.frame, outcome.answer
        if not question.follow or frame is None or answer is None:
            return None
        target = _first_object(answer)
        if target is None or answer.status is Status.CANCELLED:
            return None
        return cls(question, frame, answer, target, answerer, settings)

    def is_silence_news(self, settings: AnswerSettings) -> bool:
        """Whether no frame has come for too long, and nobody was told yet."""
        silence = time.monotonic() - self._last_frame_at
        return silence > settings.image_timeout and not self._has_told_silence

    def tell_silence(self) -> Outcome:
        """The end of a question that stands for the frames that do not come."""
        self._has_told_silence = True
        silence = time.monotonic() - self._last_frame_at
        return Outcome(
            Status.STALE_IMAGE,
            f"no new image has come for {silence:.1f} s; check the camera (/diagnostics says which "
            "topic is missing, and why); following goes on with the next one",
            self.frame,
        )

    def step(self, question: Question, frame: Frame, settings: AnswerSettings) -> Outcome:
        """The end of a question that stands for one frame."""
        answerer, self.frame, self.next_frame = self._answerer, frame, None
        self._last_frame_at, self._has_told_silence = time.monotonic(), False
        stale = answerer.why_stale(question, frame, settings)
        if stale is not None:
            return stale
        seconds: dict[str, float] = {}
        lift = answerer.locate(question, frame, settings)
        end = answerer.encode(frame, seconds) or self._find(question, frame, settings, seconds)
        self.next_frame = answerer.encode_ahead()  # beside 3D and messages of this one
        if end.answer is not None:
            end = answerer.finish(question, frame, end.answer, lift, seconds)
        seconds["total"] = question.age
        return replace(end, seconds=seconds)

    def _find(
        self,
        question: Question,
        frame: Frame,
        settings: AnswerSettings,
        seconds: dict[str, float],
    ) -> Outcome:
        """Where the object is in the frame that is encoded, without its 3D."""
        answers: list[Answer] = []

        def ask() -> SegmentedObject | None:
            answers.append(self._answerer.ask(question, frame, (), settings, seconds))
            return _first_object(answers[-1])

        step = self._follower.step(ask, time.monotonic())
        times = self._answerer.segmenter.take_image_times()
        seconds.update({name: ms / 1000 for name, ms in times.items()})
        end = early_end(question, frame) if answers else None
        if end is not None:
            return end
        if step.object is None:
            return Outcome(Status.LOST, step.message, frame)
        answer = replace(self._answer, text="", explanation="", answer_ids=())
        if answers and step.object is _first_object(answers[-1]):
            self._answer = answer = answers[-1]
        # It alone, also where the question was asked again and found more.
        answer = replace(answer, objects=(step.object,), status=Status.FOUND, message="")
        return Outcome(Status.FOUND, frame=frame, answer=answer)


def _first_object(answer: Answer) -> SegmentedObject | None:
    return next((item for item in answer.objects if item.area), None)

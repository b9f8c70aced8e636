"""The ways of answering a question that a benchmark compares, each on the same weights.

Each is a column of `model_latency.py`; a faster way becomes one more.  The yardstick, `PlainLoop`,
has its own file.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lisa_ros.model.lisa import Lisa
from lisa_ros.perception import Segmenter


@dataclass(frozen=True)
class Question:
    """One instruction about one image, and how many tokens the answer gets."""

    image: np.ndarray
    instruction: str
    template: str
    max_new_tokens: int


@dataclass
class Run:
    """One answer and what it cost.

    Attributes:
        token_ids: prompt and answer; the image is -200.
        choices: for each token of the answer, what the implementation itself would have said.
        masks: bool (H, W), one for each `[SEG]`.
        stages_ms: wall time by stage.
        token_ms: wall time of each token behind the first that draws no mask.
        first_mask_ms: from the image and the words to the first mask.
    """

    token_ids: list[int]
    choices: list[int]
    masks: list[np.ndarray]
    stages_ms: dict[str, float]
    token_ms: list[float] = field(default_factory=list)
    first_mask_ms: float | None = None


class Implementation(ABC):
    """A way of answering."""

    def __init__(self, model: Lisa) -> None:
        self.model = model

    @abstractmethod
    def answer(self, question: Question, follow: Sequence[int] | None = None) -> Run:
        """Answer from the image and the words on.

        Args:
            follow: `token_ids` of another implementation's answer.  An implementation may go on
                with those tokens whatever it would say itself, so that rounding in 16 bits, which
                now and then tips a close choice, does not make the rest incomparable.
        """


class Cached(Implementation):
    """This package as it comes: image features and keys and values cached; on CUDA, graphs."""

    def __init__(self, model: Lisa) -> None:
        super().__init__(model)
        self.segmenter = Segmenter(model, model_id="benchmark", precision=str(model.dtype))

    def answer(self, question: Question, follow: Sequence[int] | None = None) -> Run:
        self.segmenter.set_image(question.image)
        return self.ask(question)

    def ask(self, question: Question, *, mask_only: bool = False) -> Run:
        """Answer about the image that is set: a further question about the same frame."""
        between_tokens: list[float] = []

        def note_time() -> bool:
            between_tokens.append(time.perf_counter())
            return False

        answer = self.segmenter.answer(
            question.instruction,
            template=question.template,
            max_new_tokens=question.max_new_tokens,
            mask_only=mask_only,
            cancelled=note_time,
        )
        stages = dict(answer.timings_ms)
        stages.pop("total")
        first_mask = stages.pop("first_mask", None)
        # Asked before each token is chosen.
        count = len(between_tokens)
        choices = list(answer.token_ids[-count:]) if count else []
        token_ms = [
            1000 * (after - before)
            for before, after, token in zip(
                between_tokens[1:-1], between_tokens[2:], choices[1:], strict=False
            )
            if token != self.model.tokenizer.seg_id
        ]
        return Run(
            token_ids=list(answer.token_ids),
            choices=choices,
            masks=[item.mask for item in answer.objects],
            stages_ms=stages,
            token_ms=token_ms,
            first_mask_ms=first_mask,
        )


class WithoutGraphs(Cached):
    """The same, with every CUDA kernel launched by the host."""

    def ask(self, question: Question, *, mask_only: bool = False) -> Run:
        """See `Cached.ask`."""
        self.model.use_cuda_graphs = False
        try:
            return super().ask(question, mask_only=mask_only)
        finally:
            self.model.use_cuda_graphs = True

    def answer(self, question: Question, follow: Sequence[int] | None = None) -> Run:
        """See `Implementation.answer`."""
        self.model.use_cuda_graphs = False  # for the encoder, which set_image starts
        return super().answer(question, follow)

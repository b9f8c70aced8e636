"""Answers compared with the truth, and what they are worth together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lisa_ros.evaluation.cases import Case
from lisa_ros.evaluation.metrics import MaskMetrics, iou, overlap
from lisa_ros.perception import Answer


@dataclass(frozen=True)
class Result:
    """One answered question, compared with the truth.

    Attributes:
        instruction: the user's words.
        groups: of the case.
        status: how the answer ended (`Status`).
        text: the model's words.
        target_area: pixels to find; 0 where there is nothing to find.
        predicted_area: pixels of all masks of the answer together; 0 is a refusal.
        intersection, union: pixels outside what the target ignores.
        named: whether the words name all objects; None where they need not, or cannot.
        mask: the predicted pixels as COCO's run lengths, `size` and `counts`.
    """

    instruction: str
    groups: tuple[str, ...]
    status: str
    text: str
    target_area: int
    predicted_area: int
    intersection: int
    union: int
    named: bool | None = None
    mask: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where rightly nothing was predicted."""
        return iou(self.intersection, self.union)

    @property
    def is_absent(self) -> bool:
        """Whether there was nothing to find."""
        return self.target_area == 0

    @property
    def is_refusal(self) -> bool:
        """Whether the answer gave no pixel: without `[SEG]`, or with empty masks only."""
        return self.predicted_area == 0


def compare(case: Case, answer: Answer) -> Result:
    """An answer against its truth; all masks of the answer together are one.

    Raises:
        ValueError: the target is of another size than the picture.
    """
    mask = answer.mask if answer.mask is not None else np.zeros(case.target.shape, bool)
    intersection, union = overlap(mask, case.target)
    return Result(
        instruction=case.instruction,
        groups=case.groups,
        status=answer.status.value,
        text=answer.text,
        target_area=int((case.target == 1).sum()),
        predicted_area=int(mask.sum()),
        intersection=intersection,
        union=union,
        named=all(_holds(answer.explanation, name) for name in case.names) if case.names else None,
    )


def _holds(text: str, name: str) -> bool:
    """Whether the words hold the name, of whole words: a candle is no can."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


@dataclass
class Scores:
    """What a set of answers is worth.

    Attributes:
        masks: of all questions, those with nothing to find included: the published scores.
        present: of the questions with something to find alone.
        absent: questions with nothing to find.
        refused: how many of those got no mask.
        falsely_refused: how many of those with something to find got none.
        to_name, named: answers that should name their objects, and how many did.
        by_group: the same for each group of questions.
    """

    masks: MaskMetrics = field(default_factory=MaskMetrics)
    present: MaskMetrics = field(default_factory=MaskMetrics)
    absent: int = 0
    refused: int = 0
    falsely_refused: int = 0
    to_name: int = 0
    named: int = 0
    by_group: dict[str, Scores] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[Result]) -> Scores:
        """The scores of these results."""
        scores = cls()
        for result in results:
            scores.add(result)
        return scores

    def add(self, result: Result) -> None:
        """Count one answer, also in its groups."""
        self._count(result)
        for group in result.groups:
            self.by_group.setdefault(group, Scores())._count(result)

    def _count(self, result: Result) -> None:
        self.masks.add_overlap(result.intersection, result.union)
        if result.named is not None:
            self.to_name += 1
            self.named += result.named
        if result.is_absent:
            self.absent += 1
            self.refused += result.is_refusal
        else:
            self.present.add_overlap(result.intersection, result.union)
            self.falsely_refused += result.is_refusal

    @property
    def refusal_rate(self) -> float | None:
        """Of the questions with nothing to find, the share that got no mask.

        gRefCOCO's N-acc (Liu et al., CVPR 2023): TP / (TP + FN) for "there is no target".
        """
        return self.refused / self.absent if self.absent else None

    @property
    def false_refusal_rate(self) -> float | None:
        """Of the questions with something to find, the share that got no mask."""
        return self.falsely_refused / self.present.count if self.present.count else None

    @property
    def target_accuracy(self) -> float | None:
        """gRefCOCO's T-acc: TN / (TN + FP), the share with something to find that got a mask."""
        rate = self.false_refusal_rate
        return None if rate is None else 1 - rate

    @property
    def naming_rate(self) -> float | None:
        """Of the answers that should name their objects, the share that does."""
        return self.named / self.to_name if self.to_name else None

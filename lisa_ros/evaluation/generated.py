"""Scores by the `generate` protocol: the model answers freely, as users meet it.

The published protocol (`forced`) puts `[SEG]` into the model's mouth and so cannot see a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lisa_ros.evaluation.metrics import MaskMetrics
from lisa_ros.perception import Segmenter, Status


@dataclass(frozen=True)
class Case:
    """One question with its truth.

    Attributes:
        groups: names of groups that are also scored alone.
        instruction: the user's words.
        target: (H, W) of 0, 1 and 255 (ignored).
        name: words that name the object and must be in the answer; None if they do not matter.
    """

    groups: tuple[str, ...]
    instruction: str
    target: np.ndarray
    name: str | None = None


@dataclass
class GeneratedScores:
    """What free answers are worth.

    Attributes:
        present: masks of all cases with something to find, and of each group of them.
        refused: of the cases with nothing to find, how many got no mask.
        falsely_refused: of those with something to find, how many got none.
        named: of the answers that should name an object, how many did.
    """

    present: MaskMetrics = field(default_factory=MaskMetrics)
    by_group: dict[str, MaskMetrics] = field(default_factory=dict)
    absent: int = 0
    refused: int = 0
    falsely_refused: int = 0
    to_name: int = 0
    named: int = 0

    def as_dict(self) -> dict[str, float | int | dict[str, float]]:
        """Shares and means, rounded; a share of nothing is absent."""
        values: dict[str, float | int | dict[str, float]] = {
            "cases_present": self.present.count,
            "cases_absent": self.absent,
        }
        if self.present.count:
            values["giou"] = round(self.present.giou, 4)
            values["ciou"] = round(self.present.ciou, 4)
            values["falsely_refused"] = round(self.falsely_refused / self.present.count, 4)
            values["giou_by_group"] = {
                group: round(metrics.giou, 4) for group, metrics in sorted(self.by_group.items())
            }
        if self.absent:
            values["refused"] = round(self.refused / self.absent, 4)
        if self.to_name:
            values["named"] = round(self.named / self.to_name, 4)
        return values


def score_answers(
    segmenter: Segmenter,
    pictures: Iterable[tuple[np.ndarray, list[Case]]],
    *,
    template: str | None = None,
) -> GeneratedScores:
    """Ask every question about every picture (RGB uint8) and compare.

    Args:
        template: how instructions are put; by default the model's own.
    """
    scores = GeneratedScores()
    for image, cases in pictures:
        if not cases:
            continue
        segmenter.set_image(image)
        answers = segmenter.answer_batch([c.instruction for c in cases], template=template)
        for case, answer in zip(cases, answers, strict=True):
            if case.name is not None:
                scores.to_name += 1
                scores.named += case.name.lower() in answer.text.lower()
            is_refusal = answer.status is not Status.FOUND
            if not (case.target == 1).any():
                scores.absent += 1
                scores.refused += is_refusal
                continue
            mask = answer.mask if answer.mask is not None else np.zeros(case.target.shape, bool)
            scores.present.add(mask, case.target)
            for group in case.groups:
                scores.by_group.setdefault(group, MaskMetrics()).add(mask, case.target)
            scores.falsely_refused += is_refusal
    return scores

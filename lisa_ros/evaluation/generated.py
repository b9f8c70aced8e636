"""Scores by the `generate` protocol: the model answers freely, as users meet it.

The published protocol (`forced`) puts `[SEG]` into the model's mouth and so cannot see it refuse
in words.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lisa_ros.evaluation.cases import Case
from lisa_ros.evaluation.scores import Scores, compare
from lisa_ros.perception import Segmenter

__all__ = ["Case", "GeneratedScores", "score_answers"]


class GeneratedScores(Scores):
    """What free answers are worth; IoU is of the questions with something to find."""

    def as_dict(self) -> dict[str, float | int | dict[str, float]]:
        """Shares and means, rounded; a share of nothing is absent."""
        values: dict[str, float | int | dict[str, float]] = {
            "cases_present": self.present.count,
            "cases_absent": self.absent,
        }
        if self.present.count:
            values["giou"] = round(self.present.giou, 4)
            values["ciou"] = round(self.present.ciou, 4)
            values["giou_by_group"] = {
                group: round(scores.present.giou, 4)
                for group, scores in sorted(self.by_group.items())
                if scores.present.count
            }
        for name, share in (
            ("refused", self.refusal_rate),
            ("falsely_refused", self.false_refusal_rate),
            ("named", self.naming_rate),
        ):
            if share is not None:
                values[name] = round(share, 4)
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
            scores.add(compare(case, answer))
    return scores

"""Which object scores of a model are too low to believe in its masks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lisa_ros.evaluation.cases import Case
from lisa_ros.perception import Segmenter


def calibrate(
    segmenter: Segmenter,
    pictures: Iterable[tuple[np.ndarray, list[Case]]],
    *,
    false_refusals: float,
    template: str | None = None,
) -> float:
    """Set the model's `min_object_score`, and give it.

    Args:
        pictures: RGB uint8 with questions that neither training nor a test uses; one of them at
            least asks for what is there.
        false_refusals: share, below 1, of the questions for what is there that may be left without
            a mask, those included that the model's words refuse.
        template: how instructions are put.
    """
    model = segmenter.model
    model.config = replace(model.config, min_object_score=0.0)
    best = []
    for image, cases in pictures:
        instructions = [case.instruction for case in cases if case.target.any()]
        if not instructions:
            continue
        segmenter.set_image(image)
        for answer in segmenter.answer_batch(instructions, template=template):
            rated = (item.scores.object_score or 0.0 for item in answer.objects if item.area)
            best.append(max(rated, default=0.0))
    segmenter.reset_image()
    limit = sorted(best)[int(false_refusals * len(best))]
    least = math.floor(1000 * min(1.0, max(0.0, limit))) / 1000  # never more than the limit
    model.config = replace(model.config, min_object_score=least)
    return least

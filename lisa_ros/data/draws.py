"""Which of a sample's targets one training step takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

TARGETS_PER_SAMPLE = 3  # `num_classes_per_sample` of the published training

T = TypeVar("T")


def draw(choices: Sequence[T], rng: np.random.Generator | None) -> list[T]:
    """Three of the choices in random order, or all in their own order when there are fewer.

    Without `rng` all of them, for evaluation.
    """
    if rng is None or len(choices) < TARGETS_PER_SAMPLE:
        return list(choices)
    taken = rng.choice(len(choices), TARGETS_PER_SAMPLE, replace=False)
    return [choices[i] for i in taken]

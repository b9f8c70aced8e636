"""gIoU and cIoU as the published code computes them (ReasonSeg, refCOCO)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255  # pixels of a target that count neither way


@dataclass
class MaskMetrics:
    """Sums over masks; add each mask once, then read the scores.

    A mask that is rightly empty counts 1 towards gIoU, and a prediction for an empty target 0.
    """

    intersection: float = 0.0
    union: float = 0.0
    iou_sum: float = 0.0
    count: int = 0

    def add(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """Count one mask and return its IoU.

        Args:
            prediction: bool or 0/1 (H, W).
            target: (H, W) of 0, 1 and `IGNORE`.

        Raises:
            ValueError: the sizes differ.
        """
        return self.add_overlap(*overlap(prediction, target))

    def add_overlap(self, intersection: int, union: int) -> float:
        """Count one mask by its pixels (see `overlap`) and return its IoU."""
        value = iou(intersection, union)
        self.intersection += intersection
        self.union += union
        self.iou_sum += value
        self.count += 1
        return value

    @property
    def giou(self) -> float:
        """Mean IoU of the masks."""
        return self.iou_sum / (self.count + 1e-5)

    @property
    def ciou(self) -> float:
        """Intersection over union of all masks' pixels together: large objects weigh more."""
        return self.intersection / (self.union + 1e-10)


def iou(intersection: int, union: int) -> float:
    """Intersection over union as published; 1 where rightly nothing was predicted."""
    return intersection / (union + 1e-5) if union else 1.0


def overlap(prediction: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Pixels of intersection and union, outside what the target ignores."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"expected a prediction of the target's size {target.shape}, got {prediction.shape}"
        )
    counted = target != IGNORE
    predicted = prediction.astype(bool) & counted
    wanted = (target == 1) & counted
    return int((predicted & wanted).sum()), int((predicted | wanted).sum())

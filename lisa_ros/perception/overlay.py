"""An answer drawn on its image, for people."""

from __future__ import annotations

import cv2
import numpy as np

from lisa_ros.palette import COLOURS
from lisa_ros.perception.answer import Answer, SegmentedObject

_FILL = 0.45  # share of the object's colour inside its mask
_UNSEEN = (np.arange(256) * 0.55).astype(np.uint8)  # what the language model did not see, darker


def draw_overlay(image: np.ndarray, answer: Answer) -> np.ndarray:
    """The image with each object filled and outlined, and what the model did not see darkened.

    Args:
        image: RGB uint8 (H, W, 3), the image of the answer.

    Returns:
        RGB uint8 (H, W, 3).
    """
    overlay = _darken_outside(image, answer.language_view)
    for i, item in enumerate(answer.objects):
        if item.area:
            _draw_object(overlay, item, COLOURS[i % len(COLOURS)])
    return overlay


def _darken_outside(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    overlay = cv2.LUT(np.ascontiguousarray(image), _UNSEEN)
    overlay[y0:y1, x0:x1] = image[y0:y1, x0:x1]
    return overlay


def _draw_object(overlay: np.ndarray, item: SegmentedObject, colour: tuple[int, int, int]) -> None:
    """Fill and outline one object, touching only the pixels around it."""
    assert item.box_xyxy is not None  # it has pixels
    width = max(1, round(max(item.mask.shape) / 400))
    margin = 2 * width
    x0, y0, x1, y1 = item.box_xyxy
    part = np.s_[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]
    mask, view = item.mask[part].astype(np.uint8), overlay[part]
    fill = np.full_like(view, colour)
    cv2.copyTo(cv2.addWeighted(view, 1 - _FILL, fill, _FILL, 0), mask, view)
    # A white rim keeps the outline readable on a background of the object's own colour.
    for radius, tone in ((margin, (255, 255, 255)), (width, colour)):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (radius + 1, radius + 1))
        view[cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel) > 0] = tone

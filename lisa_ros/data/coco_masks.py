"""COCO's segmentations (polygons, run lengths) as masks, through pycocotools."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lisa_ros.data.files import need_package

MAX_COORDINATE = 1e5  # pixels; pycocotools takes memory for each pixel of an outline


class SegmentationError(ValueError):
    """A segmentation is no mask of its picture; the message goes on from "annotation 7 ..."."""


def segmentation_to_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A segmentation of COCO's JSON as uint8 (H, W) of 0 and 1; several parts are united.

    The published code adds parts up, so that pixels of two polygons get a 2; here they get a 1.

    Args:
        segmentation: polygons [[x, y, x, y, ...], ...], one run-length object or a list of them
            ({"size": [H, W], "counts": text or numbers}); an empty list is an empty mask.
        height, width: of the picture.

    Raises:
        SegmentationError: it is of none of these forms, or of another size.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list):
        raise SegmentationError(f"has neither polygons nor run lengths, but {segmentation!r:.60}")
    # Annotators leave points and lines behind, which cover nothing.
    areas = [
        part
        for part in parts
        if not (isinstance(part, list) and len(part) < 6 and _are_numbers(part))
    ]
    mask = np.zeros((height, width), np.uint8)
    for part in areas or parts:
        mask |= _polygon(part, height, width) if isinstance(part, list) else _runs(part, mask.shape)
    return mask


def lies_outside(segmentation: Any, height: int, width: int) -> bool:
    """Whether it has polygons, and all of them lie beside the picture.

    Args:
        segmentation: one that `segmentation_to_mask` takes.
    """
    polygons = [part for part in segmentation if isinstance(part, list) and len(part) >= 6]
    return bool(polygons) and all(
        min(part[::2]) >= width
        or max(part[::2]) <= 0
        or min(part[1::2]) >= height
        or max(part[1::2]) <= 0
        for part in polygons
    )


def _polygon(points: list[Any], height: int, width: int) -> np.ndarray:
    numbers = np.array(points, dtype=np.float64) if _are_numbers(points) else np.empty(0)
    if len(numbers) < 6 or len(numbers) % 2 or not (np.abs(numbers) < MAX_COORDINATE).all():
        raise SegmentationError(
            "has a polygon that is no list x, y, x, y, ... of three points or more in pixels"
        )
    coco = need_package("pycocotools.mask", "pycocotools")
    # In a list of its own, for pycocotools takes a list that begins with four numbers as a box.
    return coco.decode(coco.frPyObjects([points], height, width)[0])


def _runs(part: Any, size: tuple[int, ...]) -> np.ndarray:
    """Run lengths, checked: pycocotools reads foreign memory when they are cut off or garbled."""
    got = part.get("size") if isinstance(part, dict) else part
    if got != list(size):
        raise SegmentationError(f"has run lengths of size {got!r:.60}; expected {list(size)}")
    coco = need_package("pycocotools.mask", "pycocotools")
    counts, pixels = part.get("counts"), size[0] * size[1]
    if isinstance(counts, list):
        if not _are_numbers(counts) or min(counts, default=0) < 0 or sum(counts) != pixels:
            raise SegmentationError(f"has run lengths that do not sum to {pixels} pixels")
        return coco.decode(coco.frPyObjects(part, *size))
    # Five bits of a character are value, the sixth says that the number goes on in the next one.
    if isinstance(counts, str) and re.fullmatch("[0-o]*[0-O]", counts):
        text = counts.encode("ascii")
        try:
            mask = coco.decode({"size": list(size), "counts": text})
        except ValueError:
            mask = None  # more pixels than the picture has
        # Runs that end too soon leave the rest of the mask undefined, and so come back longer.
        if mask is not None and coco.encode(mask)["counts"] == text:
            return mask
    raise SegmentationError("has compressed run lengths that are cut off or garbled")


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)

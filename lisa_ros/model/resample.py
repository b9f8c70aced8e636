"""Pillow's resizing to the bit, on any device.

Pillow resamples bytes with weights of 22 fractional bits (`Resample.c`); the same integers give
the same bytes on a GPU, where an image need not be brought down first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

_PRECISION_BITS = 22


@dataclass(frozen=True)
class Kernel:
    """A resampling filter.

    Attributes:
        support: distance from its centre beyond which it is 0.
        weight: by the distance.
    """

    support: float
    weight: Callable[[np.ndarray], np.ndarray]


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1, 1 - x, 0.0)


def _cubic(x: np.ndarray) -> np.ndarray:
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


BILINEAR = Kernel(1.0, _triangle)
BICUBIC = Kernel(2.0, _cubic)


def resample(
    pixels: torch.Tensor,
    size: tuple[int, int],
    kernel: Kernel,
    across: tuple[float, float],
    down: tuple[float, float],
    crop: tuple[slice, slice] = (slice(None), slice(None)),
) -> torch.Tensor:
    """Resize a part of an image, rows first.

    Args:
        pixels: uint8 (H, W, C).
        size: (height, width) of the result.
        across, down: the part, in pixels of the image: from left to right, from top to bottom.
        crop: rows and columns of the result that are wanted; no others are computed.
    """
    first, weights = _taps(pixels.shape[1], size[1], kernel, across)
    rows = _resample(pixels, 1, first[crop[1]], weights[:, crop[1]])
    first, weights = _taps(pixels.shape[0], size[0], kernel, down)
    return _resample(rows, 0, first[crop[0]], weights[:, crop[0]])


def _resample(
    pixels: torch.Tensor, axis: int, first: np.ndarray, weights: np.ndarray
) -> torch.Tensor:
    shape = [1, 1, 1]
    shape[axis] = len(first)
    # At most 255 * 2^22 * 1.25, what the cubic's negative weights add included: below 2^31.
    total = torch.full((), 1 << (_PRECISION_BITS - 1), dtype=torch.int32, device=pixels.device)
    at = torch.from_numpy(first).to(pixels.device)
    for tap, weight in enumerate(torch.from_numpy(weights).to(pixels.device)):
        source = pixels.index_select(axis, (at + tap).clamp(max=pixels.shape[axis] - 1))
        total = total + source.int() * weight.view(shape)
    return (total >> _PRECISION_BITS).clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _taps(
    source: int, length: int, kernel: Kernel, part: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The first source position of each of `length` results, and the weights (taps, length).

    In the order and the precision of Pillow's operations, as rounding demands.
    """
    begin, end = (np.float32(edge) for edge in part)
    scale = float(end - begin) / length
    filter_scale = max(scale, 1.0)
    support = kernel.support * filter_scale
    centre = float(begin) + (np.arange(length) + 0.5) * scale
    first = (centre - support + 0.5).astype(np.int64).clip(min=0)
    count = (centre + support + 0.5).astype(np.int64).clip(max=source) - first
    weights = np.zeros((math.ceil(support) * 2 + 1, length))
    total = np.zeros(length)
    for tap, row in enumerate(weights):
        distance = np.abs((tap + first - centre + 0.5) * (1.0 / filter_scale))
        row[:] = np.where(tap < count, kernel.weight(distance), 0.0)
        total += row
    weights = np.where(total != 0, weights / np.where(total != 0, total, 1), weights)
    fixed = weights * (1 << _PRECISION_BITS)
    return first, np.where(fixed < 0, fixed - 0.5, fixed + 0.5).astype(np.int32)

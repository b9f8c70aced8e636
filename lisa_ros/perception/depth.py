"""Depth images and pinhole cameras: the one place for units, validity and the pixel grid.

Pixel coordinates are ROS's: the centre of the top left pixel is (0, 0), so an image of width W
reaches from -0.5 to W - 0.5.  Points lie in the camera's optical frame (REP 103): x right, y down,
z forward, metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_METRES_PER_MILLIMETRE = np.float32(0.001)


class GeometryError(ValueError):
    """Depth, camera or settings from which no points can be made."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion; all but the size may be fractions of a pixel.

    Raises:
        GeometryError: a size below 1, a focal length that is not positive and finite, or a
            principal point that is not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if (
            min(self.width, self.height) < 1
            or not all(map(math.isfinite, numbers))
            or min(self.fx, self.fy) <= 0
        ):
            raise GeometryError(
                "expected intrinsics with a size of at least 1x1, focal lengths above 0 and finite "
                f"numbers, got {self.width}x{self.height}, fx {self.fx}, fy {self.fy}, cx {self.cx}"
                f", cy {self.cy}; calibrate the camera, or take the camera_info of its rectified "
                "image"
            )

    @classmethod
    def from_k(cls, width: int, height: int, k: Sequence[float]) -> Intrinsics:
        """From the size and the nine numbers of K, row by row (sensor_msgs/CameraInfo).

        Raises:
            GeometryError: not nine numbers, or as the class says.
        """
        if len(k) != 9:
            raise GeometryError(
                f"expected the 9 numbers of K, got {len(k)}; of P, take the left 3x3 part"
            )
        fx, _, cx, _, fy, cy, *_ = map(float, k)
        return cls(int(width), int(height), fx, fy, cx, cy)

    def scaled_to(self, width: int, height: int) -> Intrinsics:
        """The same camera with its whole picture on another number of pixels.

        Raises:
            GeometryError: the new size has another shape, so it would show a part of the picture.
        """
        x, y = width / self.width, height / self.height
        if abs(x - y) * max(self.width, self.height) > 1:  # more than rounding to whole pixels
            raise GeometryError(
                f"expected the intrinsics' {self.width}x{self.height} to scale to {width}x{height} "
                f"by one ratio, got {x:.4g} by {y:.4g}; take the camera_info of that image, or "
                "register the depth to the image"
            )
        return Intrinsics(
            width,
            height,
            self.fx * x,
            self.fy * y,
            (self.cx + 0.5) * x - 0.5,
            (self.cy + 0.5) * y - 0.5,
        )

    def rays(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """x/z of the columns, float32 (w,), and y/z of the rows, float32 (h,), of a window."""
        x = (np.arange(self.width)[columns] - self.cx) / self.fx
        y = (np.arange(self.height)[rows] - self.cy) / self.fy
        return x.astype(np.float32), y.astype(np.float32)


def depth_in_metres(raw: np.ndarray) -> np.ndarray:
    """Depth as a camera driver stores it, in metres (REP 118).

    Args:
        raw: (H, W), uint16 in millimetres with 0 for unknown, or float32 in metres; a float that
            is not finite or not above 0 is unknown.

    Returns:
        A new float32 (H, W), NaN where unknown.

    Raises:
        GeometryError: another type or shape.
    """
    if raw.ndim != 2 or raw.dtype not in (np.uint16, np.float32):
        raise GeometryError(
            f"expected depth (H, W) as uint16 millimetres or float32 metres, got {raw.dtype} "
            f"{raw.shape}; convert it to one of the two"
        )
    if raw.dtype == np.uint16:
        depth = np.multiply(raw, _METRES_PER_MILLIMETRE, dtype=np.float32)
        depth[raw == 0] = np.nan
        return depth
    return np.where((raw > 0) & (raw < np.inf), raw, np.float32(np.nan))


def grid_ratio(image_shape: Sequence[int], depth_shape: Sequence[int]) -> int:
    """How many pixels of the image, along each side, one pixel of its depth covers.

    Args:
        image_shape: (H, W, ...).
        depth_shape: (h, w), where H = ratio * h and W = ratio * w.

    Raises:
        GeometryError: there is no such whole ratio.
    """
    (height, width), (rows, columns) = image_shape[:2], depth_shape[:2]
    ratio = height // rows if rows else 0
    if ratio < 1 or (ratio * rows, ratio * columns) != (height, width):
        raise GeometryError(
            f"expected depth of the image's size {width}x{height}, or smaller by a whole ratio, "
            f"got {columns}x{rows}; register the depth to the image (depth_image_proc "
            "register_node)"
        )
    return ratio


def on_depth_grid(pixels: np.ndarray, ratio: int) -> np.ndarray:
    """What an image or a mask holds at the centre of each depth pixel: a view, nothing is copied.

    With an even ratio the centre lies between pixels, and the one right below it is taken.
    """
    return pixels[ratio // 2 :: ratio, ratio // 2 :: ratio]

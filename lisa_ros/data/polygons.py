"""Polygons as pixels, exactly as the OpenCV of the published code (4.8) draws them.

OpenCV 4.11 and later fill up to a pixel less along slanted right edges, which moves the scores of
small masks.  So the filling is done here, the same with every OpenCV; its lines are unchanged.
"""

from __future__ import annotations

import numpy as np

from lisa_ros.data.files import need_package

_ONE = 1 << 16  # OpenCV's fixed-point numbers

Window = tuple[slice, slice]  # rows and columns


def polygon_region(points: np.ndarray, size: tuple[int, int]) -> tuple[Window, np.ndarray]:
    """The pixels of a polygon and of its outline, which may leave the picture.

    Where the outline crosses itself, the even-odd rule holds.

    Args:
        points: int32 (n, 2), x before y; one or more.
        size: (H, W) of the picture.

    Returns:
        The part of the picture that the polygon's corners span, and bool (h, w) of that part.
        Outside it there is nothing; it has no pixels if it lies outside the picture.
    """
    # Pixels are as in the whole picture: what cuts an edge off is the picture's border only.
    first = points.min(axis=0).clip(min=0)
    end = np.maximum(first, (points.max(axis=0) + 1).clip(max=size[::-1]))
    (x0, y0), (x1, y1) = first.tolist(), end.tolist()
    window, part = np.s_[y0:y1, x0:x1], (y1 - y0, x1 - x0)
    if 0 in part:
        return window, np.zeros(part, bool)
    cv2 = need_package("cv2", "opencv-python-headless")
    corners = points - first.astype(np.int32)
    outline = np.zeros(part, np.uint8)
    cv2.polylines(outline, [corners], True, 1, 1)
    return window, (outline == 1) | _inside(corners, part)


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What lies between the first and second crossing of a row with an edge, and so on."""
    height, width = size
    corners = [(int(x), int(y)) for x, y in points]
    pairs = zip([corners[-1], *corners], corners, strict=False)
    edges = [_crossings(a, b, size) for a, b in pairs if a[1] != b[1]]
    rows, x = np.concatenate([np.empty((2, 0), np.int64), *edges], axis=1)
    order = np.lexsort((x, rows))
    rows, x = rows[order][::2], x[order] // _ONE
    first, last = x[::2], x[1::2]
    seen = (first < width) & (last >= 0)
    changes = np.zeros((height, width + 1), np.int32)
    np.add.at(changes, (rows[seen], first[seen].clip(min=0)), 1)
    np.add.at(changes, (rows[seen], last[seen].clip(max=width - 1) + 1), -1)
    return changes.cumsum(axis=1)[:, :width] > 0


def _crossings(a: tuple[int, int], b: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Where the edge between two corners crosses the picture's rows: int64 (2, n), row and x.

    x is in fixed point.  A row belongs to the edge from its upper corner down to above its lower.
    """
    height, width = size
    shift = _ONE // 2
    top, bottom = min(a[1], b[1]), max(a[1], b[1])
    if not all(0 <= x < width and 0 <= y < height for x, y in (a, b)):
        # OpenCV reckons from the corners cut off at the picture, and then without its half pixel.
        cv2 = need_package("cv2", "opencv-python-headless")
        _, cut_a, cut_b = cv2.clipLine((0, 0, width, height), a, b)
        shift = 0
        if cut_a[1] != cut_b[1]:
            a, b = cut_a, cut_b
    (x0, y0), (x1, y1) = sorted((a, b), key=lambda corner: corner[1])
    slope = abs(x1 - x0) * _ONE // (y1 - y0) * (1 if x1 > x0 else -1)  # cut to a whole number
    rows = np.arange(max(0, top), min(height, bottom), dtype=np.int64)
    return np.stack([rows, x0 * _ONE + shift + (rows - y0) * slope])

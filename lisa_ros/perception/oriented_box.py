"""An oriented box around the points of an object that is seen from one side only.

Principal axes do not follow the faces of a box of which one to three faces are seen, and the box of
least volume is not unique on two faces.  But one of the seen faces has the most points: its plane
gives one axis, and the smallest rectangle around all points, seen along that axis, gives the
others.  Depth noise does not count as extent where an end of the box is a seen face.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_SAMPLE = 2000  # points that planes are sought in
_HYPOTHESES = 256  # a plane with 30 % of the points is missed with probability 1e-3
_REFINEMENTS = 3
_MIN_SINE = 1e-3  # of the angle between two sides of a triangle that spans a plane
_MIN_TOLERANCE = 0.001  # m, the rounding of 16UC1 depth
_NOISE_BAND = 6  # standard deviations over which noise spreads a face
_SEEN_FACE = 0.15  # share of the points that a face at an end of the box has at least
_RIGHT = np.array([1.0, -0.3, 0.0])  # and a little up: upright things have a side as well
_TRIMMED = 0.001  # share of the points at each end that may be stray


@dataclass(frozen=True)
class OrientedBox:
    """A box in the frame of its points, metres.

    Attributes:
        center: float64 (3,).
        rotation: float64 (3, 3), right-handed; its columns are the box's axes x, y, z.  As made,
            in a camera's optical frame, z points to the camera and x to the image's right, or up
            where that is not clear.
        size: float64 (3,) along x, y, z; x >= y >= z >= 0.
    """

    center: np.ndarray
    rotation: np.ndarray
    size: np.ndarray

    def corners(self) -> np.ndarray:
        """float64 (8, 3); the bits of the index choose the ends of x, y and z."""
        ends = (np.arange(8)[:, None] >> np.arange(3)) & 1
        return self.center + ((ends - 0.5) * self.size) @ self.rotation.T

    def transformed(self, rotation: np.ndarray, translation: np.ndarray) -> OrientedBox:
        """The box in another frame; p there is rotation (3, 3) @ p + translation (3,)."""
        return OrientedBox(
            rotation @ self.center + translation, rotation @ self.rotation, self.size
        )


def oriented_box(points: np.ndarray, tolerance: float = 0.002, noise: float = 0.0) -> OrientedBox:
    """The box around points that a camera at the origin sees.

    Args:
        points: float32 (N, 3) metres, N >= 1; any distribution, also collinear or all the same.
        tolerance: how far points may lie from the face they belong to, metres.
        noise: standard deviation of the depth, metres, by which a seen face does not extend the
            box; 0 if unknown.
    """
    rng = np.random.default_rng(0)  # the same points always give the same box
    sample = points
    if len(points) > _SAMPLE:
        sample = points[rng.integers(len(points), size=_SAMPLE)]
    origin = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    points, sample = points - origin, sample - origin
    normal = _dominant_normal(sample, tolerance, rng)
    axes = _principal_axes(sample) if normal is None else _axes_across(normal, points)
    # Noise moves a point along its ray: a narrow side seen from the front stays as wide as it is.
    spread = noise * np.abs(origin @ axes) / max(float(origin[2]), _MIN_TOLERANCE)
    low, high = _ends(axes, points, sample, spread)
    center = origin + axes @ ((low + high) / 2)
    return _with_ordered_axes(center, axes, high - low)


# --- axes --------------------------------------------------------------------------------------


def _dominant_normal(
    points: np.ndarray, tolerance: float, rng: np.random.Generator
) -> np.ndarray | None:
    """Unit normal (3,) of the plane that most of the points (n, 3) lie on.

    RANSAC with truncated squares (MSAC, Torr and Zisserman 2000), then least squares on the
    inliers while the tolerance goes to three of their standard deviations.  None if the points
    span no plane.
    """
    tolerance = max(tolerance, _MIN_TOLERANCE)
    corners = points[rng.integers(len(points), size=(_HYPOTHESES, 3))]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normals = np.cross(first, second)
    areas = np.linalg.norm(normals, axis=1)
    spanned = areas > _MIN_SINE * np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    if not spanned.any():
        return None
    normals = normals[spanned] / areas[spanned, None]
    offsets = (normals * corners[spanned, 0]).sum(axis=1)
    distances = np.abs(normals @ points.T - offsets[:, None])
    best = np.square(np.minimum(distances, tolerance)).sum(axis=1).argmin()
    inliers = distances[best] <= tolerance
    for _ in range(_REFINEMENTS):
        own = points[inliers]
        middle = own.mean(axis=0, dtype=np.float64)
        normal = _principal_axes(own - middle)[:, 0]
        residuals = np.abs(points @ normal - normal @ middle)
        deviation = 1.4826 * np.median(residuals[inliers])
        inliers = residuals <= np.clip(3 * deviation, _MIN_TOLERANCE, 2 * tolerance)
    return normal


def _principal_axes(centred: np.ndarray) -> np.ndarray:
    """Orthonormal columns (3, 3), the direction of the least spread first."""
    return np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1]


def _axes_across(normal: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Columns (3, 3): the normal, and the sides of the smallest rectangle seen along it."""
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    seen = points @ np.stack([first, second], axis=1).astype(np.float32)
    angle = np.deg2rad(cv2.minAreaRect(_outermost(seen))[2])
    side = np.cos(angle) * first + np.sin(angle) * second
    return np.stack([normal, side, np.cross(normal, side)], axis=1)


def _outermost(points: np.ndarray) -> np.ndarray:
    """Those of points (N, 2) that can be corners of their convex hull; quicker than the hull.

    What lies inside an octagon of points cannot (Akl and Toussaint 1978).
    """
    angles = np.arange(8) * (np.pi / 4)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    octagon = points[(directions @ points.T).argmax(axis=1)]  # (8, 2), the way the angles go
    sides = np.roll(octagon, -1, axis=0) - octagon
    outward = np.stack([sides[:, 1], -sides[:, 0]], axis=1)
    outside = outward @ points.T > (outward * octagon).sum(axis=1, keepdims=True)
    return np.concatenate([octagon, np.compress(outside.any(axis=0), points, axis=0)])


# --- extents -----------------------------------------------------------------------------------


def _ends(
    axes: np.ndarray, points: np.ndarray, sample: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest coordinates (3,) along the axes, in which noise has the deviations (3,)."""
    along = axes.T.astype(np.float32) @ points.T  # (3, N)
    stray = int(_TRIMMED * len(points))
    ends = [stray, len(points) - 1 - stray]
    along.partition(ends, axis=1)
    low, high = along[:, ends].T.astype(np.float64)
    for axis in np.flatnonzero(spread > _MIN_TOLERANCE):
        values = sample @ axes[:, axis]
        noise = float(spread[axis])
        low[axis], high[axis] = (
            _without_noise(values, low[axis], high[axis], noise),
            -_without_noise(-values, -high[axis], -low[axis], noise),
        )
    return low, high


def _without_noise(values: np.ndarray, low: float, high: float, noise: float) -> float:
    """Where the face at the low end lies, if one is seen there; noise spreads it over a band."""
    band = _NOISE_BAND * noise
    near = values < low + band
    if high - low > 1.3 * band:  # not a single face and its noise
        # Faces along the axis are spread evenly; a face across it comes on top of them.
        evenly = band / (high - low)
        on_face = (near.mean() - evenly) / (1 - evenly)
        if on_face < max(_SEEN_FACE, 1.5 * evenly):
            return low
    return float(np.median(values[near]))


def _with_ordered_axes(center: np.ndarray, axes: np.ndarray, size: np.ndarray) -> OrientedBox:
    order = np.argsort(-size, kind="stable")
    axes, size = axes[:, order], np.maximum(size[order], 0)
    x, z = axes[:, 0], axes[:, 2]
    x = -x if x @ _RIGHT < 0 else x
    z = -z if z @ center > 0 else z
    return OrientedBox(center, np.stack([x, np.cross(z, x), z], axis=1), size)

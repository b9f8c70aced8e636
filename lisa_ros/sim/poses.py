"""Orientations, ways to rest on a table, and whether two things on it would touch."""

from __future__ import annotations

import cv2
import numpy as np

Quaternion = tuple[float, float, float, float]  # (w, x, y, z), of unit length


def rotation_matrix(quaternion: Quaternion | np.ndarray) -> np.ndarray:
    """(3, 3) of a unit quaternion (w, x, y, z)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def yaw_matrix(angle: float) -> np.ndarray:
    """(3, 3): a turn by `angle` radians about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def turn(axis: str, angle: float) -> np.ndarray:
    """The quaternion (4,) of `angle` radians about the axis x, y or z."""
    quaternion = np.zeros(4)
    quaternion[0] = np.cos(angle / 2)
    quaternion[1 + "xyz".index(axis)] = np.sin(angle / 2)
    return quaternion


def compose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quaternion (4,) of turning by `b`, then by `a`."""
    return np.array(
        [
            a[0] * b[0] - a[1:] @ b[1:],
            *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])),
        ]
    )


def sample_rest(rng: np.random.Generator, pose: str, facing: float | None = None) -> np.ndarray:
    """A quaternion (4,), world from mesh, of a way to rest, turned anyhow about the vertical.

    facing: a direction in radians, to which the front (the mesh's -y) then mostly turns.
    """
    quarter = np.pi / 2
    if pose == "stand":  # as the mesh is stored
        rest = turn("z", 0.0)
    elif pose == "flip":  # upside down
        rest = turn("x", np.pi)
    elif pose == "back":
        rest = turn("x", -quarter)
    elif pose == "lie":  # on its side, rolled anyhow
        rest = compose(turn("x", quarter), turn("z", rng.uniform(0, 2 * np.pi)))
    elif pose == "lie flat":  # on one of four sides
        rest = compose(turn("x", quarter), turn("z", quarter * int(rng.integers(4))))
    elif pose == "cube":  # on any of six
        first = turn("x", quarter * int(rng.integers(4)))
        rest = compose(first, turn("y", quarter * int(rng.integers(4))))
    elif pose == "tumble":  # any way at all
        rest = rng.normal(size=4)
        rest /= np.linalg.norm(rest)
    else:
        raise ValueError(f"unknown pose {pose!r}")
    yaw = rng.uniform(0, 2 * np.pi)
    if facing is not None and rng.random() < 0.85:
        yaw = facing + quarter + rng.uniform(-1.2, 1.2)
    return compose(turn("z", yaw), rest)


def outline(points: np.ndarray) -> np.ndarray:
    """The convex outline (K, 2) of points (N, 2)."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def grown(polygon: np.ndarray, margin: float) -> np.ndarray:
    """A convex polygon (K, 2) pushed outwards from its middle by `margin`."""
    offset = polygon - polygon.mean(0)
    radius = np.linalg.norm(offset, axis=1, keepdims=True)
    return polygon + offset / np.maximum(radius, 1e-6) * margin


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two convex polygons (K, 2) meet: no line along a side of either parts them."""
    for polygon in (a, b):
        sides = np.roll(polygon, -1, axis=0) - polygon
        normals = np.stack([sides[:, 1], -sides[:, 0]])  # (2, K)
        along_a, along_b = a @ normals, b @ normals
        apart = (along_a.max(0) < along_b.min(0)) | (along_b.max(0) < along_a.min(0))
        if apart.any():
            return False
    return True

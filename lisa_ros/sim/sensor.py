"""A robot's RGB-D camera before a random scene: it may swing, and its depth may be imperfect."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType

import cv2
import numpy as np

from lisa_ros.sim.poses import yaw_matrix
from lisa_ros.sim.renderer import Frame, Renderer
from lisa_ros.sim.scene import Scene, View, sample_scene

_PATCH = 16  # pixels: the size of typical holes
_RIM = 0.05  # metres: a step of depth by this much between neighbours is the rim of an object
_RIM_WEIGHT = 1.5  # standard deviations by which holes prefer rims


class Sensor:
    """Draws the scene of a seed; the one picture of a camera that stands still is drawn once.

    It holds an OpenGL context: use it in one thread, and close it.

    Args:
        width, height: of the pictures in pixels.
        motion_angle: radians by which the camera swings to either side; 0: it stands still.
        motion_period: seconds of one swing there and back.
    """

    def __init__(
        self, width: int, height: int, *, motion_angle: float = 0.0, motion_period: float = 10.0
    ) -> None:
        self._renderer = Renderer(width, height)
        self._motion_angle, self._motion_period = motion_angle, motion_period
        self._scene: Scene | None = None
        self._frame: Frame | None = None

    def __enter__(self) -> Sensor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()

    def frame(self, seed: int, seconds: float) -> Frame:
        """The picture of the scene of `seed`, as the camera sees it at a time in seconds."""
        if self._scene is None or self._scene.seed != seed:
            self._scene, self._frame = sample_scene(seed), None
        if self._frame is None or self._motion_angle:
            angle = self._motion_angle * np.sin(2 * np.pi * seconds / self._motion_period)
            view = swing(self._scene.view, float(angle))
            self._frame = self._renderer.render(replace(self._scene, view=view))
        return self._frame


def swing(view: View, angle: float) -> View:
    """The view turned by `angle` radians about the vertical through what it looks at on the table.

    The camera keeps its height and its distance from that point.
    """
    pose = view.world_from_optical
    eye, forward = pose[:3, 3], pose[:3, 2]
    target = eye - forward * eye[2] / forward[2]
    turned = np.eye(4)
    turned[:3, :3] = yaw_matrix(angle)
    turned[:3, 3] = target - turned[:3, :3] @ target
    return View(turned @ pose, view.vertical_angle)


def imperfect_depth(
    depth: np.ndarray, rng: np.random.Generator, *, noise: float = 0.0, holes: float = 0.0
) -> np.ndarray:
    """Depth as a stereo camera measures it.

    Args:
        depth: float32 (H, W) in metres.
        noise: standard deviation in metres at a distance of 1 m. It grows with the square of the
            distance, as an error of the disparity makes it.
        holes: share of the pixels without depth, 0 to 1: patches, most of them at rims of objects.

    Returns:
        float32 (H, W) in metres, NaN in the holes; the very same array when there is nothing to do.
    """
    if not (noise or holes):
        return depth
    measured = depth.copy()
    if noise:
        measured += noise * depth**2 * rng.standard_normal(depth.shape, np.float32)
        measured[measured <= 0] = np.nan
    if holes:
        height, width = depth.shape
        coarse = rng.standard_normal((height // _PATCH + 2, width // _PATCH + 2), np.float32)
        score: np.ndarray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        kernel = np.ones((5, 5), np.uint8)
        step = cv2.dilate(depth, kernel) - cv2.erode(depth, kernel)
        score += _RIM_WEIGHT * (step > _RIM)
        count = round(holes * score.size)
        measured.ravel()[np.argpartition(score.ravel(), -count)[score.size - count :]] = np.nan
    return measured

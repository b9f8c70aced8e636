"""A pinhole camera in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics in pixels, and the pose of the optical frame.

    That frame is REP 103's: x right, y down, z forward. The centre of the top left pixel is at
    (0, 0), as in sensor_msgs/CameraInfo.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_from_optical: np.ndarray  # (4, 4), metres

    @property
    def matrix(self) -> np.ndarray:
        """The intrinsic matrix K (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N,) in metres of world points (N, 3)."""
        pose = self.world_from_optical
        optical = (np.asarray(points, float) - pose[:3, 3]) @ pose[:3, :3]
        depth = optical[:, 2]
        pixels = optical[:, :2] / depth[:, None] * [self.fx, self.fy] + [self.cx, self.cy]
        return pixels, depth

    def back_project(self, depth: np.ndarray) -> np.ndarray:
        """World points (H, W, 3) of a depth image (H, W) in metres along the optical axis."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        rays = np.stack(
            [(u - self.cx) / self.fx, (v - self.cy) / self.fy, np.ones_like(depth, float)], -1
        )
        pose = self.world_from_optical
        return (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def look_at(eye: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """The pose (4, 4) of an optical frame at `eye` that looks at `target`.

    roll: radians by which it is turned about its axis.
    """
    forward = np.asarray(target, float) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * right + s * down, c * down - s * right, forward], 1)
    pose[:3, 3] = eye
    return pose

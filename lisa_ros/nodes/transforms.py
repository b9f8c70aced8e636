"""Where the camera was when an image was taken: tf2, imported only where `target_frame` is set."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from lisa_ros.nodes.camera_geometry import NoGeometryError
from lisa_ros.nodes.geometry_messages import matrix_of
from lisa_ros.perception import Status

PATIENCE = 0.5  # seconds; a transform often comes a little later than the image of its time


def why_unavailable() -> str:
    """What must be installed for `target_frame`; empty if tf2 is there."""
    try:
        importlib.import_module("tf2_ros")
    except ImportError as error:
        return (
            f"expected tf2_ros for target_frame, got {error}; install ros-$ROS_DISTRO-tf2-ros-py, "
            "or leave target_frame empty for results in the camera's frame"
        )
    return ""


class Transforms:
    """Listens to /tf and /tf_static from the first call of `start` or `look_up` on.

    Args:
        node: that spins in another thread than the one that looks up.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._tf2: Any = None
        self._buffer: Any = None
        self._listener: Any = None
        self._jumps: Any = None

    def start(self) -> None:
        """Begin to listen; later calls do nothing.

        Raises:
            NoGeometryError: TF_UNAVAILABLE, tf2 is not installed.
        """
        with self._lock:
            if self._buffer is not None:
                return
            problem = why_unavailable()
            if problem:
                raise NoGeometryError(Status.TF_UNAVAILABLE, problem)
            self._tf2 = importlib.import_module("tf2_ros")
            self._buffer = self._tf2.Buffer()
            # tf2 drops what is more than 10 s older than its newest, so a bag that begins again
            # would find no transforms. Humble's buffer never notices a jump of the clock, and later
            # ones only that of a clock they are given.
            self._jumps = self._node.get_clock().create_jump_callback(
                JumpThreshold(
                    min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
                ),
                post_callback=lambda _: self._buffer.clear(),
            )
            self._listener = self._tf2.TransformListener(self._buffer, self._node)

    def look_up(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """The rigid transform (4, 4) that takes coordinates of `source` to `target`.

        Args:
            stamp_ns: time of the image in nanoseconds, and never "the latest": the camera may have
                moved since.

        Raises:
            NoGeometryError: TF_UNAVAILABLE, with tf2's reason.
        """
        if stamp_ns == 0:  # to tf2 that means "the latest"
            raise NoGeometryError(
                Status.TF_UNAVAILABLE,
                "expected an image with a stamp, got 0; without one nobody knows where the camera "
                "was: stamp the image, or leave target_frame empty",
            )
        if not source:
            raise NoGeometryError(
                Status.TF_UNAVAILABLE,
                "expected an image with a frame_id, got ''; set it in the camera's driver, or "
                "leave target_frame empty",
            )
        self.start()
        try:
            found = self._buffer.lookup_transform(
                target, source, Time(nanoseconds=stamp_ns), timeout=Duration(seconds=PATIENCE)
            )
        except self._tf2.TransformException as error:
            raise NoGeometryError(
                Status.TF_UNAVAILABLE,
                f"no transform from {source!r} to target_frame {target!r} at the image's stamp "
                f"{stamp_ns / 1e9:.3f}: {error}; {self._mend(error)}",
            ) from error
        return matrix_of(found.transform)

    def _mend(self, error: Exception) -> str:
        if isinstance(error, self._tf2.ExtrapolationException):
            return (
                "publish transforms for that time too; check the clocks of both machines, and "
                "use_sim_time with a bag"
            )
        return "check target_frame, the image's frame_id, and who publishes /tf between them"

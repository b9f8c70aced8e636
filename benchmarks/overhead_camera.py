"""The robot's side of `ros_overhead.py`: a camera, somebody who asks, and somebody who wants masks.

Started by ros_overhead.py with width, height, encoding and reliability.  Answers each line on its
standard input with one line of JSON: `latency COUNT` asks about COUNT images, one after the other;
`hold RATE SECONDS` publishes images and nothing else.  All moments are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from typing import Any

import numpy as np
import psutil
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

_CHANNELS = {"mono8": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}
_LOST = 2.5  # seconds after which an answer counts as lost; above the node's image_timeout
_PAUSE = 0.05  # seconds between an answer and the next question
_GIVE_UP = 3  # answers lost in a row


class Camera(Node):
    """Publishes `image` and `/lisa/instruction`, and receives `/lisa/mask`."""

    def __init__(self, width: int, height: int, encoding: str, reliability: str) -> None:
        super().__init__("camera")
        is_reliable = reliability == "reliable"
        self._reliability = (
            ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
        )
        qos = QoSProfile(depth=5, reliability=self._reliability)
        self._images = self.create_publisher(Image, "image", qos)
        self._instructions = self.create_publisher(String, "/lisa/instruction", 10)
        self.create_subscription(Image, "/lisa/mask", self._on_mask, 10)
        self._message = Image(width=width, height=height, encoding=encoding)
        self._message.header.frame_id = "camera"
        self._message.step = width * _CHANNELS[encoding]
        pixels = np.random.default_rng(0).integers(0, 255, self._message.step * height, np.uint8)
        self._message.data.frombytes(pixels)
        self._changed = threading.Condition()
        self._masks: dict[int, int] = {}  # stamp -> moment of arrival

    def wait_until_subscribed(self, timeout: float = 30.0) -> None:
        """Until the node has subscribed to `image` with the reliability offered."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            subscriptions = self.get_subscriptions_info_by_topic("/image")
            fits = [s for s in subscriptions if s.qos_profile.reliability == self._reliability]
            if (
                fits
                and self._images.get_subscription_count()
                and self.count_publishers("/lisa/mask")
            ):
                time.sleep(0.5)  # the other end's turn
                return
            time.sleep(0.05)
        raise TimeoutError(f"the node did not subscribe to /image within {timeout} s")

    def latency(self, count: int) -> list[dict[str, int]]:
        """Ask about `count` images; stamp and moments [ns] of those that were answered."""
        samples: list[dict[str, int]] = []
        lost = 0
        for _ in range(count):
            if lost == _GIVE_UP:
                break
            started = time.monotonic_ns()
            stamp = self._publish_image()
            self._instructions.publish(String(data="the ellipse"))
            arrived = self._wait_for_mask(stamp)
            lost = 0 if arrived else lost + 1
            if arrived:
                samples.append({"stamp": stamp, "image_sent": started, "mask_arrived": arrived})
            time.sleep(_PAUSE)
        return samples

    def hold(self, rate: float, seconds: float) -> dict[str, float]:
        """Publish images for `seconds`; how many, in how long, at what processor time."""
        started, sent = time.monotonic(), 0
        cpu = psutil.Process().cpu_times()
        while sent < round(rate * seconds) and (now := time.monotonic()) < started + seconds:
            due = started + sent / rate
            if now < due:
                time.sleep(due - now)
            self._publish_image()
            sent += 1
        took = time.monotonic() - started
        after = psutil.Process().cpu_times()
        used = after.user + after.system - cpu.user - cpu.system
        return {"sent": sent, "seconds": took, "cpu_s": used}

    def _publish_image(self) -> int:
        now = self.get_clock().now()
        self._message.header.stamp = now.to_msg()
        self._images.publish(self._message)
        return now.nanoseconds

    def _wait_for_mask(self, stamp: int) -> int | None:
        """The moment when the mask of an image arrived; None if it did not in time."""
        with self._changed:
            self._changed.wait_for(lambda: stamp in self._masks, _LOST)
            return self._masks.get(stamp)

    def _on_mask(self, message: Image) -> None:
        now = time.monotonic_ns()
        stamp = message.header.stamp
        with self._changed:
            self._masks[stamp.sec * 1_000_000_000 + stamp.nanosec] = now
            self._changed.notify_all()


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException, RuntimeError):  # the process is ending
        executor.spin()


def _reply(camera: Camera, line: str) -> Any:
    command, *numbers = line.split()
    if command == "latency":
        return camera.latency(int(numbers[0]))
    return camera.hold(*map(float, numbers))


def main() -> None:
    width, height, encoding, reliability = sys.argv[1:]
    rclpy.init()
    camera = Camera(int(width), int(height), encoding, reliability)
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    camera.wait_until_subscribed()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(_reply(camera, line)), flush=True)
    executor.shutdown(timeout_sec=2.0)
    rclpy.try_shutdown()
    thread.join(2.0)


if __name__ == "__main__":
    main()

"""How often and how late follow mode gives a mask on a running robot: camera, node and listener.

    source .venv/bin/activate && source install/setup.bash
    OMP_NUM_THREADS=1 python benchmarks/follow_rate.py --json follow-rate.json

The simulated camera swings and publishes picture, depth and camera_info at `--rate`; the perception
node follows what the question means.  Its masks are counted, with and without 3D, and their delay
is taken from the picture's stamp to the answer's arrival.  All run on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import rclpy
from measure import describe_machine, percentiles
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from std_msgs.msg import String

from lisa_ros.model.precision import resolve_device
from lisa_ros.msg import Answer

CAMERA = "/camera/camera"
TOPICS = {
    "image": "color/image_raw",
    "camera_info": "color/camera_info",
    "depth": "aligned_depth_to_color/image_raw",
    "depth_camera_info": "aligned_depth_to_color/camera_info",
}
START_SECONDS = 120.0


def start(stack: ExitStack, module: str, *arguments: str) -> None:
    """A node as a process that ends with the stack."""
    command = [sys.executable, "-m", f"lisa_ros.nodes.{module}", "--ros-args", *arguments]
    process = subprocess.Popen([*command, "--log-level", "error"])
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGINT)


def measure(options: argparse.Namespace, use_depth: bool) -> dict[str, Any]:
    """Follow for a while, and tell what came."""
    with ExitStack() as stack:
        camera = [f"seed:={options.seed}", f"rate:={options.rate}", "motion_angle:=15.0"]
        start(stack, "sim_camera", *(part for value in camera for part in ("-p", value)))
        node = ["-p", "mode:=follow", "-p", f"use_depth:={str(use_depth).lower()}"]
        for name, topic in TOPICS.items():
            node += ["-r", f"{name}:={CAMERA}/{topic}"]
        start(stack, "perception_node", *node)

        listener = Node("follow_rate")
        stack.callback(listener.destroy_node)
        answers: list[tuple[float, Answer]] = []
        listener.create_subscription(
            Answer,
            "/lisa/answer",
            lambda message: answers.append((time.time(), message)),
            QoSProfile(depth=50),
        )
        question = listener.create_publisher(String, "/lisa/instruction", 10)

        deadline = time.monotonic() + START_SECONDS
        while not any(m.source == Answer.SOURCE_FOLLOW for _, m in answers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing was followed within {START_SECONDS:.0f} s")
            if not any(m.status == Answer.FOUND for _, m in answers):
                question.publish(String(data=options.instruction))
            until = time.monotonic() + 2
            while time.monotonic() < until:
                rclpy.spin_once(listener, timeout_sec=0.1)
        answers.clear()
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            rclpy.spin_once(listener, timeout_sec=0.1)

    found = [(at, m) for at, m in answers if m.final and m.status == Answer.FOUND]
    delays = [at - m.header.stamp.sec - m.header.stamp.nanosec / 1e9 for at, m in found]
    return {
        "masks_per_second": len(found) / options.seconds,
        "with_3d": sum(any(o.has_geometry for o in m.objects) for _, m in found),
        "lost": sum(m.status == Answer.LOST for _, m in answers),
        "asked_again": sum(bool(m.explanation) for _, m in found),
        "delay_s": percentiles(delays),
        "model_s": percentiles([m.total_time for _, m in found]),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=14, help="of the scene")
    parser.add_argument("--instruction", default="the helmet")
    parser.add_argument("--rate", type=float, default=15.0, metavar="HZ", help="of the camera")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    result = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(resolve_device(None)),
        "arguments": {k: v for k, v in vars(options).items() if k != "json"},
        "masks": measure(options, use_depth=False),
        "masks_and_3d": measure(options, use_depth=True),
    }
    rclpy.shutdown()
    Console().print(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

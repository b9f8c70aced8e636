"""How late a camera's topics come, with Fast DDS as it is and with memory for pictures.

    source .venv/bin/activate && source install/setup.bash
    python benchmarks/camera_topics.py --json camera-topics.json

The simulated camera publishes reliably, as a RealSense does: picture, depth and true masks, and two
small messages, camera_info of both.  Two processes listen, as the perception node and a planner do.
Late means from the stamp to the callback, of the listener that waits longest; lost are messages of
stamps whose picture came.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from measure import describe_machine, percentiles
from rich.console import Console
from rich.table import Table

TOPICS = {
    "image": "color/image_raw",
    "depth": "aligned_depth_to_color/image_raw",
    "camera_info": "color/camera_info",
    "depth_camera_info": "aligned_depth_to_color/camera_info",
}
# The camera's own default is the profile; naming the transports that Fast DDS has anyway keeps it
# from that.
WAYS = {"Fast DDS as it is": {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}, "profile at the camera": {}}
LISTENER = """
import json, sys, time
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
topics, seconds = json.loads(sys.argv[1])
rclpy.init()
node = Node("listener")
came = {name: {} for name in topics}
def keep(name, message):
    stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
    came[name][stamp] = time.time() - stamp
for name, topic in topics.items():
    kind = CameraInfo if "info" in name else Image
    call = lambda message, name=name: keep(name, message)
    node.create_subscription(kind, "/camera/camera/" + topic, call, 10)
while not came["image"]:
    rclpy.spin_once(node, timeout_sec=0.1)
end = time.monotonic() + seconds
while time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print(json.dumps({name: list(late.items()) for name, late in came.items()}))
"""


def measure(environment: dict[str, str], rate: float, seconds: float) -> dict[str, Any]:
    """Lateness in seconds and share lost of each topic, of the worse of two listeners."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "lisa_ros.nodes.sim_camera", "--ros-args"]
        camera = subprocess.Popen(
            [*command, "-p", f"rate:={rate}", "--log-level", "error"],
            env={**os.environ, **environment},
        )
        stack.callback(camera.wait)
        stack.callback(camera.send_signal, signal.SIGINT)
        arguments = json.dumps([TOPICS, seconds])
        listeners = [
            subprocess.Popen(
                [sys.executable, "-c", LISTENER, arguments], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        heard = [json.loads(child.communicate()[0].splitlines()[-1]) for child in listeners]
    results = [_result(came) for came in heard]
    return {
        topic: max((result[topic] for result in results), key=lambda r: r["late_s"]["max"])
        for topic in TOPICS
    }


def _result(came: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    # The last ones may be on their way, the first ones are those before the topics were matched.
    stamps = sorted(stamp for stamp, _ in came["image"])[3:-6]
    result = {}
    for topic, messages in came.items():
        late = {stamp: lateness for stamp, lateness in messages if stamp in set(stamps)}
        values = list(late.values())
        result[topic] = {
            "late_s": {**(percentiles(values) or {}), "max": max(values)},
            "lost": 1 - len(late) / len(stamps),
        }
    return result


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=3.0, metavar="HZ")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    runs = [
        {way: measure(values, options.rate, options.seconds) for way, values in WAYS.items()}
        for _ in range(options.repeats)
    ]
    table = Table("way", "topic", "late p50", "p95", "max [s]", "lost")
    for run in runs:
        for way, topics in run.items():
            for topic, found in topics.items():
                late = found["late_s"]
                figures = [f"{late[key]:.2f}" for key in ("p50", "p95", "max")]
                table.add_row(way, topic, *figures, f"{found['lost']:.0%}")
    Console().print(table)
    if options.json is not None:
        result = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "machine": describe_machine(torch.device("cpu")),
            "rate_hz": options.rate,
            "seconds": options.seconds,
            "runs": runs,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

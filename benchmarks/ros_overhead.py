"""What ROS costs: from publishing an image to receiving its mask, with a model that costs nothing.

    source .venv/bin/activate && source install/setup.bash
    python benchmarks/ros_overhead.py --json overhead.json

Two processes talk over DDS on one machine: a camera that also asks and waits for the mask
(overhead_camera.py), and the perception node with a stand-in for the model (overhead_node.py).
Fast DDS runs with its default transports, with config/fastdds_large_messages.xml at the camera's
process, and with it at both.

    total           publishing the image -> the mask's callback
    image transport publishing the image -> the node's callback has it, and has the instruction
    own work        from there -> publishing the mask; of it
        conversion      image message to array, mask to message
        answer          building and publishing the provisional ~/answer, which comes first
        other           waiting for threads, and everything else
    mask transport  publishing the mask -> the camera's callback has it
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from measure import describe_machine, percentiles
from rich.console import Console
from rich.table import Table

from lisa_ros.nodes.fast_dds import PROFILE_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "config" / "fastdds_large_messages.xml"
SIZES = {"VGA": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
PROFILES = ("nobody", "camera", "both")
RELIABILITIES = ("reliable", "best_effort")
RATE = 30.0  # Hz
AIM_SIZE, AIM_MS = "720p", 15.0  # own work
STAGES = ("total", "image_transport", "own", "conversion", "answer", "other", "mask_transport")
WARM_UP = 5
_WIDTH = 125
DRAIN = 1.0  # seconds for the last images to arrive


class Child:
    """A process of this benchmark that answers lines with lines of JSON."""

    def __init__(self, script: str, *arguments: object, profile: bool = False) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in PROFILE_VARIABLES}
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        if profile:
            environment |= dict.fromkeys(PROFILE_VARIABLES, str(PROFILE))
        self._script = script
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, line: str) -> Any:
        """Send a line, and give what comes back."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        """The next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self._script} ended early:\n{self._log.read()}")
        return json.loads(line)

    def stop(self) -> None:
        """Close its standard input, and end it if that is not enough."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure(
    node: Child, args: argparse.Namespace, size: str, reliability: str, profile: str
) -> dict[str, Any]:
    """One kind of camera: latencies, then frames held."""
    width, height = SIZES[size]
    camera = Child(
        "overhead_camera.py", width, height, args.encoding, reliability, profile=profile != "nobody"
    )
    try:
        camera.read()
        node.ask("samples")
        asked = camera.ask(f"latency {WARM_UP + args.samples}")
        time.sleep(0.2)
        samples = _join(asked, node.ask("samples"))[WARM_UP:]
        before = node.ask("counts")
        sent = camera.ask(f"hold {RATE} {args.seconds}")
        time.sleep(DRAIN)
        after = node.ask("counts")
    finally:
        camera.stop()
    return {
        "size": size,
        "width": width,
        "height": height,
        "reliability": reliability,
        "profile_at": profile,
        "answered": len(samples),
        "asked": args.samples,
        "ms": {stage: percentiles([sample[stage] for sample in samples]) for stage in STAGES},
        "frames_sent": int(sent["sent"]),
        "frames_due": round(RATE * args.seconds),
        "frames_held": int(after["images"] - before["images"]),
        "camera_processor_share": sent["cpu_s"] / sent["seconds"],
        "node_processor_share": (after["cpu_s"] - before["cpu_s"]) / (sent["seconds"] + DRAIN),
    }


def _join(asked: list[dict[str, int]], answered: list[dict[str, int]]) -> list[dict[str, float]]:
    """Milliseconds of each stage of the questions that both processes know."""
    by_stamp = {sample["stamp"]: sample for sample in answered}
    samples = []
    for robot in asked:
        node = by_stamp.get(robot["stamp"])
        if node is None or not {"image_arrived", "instruction_arrived"} <= node.keys():
            continue
        ready = max(node["image_arrived"], node["instruction_arrived"])
        own = node["mask_published"] - ready
        conversion, answer = node.get("conversion", 0), node.get("publish_answer", 0)
        nanoseconds = {
            "total": robot["mask_arrived"] - robot["image_sent"],
            "image_transport": ready - robot["image_sent"],
            "own": own,
            "conversion": conversion,
            "answer": answer,
            "other": own - conversion - answer,
            "mask_transport": robot["mask_arrived"] - node["mask_published"],
        }
        samples.append({stage: value / 1e6 for stage, value in nanoseconds.items()})
    return samples


def print_results(console: Console, report: dict[str, Any]) -> None:
    """Two tables: milliseconds, and frames held."""
    table = Table(title="milliseconds, p50 / p95", title_justify="left")
    for column in ("image", "camera", "profile at"):
        table.add_column(column)
    for stage in STAGES:
        table.add_column(stage.replace("_", "\n"), justify="right")
    held = Table(
        title=f"{report['arguments']['seconds']:g} s at {RATE:g} Hz, no questions",
        title_justify="left",
    )
    for column in ("image", "camera", "profile at", "held", "sent", "due"):
        held.add_column(column, justify="right" if column in ("held", "sent", "due") else "left")
    for column in ("camera's processor", "node's processor"):
        held.add_column(column, justify="right")
    for result in report["results"]:
        name = [
            result["size"],
            result["reliability"].replace("_", " "),
            result["profile_at"],
        ]
        table.add_row(*name, *(_cell(result["ms"][stage]) for stage in STAGES))
        counts = [str(result[f"frames_{kind}"]) for kind in ("held", "sent", "due")]
        shares = [f"{result[f'{who}_processor_share']:.0%}" for who in ("camera", "node")]
        held.add_row(*name, *counts, *shares)
    console.print(table)
    console.print(held)


def _cell(value: dict[str, float] | None) -> str:
    if value is None:
        return "lost"
    digits = 0 if value["p95"] >= 100 else 1
    return f"{value['p50']:.{digits}f} / {value['p95']:.{digits}f}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--encoding", choices=("mono8", "rgb8", "bgr8", "bgra8"), default="rgb8")
    parser.add_argument("--samples", type=int, default=60, help="questions of each kind of camera")
    parser.add_argument("--seconds", type=float, default=10.0, help="of publishing at 30 Hz")
    parser.add_argument(
        "--profiles",
        nargs="+",
        choices=PROFILES,
        default=list(PROFILES),
        help="who has it",
    )
    parser.add_argument("--domain", type=int, default=77, help="ROS_DOMAIN_ID of both processes")
    parser.add_argument("--json", type=Path, help="write the report here")
    return parser.parse_args()


def main() -> int:
    args = _parse_arguments()
    os.environ["ROS_DOMAIN_ID"] = str(args.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    console = Console(width=_WIDTH)
    packages = ("rclpy", "ros-rmw-fastrtps-cpp", "ros-fastdds", "ros-fastrtps", "ros-sensor-msgs")
    report: dict[str, Any] = {
        "benchmark": "ros_overhead",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": {k: v for k, v in vars(args).items() if k != "json"},
        "machine": describe_machine(torch.device("cpu")),
        "ros": {
            "distro": os.environ.get("ROS_DISTRO"),
            "rmw": os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp (default)"),
            "packages": {name: _version(name) for name in packages if _version(name)},
        },
        "results": [],
    }
    for with_profile in (False, True):
        profiles = [name for name in args.profiles if (name == "both") == with_profile]
        if not profiles:
            continue
        node = Child("overhead_node.py", profile=with_profile)
        try:
            for size, reliability, profile in product(args.sizes, RELIABILITIES, profiles):
                console.print(f"{size}, {reliability}, profile at {profile} ...", style="dim")
                report["results"].append(measure(node, args, size, reliability, profile))
        finally:
            node.stop()
    order = [*product(args.sizes, RELIABILITIES, args.profiles)]
    report["results"].sort(
        key=lambda r: order.index((r["size"], r["reliability"], r["profile_at"]))
    )
    report["machine"]["load_average_after"] = [round(load, 2) for load in os.getloadavg()]
    print_results(console, report)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    own = [
        r["ms"]["own"]["p50"] for r in report["results"] if r["size"] == "720p" and r["ms"]["own"]
    ]
    if own:
        console.print(
            f"own work at 720p: {max(own):.1f} ms at most (p50); the aim is {AIM_MS:g} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

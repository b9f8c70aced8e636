"""The whole job in front of the simulated camera: five questions, the answers, and the truth.

Starts the camera and the perception node as processes of their own, asks through the action, and
writes pictures and clouds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rich.console import Console
from rich.markup import escape
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from lisa_ros.action import Ask
from lisa_ros.msg import Answer
from lisa_ros.nodes.answer_messages import status_constant
from lisa_ros.nodes.demo_report import Exchange, Report
from lisa_ros.nodes.fast_dds import profile_environment
from lisa_ros.nodes.image_conversion import depth_to_array, image_to_rgb
from lisa_ros.nodes.outputs import ABOUT_THE_IMAGE
from lisa_ros.perception.depth import Intrinsics, depth_in_metres
from lisa_ros.sim.instructions import Question, ask
from lisa_ros.sim.view import visible_objects

CAMERA = "/camera/camera"
_STREAMS = {
    "image": (Image, "color/image_raw"),
    "camera_info": (CameraInfo, "color/camera_info"),
    "depth": (Image, "aligned_depth_to_color/image_raw"),
    "ids": (Image, "ground_truth"),
}
_RELIABLE = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# Never trained on, among those that the small model answers better; its card tells the average.
SCENES = "50033,50204"

# Of each scene what is asked: kinds of questions, the first that the scene allows.
_PLAN: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("need",), ("spatial", "relation"), ("absent", "absent_need")),
    (("need",), ("several", "colour")),
)
_MIN_PIXELS = 600  # of 640x480, of what is asked for: about 25 x 25
_START_SECONDS = 120.0
_LOAD_SECONDS = 3600.0  # a large model from a slow disk, or from the hub
_ANSWER_SECONDS = 600.0  # of a large model on a CPU
_SETTLING_NS = 2_000_000_000
_ANSWERED = {status_constant(status) for status in ABOUT_THE_IMAGE}  # these have an overlay


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class SceneView:
    """A scene as the camera shows it, with the truth.

    Attributes:
        seed: its number.
        stamp_ns: the first picture of it.
        rgb, ids, depth: (H, W, 3) uint8, (H, W) uint8, (H, W) metres with NaN where unknown.
        intrinsics: the camera's.
        objects: class, colour and length by instance.
    """

    seed: int
    stamp_ns: int
    rgb: np.ndarray
    ids: np.ndarray
    depth: np.ndarray
    intrinsics: Intrinsics
    objects: tuple[Any, ...]

    def visible_centre(self, instance: int) -> np.ndarray:
        """(3,) median of each coordinate of an object's visible surface, in the camera's frame."""
        v, u = np.nonzero((self.ids == instance) & np.isfinite(self.depth))
        z, k = self.depth[v, u], self.intrinsics
        return np.median([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], axis=1)


class Demo(Node):
    """Shows a scene, and asks about it.

    Args:
        still_there: raises `DemoError` if a process that this node depends on has ended.
        hint: where to look if something does not come.
    """

    def __init__(self, still_there: Callable[[], None], hint: str) -> None:
        super().__init__("lisa_demo")
        self._still_there, self._hint = still_there, hint
        self._latest: dict[str, Any] = {}
        self._overlays: dict[int, Image] = {}
        for key, (kind, topic) in _STREAMS.items():
            self.create_subscription(
                kind, f"{CAMERA}/{topic}", lambda m, key=key: self._keep(key, m), _RELIABLE
            )
        self.create_subscription(
            String, f"{CAMERA}/objects", lambda m: self._keep("scene", m), _LATCHED
        )
        self.create_subscription(Image, "/lisa/overlay", self._keep_overlay, _RELIABLE)
        self._set_parameters: Client = self.create_client(SetParameters, f"{CAMERA}/set_parameters")
        self._get_state: Client = self.create_client(GetState, "/lisa/get_state")
        self._ask: ActionClient = ActionClient(self, Ask, "/lisa/ask")

    def _keep(self, key: str, message: Any) -> None:
        self._latest[key] = message

    def _keep_overlay(self, message: Image) -> None:
        self._overlays[_nanoseconds(message)] = message

    def wait_for_nodes(self) -> None:
        """Until the camera shows something and the perception node takes questions."""
        self._until(lambda: len(self._latest) == len(_STREAMS) + 1, "pictures of the camera")
        self._until(self._get_state.service_is_ready, "the perception node")
        self._until(self._is_active, "the perception node to load its model", _LOAD_SECONDS)
        self._until(self._ask.server_is_ready, "the action /lisa/ask")
        topics = [f"{CAMERA}/{topic}" for key, (_, topic) in _STREAMS.items() if key != "ids"]
        self._until(  # besides this node
            lambda: all(self.count_subscribers(topic) > 1 for topic in topics),
            "the perception node to listen to the camera",
        )

    def _is_active(self) -> bool:
        future = self._get_state.call_async(GetState.Request())
        state = self._finish(future, "the state of the perception node").current_state
        return bool(state.id == State.PRIMARY_STATE_ACTIVE)

    def show_scene(self, seed: int) -> SceneView:
        """Let the camera show a scene, and see it."""
        asked_at = self.get_clock().now().nanoseconds
        value = Parameter("seed", value=seed).to_parameter_msg()
        response = self._finish(
            self._set_parameters.call_async(SetParameters.Request(parameters=[value])),
            f"the camera to show scene {seed}",
        )
        if not response.results[0].successful:
            raise DemoError(f"the camera refuses seed {seed}: {response.results[0].reason}")

        def scene() -> dict[str, Any]:
            return dict(json.loads(self._latest["scene"].data))

        def is_shown() -> bool:
            if scene()["seed"] != seed:
                return False
            first = _stamp_ns(scene()["stamp"])
            # Not the first pictures: the perception node needs time to get its own.
            settled = max(first, asked_at) + _SETTLING_NS
            return all(_nanoseconds(self._latest[key]) > settled for key in _STREAMS)

        self._until(is_shown, f"a picture of scene {seed}")
        found, latest = scene(), self._latest
        info = latest["camera_info"]
        return SceneView(
            seed,
            _stamp_ns(found["stamp"]),
            image_to_rgb(latest["image"]),
            _ids(latest["ids"]),
            depth_in_metres(depth_to_array(latest["depth"])),
            Intrinsics.from_k(info.width, info.height, info.k),
            tuple(
                SimpleNamespace(
                    instance=item["id"],
                    class_name=item["class_name"],
                    colour=item["colour"],
                    length=item["length"],
                )
                for item in found["objects"]
            ),
        )

    def ask(self, instruction: str) -> tuple[Answer, np.ndarray | None]:
        """An instruction through the action; gives the answer and the node's overlay."""
        self._overlays.clear()
        limit = Duration(seconds=_ANSWER_SECONDS - 10).to_msg()  # its end is worth waiting for
        goal = self._finish(
            self._ask.send_goal_async(Ask.Goal(instruction=instruction, timeout=limit)),
            "the question's start",
        )
        answer = self._finish(
            goal.get_result_async(), f"an answer to {instruction!r}"
        ).result.answer
        if answer.status not in _ANSWERED:
            return answer, None
        stamp = _nanoseconds(answer)
        self._until(lambda: stamp in self._overlays, "the overlay of the answer")
        return answer, image_to_rgb(self._overlays[stamp])

    def _finish(self, future: Any, what: str) -> Any:
        self._until(future.done, what, _ANSWER_SECONDS)
        return future.result()

    def _until(
        self, condition: Callable[[], object], what: str, seconds: float = _START_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._still_there()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"waited {seconds:.0f} s for {what}, and it did not come; {self._hint}"
                )
            rclpy.spin_once(self, timeout_sec=0.1)


def questions_about(view: SceneView, wanted: Sequence[Sequence[str]]) -> Iterator[Question]:
    """A question of each wanted kind, the first kind that the scene allows; all by chance alone."""
    shown = visible_objects(view.ids, view.depth, view.objects, _MIN_PIXELS)
    offered = ask(
        *shown, np.random.default_rng([view.seed, 2]), count=80, image_size=view.ids.shape
    )
    for kinds in wanted:
        rest = [q for q in offered if q.wants_mask]
        fitting = (q for kind in kinds for q in rest if q.kind == kind)
        question = next(fitting, rest[0])
        offered.remove(question)
        yield question


def run(demo: Demo, report: Report, seeds: Sequence[int]) -> None:
    """Ask about scenes and report.

    Raises:
        DemoError: the nodes do not do their part, or a question was not answered.
    """
    failures: list[str] = []
    demo.wait_for_nodes()
    for seed, wanted in zip(seeds, _PLAN, strict=True):
        view = demo.show_scene(seed)
        report.scene(view.seed, [item.class_name for item in view.objects])
        for question in questions_about(view, wanted):
            answer, overlay = demo.ask(question.instruction)
            if 0 < _nanoseconds(answer) < view.stamp_ns:
                raise DemoError(
                    f"expected an answer about scene {view.seed}, got one about an older picture"
                )
            exchange = Exchange(
                question,
                answer,
                view.rgb if overlay is None else overlay,
                true_masks=[view.ids == target for target in question.targets],
                true_centres=[view.visible_centre(target) for target in question.targets],
            )
            report.exchange(exchange)
            if answer.status not in _ANSWERED:
                failures.append(f"{question.instruction!r} ended as {exchange.status}")
    report.finish()
    if failures:
        raise DemoError("; ".join(failures))


@contextmanager
def started(module: str, log: Path, *arguments: str) -> Iterator[Callable[[], None]]:
    """A node as a process; gives a function that raises `DemoError` if it has ended."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"lisa_ros.nodes.{module}", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends it through this process alone
            env={**os.environ, **profile_environment()},
        )

    def still_there() -> None:
        if process.poll() is not None:
            end = "\n".join(log.read_text().splitlines()[-5:])
            raise DemoError(f"{module} has ended with {process.returncode}; its last words:\n{end}")

    try:
        yield still_there
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 if every question was answered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR")
    parser.add_argument(
        "--scenes", type=_seeds, default=SCENES, metavar="N,N", help="seeds (default: %(default)s)"
    )
    parser.add_argument("--model", default="", help="checkpoint (default: the one of the package)")
    parser.add_argument(
        "--attach", action="store_true", help="camera and perception node are running already"
    )
    arguments = sys.argv if arguments is None else arguments
    options = parser.parse_args(rclpy.utilities.remove_ros_args(arguments)[1:])
    console = Console(highlight=False)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output: expected a folder that can be made, got {options.output}: {error}")
    if not options.attach:  # then what is shown stays on this machine, unless the user says more
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(args=arguments)
    try:
        with ExitStack() as processes:
            watched: list[Callable[[], None]] = []
            if not options.attach:
                console.print("starting the simulated camera and the perception node ...")
                watched = [
                    processes.enter_context(started(module, options.output / log, *given))
                    for module, log, given in (
                        ("sim_camera", "sim_camera.log", _camera_arguments(options.scenes[0])),
                        ("perception_node", "perception_node.log", _node_arguments(options.model)),
                    )
                ]

            def still_there() -> None:
                for check in watched:
                    check()

            logs = f"{options.output}/sim_camera.log and perception_node.log say what they do"
            attached = "`ros2 node list` shows what runs"
            demo = Demo(still_there, attached if options.attach else logs)
            run(demo, Report(options.output, console), options.scenes)
            demo.destroy_node()
    except DemoError as error:
        console.print(f"[red]{escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) != len(_PLAN) or not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected {len(_PLAN)} numbers from 0, as in {SCENES}, got {text!r}"
        )
    return tuple(int(part) for part in parts)


def _camera_arguments(seed: int) -> tuple[str, ...]:
    return ("--ros-args", "-p", f"seed:={seed}", "-p", "rate:=3.0")


def _node_arguments(model: str) -> tuple[str, ...]:
    remappings = {
        "image": "color/image_raw",
        "camera_info": "color/camera_info",
        "depth": "aligned_depth_to_color/image_raw",
        "depth_camera_info": "aligned_depth_to_color/camera_info",
    }
    parts = [f for topic, name in remappings.items() for f in ("-r", f"{topic}:={CAMERA}/{name}")]
    if model:
        parts += ["-p", f"model:={model}"]
    return ("--ros-args", *parts)


def _ids(message: Image) -> np.ndarray:
    return image_to_rgb(message)[..., 0]  # mono8


def _nanoseconds(message: Any) -> int:
    return int(Time.from_msg(message.header.stamp).nanoseconds)


def _stamp_ns(stamp: dict[str, int]) -> int:
    return stamp["sec"] * 1_000_000_000 + stamp["nanosec"]


if __name__ == "__main__":
    sys.exit(main())

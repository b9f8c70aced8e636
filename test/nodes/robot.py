"""What a robot's program does with the perception node, for tests: shows, asks, and listens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration, Time
from conftest import RosGraph, wait_until
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from lisa_ros.action import Ask
from lisa_ros.msg import Answer, ModelInfo
from lisa_ros.srv import Ask as AskService

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "test" / "golden"
GOLDEN_MODEL = {
    "model": GOLDEN / "lisa-tiny",
    "vision_tower": GOLDEN / "clip-vit-tiny-patch14",
    "device": "cpu",
    "prompt_template": "raw",
    "use_depth": False,
}
SCRIPT = ROOT / "scripts" / "perception_node"

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
RESULTS = {
    "answer": Answer,
    "mask": Image,
    "label_image": Image,
    "explanation": String,
    "mask/compressed": CompressedImage,
}
FEEDBACK = "ask/_action/feedback"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def parameter_arguments(**parameters: object) -> list[str]:
    """The command line that sets parameters."""
    return [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]


def to_message(rgb: np.ndarray, stamp: Time | None = None, **fields) -> Image:
    """An rgb8 image."""
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = "camera_optical_frame"
    message.data.frombytes(np.ascontiguousarray(rgb).reshape(-1))
    if stamp is not None:
        message.header.stamp = stamp
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def now(offset: float = 0.0) -> Time:
    """The time, `offset` seconds later."""
    nanoseconds = time.time_ns() + int(offset * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def depth_message(
    depth: np.ndarray, stamp: Time | None = None, frame_id: str = "camera_optical_frame"
) -> Image:
    """uint16 millimetres as 16UC1, float32 metres as 32FC1."""
    height, width = depth.shape
    encoding = "16UC1" if depth.dtype == np.uint16 else "32FC1"
    message = Image(height=height, width=width, encoding=encoding, step=width * depth.itemsize)
    message.header.frame_id = frame_id
    message.data.frombytes(np.ascontiguousarray(depth).reshape(-1).view(np.uint8))
    if stamp is not None:
        message.header.stamp = stamp
    return message


def camera_info(
    shape: tuple[int, int],
    camera: tuple[float, float, float, float],
    stamp: Time | None = None,
    distortion: Sequence[float] = (),
) -> CameraInfo:
    """Of an image (H, W) by a camera (fx, fy, cx, cy); P is zero, as for a camera of its own."""
    fx, fy, cx, cy = camera
    message = CameraInfo(height=shape[0], width=shape[1], d=list(distortion))
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0 if fx else 0.0]
    message.header.frame_id = "camera_optical_frame"
    if stamp is not None:
        message.header.stamp = stamp
    return message


def to_array(message: Image) -> np.ndarray:
    """A mono8, mono16 or rgb8 image as numpy."""
    dtype = np.uint16 if message.encoding == "mono16" else np.uint8
    array = np.frombuffer(message.data, dtype).reshape(message.height, message.width, -1)
    return array.squeeze(-1) if message.encoding != "rgb8" else array


def status_name(answer: Answer) -> str:
    """`FOUND` and so on."""
    names = {getattr(Answer, name): name for name in STATUSES}
    return names[answer.status]


STATUSES = [
    name
    for name in dir(Answer)
    if isinstance(getattr(Answer, name), int) and not name.startswith("SOURCE")
]


class Camera:
    """Publishes one picture at 10 Hz, with stamps of now."""

    def __init__(self, graph: RosGraph, topic: str = "/image", *, reliable: bool = True) -> None:
        self._node = graph.node("camera")
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=5, reliability=reliability)
        self._publisher = self._node.create_publisher(Image, topic, qos)
        self._rgb: np.ndarray | None = None
        self.stamps: list[tuple[int, int]] = []
        self._node.create_timer(0.1, self._publish)

    def show(self, rgb: np.ndarray | None) -> None:
        """From now on this picture; None for none."""
        self._rgb = rgb

    def send(self, message: Image) -> None:
        """One message as it is."""
        self._publisher.publish(message)

    def now(self, offset: float = 0.0) -> Time:
        """The time, `offset` seconds later."""
        return now(offset)

    def _publish(self) -> None:
        rgb = self._rgb
        if rgb is not None:
            message = to_message(rgb, self.now())
            self.stamps.append((message.header.stamp.sec, message.header.stamp.nanosec))
            self.send(message)


class RgbdCamera:
    """Publishes one picture with depth and intrinsics at 10 Hz, until it is stopped.

    `own_info`: the depth has a camera_info of its own, that of the image scaled to its size.
    """

    def __init__(
        self,
        graph: RosGraph,
        rgb: np.ndarray,
        depth: np.ndarray,
        camera: tuple[float, float, float, float],
        *,
        own_info: bool = False,
        with_info: bool = True,
        distortion: Sequence[float] = (),
    ) -> None:
        self._node = node = graph.node("rgbd_camera")
        shape, small = rgb.shape[:2], depth.shape
        share = small[0] / shape[0]

        def publish() -> None:
            stamp = now()
            if with_info:
                infos.publish(camera_info(shape, camera, stamp, distortion))
            if own_info:
                scaled = tuple(share * value for value in camera)
                depth_infos.publish(camera_info(small, scaled, stamp))
            depths.publish(depth_message(depth, stamp))
            images.publish(to_message(rgb, stamp))

        images = node.create_publisher(Image, "/image", 5)
        depths = node.create_publisher(Image, "/depth", 5)
        if with_info:
            infos = node.create_publisher(CameraInfo, "/camera_info", 5)
        if own_info:
            depth_infos = node.create_publisher(CameraInfo, "/depth_camera_info", 5)
        self._timer = node.create_timer(0.1, publish)
        self._publishers = list(node.publishers)

    def stop(self) -> None:
        """Leave the graph."""
        self._node.destroy_timer(self._timer)
        for publisher in self._publishers:
            if publisher.topic_name != "/rosout":
                self._node.destroy_publisher(publisher)


class Goal:
    """One action goal on its way.

    Its feedback is taken from the topic, since rclpy's client drops what comes after the result.
    """

    def __init__(self, client: ActionClient, goal: Ask.Goal, heard: list) -> None:
        self._heard = heard
        future = client.send_goal_async(goal)
        assert wait_until(future.done)
        self.handle = future.result()
        assert self.handle.accepted
        self._result = self.handle.get_result_async()

    @property
    def feedback(self) -> list[Ask.Feedback]:
        """What has come so far; some may come after the result."""
        return [m.feedback for m in list(self._heard) if m.goal_id == self.handle.goal_id]

    def speaks(self) -> bool:
        """Wait for the first word."""
        return wait_until(lambda: any(item.text for item in self.feedback))

    def cancel(self) -> None:
        future = self.handle.cancel_goal_async()
        assert wait_until(future.done)

    @property
    def is_done(self) -> bool:
        return self._result.done()

    def result(self, timeout: float = 20.0) -> tuple[Answer, str]:
        """The answer, and the end of the goal: SUCCEEDED, ABORTED or CANCELED."""
        assert wait_until(self._result.done, timeout)
        response = self._result.result()
        ends = ("SUCCEEDED", "ABORTED", "CANCELED")
        names = {getattr(GoalStatus, f"STATUS_{end}"): end for end in ends}
        return response.result.answer, names[response.status]


class Robot:
    """Asks a node by topic, action and service, and keeps all that it publishes."""

    def __init__(self, graph: RosGraph, node_name: str = "/lisa") -> None:
        self.name = node_name
        self._node = node = graph.node("robot")
        self._group = ReentrantCallbackGroup()
        self.received: dict[str, list] = {}
        for topic, message_type in RESULTS.items():
            self.listen(topic, message_type)
        self.listen("model_info", ModelInfo, LATCHED)
        self.listen("/diagnostics", DiagnosticArray)
        self.listen(FEEDBACK, Ask.Impl.FeedbackMessage, 500)
        self._instruction = node.create_publisher(String, f"{node_name}/instruction", 10)
        self._ask = ActionClient(node, Ask, f"{node_name}/ask", callback_group=self._group)
        self._services: dict[str, object] = {}

    def listen(self, topic: str, message_type: type, qos: QoSProfile | int = 50, **options):
        """Keep all messages of a topic in `received`."""
        messages = self.received[topic] = []
        full = topic if topic.startswith("/") else f"{self.name}/{topic}"
        return self._node.create_subscription(
            message_type, full, messages.append, qos, callback_group=self._group, **options
        )

    def wait_until_seen(self, timeout: float = 60.0) -> None:
        """Wait until the node and this one have found each other."""
        assert self._ask.wait_for_server(timeout)
        assert wait_until(lambda: self._instruction.get_subscription_count(), timeout)
        topics = [f"{self.name}/{topic}" for topic in RESULTS]
        assert wait_until(lambda: all(self._node.count_publishers(t) for t in topics), timeout)

    def call(self, service_type: type, name: str, request, timeout: float = 30.0):
        """The response of one of the node's services."""
        client = self._services.get(name)
        if client is None:
            client = self._node.create_client(
                service_type, f"{self.name}/{name}", callback_group=self._group
            )
            self._services[name] = client
        assert client.wait_for_service(timeout)
        future = client.call_async(request)
        assert wait_until(future.done, timeout), f"no response of {name}"
        return future.result()

    # --- questions ---

    def ask(self, instruction: str, image: Image | None = None, **fields) -> Answer:
        """By service."""
        request = AskService.Request(instruction=instruction, **_fields(image, fields))
        return self.call(AskService, "ask_once", request).answer

    def start(self, instruction: str, image: Image | None = None, **fields) -> Goal:
        """By action."""
        goal = Ask.Goal(instruction=instruction, **_fields(image, fields))
        return Goal(self._ask, goal, self.received[FEEDBACK])

    def say(self, instruction: str, timeout: float = 20.0) -> Answer:
        """By topic; gives the final answer."""
        count = len(self.received["answer"])
        self.whisper(instruction)
        answers = self.received["answer"]

        def finals() -> list[Answer]:
            return [a for a in answers[count:] if a.final and a.instruction == instruction]

        assert wait_until(finals, timeout), f"no answer to {instruction[:100]!r}"
        return finals()[0]

    def whisper(self, instruction: str) -> None:
        """By topic, without waiting."""
        self._instruction.publish(String(data=instruction))

    def answers(self, question_id: int) -> list[Answer]:
        """All messages about one question, once its final one is there."""

        def about() -> list[Answer]:
            return [a for a in self.received["answer"] if a.question_id == question_id]

        assert wait_until(lambda: any(answer.final for answer in about()))
        time.sleep(0.1)  # for a second final one, which must not come
        return about()

    def messages(self, topic: str, stamp: Time) -> list:
        """All messages of a stamped topic about one image, once there is one."""

        def about() -> list:
            return [m for m in self.received[topic] if m.header.stamp == stamp]

        assert wait_until(about), f"nothing on {topic}"
        return about()

    # --- lifecycle and parameters ---

    def change_state(self, *transitions: str, timeout: float = 60.0) -> bool:
        """Whether all transitions succeeded."""
        return all(
            self.call(
                ChangeState,
                "change_state",
                ChangeState.Request(transition=Transition(id=TRANSITIONS[name])),
                timeout,
            ).success
            for name in transitions
        )

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def set(self, **parameters: object) -> None:
        """Set parameters (`__` for a dot) that must be accepted."""
        for name, value in parameters.items():
            assert self.try_to_set(name.replace("__", "."), value) == ""

    def try_to_set(self, name: str, value: object) -> str:
        """Why a parameter was refused; empty if it was set."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        result = self.call(SetParameters, "set_parameters", request).results[0]
        assert result.successful or result.reason
        return "" if result.successful else result.reason

    def get(self, *names: str) -> list[ParameterValue]:
        request = GetParameters.Request(names=names)
        return self.call(GetParameters, "get_parameters", request).values

    def describe(self, *names: str) -> list:
        request = DescribeParameters.Request(names=names)
        return self.call(DescribeParameters, "describe_parameters", request).descriptors

    def parameter_names(self) -> list[str]:
        request = ListParameters.Request()
        return self.call(ListParameters, "list_parameters", request).result.names

    def diagnostics(self, part: str) -> tuple[bytes, str, dict[str, str]]:
        """Level, message and values of the next status that is published."""
        arrays = self.received["/diagnostics"]
        count = len(arrays)
        assert wait_until(lambda: len(arrays) > count, 5)
        name = f"{self.name.lstrip('/')}: {part}"
        status = next(s for s in arrays[-1].status if s.name == name)
        return status.level, status.message, {pair.key: pair.value for pair in status.values}


def _fields(image: Image | None, fields: dict) -> dict:
    if "timeout" in fields:
        seconds = fields["timeout"]
        whole = int(seconds // 1)
        fields["timeout"] = Duration(sec=whole, nanosec=int((seconds - whole) * 1e9))
    return fields if image is None else {"image": image, **fields}

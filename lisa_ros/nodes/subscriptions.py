"""Subscriptions to the camera: the QoS that its publishers offer, and why a topic is silent."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lisa_ros.model.errors import UsageError
from lisa_ros.nodes.frames import FrameBuffer, stamp_ns

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

SILENCE = 5.0  # seconds without a message after which a topic counts as missing
LATE = 0.5  # seconds behind the image after which a topic counts as late
_DELAYS = 30  # messages that lateness is judged by
_HISTORY = 5  # messages that the middleware keeps until a callback has time
_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_TRANSPORTS = {"raw": {}, "compressed": {"image": "/compressed", "depth": "/compressedDepth"}}
_RELIABILITY = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}
_PROFILE = (
    "start the camera's process (not this one) with FASTDDS_DEFAULT_PROFILES_FILE (before Kilted "
    "FASTRTPS_DEFAULT_PROFILES_FILE) naming config/fastdds_large_messages.xml of lisa_ros"
)


@dataclass
class TopicState:
    """What is known of one subscribed topic.

    Attributes:
        name: as the node names it, for remapping.
        topic: as it is in the graph.
        type_name: of the messages expected.
        publishers: how many nodes publish this type there.
        other_types: what else is published there, and so cannot be received.
        offered: reliability of these publishers: `reliable`, `best_effort`, `mixed`, or empty.
        requested: reliability of the subscription.
        incompatible: why the QoS of some publisher does not fit the subscription; empty if it does.
        count: messages received.
        last_arrival: monotonic time of the last one, in seconds.
        waiting_since: since when a message could have come, in monotonic seconds.
        delays: from the stamp to the arrival of the last messages, in seconds by the node's clock;
            the clocks differ by a constant, which is the same for all topics of a camera.
    """

    name: str
    topic: str
    type_name: str
    publishers: int = 0
    other_types: tuple[str, ...] = ()
    offered: str = ""
    requested: str = ""
    incompatible: str = ""
    count: int = 0
    last_arrival: float | None = None
    waiting_since: float = 0.0
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=_DELAYS))

    @property
    def is_camera_info(self) -> bool:
        """Whether the messages are small."""
        return self.type_name == _INFO_TYPE

    def behind(self, image: TopicState) -> float:
        """Seconds by which these messages come later than the images; 0 while little is known."""
        if min(len(self.delays), len(image.delays)) < _DELAYS:
            return 0.0
        own, images = (np.percentile(list(state.delays), 90) for state in (self, image))
        return float(own - images)


class _Input:
    """One topic: its subscription, re-created when publishers offer another QoS."""

    def __init__(
        self,
        node: Node,
        name: str,
        message_type: type,
        suffix: str,
        add: Callable[[Any], None],
        reliability: str,
    ) -> None:
        # Resolved first: a launch file remaps `image`, not `image/compressed`.
        topic = node.resolve_topic_name(name) + suffix
        package, kind = message_type.__module__.split(".")[0], message_type.__name__
        self.state = TopicState(name, topic, f"{package}/msg/{kind}")
        self._node = node
        self._message_type = message_type
        self._add = add
        self._reliability = reliability
        self._qos: QoSProfile | None = None
        self._subscription: Subscription | None = None
        self._is_destroyed = False
        self.check()

    def check(self) -> None:
        """Read the graph anew, and subscribe again if the publishers offer another QoS."""
        state = self.state
        endpoints = self._node.get_publishers_info_by_topic(state.topic)
        offers = [e.qos_profile for e in endpoints if e.topic_type == state.type_name]
        others = {e.topic_type for e in endpoints} - {state.type_name}
        if offers and not state.publishers:
            state.waiting_since = time.monotonic()
        state.publishers, state.other_types = len(offers), tuple(sorted(others))
        state.offered = _common_reliability(offers)
        qos = self._choose_qos(offers)
        if self._qos is None or qos != self._qos:
            self._subscribe(qos)
        reasons = (qos_check_compatible(offer, qos) for offer in offers)
        state.incompatible = next((r for c, r in reasons if c == QoSCompatibility.ERROR), "")

    def destroy(self) -> None:
        self._is_destroyed = True
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _choose_qos(self, offers: list[QoSProfile]) -> QoSProfile:
        if self._reliability != "offered":
            reliability = _RELIABILITY[self._reliability]
        elif not offers and self._qos is not None:
            return self._qos  # a camera that starts again most likely offers what it did
        else:
            # Best effort also receives from reliable publishers, not the other way round.
            is_reliable = _common_reliability(offers) == "reliable"
            reliability = _RELIABILITY["reliable" if is_reliable else "best_effort"]
        is_latched = self.state.is_camera_info and bool(offers)
        is_latched &= all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE
        return QoSProfile(depth=_HISTORY, reliability=reliability, durability=durability)

    def _subscribe(self, qos: QoSProfile) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._qos = qos
        self._subscription = self._node.create_subscription(
            self._message_type,
            self.state.topic,
            self._receive,
            qos,
            # Of its own: Humble's executor never frees the group of a subscription that was
            # destroyed while a message was taken.
            callback_group=MutuallyExclusiveCallbackGroup(),
            # rclpy's own callbacks for QoS events end the executor when an event meets the end of
            # its subscription; `problems` says what they would.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )
        is_reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        self.state.requested = "reliable" if is_reliable else "best_effort"
        self.state.waiting_since = time.monotonic()

    def _receive(self, message: Any) -> None:
        if self._is_destroyed:  # an executor may still hold a message
            return
        self.state.count += 1
        self.state.last_arrival = time.monotonic()
        stamp = stamp_ns(message)
        if stamp:  # some drivers leave it at zero
            now = self._node.get_clock().now().nanoseconds  # a bag may be played at another rate
            self.state.delays.append((now - stamp) / 1e9)
        self._add(message)


class CameraSubscriptions:
    """Feeds a frame buffer from `image`, `depth`, `camera_info` and `depth_camera_info`.

    Args:
        node: whose remappings count.
        frames: gets all messages, on the executor's threads.
        image_transport: `raw`; or `compressed` for `<image>/compressed` and
            `<depth>/compressedDepth`, where <image> is the remapped topic.
        reliability: `offered` for what the publishers offer, `reliable`, or `best_effort`.
        use_depth: whether there is a depth camera.
    """

    def __init__(
        self,
        node: Node,
        frames: FrameBuffer,
        *,
        image_transport: str = "raw",
        reliability: str = "offered",
        use_depth: bool = True,
    ) -> None:
        if image_transport not in _TRANSPORTS:
            raise UsageError(
                f"expected image_transport {' or '.join(_TRANSPORTS)}, got {image_transport!r}"
            )
        if reliability not in ("offered", *_RELIABILITY):
            raise UsageError(
                f"expected reliability offered, {' or '.join(_RELIABILITY)}, got {reliability!r}"
            )
        self._node = node
        self._image_transport = image_transport
        image_type = Image if image_transport == "raw" else CompressedImage
        inputs: list[tuple[str, type, Callable[[Any], None]]] = [
            ("image", image_type, frames.add_image),
            ("camera_info", CameraInfo, frames.add_camera_info),
        ]
        if use_depth:
            inputs += [
                ("depth", image_type, frames.add_depth),
                ("depth_camera_info", CameraInfo, frames.add_depth_camera_info),
            ]
        self._lock = threading.Lock()
        self._inputs = [
            _Input(
                node,
                name,
                message_type,
                _TRANSPORTS[image_transport].get(name, ""),
                add,
                reliability,
            )
            for name, message_type, add in inputs
        ]

    def check(self) -> list[TopicState]:
        """Follow what the publishers offer; to be called about once a second."""
        with self._lock:
            for item in self._inputs:
                item.check()
            return [item.state for item in self._inputs]

    def destroy(self) -> None:
        """Stop: nothing reaches the frame buffer any more."""
        with self._lock:
            for item in self._inputs:
                item.destroy()
            self._inputs = []

    def problems(self, now: float | None = None) -> list[str]:
        """Which topics are silent or late and why, one sentence each, by what `check` saw last.

        Args:
            now: monotonic time in seconds.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            states = [item.state for item in self._inputs]
            # Masks alone need no intrinsics.
            has_depth = any(state.name == "depth" and state.count for state in states)
            sentences = (
                self._problem(state, now) or self._lateness(state, states[0])
                for state in states
                if has_depth or state.name != "camera_info"
            )
            return [sentence for sentence in sentences if sentence]

    def _problem(self, state: TopicState, now: float) -> str:
        silence = now - max(state.waiting_since, state.last_arrival or 0.0)
        is_optional = state.name == "depth_camera_info"
        if silence < SILENCE or (is_optional and not state.publishers):
            return ""
        what = f"{state.name}: no message for {silence:.0f} s on {state.topic}"
        if not state.publishers:
            return f"{what}; {self._why_unpublished(state)}"
        who = f"{state.publishers} publisher{'s' if state.publishers > 1 else ''}"
        if state.incompatible:
            return (
                f"{what}; {who} of incompatible QoS ({state.incompatible.rstrip('; ')}): "
                f"this node asks for {state.requested}; set reliability to offered, and restart it"
            )
        if "reliable" not in (state.requested, state.offered) and not state.is_camera_info:
            return (
                f"{what}; {who}, best effort: the camera is paused, or the DDS transport loses "
                f"large messages. For Fast DDS {_PROFILE}, or let it publish reliably"
            )
        return (
            f"{what}; {who}, {state.offered.replace('_', ' ')}, QoS compatible: the camera is "
            "paused, or the network between both machines blocks its data (multicast, firewall)"
        )

    def _lateness(self, state: TopicState, image: TopicState) -> str:
        behind = state.behind(image)
        if behind < LATE:
            return ""
        return (
            f"{state.name}: comes up to {behind:.1f} s later than its image on {state.topic}; the "
            "camera sends it so, or Fast DDS drops it beside large messages and repeats it: for "
            f"Fast DDS {_PROFILE}"
        )

    def _why_unpublished(self, state: TopicState) -> str:
        if state.other_types:
            return (
                f"it carries {', '.join(state.other_types)}, expected {state.type_name}; "
                f"remap {state.name} to the right topic"
            )
        for transport, suffixes in _TRANSPORTS.items():
            suffix = _TRANSPORTS[self._image_transport].get(state.name, "")
            other = state.topic.removesuffix(suffix) + suffixes.get(state.name, "")
            if other != state.topic and self._node.get_publishers_info_by_topic(other):
                return f"but {other} is published; set image_transport to {transport}"
        return (
            f"nobody publishes it; start the camera, or remap {state.name}, "
            "or give both machines the same ROS_DOMAIN_ID"
        )


def _common_reliability(offers: list[QoSProfile]) -> str:
    names = {policy: name for name, policy in _RELIABILITY.items()}
    kinds = {names.get(offer.reliability, "best_effort") for offer in offers}
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else ""

"""Transforms at the image's stamp: our rules with a stand-in for tf2, and real lookups with tf2."""

import sys
import types

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")

STAMP = 1_700_000_000_250_000_000


class TransformException(Exception):  # noqa: N818  # as tf2 names it
    pass


class LookupException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


def stand_in(lookup) -> types.ModuleType:
    """tf2_ros with a buffer that answers by `lookup(target, source, time, timeout)`."""
    module = types.ModuleType("tf2_ros")
    module.TransformException = TransformException
    module.LookupException = LookupException
    module.ExtrapolationException = ExtrapolationException
    module.listeners = []

    class Buffer:
        cleared = 0

        def clear(self):
            self.cleared += 1

        def lookup_transform(self, target_frame, source_frame, time, timeout):
            return lookup(target_frame, source_frame, time, timeout)

    module.Buffer = Buffer
    module.TransformListener = lambda buffer, node: module.listeners.append((buffer, node))
    return module


@pytest.fixture
def transforms():
    from rclpy.clock import ROSClock

    from lisa_ros.nodes.transforms import Transforms

    clock = ROSClock()
    return Transforms(node=types.SimpleNamespace(get_clock=lambda: clock))


def refusal(transforms, *question) -> str:
    from lisa_ros.nodes.camera_geometry import NoGeometryError
    from lisa_ros.perception import Status

    with pytest.raises(NoGeometryError) as caught:
        transforms.look_up(*question)
    assert caught.value.status is Status.TF_UNAVAILABLE
    return str(caught.value)


def test_a_bag_that_begins_again_finds_new_transforms(monkeypatch, transforms):
    from rclpy.time import Time

    monkeypatch.setitem(sys.modules, "tf2_ros", stand_in(None))
    clock = transforms._node.get_clock()
    clock._set_ros_time_is_active(True)
    transforms.start()
    for second, cleared in ((100, 0), (160, 0), (159, 1), (170, 1), (100, 2)):
        clock.set_ros_time_override(Time(seconds=second, clock_type=clock.clock_type))
        assert transforms._buffer.cleared == cleared


def test_it_asks_for_the_images_time_and_gives_a_matrix(monkeypatch, transforms):
    from geometry_msgs.msg import TransformStamped

    asked = []

    def lookup(target, source, time, timeout):
        asked.append((target, source, time.nanoseconds, timeout.nanoseconds))
        found = TransformStamped()
        found.transform.translation.x = 2.0
        found.transform.rotation.z = found.transform.rotation.w = 0.5**0.5
        return found

    module = stand_in(lookup)
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    for _ in range(2):
        matrix = transforms.look_up("base", "camera", STAMP)
    np.testing.assert_allclose(
        matrix, [[0, -1, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-12
    )
    assert [question[:3] for question in asked] == [("base", "camera", STAMP)] * 2
    assert all(0 < question[3] <= 10**9 for question in asked)
    assert [node for _, node in module.listeners] == [transforms._node]  # one listener


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (LookupException('"base" passed to lookupTransform does not exist'), "check target_frame"),
        (ExtrapolationException("would require extrapolation into the future"), "clocks"),
    ],
)
def test_tf2s_reason_is_told_with_a_mend(monkeypatch, transforms, error, mend):
    def lookup(*_):
        raise error

    monkeypatch.setitem(sys.modules, "tf2_ros", stand_in(lookup))
    message = refusal(transforms, "base", "camera", STAMP)
    assert str(error) in message
    assert "'camera'" in message
    assert "'base'" in message
    assert "1700000000.250" in message
    assert mend in message


def test_the_latest_transform_is_never_asked_for(monkeypatch, transforms):
    def lookup(*_):
        raise AssertionError("asked for time 0")

    monkeypatch.setitem(sys.modules, "tf2_ros", stand_in(lookup))
    assert "stamp" in refusal(transforms, "base", "camera", 0)
    assert "frame_id" in refusal(transforms, "base", "", STAMP)


def test_without_tf2_it_says_what_to_install(monkeypatch, transforms):
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    assert "ros-$ROS_DISTRO-tf2-ros-py" in refusal(transforms, "base", "camera", STAMP)


# --- with tf2 itself ---


@pytest.fixture
def tf2():
    return pytest.importorskip("tf2_ros", reason="tf2_ros is not installed in this environment")


@pytest.fixture
def published(tf2, ros_graph):
    """Publishes where the camera is at a time, x metres along the base's x axis."""
    from builtin_interfaces.msg import Time
    from geometry_msgs.msg import TransformStamped

    broadcaster = tf2.TransformBroadcaster(ros_graph.node("robot"))

    def publish(stamp_ns: int, x: float) -> None:
        found = TransformStamped(child_frame_id="camera")
        found.header.frame_id = "base"
        found.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        found.transform.translation.x = x
        found.transform.rotation.w = 1.0
        broadcaster.sendTransform(found)

    return publish


def test_a_moving_camera_is_where_it_was_at_the_stamp(ros_graph, published):
    from conftest import wait_until

    from lisa_ros.nodes.camera_geometry import NoGeometryError
    from lisa_ros.nodes.transforms import Transforms

    transforms = Transforms(ros_graph.node("lisa"))
    transforms.start()

    def x_at(stamp: int) -> float | None:
        try:
            return transforms.look_up("base", "camera", stamp)[0, 3]
        except NoGeometryError:
            return None

    def is_known() -> bool:
        published(STAMP, 1.0)
        published(STAMP + 100_000_000, 2.0)
        return x_at(STAMP + 50_000_000) is not None

    assert wait_until(is_known, 20)
    assert x_at(STAMP) == pytest.approx(1.0)
    assert x_at(STAMP + 50_000_000) == pytest.approx(1.5)
    assert "extrapolation" in refusal(transforms, "base", "camera", STAMP + 10**9)
    assert "extrapolation" in refusal(transforms, "base", "camera", STAMP - 10**9)
    assert "check target_frame" in refusal(transforms, "moon", "camera", STAMP)

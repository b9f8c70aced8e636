"""Subscriptions over real DDS to a camera in another process."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import wait_until

from lisa_ros.model.errors import UsageError
from lisa_ros.nodes.frames import FrameBuffer, stamp_ns
from lisa_ros.nodes.image_conversion import depth_to_array, image_to_rgb

pytestmark = pytest.mark.ros

CAMERA = Path(__file__).with_name("camera_process.py")
PROFILE = Path(__file__).parents[2] / "config" / "fastdds_large_messages.xml"
VGA = [640, 480]
RGBD = (("image", "Image"), ("depth", "Depth"), ("camera_info", "CameraInfo"))


@pytest.fixture
def start_camera(start_child):
    """Starts a camera: topics as `name=kind`, and options for all of them."""

    def start(env=None, base="/", **topics):
        entries = [{"topic": base + name, **entry} for name, entry in topics.items()]
        child = start_child(CAMERA, json.dumps(entries), env=env)
        child.wait_for("publishing")
        return child

    return start


def rgbd(**options) -> dict:
    return {name: {"kind": kind, **options} for name, kind in RGBD}


@pytest.fixture
def subscribe(ros_graph):
    """Makes subscriptions on a node that spins: gives them and their frame buffer."""
    from lisa_ros.nodes.subscriptions import CameraSubscriptions

    made = []

    def make(*remappings: str, **options):
        arguments = [part for rule in remappings for part in ("-r", rule)]
        cli_args = ["--ros-args", *arguments] if arguments else None
        node = ros_graph.node(f"listener_{len(made)}", cli_args=cli_args)
        frames = FrameBuffer()
        made.append(CameraSubscriptions(node, frames, **options))
        return made[-1], frames

    yield make
    for subscriptions in made:
        subscriptions.destroy()


def states(subscriptions) -> dict:
    return {state.name: state for state in subscriptions.check()}


def receives(subscriptions, frames, seconds: float = 10.0) -> bool:
    """Whether frames come, with the 1 Hz check of a node."""
    for _ in range(int(seconds)):
        subscriptions.check()
        if frames.wait_newer(frames.newest(), 1.0) is not None:
            return True
    return False


def later(seconds: float = 6.0) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize("reliable", [True, False])
@pytest.mark.parametrize("camera_is_first", [True, False])
def test_takes_the_reliability_that_is_offered(start_camera, subscribe, reliable, camera_is_first):
    size = VGA if reliable else [64, 48]  # large best-effort messages need the profile
    if camera_is_first:
        start_camera(**rgbd(reliable=reliable, size=size))
    subscriptions, frames = subscribe()
    if not camera_is_first:
        assert {s.offered for s in subscriptions.check()} == {""}
        assert {s.requested for s in subscriptions.check()} == {"best_effort"}
        start_camera(**rgbd(reliable=reliable, size=size))
    expected = "reliable" if reliable else "best_effort"
    names = [name for name, _ in RGBD]

    def all_come() -> bool:
        found = states(subscriptions)
        frame = frames.newest()
        return (
            all(found[name].requested == expected and found[name].count for name in names)
            and frame is not None
            and frame.depth is not None
        )

    assert wait_until(all_come, timeout=30), subscriptions.check()
    found = states(subscriptions)
    for name in names:
        assert (found[name].offered, found[name].requested) == (expected, expected)
        assert found[name].publishers == 1
        assert found[name].topic == f"/{name}"
        assert found[name].count > 0
        assert time.monotonic() - found[name].last_arrival < 5
    assert found["depth_camera_info"].publishers == found["depth_camera_info"].count == 0
    assert subscriptions.problems() == []

    frame = frames.newest()
    assert stamp_ns(frame.depth) == frame.stamp_ns
    assert frame.camera_info.width == size[0]
    assert (image_to_rgb(frame.image) == (200, 100, 50)).all()
    assert (depth_to_array(frame.depth) == 1234).all()
    assert 0 <= frames.counts.images - found["image"].count <= 5


def test_large_reliable_images_keep_coming_without_the_profile(start_camera, subscribe):
    start_camera(**rgbd(size=VGA))
    subscriptions, frames = subscribe()
    # Of 30 Hz mostly 14 to 30 come, unevenly.
    assert wait_until(lambda: subscriptions.check() and frames.counts.frames > 60, timeout=30)
    assert wait_until(lambda: frames.newest().depth is not None)


def test_large_best_effort_images_come_if_the_camera_has_the_profile(start_camera, subscribe):
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    start_camera(env=dict.fromkeys(names, str(PROFILE)), **rgbd(reliable=False, size=VGA))
    subscriptions, frames = subscribe()
    assert receives(subscriptions, frames)
    assert states(subscriptions)["image"].requested == "best_effort"


def test_another_camera_takes_over(start_camera, subscribe):
    """reliable -> none -> best effort -> both -> reliable: the subscription follows."""
    subscriptions, frames = subscribe(use_depth=False)

    def becomes(offered: str, requested: str) -> bool:
        def is_so() -> bool:
            image = states(subscriptions)["image"]
            return (image.offered, image.requested) == (offered, requested)

        return wait_until(is_so) and (offered == "" or receives(subscriptions, frames))

    def camera(reliable: bool):
        return start_camera(image={"kind": "Image", "reliable": reliable})

    first = camera(reliable=True)
    assert becomes("reliable", "reliable")
    first.stop()
    assert becomes("", "reliable")  # kept: it is likely to come back as it was
    second = camera(reliable=False)
    assert becomes("best_effort", "best_effort")
    camera(reliable=True)
    assert becomes("mixed", "best_effort")
    assert states(subscriptions)["image"].publishers == 2
    second.stop()
    assert becomes("reliable", "reliable")
    assert [p for p in subscriptions.problems() if p.startswith("image")] == []


def test_remapped_and_in_a_namespace(start_camera, subscribe):
    start_camera(base="/robot/camera/", color={"kind": "Image"}, camera_info={"kind": "CameraInfo"})
    subscriptions, frames = subscribe("__ns:=/robot", "image:=camera/color", use_depth=False)
    assert receives(subscriptions, frames)
    found = states(subscriptions)
    assert list(found) == ["image", "camera_info"]
    assert found["image"].topic == "/robot/camera/color"
    assert found["camera_info"].topic == "/robot/camera_info"


def test_compressed(start_camera, subscribe):
    """As image_transport does: the base topic is remapped, and the transport's name follows it."""
    start_camera(
        base="/cam/",
        **{
            "rgb/image_raw/compressed": {"kind": "CompressedImage", "reliable": False},
            "depth/image_raw/compressedDepth": {"kind": "CompressedDepth"},
            "rgb/camera_info": {"kind": "CameraInfo"},
        },
    )
    subscriptions, frames = subscribe(
        "image:=/cam/rgb/image_raw",
        "depth:=/cam/depth/image_raw",
        "camera_info:=/cam/rgb/camera_info",
        image_transport="compressed",
    )
    assert receives(subscriptions, frames)
    assert wait_until(lambda: frames.newest().depth is not None)
    found = states(subscriptions)
    assert found["image"].topic == "/cam/rgb/image_raw/compressed"
    assert found["depth"].topic == "/cam/depth/image_raw/compressedDepth"
    assert found["image"].type_name == "sensor_msgs/msg/CompressedImage"
    assert (found["image"].requested, found["depth"].requested) == ("best_effort", "reliable")
    frame = frames.newest()
    assert abs(image_to_rgb(frame.image).astype(int) - (200, 100, 50)).max() <= 4
    np.testing.assert_array_equal(depth_to_array(frame.depth), np.full((48, 64), 1234))


def test_camera_info_that_was_published_once(start_camera, subscribe):
    """A latched camera_info reaches a node that starts later."""
    start_camera(
        image={"kind": "Image"},
        camera_info={"kind": "CameraInfo", "latched": True, "once": True, "size": [7, 5]},
    )
    time.sleep(0.5)
    subscriptions, frames = subscribe()
    assert receives(subscriptions, frames)
    assert wait_until(lambda: states(subscriptions)["camera_info"].count == 1)
    assert frames.newest().camera_info.width == 7


def test_destroyed_subscriptions_bring_nothing(start_camera, subscribe, ros_graph):
    start_camera(**rgbd())
    subscriptions, frames = subscribe()
    assert receives(subscriptions, frames)
    subscriptions.destroy()
    frames.clear()
    before = frames.counts.images
    time.sleep(0.5)
    assert frames.counts.images == before
    assert frames.newest() is None
    assert subscriptions.check() == []
    assert subscriptions.problems() == []
    other = ros_graph.node("observer")
    assert wait_until(lambda: other.get_subscriptions_info_by_topic("/image") == [])
    subscriptions.destroy()  # twice does no harm


def test_made_again_after_destroy(start_camera, subscribe):
    start_camera(**rgbd())
    for _ in range(3):
        subscriptions, frames = subscribe()
        assert receives(subscriptions, frames)
        subscriptions.destroy()


def test_the_executor_outlives_subscriptions_that_come_and_go(start_camera, subscribe, ros_graph):
    """Also with threads so busy that events of a subscription meet its end."""
    from rclpy.callback_groups import ReentrantCallbackGroup

    start_camera(**rgbd(reliable=False))
    busy = ros_graph.node("busy")
    for _ in range(4):
        group = ReentrantCallbackGroup()
        busy.create_timer(0.03, lambda: time.sleep(0.03), callback_group=group)
    received = 0
    for i in range(40):
        subscriptions, frames = subscribe(reliability="reliable" if i % 2 else "best_effort")
        time.sleep(0.02 * (i % 7))
        subscriptions.check()
        subscriptions.destroy()
        received += frames.counts.images
        assert ros_graph.error is None
    assert received > 0


# --- what is wrong, in words ---


def test_nothing_is_published(subscribe):
    subscriptions, _ = subscribe("image:=/cam/rgb")
    subscriptions.check()
    assert subscriptions.problems() == []  # not yet
    assert subscriptions.problems(later(4.5)) == []
    problems = subscriptions.problems(later())
    assert [line.split(":")[0] for line in problems] == ["image", "depth"]
    assert problems[0].startswith("image: no message for 6 s on /cam/rgb; nobody publishes it")
    assert "remap image" in problems[0]


def test_a_camera_that_stops(start_camera, subscribe):
    camera = start_camera(image={"kind": "Image"})
    subscriptions, frames = subscribe(use_depth=False)
    assert receives(subscriptions, frames)
    assert [p for p in subscriptions.problems() if p.startswith("image")] == []
    camera.stop()
    assert wait_until(lambda: states(subscriptions)["image"].publishers == 0)
    problem = subscriptions.problems(later(8))[0]
    assert problem.startswith("image: no message for ")
    assert "nobody publishes" in problem


def test_a_topic_that_comes_late(start_camera, subscribe):
    topics = rgbd()
    topics["camera_info"]["late"] = 1.2
    topics["depth"]["late"] = 0.2  # it takes time to make
    start_camera(**topics)
    subscriptions, _ = subscribe()
    assert subscriptions.problems() == []
    assert wait_until(lambda: subscriptions.check() and subscriptions.problems())
    [problem] = subscriptions.problems()
    assert problem.startswith("camera_info: comes up to 1.2 s later than its image on /camera_info")
    assert "config/fastdds_large_messages.xml" in problem


def test_a_bag_that_is_played_fast_is_not_late(subscribe, ros_graph):
    from rclpy.parameter import Parameter
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CameraInfo, Image

    subscriptions, _ = subscribe()
    subscriptions._node.set_parameters([Parameter("use_sim_time", value=True)])
    player = ros_graph.node("player")
    clock = player.create_publisher(Clock, "/clock", 10)
    images = player.create_publisher(Image, "image", 10)
    infos = player.create_publisher(CameraInfo, "camera_info", 10)
    depths = player.create_publisher(Image, "depth", 10)
    topics = (clock, images, infos, depths)
    assert wait_until(
        lambda: subscriptions.check() and all(topic.get_subscription_count() for topic in topics)
    )
    for tick in range(400):
        message = Clock()
        message.clock.sec, message.clock.nanosec = 100 + tick // 25, tick % 25 * 40_000_000
        clock.publish(message)
        shot, info = Image(), CameraInfo()
        shot.header.stamp = info.header.stamp = message.clock
        images.publish(shot)
        depths.publish(shot)
        if tick % 10 == 0:
            infos.publish(info)
        time.sleep(0.01)  # four times as fast as it was recorded
    by_name = states(subscriptions)
    assert min(len(by_name[name].delays) for name in ("image", "camera_info")) == 30
    assert subscriptions.problems() == []


def check_until_seen(subscriptions, name="image"):
    assert wait_until(lambda: states(subscriptions)[name].publishers)


def test_silence_counts_from_when_the_publisher_came(start_camera, subscribe):
    subscriptions, _ = subscribe(use_depth=False)
    time.sleep(1)
    start_camera(image={"kind": "Image", "reliable": False, "silent": True})
    check_until_seen(subscriptions)
    assert [p for p in subscriptions.problems(later(4.5)) if p.startswith("image")] == []
    assert [p for p in subscriptions.problems(later(5.5)) if p.startswith("image")]


@pytest.mark.parametrize("reliable", [True, False])
def test_published_but_nothing_comes(start_camera, subscribe, reliable):
    silent = {"silent": True, "reliable": reliable}
    start_camera(**rgbd(**silent), depth_camera_info={"kind": "CameraInfo", **silent})
    subscriptions, _ = subscribe()
    for name in ("image", "depth", "camera_info", "depth_camera_info"):
        check_until_seen(subscriptions, name)
    problems = {line.split(":")[0]: line for line in subscriptions.problems(later())}
    assert set(problems) == {"image", "depth", "depth_camera_info"}  # no depth: no camera_info
    for name, line in problems.items():
        is_large = name in ("image", "depth")
        assert ("config/fastdds_large_messages.xml" in line) == (is_large and not reliable)
        assert ("camera's process" in line) == (is_large and not reliable)
        assert "1 publisher," in line
        assert "paused" in line


def test_depth_without_camera_info(start_camera, subscribe):
    start_camera(image={"kind": "Image"}, depth={"kind": "Depth"})
    subscriptions, frames = subscribe()
    assert receives(subscriptions, frames)
    assert wait_until(lambda: frames.counts.depths)
    missing = [line for line in subscriptions.problems(later()) if line.startswith("camera_info")]
    assert len(missing) == 1
    assert "remap camera_info" in missing[0]


def test_another_type_on_the_topic(start_camera, subscribe):
    start_camera(image={"kind": "CompressedImage"})
    subscriptions, _ = subscribe(use_depth=False)
    assert wait_until(lambda: states(subscriptions)["image"].other_types)
    assert states(subscriptions)["image"].publishers == 0
    problem = subscriptions.problems(later())[0]
    expected = "carries sensor_msgs/msg/CompressedImage, expected sensor_msgs/msg/Image"
    assert expected in problem


@pytest.mark.parametrize(
    ("transport", "other", "topics"),
    [
        ("raw", "compressed", {"image/compressed": "CompressedImage"}),
        ("raw", "compressed", {"depth/compressedDepth": "CompressedDepth"}),
        ("compressed", "raw", {"image": "Image"}),
        ("compressed", "raw", {"depth": "Depth"}),
    ],
)
def test_the_other_transport_is_published(start_camera, subscribe, transport, other, topics):
    start_camera(**{topic: {"kind": kind} for topic, kind in topics.items()})
    subscriptions, _ = subscribe(image_transport=transport)
    (topic,) = topics
    name = topic.split("/")[0]

    def problem() -> str:
        subscriptions.check()
        return next(line for line in subscriptions.problems(later()) if line.startswith(name))

    sentence = f"but /{topic} is published; set image_transport to {other}"
    assert wait_until(lambda: sentence in problem()), problem()


def test_a_reliability_that_does_not_fit(start_camera, subscribe):
    start_camera(image={"kind": "Image", "reliable": False})
    subscriptions, frames = subscribe(reliability="reliable", use_depth=False)
    check_until_seen(subscriptions)
    assert frames.wait_newer(None, 1.0) is None
    state = states(subscriptions)["image"]
    assert (state.requested, state.offered) == ("reliable", "best_effort")
    problem = subscriptions.problems(later())[0]
    assert "incompatible QoS (" in problem
    assert "eliab" in problem
    assert "asks for reliable" in problem


def test_best_effort_by_choice(start_camera, subscribe):
    start_camera(image={"kind": "Image"})
    subscriptions, frames = subscribe(reliability="best_effort", use_depth=False)
    assert receives(subscriptions, frames)
    state = states(subscriptions)["image"]
    assert (state.requested, state.offered) == ("best_effort", "reliable")


@pytest.mark.parametrize("options", [{"image_transport": "theora"}, {"reliability": "sometimes"}])
def test_wrong_options_say_what_is_expected(subscribe, options):
    (name, value), *_ = options.items()
    with pytest.raises(UsageError, match=f"expected {name} .*, got '{value}'"):
        subscribe(**options)

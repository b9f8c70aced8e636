"""How the installed program starts, is led through its states, and ends."""

import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import Child, status, wait_until

pytestmark = pytest.mark.ros

CUP = "Can you segment the red cup in this image?"
CONFIG = Path(__file__).parents[2] / "config" / "perception.yaml"


def assert_quiet(child: Child) -> None:
    assert "Traceback" not in child.output, child.output
    assert "terminate called" not in child.output


# --- starts that fail ---


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"model": "/no/such/model"}, ["the model cannot be loaded", "/no/such/model"]),
        ({"mode": "twice"}, ["cannot start", "expected one of 'once'", "got 'twice'"]),
        ({"timeout": "long"}, ["cannot start", "timeout"]),
    ],
    ids=["model", "value", "type"],
)
def test_a_start_that_fails_says_why(start_child, ros_domain, parameters, words):
    from robot import GOLDEN_MODEL, SCRIPT, parameter_arguments

    arguments = parameter_arguments(**{**GOLDEN_MODEL, **parameters})
    child = start_child(SCRIPT, "--ros-args", *arguments)
    assert child.process.wait(60) == 1
    assert_quiet(child)
    for word in words:
        assert word in child.output


def test_diagnostics_come_although_the_clock_of_a_simulator_stands_still(start_child, graph):
    from robot import GOLDEN_MODEL, SCRIPT, Robot, parameter_arguments

    arguments = parameter_arguments(**GOLDEN_MODEL, use_sim_time=True)
    child = start_child(SCRIPT, "--ros-args", *arguments, "-r", "__node:=paused")
    robot = Robot(graph, "/paused")
    assert wait_until(lambda: len(robot.received["/diagnostics"]) >= 2, 60), child.output
    assert child.stop() == 0
    assert_quiet(child)


# --- ends ---


def test_ctrl_c_during_the_imports(start_child, ros_domain):
    from robot import SCRIPT

    child = start_child(SCRIPT)
    time.sleep(0.5)
    child.process.send_signal(signal.SIGINT)
    assert child.process.wait(5) in (0, -signal.SIGINT)
    assert_quiet(child)


def test_while_the_model_is_being_loaded(start_child, graph):
    """A model takes minutes to load: the node answers meanwhile, and ends when it is told to."""
    from robot import Robot

    robot = Robot(graph)
    child = start_child(
        """
import sys, time
from lisa_ros.nodes import perception_node
perception_node.Segmenter.from_pretrained = lambda *_, **__: time.sleep(60)
sys.exit(perception_node.main())
"""
    )
    child.wait_for("loading", 60)
    robot.wait_until_seen()
    assert robot.diagnostics("model")[1] == "LOADING"
    assert robot.state() == "configuring"
    assert robot.get("mode")[0].string_value == "once"
    answer = robot.say(CUP)
    assert status(answer) == "NOT_ACTIVE"
    assert "the node is LOADING" in answer.message
    child.process.send_signal(signal.SIGINT)
    assert child.process.wait(8) == 0
    assert_quiet(child)


# --- under a namespace, with remappings, a parameter file and compressed images ---


@pytest.fixture(scope="module")
def process(ros_domain, tmp_path_factory):
    from robot import GOLDEN_MODEL, SCRIPT, parameter_arguments

    parameters = {"image_transport": "compressed", "autostart": False}
    child = Child(
        SCRIPT,
        "--ros-args",
        *("-r", "__ns:=/arm", "-r", "__node:=eyes", "-r", "image:=wrist/image_raw"),
        *("--params-file", CONFIG),
        *parameter_arguments(**GOLDEN_MODEL, **parameters),
    )
    yield child
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(5) == 0
    assert_quiet(child)
    child.stop()


@pytest.fixture(scope="module")
def robot(graph, process):
    from robot import Robot

    robot = Robot(graph, "/arm/eyes")
    robot.wait_until_seen()
    return robot


@pytest.fixture(scope="module")
def send(graph):
    """Sends bytes as a compressed image of now, on the remapped topic, by best effort."""
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage

    node = graph.node("wrist_camera")
    topic = "/arm/wrist/image_raw/compressed"
    publisher = node.create_publisher(CompressedImage, topic, qos_profile_sensor_data)

    def send(data: bytes) -> CompressedImage:
        message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=data)
        message.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id = "wrist"
        assert wait_until(publisher.get_subscription_count)
        publisher.publish(message)
        time.sleep(0.2)
        return message

    return send


@pytest.fixture(scope="module")
def jpeg(first_golden) -> bytes:
    rgb = first_golden.image(0)
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def test_it_waits_to_be_configured(robot):
    assert robot.state() == "unconfigured"
    answer = robot.ask(CUP)
    assert status(answer) == "NOT_ACTIVE"
    assert "the node is UNCONFIGURED" in answer.message
    assert robot.diagnostics("model")[1] == "UNCONFIGURED"
    assert not robot.received["model_info"]


def test_configured_and_active(robot, process):
    assert robot.change_state("configure")
    assert robot.state() == "inactive"
    assert wait_until(lambda: robot.received["model_info"])
    assert robot.change_state("activate")
    assert robot.state() == "active"
    assert "[arm.eyes]" in process.output


def test_a_compressed_image(robot, send, jpeg):
    message = send(jpeg)
    robot.set(max_image_age=0.0)
    answer = robot.ask(CUP)
    assert status(answer) == "FOUND"
    assert answer.header == message.header
    assert (answer.image_height, answer.image_width) == (240, 320)
    mask = robot.messages("mask", message.header.stamp)[0]
    assert (mask.height, mask.width) == (240, 320)


def test_an_answer_without_a_mask_about_a_compressed_image(robot, send, first_golden):
    send(cv2.imencode(".png", first_golden.image(3)[..., ::-1])[1].tobytes())
    answer = robot.ask("Where is the largest circle? Please output segmentation mask.")
    assert status(answer) == "NOT_FOUND"
    mask = robot.messages("mask", answer.header.stamp)[0]
    assert (mask.height, mask.width) == (256, 256)
    assert not np.any(mask.data)


@pytest.mark.parametrize("kind", ["empty", "noise", "cut", "text"])
def test_garbage_in_compressed_images(robot, process, send, jpeg, kind):
    garbage = {
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(5000),
        "cut": jpeg[:200],
        "text": b"this is not a picture",
    }[kind]
    send(garbage)
    answer = robot.ask(CUP)
    assert status(answer) == "NO_IMAGE"
    assert "expected" in answer.message
    assert "got" in answer.message
    assert f"NO_IMAGE: {answer.message}" in process.output
    send(jpeg)
    assert status(robot.ask(CUP)) == "FOUND"


def test_diagnostics_under_another_name(robot):
    values = robot.diagnostics("camera")[2]
    assert int(values["images"]) >= 1
    wait_until(lambda: "image: no message" in robot.diagnostics("camera")[1], 8)
    message = robot.diagnostics("camera")[1]
    assert "on /arm/wrist/image_raw/compressed" in message
    assert "depth" not in message


# --- a bag ---


def test_a_bag_is_played_through(robot, tmp_path, graph, first_golden):
    rosbags = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed")
    from rclpy.serialization import serialize_message
    from rosbags.typesys import Stores, get_typestore
    from sensor_msgs.msg import CompressedImage

    topic, bag = "/arm/wrist/image_raw/compressed", tmp_path / "bag"
    types = get_typestore(Stores.ROS2_JAZZY)
    with rosbags.Writer(bag, version=9, storage_plugin=rosbags.StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            topic, "sensor_msgs/msg/CompressedImage", typestore=types
        )
        for i, index in enumerate((0, 3, 0)):
            bgr = first_golden.image(index)[..., ::-1]
            message = CompressedImage(format="png", data=cv2.imencode(".png", bgr)[1].tobytes())
            message.header.stamp.sec = 2_000_000_000 + i
            message.header.frame_id = "bag"
            writer.write(connection, i * 10**9, serialize_message(message))

    node = graph.node("player")
    publisher = node.create_publisher(CompressedImage, topic, 5)
    assert wait_until(publisher.get_subscription_count)
    time.sleep(1.5)  # the node follows the reliability
    with rosbags.Reader(bag) as reader:
        for i, (_, _, data) in enumerate(reader.messages()):
            publisher.publish(bytes(data))  # as rosbag2 does: not deserialised
            time.sleep(0.3)
            answer = robot.ask(CUP)
            assert answer.header.stamp.sec == 2_000_000_000 + i
            assert answer.header.frame_id == "bag"
            assert (answer.image_width == 256) == (i == 1)


def test_the_parameter_file_was_read(robot):
    parameters = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    for name in ("busy_policy", "sync_slop", "rate"):
        value = robot.get(name)[0]
        assert parameters[name] in (value.string_value, value.double_value)
    assert robot.get("autostart")[0].bool_value is False  # the command line counts more

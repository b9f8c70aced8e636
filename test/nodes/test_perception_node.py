"""The perception node over DDS: what it publishes, its life, its parameters and diagnostics."""

import json
import signal
import time

import cv2
import numpy as np
import pytest
from conftest import Child, status, wait_until

from lisa_ros.nodes.frames import stamp_ns

pytestmark = pytest.mark.ros

CUP = "Can you segment the red cup in this image?"  # one object in picture 0
DESCRIBE = "Describe this image."  # no mask for picture 1
TWO = "Can you segment the cup and the table?"  # two objects in picture 2
LONG = "What can make the woman stand higher? Please output segmentation mask and explain why."
SLOW = f"slowly {CUP}"


# --- what comes out ---


def test_one_instruction_on_all_topics(robot, camera, first_golden):
    from robot import to_array

    answer = robot.say(CUP)
    assert status(answer) == "FOUND"
    assert answer.message == ""
    stamp = answer.header.stamp
    assert (stamp.sec, stamp.nanosec) in camera.stamps
    assert answer.header.frame_id == "camera_optical_frame"

    mask = robot.messages("mask", stamp)[0]
    assert (mask.height, mask.width, mask.encoding, mask.step) == (240, 320, "mono8", 320)
    pixels = to_array(mask)
    assert set(np.unique(pixels)) == {0, 255}
    want = first_golden.case("gen0")["mask_area"][0]
    assert np.count_nonzero(pixels) == pytest.approx(want, rel=0.01)

    labels = robot.messages("label_image", stamp)[0]
    assert labels.encoding == "mono16"
    np.testing.assert_array_equal(to_array(labels) == 1, pixels == 255)
    png = robot.messages("mask/compressed", stamp)[0]
    decoded = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, pixels)
    assert "png" in png.format
    assert wait_until(lambda: robot.received["explanation"])
    assert robot.received["explanation"][-1].data == "Sure, it is."
    for message in (mask, labels, png):
        assert message.header == answer.header


def test_the_answers_fields(robot):
    answer = robot.say(CUP)
    assert (answer.source, answer.final) == (answer.SOURCE_TOPIC, True)
    assert (answer.instruction, answer.prompt_template) == (CUP, "raw")
    assert answer.explanation == "Sure, it is."
    assert (answer.image_height, answer.image_width) == (240, 320)
    assert not answer.context_kept
    view = answer.language_view
    assert (view.x_offset, view.y_offset, view.width, view.height) == (40, 0, 240, 240)
    assert answer.model.endswith("lisa-tiny")
    assert answer.precision == "fp32"
    assert answer.generated_tokens == 9
    times = ("prefill_time", "decode_time", "mask_decoder_time", "first_mask_time")
    assert all(0 < getattr(answer, name) < answer.total_time for name in times)
    assert answer.geometry_time == 0

    [item] = answer.objects
    assert item.header == answer.header
    assert item.label == 1
    assert item.mask.header == answer.header
    assert np.count_nonzero(np.frombuffer(item.mask.data, np.uint8)) == item.area
    box = item.box
    assert box.x_offset + box.width <= 320
    assert box.y_offset + box.height <= 240
    assert 0 < item.area <= box.width * box.height
    assert 0 < item.seg_probability <= 1
    assert 0.5 < item.mask_probability <= 1
    assert not item.has_geometry
    assert np.isnan([item.depth_valid_share, item.centroid.x, item.box_size.z]).all()


def test_a_provisional_answer_comes_before_the_final_one(robot, picture_of):
    goal = robot.start(TWO, picture_of(2))
    final, _ = goal.result()
    first, second, last = robot.answers(final.question_id)
    assert [len(a.objects) for a in (first, second, last)] == [1, 2, 2]
    assert [a.final for a in (first, second, last)] == [False, False, True]
    assert [status(a) for a in (first, second, last)] == ["PENDING", "PENDING", "FOUND"]
    assert first.explanation == "Sure, the cup is"
    assert (first.image_height, first.image_width) == (960, 1280)
    assert first.language_view == last.language_view
    assert first.language_view.width == pytest.approx(960, abs=2)
    assert not first.context_kept
    assert first.header == last.header
    assert first.total_time < second.total_time < last.total_time
    # Only the whole answer goes to the mask topics.
    assert len(robot.messages("mask", last.header.stamp)) == 1
    assert len(robot.messages("label_image", last.header.stamp)) == 1


def test_publish_early_sends_provisional_masks(robot, picture_of):
    from robot import to_array

    robot.set(publish="early")
    try:
        answer = robot.ask(f"slowly {TWO}", picture_of(2))
    finally:
        robot.set(publish="final")
    # Only the last one is sure to arrive: the QoS keeps one.
    union = np.logical_or.reduce([to_array(item.mask) for item in answer.objects])
    masks = robot.received["mask"]
    assert wait_until(lambda: masks and np.array_equal(to_array(masks[-1]) > 0, union))
    assert wait_until(lambda: len(masks) >= 2)
    areas = [np.count_nonzero(to_array(mask)) for mask in masks]
    assert areas == sorted(areas)
    assert areas[0] == answer.objects[0].area
    assert {stamp_ns(mask) for mask in masks} == {stamp_ns(answer)}
    # One of the answer before may still have been on its way.
    assert len(robot.messages("label_image", answer.header.stamp)) == 1


def test_the_overlay_comes_when_somebody_subscribes(robot):
    from sensor_msgs.msg import Image

    robot.listen("overlay", Image)

    def arrives() -> bool:
        robot.ask(CUP)
        return wait_until(lambda: robot.received["overlay"], 0.5)

    assert wait_until(arrives)
    overlay = robot.received["overlay"][-1]
    assert (overlay.encoding, overlay.height, overlay.width) == ("rgb8", 240, 320)


GENERATED = ("gen0", "gen2", "gen3", "gen5", "gen6", "gen7", "gen9")


@pytest.mark.parametrize("key", GENERATED)
def test_golden_answers_by_service(robot, picture_of, first_golden, key):
    from robot import to_array

    case = first_golden.case(key)
    answer = robot.ask(case["instruction"], picture_of(case["image"]))
    asks_for_mask = case["instruction"] != DESCRIBE
    expected = "FOUND" if case["n_seg"] else "NOT_FOUND" if asks_for_mask else "TEXT_ONLY"
    assert status(answer) == expected
    assert bool(answer.message) == (expected == "NOT_FOUND")
    assert answer.source == answer.SOURCE_SERVICE
    assert answer.header.stamp.sec == 1000 + case["image"]
    areas = [item.area for item in answer.objects]
    assert areas == pytest.approx(case["mask_area"], rel=0.01)
    assert [item.label for item in answer.objects] == list(range(1, case["n_seg"] + 1))
    height, width = first_golden.image(case["image"]).shape[:2]
    assert (answer.image_height, answer.image_width) == (height, width)

    mask = to_array(robot.messages("mask", answer.header.stamp)[0])
    labels = to_array(robot.messages("label_image", answer.header.stamp)[0])
    assert mask.shape == (height, width)
    np.testing.assert_array_equal(mask > 0, labels > 0)
    union = np.zeros((height, width), bool)
    for item in answer.objects:
        union |= to_array(item.mask) > 0
    np.testing.assert_array_equal(mask > 0, union)
    [published] = robot.answers(answer.question_id)[-1:]
    assert str(published) == str(answer)  # NaN is unequal to itself


def test_truncated(robot, picture_of):
    robot.set(max_new_tokens=6)
    try:
        goal = robot.start(CUP, picture_of(0))
        answer, end = goal.result()
    finally:
        robot.set(max_new_tokens=256)
    assert (status(answer), end) == ("TRUNCATED", "SUCCEEDED")
    assert len(answer.objects) == 1
    assert "raise max_new_tokens" in answer.message


def test_model_info_reaches_late_joiners_and_results_do_not(robot, graph):
    from robot import Robot

    answer = robot.say(CUP)
    late = Robot(graph)
    assert wait_until(lambda: late.received["model_info"])
    info = late.received["model_info"][0]
    assert info.model == answer.model
    assert (info.precision, info.device, info.conversation) == ("fp32", "cpu", "llava_v1")
    assert info.default_template == "explain"
    assert info.parameters > 1000
    assert info.memory >= 4 * info.parameters
    assert info.load_time > 0
    late.wait_until_seen()
    time.sleep(0.5)
    assert not late.received["answer"]
    assert not late.received["mask"]

    def gets_the_next_one() -> bool:
        robot.ask(CUP)
        return wait_until(lambda: late.received["answer"] and late.received["mask"], 1)

    assert wait_until(gets_the_next_one)


# --- lifecycle ---


def test_lifecycle_twice(robot, camera):
    robot.say(CUP)
    for _ in range(2):
        goal = robot.start(SLOW)
        assert goal.speaks()
        assert robot.change_state("deactivate")
        assert robot.state() == "inactive"
        answer, end = goal.result()
        assert (status(answer), end) == ("NOT_ACTIVE", "ABORTED")
        assert answer.message == "the node was deactivated; activate it"
        answer = robot.say(CUP)
        assert status(answer) == "NOT_ACTIVE"
        assert answer.message == "expected the state ACTIVE, the node is INACTIVE; activate it"
        assert status(robot.ask(CUP)) == "NOT_ACTIVE"
        assert status(robot.start(CUP).result()[0]) == "NOT_ACTIVE"
        assert robot.diagnostics("model")[1] == "INACTIVE"
        assert robot.change_state("cleanup")
        assert robot.state() == "unconfigured"
        assert "the node is UNCONFIGURED" in robot.ask(CUP).message
        assert robot.change_state("configure", "activate")
        assert robot.state() == "active"
        assert wait_until(lambda: status(robot.ask(CUP)) == "FOUND", 15)


# --- parameters ---


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mode", "twice", "mode: expected one of 'once', 'continuous', 'follow', got 'twice'"),
        ("prompt_template", "poem", "'explain'"),
        ("max_new_tokens", 0, "max_new_tokens"),
        ("rate", float("nan"), "nan"),
        ("rate", 1000.0, "rate"),
        ("timeout", "long", "type"),
        ("model", "other", "model"),
        ("device", "cuda", "device"),
        ("no_such_parameter", 1, "undeclared parameter"),
    ],
)
def test_wrong_parameters_are_refused_with_the_reason(robot, name, value, words):
    assert words in robot.try_to_set(name, value)


def test_the_yaml_file_is_the_table(robot):
    import yaml
    from robot import ROOT

    from lisa_ros.nodes.parameters import PARAMETERS

    text = (ROOT / "config" / "perception.yaml").read_text()
    nested = yaml.safe_load(text)["/**"]["ros__parameters"]
    flat = dict(flatten(nested))
    assert flat == {spec.name: spec.default for spec in PARAMETERS}
    for spec in PARAMETERS:
        assert isinstance(flat[spec.name], type(spec.default)), spec.name
    # What is marked in the file as read at the start is read-only, and the other way round.
    lines = {line.split(":")[0].strip(): line for line in text.splitlines() if ":" in line}
    for spec in PARAMETERS:
        assert ("(start)" in lines[spec.name.split(".")[-1]]) == spec.read_only, spec.name


def flatten(nested: dict, prefix: str = ""):
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_parameters_describe_themselves(robot):
    from lisa_ros.nodes.parameters import PARAMETERS

    names = [spec.name for spec in PARAMETERS]
    assert set(names) <= set(robot.parameter_names())
    for spec, descriptor in zip(PARAMETERS, robot.describe(*names), strict=True):
        assert descriptor.description == spec.description
        assert descriptor.read_only == spec.read_only
        assert bool(descriptor.additional_constraints) == bool(spec.choices)
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [spec.bounds] if spec.bounds else []
        )


# --- diagnostics and responsiveness ---


def test_diagnostics(robot):
    from diagnostic_msgs.msg import DiagnosticStatus

    robot.ask(CUP)
    level, message, values = robot.diagnostics("model")
    assert (level, message) == (DiagnosticStatus.OK, "ACTIVE")
    assert values["model"].endswith("lisa-tiny")
    assert (values["precision"], values["device"]) == ("fp32", "cpu")
    assert int(values["host memory [MiB]"]) > 100
    assert "last error" in values
    level, message, values = robot.diagnostics("answers")
    assert int(values["answers FOUND"]) >= 1
    p50, p95 = map(float, values["total p50/p95 [ms]"].split("/"))
    assert 0 < p50 <= p95


def test_masks_alone_need_no_camera_info(robot):
    level, message, values = robot.diagnostics("camera")
    assert (level, message) == (b"\0", "images arrive")
    assert int(values["images"]) > 10
    assert {"unused", "unmatched", "out of order"} <= set(values)


def test_a_timer_beside_an_inference_stays_on_time(robot, process, picture_of):
    def gaps() -> np.ndarray:
        count = process.output.count("timer [")
        process.tell("how late?")
        assert wait_until(lambda: process.output.count("timer [") > count)
        time.sleep(0.05)
        line = [line for line in process.output.splitlines() if line.startswith("timer [")][-1]
        return np.array(json.loads(line.removeprefix("timer ")))

    gaps()
    for index in (2, 4, 0, 1):
        robot.ask(CUP, picture_of(index))
        robot.start(LONG, picture_of(index)).result()
    late = gaps()
    assert len(late) > 200
    assert np.percentile(late, 99) <= 100
    assert late.max() <= 300


def test_a_client_that_dies_while_it_waits(robot, ros_domain):
    client = Child(
        """
import rclpy
from lisa_ros.srv import Ask
rclpy.init()
node = rclpy.create_node("client")
client = node.create_client(Ask, "/lisa/ask_once")
assert client.wait_for_service(10)
client.call_async(Ask.Request(instruction="slowly Describe this image."))
print("asked")
rclpy.spin(node)
"""
    )
    client.wait_for("asked")
    assert wait_until(lambda: robot.received["answer"])
    client.process.kill()
    client.stop()
    assert wait_until(lambda: any(a.final for a in robot.received["answer"]))
    assert status(robot.ask(CUP)) == "FOUND"


def test_sigint_answers_what_is_open_and_ends(robot, process):
    # The last test with this node.
    goal = robot.start(SLOW)
    assert goal.speaks()
    process.process.send_signal(signal.SIGINT)
    assert process.process.wait(10) == 0
    answers = robot.received["answer"]
    assert wait_until(lambda: any(a.final for a in answers), 2)
    last = next(a for a in answers if a.final)
    assert (status(last), last.message) == ("NOT_ACTIVE", "the node is shutting down")
    told, end = goal.result(2)  # the goal's client hears it as well
    assert (status(told), end) == ("NOT_ACTIVE", "ABORTED")

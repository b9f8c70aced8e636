"""The perception node with the golden model, over DDS: it runs in one process, we in another."""

import json
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Child, RosGraph, wait_until

from lisa_ros.nodes.frames import stamp_ns

pytestmark = pytest.mark.ros

NODE = Path(__file__).with_name("node_process.py")
CUP = "Can you segment the red cup in this image?"  # one object in picture 0
CIRCLE = "Where is the largest circle? Please output segmentation mask."  # none in picture 3
DESCRIBE = "Describe this image."  # no mask for picture 1
TWO = "Can you segment the cup and the table?"  # two objects in picture 2
LONG = "What can make the woman stand higher? Please output segmentation mask and explain why."
SLOW = f"slowly {CUP}"


@pytest.fixture(scope="module")
def graph(ros_domain):
    graph = RosGraph()
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def process(ros_domain):
    from robot import GOLDEN_MODEL, parameter_arguments

    child = Child(NODE, "--ros-args", *parameter_arguments(**GOLDEN_MODEL))
    yield child
    assert child.stop(timeout=10) == 0, child.output
    assert "Traceback" not in child.output
    assert "terminate called" not in child.output


@pytest.fixture(scope="module")
def camera(graph, first_golden):
    from robot import Camera

    camera = Camera(graph)
    camera.show(first_golden.image(0))
    return camera


@pytest.fixture(scope="module")
def started(graph, camera, process):
    """The robot once the node answers, and all its results arrive here."""
    from robot import RESULTS, Robot

    robot = Robot(graph)
    process.wait_for("is ready after", 120)
    robot.wait_until_seen()

    def all_arrive() -> bool:
        robot.ask(CUP)
        return wait_until(lambda: all(robot.received[topic] for topic in RESULTS), 1)

    assert wait_until(all_arrive, 30)
    return robot


@pytest.fixture
def robot(started, camera, first_golden):
    """The robot, with picture 0 before its camera and nothing received yet."""
    camera.show(first_golden.image(0))
    time.sleep(0.15)  # what is still on its way
    for messages in started.received.values():
        messages.clear()
    return started


@pytest.fixture
def picture_of(first_golden):
    """Golden pictures as messages of their own."""
    from robot import to_message

    return lambda index: to_message(first_golden.image(index), stamp=time_message(1000 + index))


def time_message(seconds: int):
    from builtin_interfaces.msg import Time

    return Time(sec=seconds)


def status(answer) -> str:
    from robot import status_name

    return status_name(answer)


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


# --- the action ---


def test_an_action_tells_words_and_masks_as_they_come(robot, picture_of):
    goal = robot.start(LONG, picture_of(1))
    answer, end = goal.result()
    assert (status(answer), end) == ("FOUND", "SUCCEEDED")
    assert answer.source == answer.SOURCE_ACTION
    assert answer.explanation == "Sure. The chair is safe and it can be used for standing higher."
    assert wait_until(lambda: goal.feedback[-1].text == answer.explanation)
    stages = [feedback.stage for feedback in goal.feedback]
    assert stages[:2] == ["waiting", "encoding"]
    assert set(stages[2:]) == {"answering"}
    texts = [feedback.text for feedback in goal.feedback]
    assert sorted(texts, key=len) == texts
    assert len(set(texts)) > 5
    with_objects = [feedback for feedback in goal.feedback if feedback.objects]
    assert [len(feedback.objects) for feedback in with_objects] == [1]
    assert with_objects[0].objects[0].area == answer.objects[0].area
    assert with_objects[0].text == "Sure,"
    assert {feedback.question_id for feedback in goal.feedback} == {answer.question_id}


def test_cancel_in_the_middle_of_an_answer(robot):
    goal = robot.start(SLOW)
    assert goal.speaks()
    asked_at = time.monotonic()
    goal.cancel()
    answer, end = goal.result()
    assert time.monotonic() - asked_at < 0.6
    assert (status(answer), end) == ("CANCELLED", "CANCELED")
    assert "cancelled" in answer.message
    assert answer.generated_tokens < 9
    assert answer.explanation
    assert not robot.received["mask"]
    assert status(robot.ask(CUP)) == "FOUND"
    assert wait_until(lambda: robot.received["explanation"])
    assert [m.data for m in robot.received["explanation"]] == ["Sure, it is."]  # no half sentence


def test_cancel_at_once(robot):
    for _ in range(5):
        goal = robot.start(SLOW)
        goal.cancel()
        answer, end = goal.result(5)
        assert (status(answer), end) == ("CANCELLED", "CANCELED")
        assert len([a for a in robot.answers(answer.question_id) if a.final]) == 1


def test_a_new_goal_pre_empts_an_old_one(robot, picture_of):
    first = robot.start(SLOW)
    assert first.speaks()
    second = robot.start(CUP)
    answer, end = first.result()
    assert (status(answer), end) == ("PREEMPTED", "ABORTED")
    assert "source action) took its place" in answer.message
    answer, end = second.result()
    assert (status(answer), end) == ("FOUND", "SUCCEEDED")


def test_busy_policy_reject(robot):
    robot.set(busy_policy="reject")
    try:
        first = robot.start(SLOW)
        assert first.speaks()
        answer, end = robot.start(CUP).result()
        assert (status(answer), end) == ("REJECTED", "ABORTED")
        assert "busy_policy is reject" in answer.message
        assert status(robot.ask(CUP)) == "REJECTED"
        answer, end = first.result()
        assert (status(answer), end) == ("FOUND", "SUCCEEDED")
    finally:
        robot.set(busy_policy="preempt")


def test_the_topic_never_pre_empts_a_goal_or_a_call(robot):
    goal = robot.start(SLOW)
    assert goal.speaks()
    answer = robot.say(CUP)
    assert status(answer) == "REJECTED"
    assert "the topic never interrupts it" in answer.message
    answer, _ = goal.result()
    assert status(answer) == "FOUND"


def test_a_goal_pre_empts_the_topic_and_the_topic_itself(robot):
    robot.whisper(SLOW)
    assert wait_until(lambda: robot.received["answer"])  # the provisional one
    robot.whisper(f"{SLOW} ")
    time.sleep(0.3)
    answer, _ = robot.start(CUP).result()
    assert status(answer) == "FOUND"
    ends = [status(robot.answers(answer.question_id - 2 + i)[-1]) for i in range(3)]
    assert ends == ["PREEMPTED", "PREEMPTED", "FOUND"]


def test_timeout(robot):
    answer, end = robot.start(SLOW, timeout=0.4).result()
    assert (status(answer), end) == ("TIMEOUT", "ABORTED")
    assert "timeout of 0.4 s" in answer.message
    robot.set(timeout=0.3)
    try:
        assert status(robot.say(SLOW)) == "TIMEOUT"
        assert status(robot.ask(SLOW, timeout=10.0)) == "FOUND"
    finally:
        robot.set(timeout=60.0)
    answer = robot.ask(CUP, timeout=-1.0)
    assert status(answer) == "REJECTED"
    assert "got -1 s" in answer.message


def test_a_flood_of_goals_ends_each_exactly_once(robot):
    goals = [robot.start(SLOW if i % 2 else CUP) for i in range(20)]
    for goal in goals[::3]:
        goal.cancel()
    answers = [goal.result()[0] for goal in goals]
    assert len({answer.question_id for answer in answers}) == 20
    for answer in answers:
        finals = [a for a in robot.answers(answer.question_id) if a.final]
        assert list(map(str, finals)) == [str(answer)]


# --- frames ---


def test_no_image_then_a_new_one(robot, camera, first_golden):
    camera.show(None)
    robot.set(image_timeout=0.3)
    try:
        assert robot.change_state("deactivate", "activate")
        answer = robot.ask(CUP)
        assert status(answer) == "NO_IMAGE"
        assert "no image arrived within 0.3 s" in answer.message
        goal = robot.start(CUP)
        assert goal.result()[1] == "ABORTED"
    finally:
        robot.set(image_timeout=5.0)
        camera.show(first_golden.image(0))
    assert status(robot.ask(CUP)) == "FOUND"
    robot.set(image_timeout=1.0)


def test_stale_image(robot, camera):
    robot.ask(CUP)
    camera.show(None)
    robot.set(max_image_age=0.2, image_timeout=0.1)
    try:
        time.sleep(0.4)
        robot.received["mask"].clear()
        answer = robot.say(CUP)
        assert status(answer) == "STALE_IMAGE"
        assert "max_image_age is 0.2 s" in answer.message
        assert answer.header.frame_id == "camera_optical_frame"
        assert not robot.received["mask"]
    finally:
        robot.set(max_image_age=2.0, image_timeout=1.0)


def test_stamps_that_go_backwards(robot, camera, first_golden):
    from robot import to_message

    robot.ask(CUP)
    camera.show(None)
    robot.set(max_image_age=0.0)
    try:
        old = to_message(first_golden.image(3), camera.now(-3600))
        for _ in range(3):
            camera.send(old)
            time.sleep(0.1)
        answer = robot.ask(CIRCLE)
    finally:
        robot.set(max_image_age=2.0)
    assert status(answer) == "NOT_FOUND"
    assert answer.header.stamp == old.header.stamp
    values = robot.diagnostics("camera")[2]
    assert int(values["resets"]) >= 1
    camera.show(first_golden.image(0))
    time.sleep(0.3)
    assert status(robot.ask(CUP)) == "FOUND"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 0, "height": 0, "step": 0}, "got"),
        ({"height": 0}, "got"),
        ({"step": 17}, "17"),
        ({"encoding": "nv77"}, "nv77"),
        ({"encoding": ""}, "got"),
        ({"data": b"123"}, "3"),
    ],
    ids=["zero size", "zero height", "wrong step", "unknown encoding", "no encoding", "few bytes"],
)
def test_images_that_cannot_be_read(robot, process, first_golden, fields, words):
    from robot import to_message

    answer = robot.ask(CUP, to_message(first_golden.image(0), time_message(7), **fields))
    assert status(answer) == "NO_IMAGE"
    assert "expected" in answer.message
    assert words in answer.message
    line = f"question {answer.question_id} (service): NO_IMAGE: {answer.message}"
    assert wait_until(lambda: line in process.output)
    assert status(robot.ask(CUP)) == "FOUND"


def test_a_bad_image_from_the_camera(robot, camera, first_golden):
    from robot import to_message

    camera.show(None)
    time.sleep(0.2)
    camera.send(to_message(first_golden.image(0), camera.now(), encoding="nv77"))
    time.sleep(0.2)
    answer = robot.say(CUP)
    assert status(answer) == "NO_IMAGE"
    assert "nv77" in answer.message
    camera.show(first_golden.image(0))
    time.sleep(0.3)
    assert status(robot.say(CUP)) == "FOUND"


# --- words ---


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("", "expected an instruction in words"),
        ("   ", "expected an instruction in words"),
        ("[SEG]</s><image>", "expected an instruction in words"),
        ("cup " * 25_000, "the model's 4096 positions"),
    ],
    ids=["empty", "blank", "control tokens", "100 kB"],
)
def test_instructions_that_cannot_be_asked(robot, process, instruction, words):
    answer = robot.say(instruction)
    assert status(answer) == "REJECTED"
    assert words in answer.message
    assert len(answer.message) < 500
    assert f"question {answer.question_id} (topic): REJECTED" in process.output
    assert status(robot.ask(CUP)) == "FOUND"


def test_control_tokens_among_words_are_inert(robot, picture_of):
    answer = robot.ask("[SEG] <image> </s> the cup <im_start>", picture_of(0))
    assert status(answer) in ("FOUND", "NOT_FOUND", "TEXT_ONLY")
    assert answer.instruction.startswith("[SEG]")
    assert "[SEG]" not in answer.explanation


def test_templates(robot, picture_of):
    answer = robot.ask("the cup", picture_of(0), prompt_template="phrase")
    assert answer.prompt_template == "phrase"
    answer = robot.ask("the cup", picture_of(0), prompt_template="poem")
    assert status(answer) == "REJECTED"
    assert "'poem'" in answer.message
    assert "explain" in answer.message
    robot.set(prompt_template="")
    try:
        assert robot.ask("the cup", picture_of(0)).prompt_template == "explain"
    finally:
        robot.set(prompt_template="raw")


# --- conversations and modes ---


def test_depth_or_camera_info_without_their_image_are_refused(robot):
    """Else they would be dropped, and the camera's picture answered."""
    from sensor_msgs.msg import CameraInfo, Image

    for own in ({"depth": Image(width=2, height=1)}, {"camera_info": CameraInfo(p=[1.0] * 12)}):
        answer, end = robot.start("the cup", **own).result()
        assert (status(answer), end) == ("REJECTED", "ABORTED")
        assert "expected an image with the depth or camera_info" in answer.message
        assert status(robot.ask("the cup", **own)) == "REJECTED"


def test_keep_context_stays_with_the_first_image(robot, camera, first_golden):
    first = robot.ask(CUP)
    camera.show(first_golden.image(3))
    time.sleep(0.3)
    second = robot.ask("the other one", keep_context=True)
    assert all(answer.context_kept for answer in robot.answers(second.question_id))
    assert second.header == first.header
    assert (second.image_height, second.image_width) == (240, 320)
    assert second.image_encoder_time == second.vision_tower_time == 0
    robot.set(keep_context=True)
    try:
        assert robot.say("and that").header == first.header
    finally:
        robot.set(keep_context=False)
    third = robot.say(CIRCLE)
    assert not third.context_kept
    assert stamp_ns(third) > stamp_ns(first)


def test_mode_continuous(robot, camera):
    robot.set(mode="continuous", rate=2.0)
    try:
        first = robot.say(CUP)
        assert wait_until(lambda: sum(a.final for a in robot.received["answer"]) >= 4)
        # A goal comes between, and the instruction goes on after it.
        robot.start(CUP).result()
        count = sum(a.final for a in robot.received["answer"])
        assert wait_until(lambda: sum(a.final for a in robot.received["answer"]) > count + 1)
    finally:
        robot.set(mode="once", rate=1.0)
    finals = [a for a in robot.received["answer"] if a.final and a.source == a.SOURCE_TOPIC]
    assert {a.instruction for a in finals} == {CUP}
    assert finals[0] == first
    stamps = [stamp_ns(a) / 1e9 for a in finals[:4]]
    assert np.diff(stamps).mean() > 0.4  # of images, one of which may be old when it is asked about
    time.sleep(0.7)
    count = len(robot.received["answer"])
    time.sleep(0.7)
    robot.set(mode="continuous")  # without a new instruction nothing is asked
    time.sleep(1.5)
    robot.set(mode="once")
    assert len(robot.received["answer"]) == count


def test_mode_follow(robot):
    robot.set(mode="follow")
    try:
        first = robot.say(CUP)
        assert wait_until(lambda: len(follow_answers(robot)) >= 3)
    finally:
        robot.set(mode="once")
    answers = follow_answers(robot)
    assert {status(a) for a in answers} == {"FOUND"}  # the picture stays the same
    assert {a.instruction for a in answers} == {CUP}
    assert answers[0].question_id > first.question_id
    assert stamp_ns(answers[0]) > stamp_ns(first)
    assert answers[0].objects[0].area == pytest.approx(first.objects[0].area, rel=0.01)
    time.sleep(2.0)  # a frame that was under way is still answered
    count = len(follow_answers(robot))
    time.sleep(0.5)
    assert len(follow_answers(robot)) == count


def test_follow_by_goal_until_the_picture_changes(robot, camera, first_golden):
    robot.start(CUP, follow=True).result()
    assert wait_until(lambda: len(follow_answers(robot)) >= 1)
    camera.show(first_golden.image(3))
    assert wait_until(
        lambda: any(status(a) == "LOST" or a.image_width == 256 for a in follow_answers(robot))
    )
    robot.ask(CUP)  # ends it
    time.sleep(0.3)
    count = len(follow_answers(robot))
    time.sleep(0.4)
    assert len(follow_answers(robot)) == count


def follow_answers(robot) -> list:
    return [a for a in robot.received["answer"] if a.final and a.source == a.SOURCE_FOLLOW]


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
        assert "the node is INACTIVE" in answer.message
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

"""The perception node over DDS: pictures and instructions, good and bad."""

import time

import pytest
from conftest import status, wait_until

pytestmark = pytest.mark.ros

CUP = "Can you segment the red cup in this image?"  # one object in picture 0
CIRCLE = "Where is the largest circle? Please output segmentation mask."  # none in picture 3


def time_message(seconds: int):
    from builtin_interfaces.msg import Time

    return Time(sec=seconds)


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

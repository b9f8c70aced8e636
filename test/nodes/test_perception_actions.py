"""The perception node over DDS: goals that meet, cancel and wait, conversations and modes."""

import time

import numpy as np
import pytest
from conftest import status, wait_until

from lisa_ros.nodes.frames import stamp_ns

pytestmark = pytest.mark.ros

CUP = "Can you segment the red cup in this image?"  # one object in picture 0
CIRCLE = "Where is the largest circle? Please output segmentation mask."  # none in picture 3
LONG = "What can make the woman stand higher? Please output segmentation mask and explain why."
SLOW = f"slowly {CUP}"


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


def test_a_follow_up_is_not_repeated(robot, camera):
    """Later it would be another question: about a new image, without the rounds before."""
    robot.ask(CUP)
    robot.set(mode="continuous", rate=5.0, keep_context=True)
    try:
        assert robot.say("the other one").context_kept
        time.sleep(1.0)
        finals = [a for a in robot.received["answer"] if a.final and a.source == a.SOURCE_TOPIC]
        assert len(finals) == 1
    finally:
        robot.set(mode="once", rate=1.0, keep_context=False)


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
    from std_srvs.srv import Trigger

    robot.start(CUP, follow=True).result()
    assert wait_until(lambda: len(follow_answers(robot)) >= 1)
    camera.show(first_golden.image(3))
    assert wait_until(
        lambda: any(status(a) == "LOST" or a.image_width == 256 for a in follow_answers(robot))
    )
    stopped = robot.call(Trigger, "stop_following", Trigger.Request())
    assert stopped.success
    assert stopped.message.endswith(f"is followed no more: {CUP}")
    assert not robot.call(Trigger, "stop_following", Trigger.Request()).success
    time.sleep(2.0)  # a frame that was under way is still answered
    count = len(follow_answers(robot))
    time.sleep(0.4)
    assert len(follow_answers(robot)) == count


def test_a_goal_that_waits_for_the_worker_says_so(robot, picture_of):
    robot.set(busy_policy="preempt")
    running = robot.start(SLOW)
    assert wait_until(lambda: running.feedback)
    goal = robot.start(CUP)
    answer, _ = goal.result()
    assert goal.feedback[0].stage == "waiting"
    assert goal.feedback[0].question_id == answer.question_id
    running.result()


def test_a_picture_from_before_a_motion_is_not_answered(robot, camera):
    from robot import now

    soon = now(0.5)
    answer = robot.ask(CUP, not_before=soon)
    assert (status(answer), stamp_ns(answer) >= soon.sec * 10**9 + soon.nanosec) == ("FOUND", True)
    assert status(robot.ask(CUP, not_before=now(100))) == "STALE_IMAGE"
    before_zero = type(soon)(sec=-1)  # as `now - 2 s` is when a simulator has just started
    assert status(robot.ask(CUP, not_before=before_zero)) == "FOUND"


def follow_answers(robot) -> list:
    return [a for a in robot.received["answer"] if a.final and a.source == a.SOURCE_FOLLOW]

"""The publishers: what is set for one topic, or fails on one, leaves the others alone."""

import pytest
from conftest import wait_until

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")


@pytest.fixture
def lisa(ros_graph):
    override = "qos_overrides./lisa/mask.publisher.reliability:=best_effort"
    return ros_graph.node("lisa", cli_args=["--ros-args", "-p", override])


@pytest.fixture
def outputs(lisa):
    from rclpy.callback_groups import ReentrantCallbackGroup

    from lisa_ros.nodes.outputs import Outputs

    return Outputs(lisa, ReentrantCallbackGroup())


def test_an_override_is_of_one_topic(lisa, outputs):
    from rclpy.qos import ReliabilityPolicy

    def reliability(topic: str) -> ReliabilityPolicy:
        [endpoint] = lisa.get_publishers_info_by_topic(f"/lisa/{topic}")
        return endpoint.qos_profile.reliability

    topics = ("mask", "mask/compressed", "label_image", "overlay", "answer", "object_cloud")
    found = {topic: reliability(topic) for topic in topics}
    assert found.pop("mask") == ReliabilityPolicy.BEST_EFFORT
    assert set(found.values()) == {ReliabilityPolicy.RELIABLE}


def test_an_output_that_fails_does_not_take_the_answer_with_it(
    ros_graph, lisa, outputs, monkeypatch
):
    from lisa_ros.msg import Answer
    from lisa_ros.nodes.frames import Frame
    from lisa_ros.nodes.questions import Outcome
    from lisa_ros.perception import Status

    def fail(*_):
        raise MemoryError("no room for a cloud")

    logged, answers, others = [], [], []
    monkeypatch.setattr(outputs, "_publish_images", fail)
    for name in ("_publish_3d", "_publish_detections", "_publish_explanation"):
        monkeypatch.setattr(outputs, name, lambda *_, name=name: others.append(name))
    monkeypatch.setattr(outputs._logger, "error", logged.append)
    lisa.create_subscription(Answer, "/lisa/answer", answers.append, 10)
    outcome = Outcome(Status.NOT_FOUND, frame=Frame(image=None))

    def arrives() -> bool:
        outputs.publish_final(Answer(question_id=7, final=True), outcome)
        return wait_until(lambda: answers, 0.2)

    assert wait_until(arrives)
    assert answers[0].question_id == 7
    assert "question 7" in logged[0]
    assert "no room for a cloud" in logged[0]
    assert set(others) == {"_publish_3d", "_publish_detections", "_publish_explanation"}


def test_the_message_of_an_object_that_was_rejected_is_not_used():
    """Follow mode asks again, the new object goes out at once, and then the old one stays."""
    from std_msgs.msg import Header
    from worker_bench import found

    from lisa_ros.nodes.answer_messages import object_messages
    from lisa_ros.nodes.questions import Question, Source

    question, header = Question(1, Source.FOLLOW, "the cup"), Header()
    kept, rejected, further = found(x=10), found(x=40, size=5), found(x=20, size=8)
    [message] = object_messages(question, (rejected,), header)
    assert message.area == 25
    assert [m.area for m in object_messages(question, (rejected, further), header)] == [25, 64]
    assert object_messages(question, (rejected, further), header)[0] is message
    [message] = object_messages(question, (kept,), header)
    assert (message.area, message.label) == (kept.area, 1)


def test_a_lost_object_leaves_no_old_overlay(ros_graph, lisa, outputs, picture):
    from robot import to_message
    from sensor_msgs.msg import Image

    from lisa_ros.nodes.answer_messages import final_message
    from lisa_ros.nodes.frames import Frame
    from lisa_ros.nodes.questions import Outcome, Question, Source
    from lisa_ros.perception import Status

    rgb = picture(48, 64)
    outcome = Outcome(Status.LOST, "gone", Frame(to_message(rgb)), rgb=rgb)
    message = final_message(Question(1, Source.FOLLOW, "the cup"), outcome, None)
    overlays = []
    lisa.create_subscription(Image, "/lisa/overlay", overlays.append, 10)

    def arrives() -> bool:
        outputs.publish_final(message, outcome)
        return wait_until(lambda: overlays, 0.2)

    assert wait_until(arrives)
    assert bytes(overlays[0].data) == rgb.tobytes()


def test_each_mask_is_encoded_once(monkeypatch, picture):
    from robot import to_message
    from worker_bench import FakeSegmenter, found

    from lisa_ros.nodes import answer_messages
    from lisa_ros.nodes.answer_messages import final_message, object_messages, provisional_message
    from lisa_ros.nodes.frames import Frame
    from lisa_ros.nodes.questions import Outcome, Progress, Question, Source
    from lisa_ros.perception import Status

    encoded = []

    def counted(mask, header):
        encoded.append(mask)
        return mask_image(mask, header)

    mask_image = answer_messages.mask_image
    monkeypatch.setattr(answer_messages, "mask_image", counted)
    question, frame = Question(1, Source.ACTION, "two"), Frame(to_message(picture(48, 64)))
    objects = (found(x=10), found(x=30))
    for count in (1, 2):
        progress = Progress("answering", "", frame, objects[:count], True)
        message = provisional_message(question, progress, None)
        assert len(message.objects) == count
        [*_, newest] = object_messages(question, progress.objects, frame.image.header)
        assert newest.label == count
    answer = FakeSegmenter()._answer("two", "", objects, Status.FOUND)
    outcome = Outcome(Status.FOUND, frame=frame, answer=answer)
    final = final_message(question, outcome, None)
    assert [item.area for item in final.objects] == [item.area for item in objects]
    assert len(encoded) == 2


def test_the_mask_of_a_single_object_is_that_of_the_answer(
    ros_graph, lisa, outputs, picture, monkeypatch
):
    from rclpy.qos import qos_profile_sensor_data
    from robot import to_message
    from sensor_msgs.msg import Image
    from worker_bench import FakeSegmenter, found

    from lisa_ros.nodes import outputs as module
    from lisa_ros.nodes.answer_messages import final_message
    from lisa_ros.nodes.frames import Frame
    from lisa_ros.nodes.questions import Outcome, Question, Source
    from lisa_ros.perception import Status

    rgb = picture(48, 64)
    answer = FakeSegmenter()._answer("the cup", "", [found()], Status.FOUND)
    outcome = Outcome(Status.FOUND, "", Frame(to_message(rgb)), answer, rgb=rgb)
    message = final_message(Question(1, Source.TOPIC, "the cup"), outcome, None)
    monkeypatch.setattr(module, "mask_image", None)  # not to be called
    masks = []
    lisa.create_subscription(Image, "/lisa/mask", masks.append, qos_profile_sensor_data)

    def arrives() -> bool:
        outputs.publish_final(message, outcome)
        return wait_until(lambda: masks, 0.2)

    assert wait_until(arrives)
    assert masks[0] == message.objects[0].mask

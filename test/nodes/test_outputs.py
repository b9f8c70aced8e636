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

    logged, answers = [], []
    monkeypatch.setattr(outputs, "_publish_images", fail)
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

"""The built messages, the service and the action are what docs and planners rely on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.ros

pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")
action = pytest.importorskip(
    "lisa_ros.action", reason="the interfaces are not built or not sourced: make setup"
)
msg = pytest.importorskip("lisa_ros.msg")
srv = pytest.importorskip("lisa_ros.srv")


def constants(message: type, prefix: str = "") -> dict[str, int]:
    names = (line.split()[1] for line in definition("msg/Answer.msg") if " = " in line)
    return {name: getattr(message, name) for name in names if name.startswith(prefix)}


def definition(path: str) -> list[str]:
    return [line.split("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]


def test_every_outcome_of_a_question_has_its_own_status():
    status = {k: v for k, v in constants(msg.Answer).items() if not k.startswith("SOURCE_")}
    assert set(status) == {
        *("PENDING", "FOUND", "NOT_FOUND", "TEXT_ONLY", "NO_DEPTH", "DEPTH_MISMATCH"),
        *("TF_UNAVAILABLE", "NO_IMAGE", "STALE_IMAGE", "TRUNCATED", "TIMEOUT", "PREEMPTED"),
        *("CANCELLED", "REJECTED", "NOT_ACTIVE", "LOST", "ERROR"),
    }
    assert sorted(status.values()) == list(range(len(status)))


def test_sources():
    source = constants(msg.Answer, "SOURCE_")
    assert source == {
        "SOURCE_TOPIC": 1,
        "SOURCE_ACTION": 2,
        "SOURCE_SERVICE": 3,
        "SOURCE_FOLLOW": 4,
    }


def test_a_message_that_nobody_filled_is_no_success():
    answer = msg.Answer()
    assert answer.status == msg.Answer.PENDING != msg.Answer.FOUND
    assert not answer.final
    assert not msg.Object().has_geometry


def test_service_and_action_answer_alike_and_ask_alike():
    assert srv.Ask.Response.get_fields_and_field_types() == {"answer": "lisa_ros/Answer"}
    assert action.Ask.Result.get_fields_and_field_types() == {"answer": "lisa_ros/Answer"}
    goal = action.Ask.Goal.get_fields_and_field_types()
    assert goal.pop("follow") == "boolean"
    assert srv.Ask.Request.get_fields_and_field_types() == goal


def test_an_answer_survives_serialisation():
    from rclpy.serialization import deserialize_message, serialize_message

    sent = msg.Answer(question_id=2**40, status=msg.Answer.FOUND, explanation="der rote Becher ☕")
    sent.objects.append(msg.Object(label=1, area=3, depth_valid_share=float("inf")))
    sent.objects[0].mask.data.frombytes(bytes([0, 255, 255, 255]))
    assert deserialize_message(serialize_message(sent), msg.Answer) == sent

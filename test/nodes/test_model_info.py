"""~/model_info: what is loaded."""

import pytest

from lisa_ros.perception import Segmenter

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")


def test_a_quantised_model_has_as_many_weights_in_less_memory():
    from lisa_ros.nodes.answer_messages import model_info_message

    whole, quantised = (
        model_info_message(Segmenter.from_pretrained(device="cpu", precision=precision), 0.0)
        for precision in ("bf16", "int8")
    )
    assert whole.parameters == quantised.parameters
    assert quantised.memory < whole.memory

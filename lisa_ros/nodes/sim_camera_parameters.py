"""The simulated camera's parameters; config/sim_camera.yaml repeats them for users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from lisa_ros.nodes.parameters import ParameterSpec, why_refused

SIM_CAMERA_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec("width", 640, "of the pictures [px]", bounds=(16, 4096), read_only=True),
    ParameterSpec("height", 480, "of the pictures [px]", bounds=(16, 4096), read_only=True),
    ParameterSpec("rate", 15.0, "pictures per second [Hz]", bounds=(0.1, 120), read_only=True),
    ParameterSpec("seed", 0, "which scene is shown", bounds=(0, 2**31 - 1)),
    ParameterSpec(
        "depth_encoding",
        "16UC1",
        "16UC1: millimetres, 0 where unknown; 32FC1: metres, NaN where unknown",
        ("16UC1", "32FC1"),
    ),
    ParameterSpec(
        "depth_noise",
        0.0,
        "standard deviation of the depth at 1 m, growing with the square of the distance [m]",
        bounds=(0, 0.1),
    ),
    ParameterSpec("depth_holes", 0.0, "share of the pixels without depth", bounds=(0, 1)),
    ParameterSpec(
        "motion_angle",
        0.0,
        "how far the camera swings about the scene, to either side [deg]; 0: it stands still",
        bounds=(0, 180),
        read_only=True,
    ),
    ParameterSpec(
        "motion_period",
        10.0,
        "time of one swing there and back [s]",
        bounds=(0.1, 3600),
        read_only=True,
    ),
)


class SimCameraParameters:
    """Declares the table on a node, refuses wrong values with a reason, and reads it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in SIM_CAMERA_PARAMETERS}
        node.add_on_set_parameters_callback(self._check)
        for spec in SIM_CAMERA_PARAMETERS:
            node.declare_parameter(spec.name, spec.default, spec.descriptor())

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            reason = "" if spec is None else why_refused(spec, parameter.value)
            if reason:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {reason}")
        return SetParametersResult(successful=True)

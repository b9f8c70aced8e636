"""The simulated camera's parameters; config/sim_camera.yaml repeats them for users."""

from __future__ import annotations

from rclpy.node import Node

from lisa_ros.nodes.parameter_table import ParameterSpec, ParameterTable

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


class SimCameraParameters(ParameterTable):
    """The table on a node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, SIM_CAMERA_PARAMETERS)

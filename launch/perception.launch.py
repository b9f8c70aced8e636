"""Start the perception node on a camera.

ros2 launch lisa_ros perception.launch.py model:=xinlai/LISA-7B-v1 image_topic:=/camera/image_raw

docs/cameras.md lists the arguments for common cameras.  To include it in another launch file, put
it into `GroupAction(scoped=True, forwarding=False)`: else that file's own `model` or `mode` would
be taken for these.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from lisa_ros.nodes.fast_dds import profile_environment

# Arguments that are parameters of the node: name, description, choices. Where one is empty,
# params_file decides.
PARAMETERS = (
    (
        "model",
        "checkpoint: hub id (xinlai/LISA-7B-v1) or folder; empty: the one of params_file",
        None,
    ),
    ("vision_tower", "CLIP: hub id or folder; empty: the one that the checkpoint names", None),
    (
        "precision",
        "how the weights are held; empty: bf16 on a GPU, else fp32",
        ["", "fp32", "bf16", "fp16", "int8", "nf4"],
    ),
    ("device", "cpu, cuda or cuda:N; empty: a GPU if there is one", None),
    (
        "image_transport",
        "raw images (also if empty), or compressed ones",
        ["", "raw", "compressed"],
    ),
    (
        "mode",
        "answer once (also if empty), again and again, or follow the object (experimental)",
        ["", "once", "continuous", "follow"],
    ),
    (
        "prompt_template",
        "what turns an instruction into a question; empty: the model's default",
        ["", "raw", "mask", "explain", "phrase"],
    ),
    ("target_frame", "frame of all 3D results, by tf2; empty: the camera's", None),
)

# The camera's topics: argument, topic of the node, default (RealSense's), description.
TOPICS = (
    ("image_topic", "image", "/camera/camera/color/image_raw", "the picture"),
    (
        "depth_topic",
        "depth",
        "/camera/camera/aligned_depth_to_color/image_raw",
        "depth, registered to the picture; none: there is no depth, and no 3D",
    ),
    (
        "camera_info_topic",
        "camera_info",
        "/camera/camera/color/camera_info",
        "intrinsics of the picture",
    ),
    (
        "depth_camera_info_topic",
        "depth_camera_info",
        "/camera/camera/aligned_depth_to_color/camera_info",
        "intrinsics of the depth, where it has its own; else none",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Arguments, the perception node, and RViz where it is asked for."""
    share = FindPackageShare("lisa_ros")
    arguments = [
        DeclareLaunchArgument(name, default_value="", description=text, choices=choices)
        for name, text, choices in PARAMETERS
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=f"topic of {text}")
        for name, _, default, text in TOPICS
    ]
    arguments += [
        DeclareLaunchArgument(
            "params_file",
            default_value=[share, "/config/perception.yaml"],
            description="all parameters of the node; arguments that are given win over it",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument(
            "python",
            default_value="",
            description="interpreter of the node, such as that of a virtual environment which is "
            "not active (default: python3 of the environment)",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            description="time comes from /clock: a simulator or a bag (default: as in params_file)",
            choices=["", "true", "false", "True", "False"],
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            description="of the node",
            choices=["debug", "info", "warn", "error", "fatal"],
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            description="show image, overlay, clouds and boxes in RViz (package rviz2)",
            choices=["true", "false", "True", "False"],
        ),
        DeclareLaunchArgument(
            "dds_profile",
            default_value="auto",
            description=(
                "Fast DDS profile of the node: auto (config/fastdds_large_messages.xml, only with "
                "Fast DDS and where no profile is set), none, or an XML file"
            ),
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def is_installed(package: str) -> bool:
    """Whether the environment has a ROS 2 package."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def start(context: LaunchContext) -> list[Action]:
    """The nodes for the arguments given."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    share = Path(FindPackageShare("lisa_ros").perform(context))
    # `none`, since `ros2 launch` refuses arguments without a value.
    absent = ("", "none")
    topics = [(topic, value(name)) for name, topic, *_ in TOPICS if value(name) not in absent]
    # As strings: an id such as 7 must not become a number on its way.
    parameters = {
        name: ParameterValue(value(name), value_type=str) for name, *_ in PARAMETERS if value(name)
    }
    clock = (
        {"use_sim_time": value("use_sim_time").lower() == "true"} if value("use_sim_time") else {}
    )
    parameters.update(clock)
    if value("depth_topic") in absent:
        parameters["use_depth"] = False
    nodes: list[Action] = [
        Node(
            package="lisa_ros",
            executable="perception_node",
            prefix=value("python") or None,
            name="lisa",
            namespace=value("namespace"),
            output="screen",
            emulate_tty=True,
            parameters=[value("params_file"), parameters],
            remappings=topics,
            arguments=["--ros-args", "--log-level", value("log_level")],
            additional_env=profile_environment(value("dds_profile")),
        )
    ]
    wants_rviz = value("rviz").lower() == "true"
    if wants_rviz and not is_installed("rviz2"):
        why = "rviz2 is not installed (sudo apt install ros-$ROS_DISTRO-rviz2): going on without"
        nodes.append(LogInfo(msg=why))
    elif wants_rviz:
        is_raw = value("image_transport") != "compressed"  # else pictures would come twice
        frame = value("target_frame")
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                name="lisa_rviz",
                namespace=value("namespace"),
                arguments=[
                    "-d",
                    str(share / "rviz" / "lisa.rviz"),
                    *(["-f", frame] if frame else []),
                ],
                parameters=[clock] if clock else [],
                remappings=[("image", value("image_topic"))] if is_raw else [],
            )
        )
    return nodes

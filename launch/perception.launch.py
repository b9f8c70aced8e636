"""Start the perception node on a camera.

ros2 launch lisa_ros perception.launch.py model:=xinlai/LISA-7B-v1 image_topic:=/camera/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Arguments that are parameters of the node; given values win over the parameter file.
PARAMETERS = (
    ("model", "", "checkpoint: hub id (xinlai/LISA-7B-v1) or folder", None),
    ("vision_tower", "", "CLIP: hub id or folder; empty: the one that the checkpoint names", None),
    (
        "precision",
        "",
        "how the weights are held; empty: bf16 on a GPU, else fp32",
        ["", "fp32", "bf16", "fp16", "int8", "nf4"],
    ),
    ("device", "", "cpu, cuda or cuda:N; empty: a GPU if there is one", None),
    ("image_transport", "raw", "raw or compressed images", ["raw", "compressed"]),
    (
        "mode",
        "once",
        "answer once, again and again (continuous), or follow the object (experimental)",
        ["once", "continuous", "follow"],
    ),
    (
        "prompt_template",
        "",
        "what turns an instruction into a question; empty: the model's default",
        ["", "raw", "mask", "explain", "phrase"],
    ),
)

# The camera's topics, named as RealSense's driver does; argument, topic of the node, default.
TOPICS = (
    ("image_topic", "image", "/camera/color/image_raw"),
    ("depth_topic", "depth", "/camera/aligned_depth_to_color/image_raw"),
    ("camera_info_topic", "camera_info", "/camera/color/camera_info"),
)


def generate_launch_description() -> LaunchDescription:
    """Arguments and the one node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in PARAMETERS
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=f"the camera's {topic}")
        for name, topic, default in TOPICS
    ]
    arguments += [
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution(
                [FindPackageShare("lisa_ros"), "config", "perception.yaml"]
            ),
            description="all other parameters of the node",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, ..."),
    ]
    node = Node(
        package="lisa_ros",
        executable="perception_node",
        name="lisa",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[
            LaunchConfiguration("params_file"),
            # As strings: an id such as 7 must not become a number on its way.
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=str)
                for name, *_ in PARAMETERS
            },
        ],
        remappings=[(topic, LaunchConfiguration(name)) for name, topic, _ in TOPICS],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    )
    return LaunchDescription([*arguments, node])

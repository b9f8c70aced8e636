"""The demo under ros2 launch: simulated camera, perception node, five questions, and RViz.

ros2 launch lisa_ros demo.launch.py

When the questions have been answered, camera and node go on: publish your own to /lisa/instruction.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Arguments, perception.launch.py on its default topics, the camera, the questions."""
    share = FindPackageShare("lisa_ros")
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource([share, "/launch/perception.launch.py"]),
        launch_arguments={
            "model": LaunchConfiguration("model"),
            "rviz": LaunchConfiguration("rviz"),
        }.items(),
    )
    camera = Node(
        package="lisa_ros",
        executable="sim_camera",
        output="screen",
        emulate_tty=True,
        parameters=[{"rate": 3.0}],
    )
    questions = Node(
        package="lisa_ros",
        executable="demo",
        output="screen",
        emulate_tty=True,
        arguments=[
            "--attach",
            "--scenes",
            LaunchConfiguration("scenes"),
            "--output",
            LaunchConfiguration("output"),
        ],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "scenes", default_value="50033,50204", description="seeds of the two scenes"
            ),
            DeclareLaunchArgument(
                "output", default_value="demo", description="folder for pictures and clouds"
            ),
            DeclareLaunchArgument(
                "model",
                default_value="",
                description="checkpoint: hub id or folder; empty: the small model of the package",
            ),
            DeclareLaunchArgument(
                "rviz",
                default_value="true",
                description="show image, overlay, clouds and boxes in RViz (package rviz2)",
                choices=["true", "false"],
            ),
            perception,
            camera,
            questions,
        ]
    )

"""What `pip install .` runs: the CMakeLists.txt of `colcon build`, packed by scikit-build-core.

pyproject.toml names this file as its build backend (PEP 517) and holds the settings. Here stands
only what cannot be written there: which ROS 2 is built against. It is looked for in
AMENT_PREFIX_PATH (a sourced /opt/ros/<distro> or colcon workspace) and in the environment that pip
installs into (the wheels of requirements/ros-*.txt). Without one, or with LISA_ROS_INTERFACES=off,
the wheel is pure Python: the model and the `lisa` command, without messages and nodes.

colcon reads <build_type>ament_cmake</build_type> in package.xml and never comes here.
"""

import os
import sys
from pathlib import Path


def prepare_environment() -> None:
    """Let CMake and the generators that it starts see ROS 2, which pip's build isolation hides."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    if sys.prefix not in prefixes:
        prefixes.append(sys.prefix)
    ros = [p for p in prefixes if Path(p, "share/rosidl_default_generators").is_dir()]

    if not ros:
        os.environ["LISA_ROS_INTERFACES"] = "off"
    if os.environ.get("LISA_ROS_INTERFACES") == "off":
        return
    os.environ["AMENT_PREFIX_PATH"] = os.environ["CMAKE_PREFIX_PATH"] = os.pathsep.join(prefixes)
    # pip's isolation works through PYTHONPATH; a sourced ROS 2 has its modules there.
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [Path(p, "lib", python, "site-packages") for p in prefixes if p != sys.prefix]
    folders += [Path(p, "local/lib", python, "dist-packages") for p in prefixes if p != sys.prefix]
    os.environ["PYTHONPATH"] = os.pathsep.join(str(f) for f in folders if f.is_dir())
    if ros == [sys.prefix]:
        compat = Path(__file__).resolve().parent / "cmake" / "ros_wheels_compat.cmake"
        os.environ["LISA_ROS_CMAKE_PROJECT_INCLUDE"] = str(compat)


if __name__ == "__main__":
    sys.exit("lisa_ros: use `pip install .`, or `colcon build` in a ROS 2 workspace")

prepare_environment()

from scikit_build_core.build import *  # noqa: E402, F403

#!/usr/bin/env bash
# Runs a command with ROS 2, the virtual environment and the package in its environment.
set -e
source /opt/ros/jazzy/setup.bash
source /lisa_ws/venv/bin/activate
source /lisa_ws/install/setup.bash
exec "$@"

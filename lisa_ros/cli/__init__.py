"""The `lisa` command; knows nothing of ROS."""

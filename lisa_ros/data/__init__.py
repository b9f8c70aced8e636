"""Files and their formats; knows neither torch nor ROS."""

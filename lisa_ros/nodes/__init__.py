"""The ROS 2 nodes; they know messages and topics, but not how a mask is made."""

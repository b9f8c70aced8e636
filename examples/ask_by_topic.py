#!/usr/bin/env python3
"""Ask the perception node for an object by topic, and print where the object is.

    python3 examples/ask_by_topic.py "something to drink from"

A topic can be spoken to from anywhere, but a question on it gives way to those of actions and
services, and cannot require 3D: look at `has_geometry` of each object.
"""

import sys
import time

import rclpy
from ask_for_object import describe
from std_msgs.msg import String

from lisa_ros.msg import Answer

PATIENCE = 70.0  # seconds; the node's own `timeout` is 60


def main() -> int:
    """Ask for what the command line says."""
    rclpy.init(args=sys.argv)
    instruction = " ".join(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    node = rclpy.create_node("ask_by_topic")
    answers: list[Answer] = []

    def on_answer(answer: Answer) -> None:
        # Provisional answers come first, and others may ask as well.
        from_topic = answer.source == Answer.SOURCE_TOPIC and answer.instruction == instruction
        if answer.final and from_topic:
            answers.append(answer)

    node.create_subscription(Answer, "/lisa/answer", on_answer, 20)
    publisher = node.create_publisher(String, "/lisa/instruction", 10)
    deadline = time.monotonic() + 10
    while not (publisher.get_subscription_count() and node.count_publishers("/lisa/answer")):
        if time.monotonic() > deadline:
            print("nobody listens to /lisa/instruction: is the node running?", file=sys.stderr)
            return 1
        rclpy.spin_once(node, timeout_sec=0.1)

    publisher.publish(String(data=instruction))
    deadline = time.monotonic() + PATIENCE
    while not answers:
        if time.monotonic() > deadline:
            print(f"no answer within {PATIENCE:g} s", file=sys.stderr)
            return 1
        rclpy.spin_once(node, timeout_sec=0.1)
    return 0 if describe(answers[0]) and answers[0].status == Answer.FOUND else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Ask the perception node for an object through its action, and print where the object is.

    python3 examples/ask_for_object.py "something to drink from"

Needs a camera with depth. Poses are in the node's `target_frame`, or in the camera's optical frame
where none is set. The exit code is 0 if there is an object with a pose.
"""

import sys

import rclpy
from rclpy.action import ActionClient

from lisa_ros.action import Ask
from lisa_ros.msg import Answer

NUMBERS = {name: getattr(Answer, name) for name in dir(Answer) if name.isupper()}
STATUS = {
    value: name
    for name, value in NUMBERS.items()
    if isinstance(value, int) and not name.startswith("SOURCE_")
}


def describe(answer: Answer) -> bool:
    """Print an answer; gives whether one of its objects has a pose."""
    print(STATUS[answer.status], answer.message)
    print("words:", answer.explanation)
    for item in answer.objects:
        print(f"object {item.label}: {item.area} px, score {item.mask_probability:.2f}")
        if not item.has_geometry:
            continue
        c, p, q, s = item.centroid, item.box_pose.position, item.box_pose.orientation, item.box_size
        print(f"  frame     {item.header.frame_id}")
        print(f"  centroid  {c.x:.3f} {c.y:.3f} {c.z:.3f} m")
        print(f"  box       {p.x:.3f} {p.y:.3f} {p.z:.3f} m")
        print(f"  turned    {q.x:.3f} {q.y:.3f} {q.z:.3f} {q.w:.3f} (x y z w)")
        print(f"  size      {s.x:.3f} {s.y:.3f} {s.z:.3f} m")
    return any(item.has_geometry for item in answer.objects)


def main() -> int:
    """Ask for what the command line says."""
    rclpy.init(args=sys.argv)
    instruction = " ".join(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    node = rclpy.create_node("ask_for_object")
    client = ActionClient(node, Ask, "/lisa/ask")
    if not client.wait_for_server(timeout_sec=10):
        print("no action /lisa/ask: is the perception node running?", file=sys.stderr)
        return 1

    def on_feedback(message: object) -> None:
        print(f"... {message.feedback.stage} {message.feedback.text}", flush=True)

    goal = Ask.Goal(instruction=instruction, require_3d=True)
    future = client.send_goal_async(goal, on_feedback)
    rclpy.spin_until_future_complete(node, future)
    result = future.result().get_result_async()
    rclpy.spin_until_future_complete(node, result)
    answer = result.result().result.answer
    return 0 if describe(answer) and answer.status == Answer.FOUND else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Put each answer's objects as boxes into MoveIt's planning scene.

    python3 examples/collision_object.py

It listens to /lisa/answer and publishes moveit_msgs/CollisionObject on /collision_object, which
move_group reads. Set the node's `target_frame` to a frame that does not move with the camera:
MoveIt places a collision object by its newest transforms, not by those at the image's stamp.
"""

import contextlib
import sys
from typing import Any

import rclpy
from geometry_msgs.msg import Pose
from rclpy.executors import ExternalShutdownException

from lisa_ros.msg import Answer, Object

# A box of which only the front was seen has no depth, and an obstacle without volume may be missed.
LEAST_THICKNESS = 0.01  # metres


def import_moveit() -> tuple[type, type]:
    """CollisionObject and SolidPrimitive, or an error that says how to get them."""
    try:
        from moveit_msgs.msg import CollisionObject
        from shape_msgs.msg import SolidPrimitive
    except ImportError as error:
        raise ImportError(
            f"{error}: this example needs MoveIt's messages; "
            "sudo apt install ros-$ROS_DISTRO-moveit-msgs"
        ) from error
    return CollisionObject, SolidPrimitive


def collision_objects(
    answer: Answer, known: frozenset[str] = frozenset(), least_thickness: float = LEAST_THICKNESS
) -> list[Any]:
    """The moveit_msgs/CollisionObject that bring the planning scene to the state of an answer.

    Args:
        answer: a final one. Objects without geometry are left out, and while there is one nothing
            is removed: it may be what an earlier answer added.
        known: ids that earlier answers added; those that this one lacks are removed.
        least_thickness: metres; no side of a box is shorter.

    Returns:
        One ADD for each object (id `lisa_K` of the K-th; it replaces an earlier one of that id),
        in the frame of the answer's geometry, then one REMOVE for each id that is gone.

    Raises:
        ImportError: moveit_msgs or shape_msgs is not installed.
    """
    collision_object, solid_primitive = import_moveit()
    messages = []
    for item in answer.objects:
        if item.has_geometry:
            sides = [item.box_size.x, item.box_size.y, item.box_size.z]
            box = solid_primitive(type=solid_primitive.BOX)
            box.dimensions = [max(side, least_thickness) for side in sides]
            message = collision_object(header=item.header, id=f"lisa_{item.label}")
            # The shape stands at the origin of the object, whose pose is that of the box.
            message.pose = thickened_pose(item, least_thickness)
            message.primitives = [box]
            message.primitive_poses = [Pose()]
            message.operation = collision_object.ADD
            messages.append(message)
    if any(item.area and not item.has_geometry for item in answer.objects):
        return messages
    for name in sorted(known - {message.id for message in messages}):
        message = collision_object(header=answer.header, id=name)
        message.operation = collision_object.REMOVE
        messages.append(message)
    return messages


def tells_all(answer: Answer) -> bool:
    """Whether an answer says where all that was asked for is; one of follow mode has one object."""
    is_seen = answer.final and answer.status in (Answer.FOUND, Answer.NOT_FOUND)
    return is_seen and answer.source != Answer.SOURCE_FOLLOW


def thickened_pose(item: Object, least_thickness: float) -> Pose:
    """The box's pose, moved so that its front stays where it was seen.

    The shortest axis, z, points to the camera; what is not seen lies behind.
    """
    p, q = item.box_pose.position, item.box_pose.orientation
    back = max(0.0, least_thickness - item.box_size.z) / 2
    pose = Pose(orientation=q)
    pose.position.x = p.x - back * 2 * (q.x * q.z + q.w * q.y)
    pose.position.y = p.y - back * 2 * (q.y * q.z - q.w * q.x)
    pose.position.z = p.z - back * (1 - 2 * (q.x**2 + q.y**2))
    return pose


def main() -> int:
    """Publish boxes until interrupted."""
    try:
        collision_object, _ = import_moveit()
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("collision_object")
    publisher = node.create_publisher(collision_object, "/collision_object", 10)
    known: set[str] = set()

    def on_answer(answer: Answer) -> None:
        if not tells_all(answer):
            return
        for message in collision_objects(answer, frozenset(known)):
            publisher.publish(message)
            change = known.add if message.operation == collision_object.ADD else known.discard
            change(message.id)
            node.get_logger().info(f"{message.id} in {message.header.frame_id}")

    node.create_subscription(Answer, "/lisa/answer", on_answer, 20)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())

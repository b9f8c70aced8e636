"""Objects as vision_msgs detections, where vision_msgs is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from lisa_ros.nodes.geometry_messages import box_pose, vector
from lisa_ros.perception import SegmentedObject
from lisa_ros.perception.objects import ObjectGeometry


def detection_types() -> tuple[type, type] | None:
    """Detection2DArray and Detection3DArray; None where vision_msgs is not installed."""
    try:
        from vision_msgs.msg import Detection2DArray, Detection3DArray
    except ImportError:
        return None
    return Detection2DArray, Detection3DArray


def detections_2d(objects: Sequence[SegmentedObject], instruction: str, header: Header) -> Any:
    """A Detection2D for each object whose mask is not empty; its box spans whole pixels."""
    from vision_msgs.msg import Detection2D, Detection2DArray

    array = Detection2DArray(header=header)
    for label, item in enumerate(objects, start=1):
        if item.box_xyxy is None:
            continue
        x0, y0, x1, y1 = item.box_xyxy
        detection = Detection2D(header=header, id=str(label))
        detection.results = [_hypothesis(item, instruction)]
        # Pixel centres are whole numbers, so the box reaches from x0 - 0.5 to x1 - 0.5.
        detection.bbox.center.position.x = (x0 + x1 - 1) / 2
        detection.bbox.center.position.y = (y0 + y1 - 1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
        array.detections.append(detection)
    return array


def detections_3d(
    objects: Sequence[tuple[SegmentedObject, ObjectGeometry | None]],
    instruction: str,
    header: Header,
) -> Any:
    """A Detection3D for each object that has geometry."""
    from vision_msgs.msg import Detection3D, Detection3DArray

    array = Detection3DArray(header=header)
    for label, (item, geometry) in enumerate(objects, start=1):
        if geometry is None or geometry.box is None:
            continue
        pose = box_pose(geometry.box)
        detection = Detection3D(header=header, id=str(label))
        detection.results = [_hypothesis(item, instruction, pose)]
        detection.bbox.center = pose
        detection.bbox.size = vector(geometry.box.size)
        array.detections.append(detection)
    return array


def _hypothesis(item: SegmentedObject, instruction: str, pose: Pose | None = None) -> Any:
    from vision_msgs.msg import ObjectHypothesisWithPose

    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = instruction
    result.hypothesis.score = item.scores.mask_probability
    if pose is not None:
        result.pose.pose = pose
    return result

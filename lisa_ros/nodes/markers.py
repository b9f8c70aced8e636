"""Objects as markers for RViz: their boxes and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from std_msgs.msg import ColorRGBA, Header

from lisa_ros.nodes.geometry_messages import box_pose, point, vector
from lisa_ros.palette import COLOURS
from lisa_ros.perception.objects import ObjectGeometry

_THINNEST = 0.002  # metres; RViz draws no cube without extent
_TEXT_HEIGHT = 0.03  # metres


def marker_type() -> type | None:
    """visualization_msgs/MarkerArray; None where it is not installed."""
    try:
        from visualization_msgs.msg import MarkerArray
    except ImportError:
        return None
    return MarkerArray


def marker_array(objects: Sequence[ObjectGeometry | None], instruction: str, header: Header) -> Any:
    """A box and a name for each object; they take the place of all earlier markers."""
    from visualization_msgs.msg import Marker, MarkerArray

    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for label, item in enumerate(objects, start=1):
        if item is None or item.box is None:
            continue
        red, green, blue = (float(value) / 255 for value in COLOURS[(label - 1) % len(COLOURS)])
        box = Marker(header=header, ns="boxes", id=label, type=Marker.CUBE)
        box.pose = box_pose(item.box)
        box.scale = vector(item.box.size.clip(min=_THINNEST))
        box.color = ColorRGBA(r=red, g=green, b=blue, a=0.4)
        name = Marker(header=header, ns="names", id=label, type=Marker.TEXT_VIEW_FACING)
        name.pose.position = point(item.box.center)
        name.scale.z = _TEXT_HEIGHT
        name.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        name.text = f"{label}: {instruction}"
        markers += [box, name]
    return MarkerArray(markers=markers)

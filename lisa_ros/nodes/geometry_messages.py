"""Geometry as messages: poses, transforms and point clouds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

if TYPE_CHECKING:  # the simulated camera needs neither Open3D nor torch
    from lisa_ros.perception.objects import ObjectGeometry, OrientedBox, SceneCloud

# PCL's PointXYZRGBL: the colour is 0x00RRGGBB in the bits of a float.
_POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("rgb", "u4"), ("label", "u4")])
_FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1),
    PointField(name="label", offset=16, datatype=PointField.UINT32, count=1),
]


def object_cloud(
    objects: Sequence[ObjectGeometry | None], header: Header, first_label: int = 1
) -> PointCloud2:
    """The points of all objects; `first_label` is the label of the first one's."""
    labelled = [(k, item) for k, item in enumerate(objects, first_label) if item is not None]
    if not labelled:
        return point_cloud(np.empty((0, 3)), np.empty((0, 3), np.uint8), np.empty(0), header)
    return point_cloud(
        np.concatenate([item.points for _, item in labelled]),
        np.concatenate([item.colors for _, item in labelled]),
        np.concatenate([np.full(len(item.points), k) for k, item in labelled]),
        header,
    )


def scene_message(scene: SceneCloud, header: Header) -> PointCloud2:
    """The scene; organized, with NaN where there is no depth, if `scene` is."""
    message = point_cloud(scene.points, scene.colors, scene.labels, header)
    if scene.organized is not None:
        message.height, message.width = scene.organized
        message.row_step = message.width * message.point_step
        message.is_dense = bool(np.isfinite(scene.points).all())
    return message


def point_cloud(
    points: np.ndarray, colors: np.ndarray, labels: np.ndarray, header: Header
) -> PointCloud2:
    """A PointCloud2 of one row with the fields x, y, z, rgb, label.

    Args:
        points: (N, 3) metres.
        colors: uint8 (N, 3), RGB.
        labels: (N,) whole numbers.
    """
    rows = np.empty(len(points), _POINT)
    for i, axis in enumerate("xyz"):
        rows[axis] = points[:, i]
    red, green, blue = colors.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    rows["label"] = labels
    message = PointCloud2(
        header=header,
        height=1,
        width=len(rows),
        fields=_FIELDS,
        is_bigendian=sys.byteorder == "big",
        point_step=_POINT.itemsize,
        row_step=rows.nbytes,
        is_dense=True,
    )
    message.data.frombytes(rows.view(np.uint8))
    return message


def box_pose(box: OrientedBox) -> Pose:
    """Centre and axes of a box."""
    return Pose(position=point(box.center), orientation=quaternion(box.rotation))


def point(xyz: np.ndarray) -> Point:
    """(3,) as a message."""
    x, y, z = map(float, xyz)
    return Point(x=x, y=y, z=z)


def vector(xyz: np.ndarray) -> Vector3:
    """(3,) as a message."""
    x, y, z = map(float, xyz)
    return Vector3(x=x, y=y, z=z)


def quaternion(rotation: np.ndarray) -> Quaternion:
    """Of a rotation (3, 3), of length 1, w >= 0.

    The eigenvector method of Bar-Itzhack (2000), exact also at half turns.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.asarray(rotation, float)
    symmetric = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [yx + xy, yy - xx - zz, 0, 0],
            [zx + xz, zy + yz, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric)  # reads the lower half, eigenvalues rise
    x, y, z, w = map(float, vectors[:, -1] * (1.0 if vectors[3, -1] >= 0 else -1.0))
    return Quaternion(x=x, y=y, z=z, w=w)


def matrix_of(transform: Any) -> np.ndarray:
    """A geometry_msgs Transform as a float64 (4, 4) matrix."""
    q, t = transform.rotation, transform.translation
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / np.linalg.norm([q.x, q.y, q.z, q.w])
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix

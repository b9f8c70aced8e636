"""Clouds, poses, markers and detections as messages, read back by others."""

import numpy as np
import pytest
import torch

from lisa_ros.model.preprocessing import MaskGeometry
from lisa_ros.perception import Scores, SegmentedObject
from lisa_ros.perception.objects import ObjectGeometry, OrientedBox, SceneCloud

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")

RNG = np.random.default_rng(3)


def header(frame_id: str = "base"):
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=5, nanosec=6), frame_id=frame_id)


def rotation() -> np.ndarray:
    q, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def geometry(n: int = 10, size=(0.3, 0.2, 0.1)) -> ObjectGeometry:
    points = RNG.normal(size=(n, 3)).astype(np.float32)
    box = OrientedBox(points.mean(0).astype(float), rotation(), np.array(size))
    colors = RNG.integers(0, 256, (n, 3), np.uint8)
    return ObjectGeometry(points, colors, np.median(points, 0).astype(float), box, 0.75)


NOTHING = ObjectGeometry(
    np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8), np.full(3, np.nan), None, 0.0
)


def segmented(box=(10, 20, 30, 25)) -> SegmentedObject:
    mask = np.zeros((48, 64), bool)
    if box is not None:
        mask[box[1] : box[3], box[0] : box[2]] = True
    return SegmentedObject(
        mask=mask,
        box_xyxy=box,
        area=int(mask.sum()),
        scores=Scores(0.9, 0.75, 0.7),
        embedding=np.zeros(4, np.float32),
        low_res_mask=torch.zeros(16, 16),
        geometry=MaskGeometry((48, 64), (48, 64), 64),
    )


def read_cloud(message) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, colours and labels by the fields of any PointCloud2."""
    formats = {7: "<f4", 6: "<u4"}
    names = [field.name for field in message.fields]
    dtype = np.dtype(
        {
            "names": names,
            "formats": [formats[field.datatype] for field in message.fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    assert message.row_step == message.width * message.point_step
    assert len(message.data) == message.row_step * message.height
    rows = np.frombuffer(bytes(message.data), dtype)
    rgb = rows["rgb"].copy().view("<u4")
    return (
        np.stack([rows[axis] for axis in "xyz"], 1),
        np.stack([rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255], 1),
        rows["label"],
    )


def test_object_clouds_hold_all_points_with_labels():
    from lisa_ros.nodes.geometry_messages import object_cloud

    first, third = geometry(10), geometry(7)
    message = object_cloud([first, None, third, NOTHING], header())
    points, colors, labels = read_cloud(message)
    np.testing.assert_array_equal(points, np.concatenate([first.points, third.points]))
    np.testing.assert_array_equal(colors, np.concatenate([first.colors, third.colors]))
    np.testing.assert_array_equal(labels, [1] * 10 + [3] * 7)
    assert (message.height, message.width, message.is_dense) == (1, 17, True)
    assert message.header == header()
    assert object_cloud([third], header(), first_label=3).width == 7


def test_an_empty_cloud_is_a_valid_one():
    from lisa_ros.nodes.geometry_messages import object_cloud

    message = object_cloud([None], header())
    assert read_cloud(message)[0].shape == (0, 3)
    assert (message.height, message.width) == (1, 0)


def test_an_organized_scene_keeps_rows_and_nan():
    from lisa_ros.nodes.geometry_messages import scene_message

    points = RNG.normal(size=(4, 6, 3)).astype(np.float32)
    points[1, 2] = np.nan
    scene = SceneCloud(
        points.reshape(-1, 3), np.zeros((24, 3), np.uint8), np.zeros(24, np.uint16), (4, 6)
    )
    message = scene_message(scene, header())
    assert (message.height, message.width, message.is_dense) == (4, 6, False)
    np.testing.assert_array_equal(read_cloud(message)[0].reshape(4, 6, 3), points)


def test_quaternions_and_matrices():
    from geometry_msgs.msg import Transform

    from lisa_ros.nodes.geometry_messages import matrix_of, quaternion, vector

    half_turns = [np.diag(signs) for signs in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1])]
    for turn in [*half_turns, *(rotation() for _ in range(200))]:
        q = quaternion(turn)
        assert q.w >= 0
        assert np.hypot(np.hypot(q.x, q.y), np.hypot(q.z, q.w)) == pytest.approx(1)
        transform = Transform(rotation=q, translation=vector(np.array([1.0, 2, 3])))
        matrix = matrix_of(transform)
        np.testing.assert_allclose(matrix[:3, :3], turn, atol=1e-12)
        np.testing.assert_array_equal(matrix[:, 3], [1, 2, 3, 1])
    q = quaternion(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))  # a quarter turn about z
    assert (q.x, q.y, q.z, q.w) == pytest.approx((0, 0, 0.5**0.5, 0.5**0.5))


def test_markers_take_the_place_of_all_earlier_ones():
    msgs = pytest.importorskip(
        "visualization_msgs.msg", reason="visualization_msgs is not installed in this environment"
    )
    from lisa_ros.nodes.geometry_messages import box_pose
    from lisa_ros.nodes.markers import marker_array

    flat = geometry(size=(0.3, 0.2, 0.0))
    markers = marker_array([None, flat, NOTHING], "the cup", header()).markers
    first, box, name = markers
    assert first.action == msgs.Marker.DELETEALL
    assert (box.ns, box.id, box.type) == ("boxes", 2, msgs.Marker.CUBE)
    assert box.pose == box_pose(flat.box)
    assert (box.scale.x, box.scale.y) == (0.3, 0.2)
    assert 0 < box.scale.z < 0.005
    assert name.text == "2: the cup"
    assert all(marker.header == header() for marker in markers)
    assert all(marker.lifetime.sec == marker.lifetime.nanosec == 0 for marker in markers)
    assert len(marker_array([], "the cup", header()).markers) == 1


def test_detections():
    pytest.importorskip("vision_msgs", reason="vision_msgs is not installed in this environment")
    from lisa_ros.nodes.detections import detections_2d, detections_3d
    from lisa_ros.nodes.geometry_messages import box_pose

    [flat] = detections_2d([segmented(None), segmented()], "the cup", header("camera")).detections
    assert (flat.id, flat.header.frame_id) == ("2", "camera")
    center = flat.bbox.center.position
    assert (center.x, center.y) == (19.5, 22)
    assert (flat.bbox.size_x, flat.bbox.size_y) == (20, 5)
    hypothesis = flat.results[0].hypothesis
    assert (hypothesis.class_id, hypothesis.score) == ("the cup", 0.75)

    item = geometry()
    pairs = [(segmented(), NOTHING), (segmented(), item), (segmented(None), None)]
    [solid] = detections_3d(pairs, "the cup", header()).detections
    assert (solid.id, solid.header.frame_id) == ("2", "base")
    assert solid.bbox.center == solid.results[0].pose.pose == box_pose(item.box)
    assert (solid.bbox.size.x, solid.bbox.size.z) == (0.3, 0.1)

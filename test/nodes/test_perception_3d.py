"""3D of the perception node over DDS, read back by others: rosbags, Open3D and plain numpy.

The golden model finds the cup in picture 0, the process of the tests makes a square of its mask,
and the depth behind it is made up: so each point is known.
"""

import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Child, status, wait_until

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")

NODE = Path(__file__).with_name("node_process.py")
CUP = "square Can you segment the red cup in this image?"  # one object in picture 0
CIRCLE = "Where is the largest circle? Please output segmentation mask."  # none in picture 3
FX, FY, CX, CY = 300.0, 305.0, 158.25, 121.5
SHAPE = (240, 320)
CLOUDS = ("object_cloud", "scene_cloud")


@pytest.fixture(scope="module")
def process(ros_domain):
    from robot import GOLDEN_MODEL, parameter_arguments

    parameters = {**GOLDEN_MODEL, "use_depth": True, "geometry.voxel_size": 0.0}
    child = Child(NODE, "--ros-args", *parameter_arguments(**parameters))
    yield child
    assert child.stop(timeout=10) == 0, child.output
    assert "Traceback" not in child.output


@pytest.fixture(scope="module")
def robot(graph, process):
    """The robot once the node answers and clouds arrive here, as bytes of CDR."""
    from robot import Robot
    from sensor_msgs.msg import PointCloud2
    from visualization_msgs.msg import MarkerArray

    robot = Robot(graph)
    for topic in CLOUDS:
        robot.listen(topic, PointCloud2, raw=True)
    robot.listen("markers", MarkerArray)
    process.wait_for("is ready after", 120)
    robot.wait_until_seen()
    return robot


@pytest.fixture(scope="module")
def picture(first_golden):
    return first_golden.image(0)


@pytest.fixture
def ask(robot, picture):
    """Ask about the cup in picture 0 with made-up depth, by service; gives the answer."""
    from robot import camera_info, depth_message, now, to_message

    def ask(depth, instruction=CUP, *, info=None, depth_frame="camera_optical_frame", **fields):
        stamp = now()
        image = to_message(picture, stamp)
        if depth is not None:
            fields["depth"] = depth_message(depth, stamp, depth_frame)
        fields["camera_info"] = info or camera_info(SHAPE, (FX, FY, CX, CY), stamp)
        return robot.ask(instruction, image, **fields)

    return ask


def slope(metres: float = 1.0) -> np.ndarray:
    """Depth of a plane that recedes to the right, float32 metres."""
    u = np.arange(SHAPE[1], dtype=np.float32)
    return np.broadcast_to(metres + 0.001 * u, SHAPE).copy()


def points_of(depth: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    v, u = np.nonzero(chosen)
    z = depth[v, u]
    return np.stack([(u - CX) / FX * z, (v - CY) / FY * z, z], 1)


def mask_of(answer) -> np.ndarray:
    from robot import to_array

    return to_array(answer.objects[0].mask) > 0


def read(robot, topic: str, stamp):
    """The cloud of an image: its header, and points, colours and labels, by rosbags alone."""
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)

    def clouds() -> list:
        every = (
            store.deserialize_cdr(raw, "sensor_msgs/msg/PointCloud2")
            for raw in list(robot.received[topic])
        )
        return [
            c for c in every if (c.header.stamp.sec, c.header.stamp.nanosec)
            == (stamp.sec, stamp.nanosec)
        ]  # fmt: skip

    assert wait_until(clouds), f"nothing on {topic}"
    cloud = clouds()[-1]
    formats = {7: "<f4", 6: "<u4"}
    dtype = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [formats[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    rows = cloud.data.view(dtype)
    rgb = rows["rgb"].copy().view("<u4")
    colors = np.stack([rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255], 1)
    return cloud, np.stack([rows[a] for a in "xyz"], 1), colors, rows["label"]


def test_an_objects_points_are_the_pixels_of_its_mask(robot, ask, picture):
    robot.set(geometry__mask_erosion=0, geometry__depth_filter=False, geometry__point_filter=False)
    try:
        answer = ask(slope())
    finally:
        robot.set(geometry__mask_erosion=1, geometry__depth_filter=True)
        robot.set(geometry__point_filter=True)
    assert (status(answer), answer.message) == ("FOUND", "")
    assert answer.geometry_time > 0
    [item] = answer.objects
    assert item.has_geometry
    assert item.depth_valid_share == 1
    mask = mask_of(answer)
    cloud, points, colors, labels = read(robot, "object_cloud", answer.header.stamp)
    assert cloud.header.frame_id == item.header.frame_id == "camera_optical_frame"
    assert cloud.is_dense
    expected = points_of(slope(), mask)
    np.testing.assert_allclose(points, expected, atol=1e-5)
    np.testing.assert_array_equal(colors, picture[mask])
    assert (labels == 1).all()
    centroid = [item.centroid.x, item.centroid.y, item.centroid.z]
    np.testing.assert_allclose(centroid, np.median(expected, 0), atol=1e-5)
    assert item.cloud.width == len(points)


def test_the_box_holds_the_cloud(robot, ask):
    o3d = pytest.importorskip("open3d")
    answer = ask(slope())
    _, points, *_ = read(robot, "object_cloud", answer.header.stamp)
    assert np.isfinite(points).all()
    pose, size = answer.objects[0].box_pose, answer.objects[0].box_size
    q = pose.orientation
    turn = o3d.geometry.get_rotation_matrix_from_quaternion([q.w, q.x, q.y, q.z])
    assert np.linalg.det(turn) == pytest.approx(1)
    assert size.x >= size.y >= size.z >= 0
    center = [pose.position.x, pose.position.y, pose.position.z]
    extent = np.array([size.x, size.y, size.z]) + 0.004
    box = o3d.geometry.OrientedBoundingBox(center, turn, extent)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(float)))
    inside = box.get_point_indices_within_bounding_box(cloud.points)
    assert len(inside) >= 0.99 * len(points)


def test_millimetres_and_metres_are_the_same(robot, ask):
    metres = ask(slope()).objects[0]
    millimetres = ask((slope() * 1000).round().astype(np.uint16)).objects[0]
    assert millimetres.centroid.z == pytest.approx(metres.centroid.z, abs=1e-3)


def test_voxels_make_fewer_points(robot, ask):
    many = ask(slope()).objects[0].cloud.width
    robot.set(geometry__voxel_size=0.01)
    try:
        assert 0 < ask(slope()).objects[0].cloud.width < many / 3
    finally:
        robot.set(geometry__voxel_size=0.0)


def test_the_scene_has_a_hole_where_the_object_is(robot, ask):
    answer = ask(slope())
    mask = mask_of(answer)
    _, points, _, labels = read(robot, "scene_cloud", answer.header.stamp)
    assert len(points) < np.count_nonzero(~mask)
    assert not labels.any()
    distance = np.linalg.norm(points[:, None] - points_of(slope(), mask)[None, ::50], axis=2)
    assert distance.min() > 2 * 1.0 / FX  # scene_dilation, five pixels


def test_the_whole_frame_organized(robot, ask):
    robot.set(scene_cloud__include_objects=True, scene_cloud__organized=True)
    depth = slope()
    depth[:10] = np.nan
    try:
        answer = ask(depth)
    finally:
        robot.set(scene_cloud__include_objects=False, scene_cloud__organized=False)
    cloud, points, _, labels = read(robot, "scene_cloud", answer.header.stamp)
    assert (cloud.height, cloud.width, cloud.is_dense) == (*SHAPE, False)
    assert np.isnan(points.reshape(*SHAPE, 3)[:10]).all()
    assert np.isfinite(points.reshape(*SHAPE, 3)[10:]).all()
    np.testing.assert_array_equal(labels.reshape(SHAPE) == 1, mask_of(answer))


def test_markers_come_and_go(robot, ask, first_golden):
    from robot import to_message

    answer = ask(slope())
    arrays = robot.received["markers"]
    stamp = answer.header.stamp

    def of_answer(stamp) -> list:
        return [a for a in arrays if a.markers[0].header.stamp == stamp]

    assert wait_until(lambda: of_answer(stamp))
    clear, box, name = of_answer(stamp)[0].markers
    assert clear.action == clear.DELETEALL
    assert box.pose == answer.objects[0].box_pose
    assert name.text == f"1: {CUP}"
    assert box.header.frame_id == "camera_optical_frame"
    nothing = robot.ask(CIRCLE, to_message(first_golden.image(3), answer.header.stamp))
    assert status(nothing) == "NOT_FOUND"
    assert wait_until(lambda: len(of_answer(stamp)) == 2)
    assert [m.action for m in of_answer(stamp)[1].markers] == [clear.DELETEALL]


# --- what goes wrong ---

BAD = {
    "no depth": (lambda: (None, {}), "NO_DEPTH", "no depth"),
    "no calibration": (lambda: (slope(), {"info": zero_info()}), "NO_DEPTH", "no calibration"),
    "all NaN": (lambda: (np.full(SHAPE, np.nan, np.float32), {}), "NO_DEPTH", "it on 0 % of"),
    "all zero": (lambda: (np.zeros(SHAPE, np.uint16), {}), "NO_DEPTH", "it on 0 % of"),
    "too far": (lambda: (slope(50.0), {}), "NO_DEPTH", "between 0.1 and 10 m"),
    "other frame": (
        lambda: (slope(), {"depth_frame": "camera_depth"}),
        "DEPTH_MISMATCH",
        "frame_id 'camera_depth'",
    ),
    "other size": (lambda: (slope()[:200, :200], {}), "DEPTH_MISMATCH", "200 x 200"),
    "half size": (lambda: (slope()[::2, ::2], {}), "DEPTH_MISMATCH", "no depth_camera_info"),
}  # fmt: skip


def zero_info():
    from robot import camera_info

    return camera_info(SHAPE, (0.0, 0.0, 0.0, 0.0))


@pytest.mark.parametrize("case", BAD)
def test_without_3d_the_masks_still_come(robot, ask, case):
    make, expected, words = BAD[case]
    depth, fields = make()
    answer = ask(depth, require_3d=True, **fields)
    assert status(answer) == expected
    assert words in answer.message
    [item] = answer.objects
    assert item.area > 0
    assert not item.has_geometry
    assert np.isnan([item.centroid.x, item.box_size.x, item.box_pose.position.z]).all()
    assert len(item.cloud.data) == 0
    assert len(robot.messages("mask", answer.header.stamp)) == 1
    _, points, *_ = read(robot, "object_cloud", answer.header.stamp)
    assert len(points) == 0
    _, points, *_ = read(robot, "scene_cloud", answer.header.stamp)
    assert len(points) == 0  # no old scene stays

    answer = ask(depth, **fields)
    assert status(answer) == "FOUND"
    assert not answer.objects[0].has_geometry
    if depth is None:
        assert answer.message == ""  # whoever brings an image without depth wants none
    else:
        assert words in answer.message


def test_a_goal_that_requires_3d_is_aborted_without(robot, picture):
    from robot import now, to_message

    goal = robot.start(CUP, to_message(picture, now()), require_3d=True)
    answer, end = goal.result()
    assert (status(answer), end) == ("NO_DEPTH", "ABORTED")
    assert len(answer.objects) == 1


def test_a_goal_with_depth_says_that_it_lifts(robot, picture):
    from robot import camera_info, depth_message, now, to_message

    stamp = now()
    goal = robot.start(
        CUP,
        to_message(picture, stamp),
        depth=depth_message(slope(), stamp),
        camera_info=camera_info(SHAPE, (FX, FY, CX, CY), stamp),
        require_3d=True,
    )
    answer, end = goal.result()
    assert (status(answer), end) == ("FOUND", "SUCCEEDED")
    stages = lambda: [feedback.stage for feedback in goal.feedback]  # noqa: E731
    assert wait_until(lambda: "lifting" in stages())
    assert stages()[-1] == "lifting"
    assert stages().count("lifting") == 1


def test_assume_registered(robot, ask):
    robot.set(assume_registered=True)
    try:
        answer = ask(slope()[::2, ::2], depth_frame="camera_depth", require_3d=True)
    finally:
        robot.set(assume_registered=False)
    assert status(answer) == "FOUND"
    assert answer.objects[0].has_geometry


def test_a_question_without_a_mask_needs_no_depth(robot, first_golden):
    from robot import now, to_message

    answer = robot.ask(CIRCLE, to_message(first_golden.image(3), now()), require_3d=True)
    assert status(answer) == "NOT_FOUND"


def test_parameters_that_do_not_fit(robot):
    reason = robot.try_to_set("geometry.min_depth", 20.0)
    assert "min_depth 20.0, max_depth 10.0" in reason
    assert robot.try_to_set("geometry.min_points", 0)
    assert "its unit is the metre" in robot.try_to_set("geometry.voxel_size", 0.00005)


def test_a_target_frame_without_tf2_is_refused(robot):
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        reason = robot.try_to_set("target_frame", "base_link")
        assert "tf2-ros-py" in reason
        assert robot.get("target_frame")[0].string_value == ""
    else:
        pytest.skip("tf2_ros is installed")


# --- from the camera's topics ---


def test_diagnostics_name_the_topics_that_are_missing(robot):
    silent = lambda: robot.diagnostics("camera")[1]  # noqa: E731
    assert wait_until(lambda: "depth: no message for" in silent(), 8)
    level, message, _ = robot.diagnostics("camera")
    assert level == b"\1"
    assert "image: no message for" in message
    assert "nobody publishes it" in message
    assert "camera_info" not in message


@pytest.fixture
def rgbd(graph, picture):
    """Publishes picture 0 with depth at 10 Hz until the test ends."""
    from robot import RgbdCamera

    cameras = []

    def start(depth, **options):
        cameras.append(RgbdCamera(graph, picture, depth, (FX, FY, CX, CY), **options))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.stop()


def answered(robot, condition, timeout: float = 20.0, **fields):
    """Ask about the camera's newest frame until the answer fulfils a condition."""
    deadline = time.monotonic() + timeout
    while True:
        answer = robot.ask(CUP, **fields)
        if condition(answer) or time.monotonic() > deadline:
            return answer


def test_the_cameras_own_depth(robot, rgbd):
    rgbd(slope())
    answer = answered(robot, lambda a: status(a) == "FOUND", require_3d=True)
    assert (status(answer), answer.message) == ("FOUND", "")
    level, message, _ = robot.diagnostics("camera")
    assert (level, message) == (b"\0", "images arrive")
    _, points, *_ = read(robot, "object_cloud", answer.header.stamp)
    assert len(points) > 50


def test_following_requires_3d_where_its_goal_did(robot, rgbd, picture):
    from robot import camera_info, depth_message, now, to_message

    rgbd(np.zeros(SHAPE, np.float32))  # sees nothing, unlike the goal's own depth
    stamp = now()
    goal = robot.start(
        CUP,
        to_message(picture, stamp),
        depth=depth_message(slope(), stamp),
        camera_info=camera_info(SHAPE, (FX, FY, CX, CY), stamp),
        require_3d=True,
        follow=True,
    )
    answer, _ = goal.result()
    assert status(answer) == "FOUND"

    def followed() -> list:
        answers = robot.received["answer"]
        return [a for a in answers if a.source == a.SOURCE_FOLLOW and a.final]

    assert wait_until(followed)
    assert status(followed()[0]) == "NO_DEPTH"
    robot.ask(CIRCLE, to_message(picture, now()))  # ends it


def test_half_the_size_with_its_own_camera_info(robot, rgbd):
    rgbd(slope()[::2, ::2].copy(), own_info=True)
    answer = answered(robot, lambda a: status(a) == "FOUND", require_3d=True)
    assert (status(answer), answer.message) == ("FOUND", "")
    mask = mask_of(answer)
    expected = np.median(points_of(slope(), mask), 0)
    centroid = answer.objects[0].centroid
    np.testing.assert_allclose([centroid.x, centroid.y, centroid.z], expected, atol=0.01)


def test_no_camera_info(robot, rgbd):
    assert robot.change_state("deactivate", "activate")  # forgets those of the tests before
    rgbd(slope(), with_info=False)
    answer = answered(robot, lambda a: "camera_info" in a.message, require_3d=True)
    assert status(answer) == "NO_DEPTH"
    assert "/camera_info" in answer.message


def test_distortion_is_logged_once(robot, rgbd, process):
    assert robot.change_state("deactivate", "activate")
    rgbd(slope(), distortion=[0.1, -0.2, 0.0, 0.0, 0.0])
    warned = lambda: process.output.count("has distortion, which 3D ignores")  # noqa: E731
    answered(robot, lambda a: warned(), require_3d=True)
    robot.ask(CUP)
    assert wait_until(warned)
    assert warned() == 1


# --- with tf2 ---


def test_results_in_the_target_frame(robot, rgbd, graph):
    tf2 = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed in this environment")
    from geometry_msgs.msg import TransformStamped

    robot.change_state("deactivate", "activate")  # forgets the camera_info of the tests before
    rgbd(slope())
    assert status(answered(robot, lambda a: status(a) == "FOUND", require_3d=True)) == "FOUND"
    robot.set(target_frame="base")
    try:
        answer = robot.ask(CUP, require_3d=True)
        assert status(answer) == "TF_UNAVAILABLE"
        assert "'base'" in answer.message
        assert not answer.objects[0].has_geometry
        assert answer.objects[0].header.frame_id == "base"
        assert status(robot.ask(CUP)) == "FOUND"

        found = TransformStamped(child_frame_id="camera_optical_frame")
        found.header.frame_id = "base"
        found.transform.translation.z = 1.0
        found.transform.rotation.x, found.transform.rotation.w = 1.0, 0.0  # half a turn about x
        broadcaster = tf2.StaticTransformBroadcaster(graph.node("robot_state"))
        broadcaster.sendTransform(found)
        answer = answered(robot, lambda a: status(a) == "FOUND", require_3d=True)
        assert status(answer) == "FOUND"
        cloud, points, *_ = read(robot, "object_cloud", answer.header.stamp)
        assert cloud.header.frame_id == answer.objects[0].header.frame_id == "base"
        assert answer.header.frame_id == "camera_optical_frame"
        expected = points_of(slope(), mask_of(answer)) * [1, -1, -1] + [0, 0, 1]
        distance = np.linalg.norm(points[::20, None] - expected[None], axis=2).min(1)
        assert distance.max() < 1e-4
    finally:
        robot.set(target_frame="")

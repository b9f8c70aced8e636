"""The Python of docs/planners.md, run on messages of the node: what a grasp network would get."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")

PAGE = Path(__file__).parents[2] / "docs" / "planners.md"
CAMERA = (300.0, 305.0, 2.0, 1.5)
DEPTH = np.array([[0, 500, 600, 700, 800], [900, 0, 1100, 1200, 1300]], np.uint16)  # mm
LABELS = np.array([[0, 1, 1, 0, 0], [0, 0, 2, 2, 300]], np.uint16)


def blocks() -> list[str]:
    return re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def page() -> dict:
    """The names that the page's first block defines."""
    names: dict = {}
    exec(blocks()[0], names)
    return names


@pytest.fixture
def scene():
    from std_msgs.msg import Header

    from lisa_ros.nodes.geometry_messages import point_cloud

    points = np.array([[0.1, 0.2, 0.5], [-0.1, 0.0, 1.5], [0.2, 0.3, 0.6]], np.float32)
    colors = np.array([[255, 0, 51], [0, 102, 0], [1, 2, 3]], np.uint8)
    labels = np.array([1, 0, 1])
    return points, colors, labels, point_cloud(points, colors, labels, Header())


@pytest.fixture
def images(page):
    from robot import camera_info, depth_message

    labels = depth_message(LABELS)
    labels.encoding = "mono16"
    info = camera_info(DEPTH.shape, CAMERA)
    return {"depth_message": depth_message(DEPTH), "label_message": labels, "camera_info": info}


def test_a_cloud(page, scene):
    points, colors, labels, message = scene
    read = page["cloud_arrays"](message)
    np.testing.assert_array_equal(read[0], points)
    np.testing.assert_allclose(read[1], colors / 255, rtol=1e-6)
    np.testing.assert_array_equal(read[2], labels)
    assert [array.dtype for array in read] == [np.float32, np.float32, np.uint32]


def test_images(page, images):
    from robot import depth_message

    depth, labels, K = page["image_arrays"](*images.values())
    np.testing.assert_allclose(depth, DEPTH / 1000, rtol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(K, [[300, 0, 2], [0, 305, 1.5], [0, 0, 1]])
    assert (depth.dtype, labels.dtype) == (np.float32, np.uint16)
    metres = DEPTH.astype(np.float32) / 1000
    metres[0, :4] = np.nan, np.inf, 0.6, -np.inf
    depth, *_ = page["image_arrays"](depth_message(metres), *list(images.values())[1:])
    np.testing.assert_array_equal(depth[0, :4], np.array([0, 0, 0.6, 0], np.float32))


def test_rectified_intrinsics_win(page, images):
    images["camera_info"].p = [200.0, 0, 3, 0, 0, 210, 4, 0, 0, 0, 1, 0]
    *_, K = page["image_arrays"](*images.values())
    np.testing.assert_array_equal(K, [[200, 0, 3], [0, 210, 4], [0, 0, 1]])


def test_the_call_of_each_planner(page, images, scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    points, *_, message = scene
    calls: dict = {}
    anygrasp = SimpleNamespace(get_grasp=lambda *arguments: calls.update(any=arguments) or ([], 0))
    estimator = SimpleNamespace(register=lambda **arguments: calls.update(pose=arguments))
    bgr = np.zeros((*DEPTH.shape, 3), np.uint8)
    names = {**page, **images, "scene_cloud": message, "bgr": bgr, "rgb": bgr}
    for block in blocks()[1:]:
        exec(block, {**names, "anygrasp": anygrasp, "estimator": estimator})

    scene_file = np.load("scene.npz")  # Contact-GraspNet
    assert {"depth", "K", "segmap", "rgb"} == set(scene_file.files)
    assert scene_file["segmap"].max() == 300
    lims = np.array(calls["any"][2]).reshape(3, 2)
    np.testing.assert_allclose(lims[:, 0], points[[0, 2]].min(axis=0) - 0.05)
    np.testing.assert_allclose(lims[:, 1], points[[0, 2]].max(axis=0) + 0.05)
    assert calls["pose"]["ob_mask"].dtype == bool
    assert calls["pose"]["ob_mask"].sum() == 2

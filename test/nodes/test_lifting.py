"""Masks to 3D by known depth, without ROS."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_camera_geometry import SHAPE, depth, image, info

from lisa_ros.nodes.camera_geometry import NoGeometryError
from lisa_ros.nodes.frames import Frame
from lisa_ros.nodes.lifting import Lifter, LiftSettings
from lisa_ros.perception import Status
from lisa_ros.perception.objects import GeometrySettings

RGB = np.full((*SHAPE, 3), (200, 100, 50), np.uint8)
EXACT = GeometrySettings(voxel_size=0, mask_erosion=0, depth_filter=False, point_filter=False)
# x forward, y left, z up, as robots have it, one metre above the ground
ROBOT = np.array([[0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1]])


def square(x: int = 100, y: int = 80, size: int = 40) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + size, x : x + size] = True
    return mask


def stamped(message: SimpleNamespace, sec: int = 7) -> SimpleNamespace:
    message.header.stamp = SimpleNamespace(sec=sec, nanosec=0)
    return message


def no_transforms(target, source, stamp):
    raise AssertionError("not to be looked up")


def lift(masks, frame=None, look_up=no_transforms, **settings):
    frame = frame or Frame(stamped(image()), depth(), info())
    lifter = Lifter(look_up)
    options = LiftSettings(**{"geometry": EXACT, **settings})
    return lifter.lift(frame, RGB, masks, lifter.locate(frame, options), options)


def test_points_are_those_of_the_masks_pixels():
    mask = square()
    lifted = lift([mask])
    [item] = lifted.objects
    v, u = np.nonzero(mask)
    expected = np.stack([(u - 158) / 290 * 1.5, (v - 121) / 295 * 1.5, np.full(len(u), 1.5)], 1)
    np.testing.assert_allclose(item.points, expected, atol=1e-5)
    assert (item.colors == (200, 100, 50)).all()
    assert item.depth_valid_share == 1
    assert (lifted.frame_id, lifted.note, lifted.problem) == ("camera_color", "", None)


def test_results_are_in_the_target_frame_at_the_images_stamp():
    asked = []

    def look_up(target, source, stamp):
        asked.append((target, source, stamp))
        return ROBOT

    here = lift([square()])
    there = lift([square()], look_up=look_up, target_frame="base_link")
    assert asked == [("base_link", "camera_color", 7_000_000_000)]
    assert there.frame_id == "base_link"
    np.testing.assert_allclose(there.objects[0].points[:, 0], 2.0, atol=1e-5)
    centroid = ROBOT[:3, :3] @ here.objects[0].centroid + ROBOT[:3, 3]
    np.testing.assert_allclose(there.objects[0].centroid, centroid, atol=1e-6)
    assert there.scene().points[:, 0].min() == pytest.approx(2.0, abs=1e-5)


def test_no_look_up_for_the_cameras_own_frame():
    assert lift([square()], target_frame="camera_color").objects[0].is_valid


def test_the_place_of_an_image_is_looked_up_once():
    asked = []
    lifter = Lifter(lambda *question: asked.append(question) or ROBOT)
    frame = Frame(stamped(image()), depth(), info())
    base, world = LiftSettings(target_frame="base"), LiftSettings(target_frame="world")
    for settings in (base, base, world):
        np.testing.assert_array_equal(lifter.locate(frame, settings), ROBOT)
    lifter.locate(Frame(stamped(image()), depth(), info()), world)
    assert [target for target, *_ in asked] == ["base", "world", "world"]


def test_a_failed_look_up_keeps_the_masks():
    def look_up(*_):
        raise NoGeometryError(Status.TF_UNAVAILABLE, "no tree")

    lifted = lift([square(), square(10)], look_up=look_up, target_frame="base_link")
    assert lifted.objects == (None, None)
    assert (lifted.problem.status, lifted.note) == (Status.TF_UNAVAILABLE, "no tree")
    assert lifted.scene is None


def test_empty_masks_have_no_geometry_and_are_no_problem():
    lifted = lift([np.zeros(SHAPE, bool)])
    assert (lifted.objects, lifted.problem, lifted.note) == ((None,), None, "")
    assert lift([]).objects == ()


def test_all_invalid_depth_is_no_depth():
    lifted = lift([square()], Frame(stamped(image()), depth(value=0), info()))
    assert lifted.problem.status is Status.NO_DEPTH
    assert "object 1 has it on 0 % of its pixels" in lifted.note
    assert lifted.objects[0].depth_valid_share == 0


def test_one_object_without_depth_is_a_note():
    frame = Frame(stamped(image()), depth(), info())
    pixels = np.frombuffer(frame.depth.data, "<u2").reshape(SHAPE).copy()
    pixels[square(200)] = 0
    frame.depth.data = pixels.tobytes()
    lifted = lift([square(), square(200)], frame)
    assert [item.is_valid for item in lifted.objects] == [True, False]
    assert lifted.problem is None
    assert "object 2 has it on 0 %" in lifted.note
    assert "object 1" not in lifted.note
    assert "min_points (50)" in lifted.note


def test_scene_clouds():
    mask = square()
    rest = lift([mask]).scene()
    assert len(rest.points) == mask.size - 50 * 50  # 5 pixels around it are cut out as well
    whole = lift([mask], scene_with_objects=True, scene_organized=True).scene()
    assert whole.organized == SHAPE
    assert np.count_nonzero(whole.labels == 1) == mask.sum()
    assert len(lift([]).scene().points) == mask.size


def test_distortion_is_told_once():
    told = []
    lifter = Lifter(no_transforms, resolve_topic=lambda name: f"/cam/{name}", warn=told.append)
    frame = Frame(stamped(image()), depth(), info(d=(0.1, 0.0)))
    for _ in range(3):
        lifter.lift(frame, RGB, [square()], None, LiftSettings(geometry=EXACT))
    assert len(told) == 1
    assert "/cam/camera_info" in told[0]
    assert "image_rect" in told[0]

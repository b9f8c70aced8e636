"""Intrinsics and registration from camera messages: no ROS."""

from types import SimpleNamespace

import numpy as np
import pytest

from lisa_ros.nodes.camera_geometry import NoGeometryError, camera_intrinsics, registered_depth
from lisa_ros.nodes.frames import Frame
from lisa_ros.perception import Status

SHAPE = (240, 320)
K = [300.0, 0, 160.5, 0, 310.0, 118.0, 0, 0, 1]
P = [290.0, 0, 158.0, 0, 0, 295.0, 121.0, 0, 0, 0, 1, 0]


def info(
    shape=SHAPE, k=K, p=P, d=(), roi=(0, 0, 0, 0), binning=(0, 0), frame_id="camera_color"
) -> SimpleNamespace:
    x, y, width, height = roi
    region = SimpleNamespace(x_offset=x, y_offset=y, width=width, height=height)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id),
        height=shape[0],
        width=shape[1],
        k=k,
        p=p,
        d=list(d),
        roi=region,
        binning_x=binning[0],
        binning_y=binning[1],
    )


def image(shape=SHAPE, frame_id="camera_color") -> SimpleNamespace:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=frame_id), height=shape[0], width=shape[1]
    )


def depth(shape=SHAPE, frame_id="camera_color", value=1500, encoding="16UC1") -> SimpleNamespace:
    message = image(shape, frame_id)
    pixels = np.full(shape, value, "<u2" if encoding == "16UC1" else "<f4")
    message.encoding, message.is_bigendian, message.step = encoding, 0, pixels.strides[0]
    message.data = pixels.tobytes()
    return message


def scaled(ratio: float, shape, p=P, k=K, shift=0.0) -> SimpleNamespace:
    """What a driver writes for an image that is `ratio` times as large."""
    p = [v * ratio + (shift if i in (2, 6) else 0) for i, v in enumerate(p)]
    return info(shape, [v * ratio for v in k], p)


def problem(frame: Frame, shape=SHAPE, **options) -> tuple[Status, str]:
    with pytest.raises(NoGeometryError) as caught:
        registered_depth(frame, shape, **options)
    return caught.value.status, str(caught.value)


# --- intrinsics ---


def test_p_counts_before_k():
    camera = camera_intrinsics(info(), SHAPE, "camera_info")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (290, 295, 158, 121)
    assert (camera.width, camera.height) == (320, 240)
    camera = camera_intrinsics(info(p=[0.0] * 12), SHAPE, "camera_info")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (300, 310, 160.5, 118)


@pytest.mark.parametrize("k", [[0.0] * 9, [0.0, 0, 160, 0, 300, 120, 0, 0, 1]])
def test_no_calibration(k):
    with pytest.raises(NoGeometryError, match=r"\(/cam\) holds no calibration.*calibrate") as error:
        camera_intrinsics(info(k=k, p=[0.0] * 12), SHAPE, "camera_info (/cam)")
    assert error.value.status is Status.NO_DEPTH


def test_numbers_that_are_no_camera():
    with pytest.raises(NoGeometryError, match="finite"):
        camera_intrinsics(info(p=[float("nan")] * 12), SHAPE, "camera_info")


def test_an_image_resized_as_a_whole():
    camera = camera_intrinsics(info(), (120, 160), "camera_info")
    assert (camera.width, camera.fx, camera.fy) == (160, 145, 147.5)
    # The left edge, at -0.5, stays where it is.
    assert camera.cx == pytest.approx((158 + 0.5) / 2 - 0.5)
    with pytest.raises(NoGeometryError, match="another image") as error:
        camera_intrinsics(info(), (240, 240), "camera_info")
    assert error.value.status is Status.DEPTH_MISMATCH


def test_region_of_interest_and_binning():
    camera = camera_intrinsics(info(roi=(20, 40, 200, 100)), (100, 200), "camera_info")
    assert (camera.fx, camera.cx, camera.cy) == (290, 138, 81)
    binned = camera_intrinsics(info(roi=(20, 40, 200, 100)), (50, 100), "camera_info")
    assert binned.fx == 145


def test_binning_of_odd_sizes_and_of_one_side():
    binned = info(roi=(20, 40, 101, 51), binning=(2, 2))
    camera = camera_intrinsics(binned, (25, 50), "camera_info")
    assert (camera.fx, camera.fy) == (145, 147.5)
    assert (camera.cx, camera.cy) == (68.75, 40.25)
    camera = camera_intrinsics(info(binning=(2, 1)), (240, 160), "camera_info")
    assert (camera.fx, camera.fy) == (145, 295)


def test_a_camera_info_without_a_size_is_of_the_image():
    assert camera_intrinsics(info(shape=(0, 0)), SHAPE, "camera_info").width == 320


# --- registration ---


@pytest.mark.parametrize(("encoding", "value"), [("16UC1", 1500), ("32FC1", 1.5)])
def test_same_frame_and_size_are_registered(encoding, value):
    frame = Frame(image(), depth(encoding=encoding, value=value), info())
    registered = registered_depth(frame, SHAPE)
    assert registered.depth.dtype == np.float32
    np.testing.assert_allclose(registered.depth, 1.5, rtol=1e-6)
    assert registered.intrinsics.fx == 290
    assert registered.doubts == ()


def test_distortion_is_told():
    frame = Frame(image(), depth(), info(d=(0.1, -0.2, 0, 0, 0)))
    [doubt] = registered_depth(frame, SHAPE).doubts
    assert doubt.startswith("camera_info (camera_info) has distortion, which 3D ignores")
    frame = Frame(image(), depth(), info(d=(0.0,) * 5))
    assert registered_depth(frame, SHAPE).doubts == ()


def test_a_camera_info_that_may_be_another_cameras_is_told():
    frame = Frame(image(), depth(), info(frame_id="camera_left"))
    [doubt] = registered_depth(frame, SHAPE, resolve_topic=lambda name: f"/r/{name}").doubts
    assert "(/r/camera_info) has frame_id 'camera_left', its image has 'camera_color'" in doubt
    frame = Frame(image(), depth(), info(frame_id=""))
    assert registered_depth(frame, SHAPE).doubts == ()


def test_points_of_an_image_without_a_frame_would_lie_nowhere():
    frame = Frame(image(frame_id=""), depth(frame_id=""), info())
    status, message = problem(frame)
    assert (status, "the image has no frame_id" in message) == (Status.DEPTH_MISMATCH, True)
    assert registered_depth(frame, SHAPE, assume_registered=True).depth.shape == SHAPE


def test_a_requests_depth_is_not_mended_by_topics():
    other = depth(frame_id="camera_depth")
    frame = Frame(image(), other, info(), is_of_request=True)
    status, message = problem(frame)
    assert status is Status.DEPTH_MISMATCH
    assert "send depth that lies on the image's pixels" in message
    assert "register_node" not in message
    frame = Frame(image(), depth(), info(k=[0.0] * 9, p=[0.0] * 12), is_of_request=True)
    assert problem(frame)[1].startswith("camera_info of the request holds no calibration")


def test_other_frames_are_a_mismatch_that_names_both_and_the_mend():
    frame = Frame(image(), depth(frame_id="camera_depth"), info())
    names = {"depth": "/d/raw", "camera_info": "/c/info", "depth_camera_info": "/d/info"}
    status, message = problem(frame, resolve_topic=names.get)
    assert status is Status.DEPTH_MISMATCH
    assert "320 x 240, frame_id 'camera_depth'" in message
    assert "320 x 240, frame_id 'camera_color'" in message
    line = (
        "ros2 run depth_image_proc register_node --ros-args -r depth/image_rect:=/d/raw "
        "-r depth/camera_info:=/d/info -r rgb/camera_info:=/c/info"
    )
    assert line in message
    assert "depth_camera_info to /depth_registered/camera_info" in message
    assert "assume_registered" in message
    assert registered_depth(frame, SHAPE, assume_registered=True).depth.shape == SHAPE


def test_equal_intrinsics_in_another_frame_are_no_registration():
    frame = Frame(image(), depth(frame_id="camera_right"), info(), info())
    status, message = problem(frame)
    assert status is Status.DEPTH_MISMATCH
    assert "frame_ids differ" in message


def test_smaller_depth_needs_its_own_camera_info():
    small = (120, 160)
    status, message = problem(Frame(image(), depth(small), info()))
    assert status is Status.DEPTH_MISMATCH
    assert "depth_camera_info" in message
    assert "160 x 120" in message
    for shift in (-0.25, 0.0):  # both conventions of the principal point
        frame = Frame(image(), depth(small), info(), scaled(0.5, small, shift=shift))
        registered = registered_depth(frame, SHAPE)
        assert registered.depth.shape == small
        assert registered.intrinsics.width == 320  # of the image
    assert registered_depth(
        Frame(image(), depth(small), info()), SHAPE, assume_registered=True
    ).depth.shape == (120, 160)


@pytest.mark.parametrize(
    ("shape", "depth_info", "reason"),
    [
        ((120, 160), scaled(0.4, (120, 160)), "fx should be 145.0, depth_camera_info says 116.0"),
        ((120, 160), scaled(0.5, (120, 160), shift=9), "cx should be"),
        ((120, 160), info((120, 160), [0.0] * 9, [0.0] * 12), "no calibration"),
        ((240, 320), scaled(0.8, SHAPE), "fx should be 290.0"),
        ((240, 320), scaled(2, (480, 848)), "depth_camera_info belongs to another image"),
        ((100, 160), None, "whole ratio"),
        ((160, 213), None, "whole ratio"),
        ((480, 640), scaled(2, (480, 640)), "whole ratio"),
    ],
)
def test_depth_that_does_not_fit(shape, depth_info, reason):
    status, message = problem(Frame(image(), depth(shape), info(), depth_info))
    assert status is Status.DEPTH_MISMATCH
    assert reason in message


def test_what_is_assumed_must_still_fit():
    status, message = problem(Frame(image(), depth((100, 160)), info()), assume_registered=True)
    assert status is Status.DEPTH_MISMATCH
    assert "assume_registered" not in message


def test_nothing_to_lift():
    status, message = problem(Frame(image(), None, info()), resolve_topic=lambda name: f"/r/{name}")
    assert (status, "/r/depth" in message) == (Status.NO_DEPTH, True)
    status, message = problem(Frame(image(), None, info()), use_depth=False)
    assert (status, "got false" in message) == (Status.NO_DEPTH, True)
    status, message = problem(Frame(image(), depth()))
    assert (status, "camera_info" in message) == (Status.NO_DEPTH, True)
    status, message = problem(Frame(image(), depth(encoding="rgb8"), info()))
    assert (status, "'rgb8'" in message) == (Status.NO_DEPTH, True)


@pytest.mark.parametrize(
    ("messages", "missing"),
    [({"camera_info": info()}, "depth"), ({"depth": depth()}, "camera_info")],
)
def test_a_request_is_told_what_it_should_have_brought(messages, missing):
    status, words = problem(Frame(image(), is_of_request=True, **messages))
    assert status is Status.NO_DEPTH
    assert f"got no {missing}" in words
    assert "topic" not in words

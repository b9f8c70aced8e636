"""Units, validity and the pixel grid of depth images."""

import numpy as np
import pytest

from lisa_ros.perception.depth import (
    GeometryError,
    Intrinsics,
    depth_in_metres,
    grid_ratio,
    on_depth_grid,
)

CAMERA = Intrinsics(640, 480, 600.0, 610.0, 319.5, 200.0)


def test_intrinsics_from_k():
    k = [600, 0, 319.5, 0, 610, 200, 0, 0, 1]
    assert Intrinsics.from_k(640, 480, k) == CAMERA
    assert Intrinsics.from_k(640, 480, np.array(k, float)) == CAMERA


@pytest.mark.parametrize("size", [(320, 240), (1280, 960), (160, 120), (640, 480)])
def test_scaling_keeps_what_the_camera_sees(size):
    """The borders of the picture, half a pixel beyond the outer centres, lie on the same rays."""
    scaled = CAMERA.scaled_to(*size)
    assert (scaled.width, scaled.height) == size
    for edge, other in ((-0.5, -0.5), (639.5, size[0] - 0.5)):
        before = (edge - CAMERA.cx) / CAMERA.fx
        assert (other - scaled.cx) / scaled.fx == pytest.approx(before, abs=1e-12)
    for edge, other in ((-0.5, -0.5), (479.5, size[1] - 0.5)):
        before = (edge - CAMERA.cy) / CAMERA.fy
        assert (other - scaled.cy) / scaled.fy == pytest.approx(before, abs=1e-12)


def test_half_size_has_its_centre_a_quarter_pixel_off_half():
    half = CAMERA.scaled_to(320, 240)
    assert (half.fx, half.fy, half.cx, half.cy) == (300.0, 305.0, 159.5, 99.75)


def test_rounding_to_whole_pixels_is_allowed():
    assert Intrinsics(1281, 721, 900, 900, 640, 360).scaled_to(640, 360).width == 640


@pytest.mark.parametrize("size", [(640, 360), (480, 640), (848, 480)])
def test_other_shapes_are_refused(size):
    with pytest.raises(GeometryError, match=f"640x480 to scale to {size[0]}x{size[1]}"):
        CAMERA.scaled_to(*size)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fx", 0.0),
        ("fy", 0.0),
        ("fx", -600.0),
        ("fy", float("nan")),
        ("fx", float("inf")),
        ("cx", float("nan")),
        ("cy", float("inf")),
        ("width", 0),
        ("height", 0),
    ],
)
def test_impossible_cameras_are_refused(name, value):
    numbers = {"width": 640, "height": 480, "fx": 600.0, "fy": 600.0, "cx": 320.0, "cy": 240.0}
    with pytest.raises(GeometryError, match="calibrate the camera"):
        Intrinsics(**numbers | {name: value})


def test_uncalibrated_k_is_refused():
    with pytest.raises(ValueError, match=r"fx 0\.0, fy 0\.0"):
        Intrinsics.from_k(640, 480, [0.0] * 9)
    with pytest.raises(GeometryError, match="9 numbers of K, got 12"):
        Intrinsics.from_k(640, 480, [1.0] * 12)


def test_rays_of_a_window():
    x, y = CAMERA.rays(slice(100, 103), slice(638, 640))
    np.testing.assert_allclose(x, [(638 - 319.5) / 600, (639 - 319.5) / 600], rtol=1e-6)
    np.testing.assert_allclose(y, [-100 / 610, -99 / 610, -98 / 610], rtol=1e-6)
    assert x.dtype == y.dtype == np.float32


def test_millimetres_become_metres_and_zero_is_unknown():
    raw = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    metres = depth_in_metres(raw)
    assert metres.dtype == np.float32
    assert metres.shape == raw.shape
    assert np.isnan(metres[0, 0])
    np.testing.assert_allclose(metres.ravel()[1:], np.arange(1, 2**16) / 1000, rtol=2e-7)


def test_metres_stay_and_what_is_no_distance_is_unknown():
    raw = np.array([[0.5, 0.0, -1.0], [np.nan, np.inf, -np.inf]], np.float32)
    before = raw.copy()
    metres = depth_in_metres(raw)
    np.testing.assert_array_equal(metres, np.array([[0.5] + [np.nan] * 2, [np.nan] * 3]))
    assert metres.dtype == np.float32
    np.testing.assert_array_equal(raw, before)
    assert not np.shares_memory(metres, raw)


@pytest.mark.parametrize(
    "raw",
    [np.ones((2, 2)), np.ones((2, 2), np.int32), np.ones((2, 2, 1), np.uint16), np.float32(1)],
    ids=["float64", "int32", "3 axes", "no axis"],
)
def test_other_depth_is_refused(raw):
    with pytest.raises(GeometryError, match=r"uint16 millimetres or float32 metres, got"):
        depth_in_metres(np.asarray(raw))


@pytest.mark.parametrize(("depth", "ratio"), [((480, 640), 1), ((240, 320), 2), ((160, 128), None)])
def test_ratio_of_image_and_depth(depth, ratio):
    if ratio is None:
        with pytest.raises(
            GeometryError, match="640x480, or smaller by a whole ratio, got 128x160"
        ):
            grid_ratio((480, 640, 3), depth)
    else:
        assert grid_ratio((480, 640, 3), depth) == ratio


@pytest.mark.parametrize("depth", [(960, 1280), (0, 640), (480, 320), (479, 639), (0, 0)])
def test_no_ratio(depth):
    with pytest.raises(GeometryError, match="register the depth"):
        grid_ratio((480, 640, 3), depth)


def test_a_depth_pixel_takes_the_image_at_its_centre():
    pixels = np.arange(36).reshape(6, 6)
    np.testing.assert_array_equal(on_depth_grid(pixels, 1), pixels)
    np.testing.assert_array_equal(on_depth_grid(pixels, 3), [[7, 10], [25, 28]])
    np.testing.assert_array_equal(on_depth_grid(pixels, 2), pixels[1::2, 1::2])
    assert np.shares_memory(on_depth_grid(pixels, 2), pixels)

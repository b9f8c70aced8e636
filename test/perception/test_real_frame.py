"""A real frame with depth: the motorcycle pair of the Middlebury 2014 stereo benchmark.

Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014;
a quarter of the size, as scikit-image brings it.
"""

from pathlib import Path

import numpy as np
import pytest

from lisa_ros.perception.depth import Intrinsics, depth_in_metres
from lisa_ros.perception.objects import GeometrySettings, object_geometry, scene_cloud

FOCAL, BASELINE, SHIFT = 994.978, 0.193001, 31.086  # px, m, px between the principal points
CAMERA = Intrinsics(741, 500, FOCAL, FOCAL, 311.193, 254.877)
RAW = GeometrySettings(
    voxel_size=0, mask_erosion=0, min_points=1, depth_filter=False, point_filter=False
)


@pytest.fixture(scope="module")
def pair():
    """Left and right picture, and the left one's depth as both encodings give it."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    if not (Path(data.__file__).parent / "motorcycle_disp.npz").is_file():
        pytest.skip("this scikit-image comes without motorcycle_disp.npz")
    left, right, disparity = data.stereo_motorcycle()
    metres = (FOCAL * BASELINE / (disparity + SHIFT)).astype(np.float32)
    metres[~np.isfinite(disparity)] = np.nan
    millimetres = np.nan_to_num(metres * 1000).round().astype(np.uint16)
    return left, right, {"32FC1": metres, "16UC1": millimetres}


@pytest.fixture(params=["32FC1", "16UC1"])
def frame(pair, request):
    left, _, depth = pair
    return left, depth_in_metres(depth[request.param])


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((500, 741), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_other_camera_sees_the_same_colours_at_the_points(pair, frame):
    """The right picture is not used for the points: it tells whether they are where they should."""
    _, right, _ = pair
    rgb, depth = frame
    cloud = scene_cloud(rgb, depth, [], CAMERA)
    assert len(cloud.points) == np.isfinite(depth).sum() > 300_000

    def difference(points):
        x = (points[:, 0] - BASELINE) / points[:, 2] * FOCAL + CAMERA.cx + SHIFT
        y = points[:, 1] / points[:, 2] * FOCAL + CAMERA.cy
        column, row = x.round().astype(int), y.round().astype(int)
        seen = (column >= 0) & (column < 741) & (row >= 0) & (row < 500)
        there = right[row[seen], column[seen]].astype(int)
        return np.median(np.abs(there - cloud.colors[seen]))

    right_place = difference(cloud.points)
    assert right_place <= 6
    for offset in ([0.02, 0, 0], [0, 0.02, 0], [0, 0, 0.15]):
        assert difference(cloud.points + np.array(offset)) > 1.3 * right_place


def test_the_floor_is_flat_and_level(frame):
    got = object_geometry(*frame, rectangle(30, 420, 480, 495), CAMERA)
    assert got.is_valid
    assert got.box.size[2] < 0.03
    assert got.box.size[1] > 0.3
    normal = got.box.rotation[:, 2]
    assert normal[1] < -0.97  # up, and the camera looks nearly level


def test_a_loose_mask_gives_the_tank_and_not_the_room_behind(frame):
    rgb, depth = frame
    mask = rectangle(340, 150, 470, 240)  # fuel tank; behind it shelves, 1.5 m farther
    seen = depth[mask & np.isfinite(depth)]
    assert np.mean(seen > 3) > 0.1
    raw, got = (object_geometry(rgb, depth, mask, CAMERA, s) for s in (RAW, None))
    assert raw.points[:, 2].max() > 3.5
    assert got.points[:, 2].max() < 3
    assert got.points[:, 2].min() > 2
    assert got.box.size.max() < 0.45
    assert raw.box.size.max() > 1.5
    red = got.colors[:, 0] > 2 * got.colors[:, 1].astype(int)
    assert red.mean() > 0.5
    assert 0.8 < got.depth_valid_share < 1


def test_a_rectangle_around_the_headlight(frame):
    got = object_geometry(*frame, rectangle(500, 115, 560, 190), CAMERA)
    near = frame[1][130:175, 515:550]
    assert got.centroid[2] == pytest.approx(np.nanmedian(near), abs=0.05)
    assert 0.1 < got.box.size[0] < 0.35

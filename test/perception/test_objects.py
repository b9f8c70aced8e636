"""Points, centroid and box of an object in known scenes, and the scene around it."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from analytic_scene import (
    HD,
    VGA,
    as_float,
    as_millimetres,
    box,
    box_on_table,
    plane,
    points_at,
    sphere,
    spilled,
    stereo_noise,
    tube,
    turned,
    with_flying_pixels,
)

from lisa_ros.perception import point_filter
from lisa_ros.perception.depth import GeometryError, Intrinsics, depth_in_metres
from lisa_ros.perception.objects import GeometrySettings, object_geometry, scene_cloud

RAW = GeometrySettings(
    voxel_size=0, mask_erosion=0, min_points=1, depth_filter=False, point_filter=False
)
DEFAULT = GeometrySettings()
ENCODINGS = pytest.mark.parametrize("encode", [as_float, as_millimetres], ids=["32FC1", "16UC1"])
SHAPES = {
    "plane": plane(VGA, (0.3, -0.2, -1.0), (0, 0, 1.1)),
    "box": box(VGA, (0.05, -0.03, 0.8), turned((1, 2, 0.5), 50), (0.2, 0.15, 0.1)),
    "sphere": sphere(VGA, (-0.1, 0.05, 0.9), 0.12),
}


def colours(camera, seed=3):
    shape = (camera.height, camera.width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def geometry(depth, mask, settings=DEFAULT, camera=VGA, encode=as_float):
    metres = depth_in_metres(encode(depth))
    return object_geometry(colours(camera), metres, mask, camera, settings)


def on_wall(own, distance=1.6):
    """The depth of an object before a wall, and its mask."""
    return np.minimum(own, distance), np.isfinite(own)


def axis_errors(box, rotation, size):
    """Degrees between the axes, largest, and metres that each true side is too short by."""
    cosines = np.abs(box.rotation.T @ rotation)
    best = max(permutations(range(3)), key=lambda p: sum(cosines[i, p[i]] for i in range(3)))
    degrees = [np.rad2deg(np.arccos(min(1, cosines[i, best[i]]))) for i in range(3)]
    return max(degrees), {best[i]: size[best[i]] - box.size[i] for i in range(3)}


# --- points ------------------------------------------------------------------------------------


@ENCODINGS
@pytest.mark.parametrize("shape", SHAPES)
def test_points_lie_on_the_surface_and_none_is_missing(shape, encode):
    own = SHAPES[shape]
    depth, mask = on_wall(own)
    got = geometry(depth, mask, RAW, encode=encode)
    want = points_at(VGA, depth)[mask]
    assert len(got.points) == len(want) > 20_000
    assert got.points.dtype == np.float32
    assert np.linalg.norm(got.points - want, axis=1).max() < 0.001
    np.testing.assert_array_equal(got.colors, colours(VGA)[mask])
    np.testing.assert_allclose(got.centroid, np.median(want, axis=0), atol=0.001)
    assert got.depth_valid_share == 1


@ENCODINGS
def test_holes_and_what_is_out_of_range_give_no_points(encode):
    depth, mask = on_wall(SHAPES["plane"], 3.0)
    raw = encode(depth)
    unknown = np.random.default_rng(0).random(raw.shape) < 0.3
    raw[unknown] = 0
    if encode is as_float:
        for i, value in enumerate((np.nan, np.inf, -1.0)):
            raw[i::7][unknown[i::7]] = value
    settings = replace(RAW, min_depth=0.9, max_depth=1.2)
    got = object_geometry(colours(VGA), depth_in_metres(raw), mask, VGA, settings)
    metres = np.where(unknown, 0, depth_in_metres(encode(depth)))
    valid = mask & (metres >= np.float32(0.9)) & (metres <= np.float32(1.2))
    assert 0.2 < valid.sum() / mask.sum() < 0.7
    assert len(got.points) == valid.sum()
    np.testing.assert_allclose(got.points, points_at(VGA, depth)[valid], atol=0.001)
    assert got.depth_valid_share == pytest.approx(valid.sum() / mask.sum())


def test_filters_leave_a_clean_object_its_points():
    depth, mask = on_wall(SHAPES["box"])
    got = geometry(depth, mask, replace(DEFAULT, voxel_size=0, mask_erosion=0))
    assert 0.98 * mask.sum() < len(got.points) <= mask.sum()


def test_voxels():
    depth, mask = on_wall(SHAPES["sphere"])
    fine = geometry(depth, mask, RAW)
    got = geometry(depth, mask, replace(RAW, voxel_size=0.01))
    cells = np.floor(fine.points / np.float32(0.01)).astype(int)
    want = {tuple(cell): [] for cell in cells}
    for cell, point, color in zip(cells, fine.points, fine.colors, strict=True):
        want[tuple(cell)].append((point, color))
    assert len(got.points) == len(want)
    for point, color in zip(got.points, got.colors, strict=True):
        points, colors = zip(*want[tuple(np.floor(point / 0.01).astype(int))], strict=True)
        np.testing.assert_allclose(point, np.mean(points, axis=0), atol=1e-5)
        np.testing.assert_allclose(color, np.mean(colors, axis=0), atol=0.51)
    from_center = np.linalg.norm(got.points - [-0.1, 0.05, 0.9], axis=1)
    assert np.abs(from_center - 0.12).max() < 0.001
    np.testing.assert_allclose(got.centroid, fine.centroid)
    np.testing.assert_allclose(got.box.size, fine.box.size)


def test_cells_are_the_same_by_table_and_by_sorting(monkeypatch):
    points = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    table = point_filter.gather(points, 0.2)
    assert len(table.counts) < 4000
    assert table.counts.sum() == 5000
    monkeypatch.setattr(point_filter, "_TABLE_SIZE", 0)
    sorting = point_filter.gather(points, 0.2)
    np.testing.assert_array_equal(table.of_points, sorting.of_points)
    np.testing.assert_array_equal(table.counts, sorting.counts)


def test_erosion_takes_its_pixels_exactly():
    mask = np.zeros((480, 640), bool)
    mask[100:120, 200:240] = True
    mask[:30, :50] = True  # the border of the image is not an outline
    got = geometry(np.full((480, 640), 1.0), mask, replace(RAW, mask_erosion=2))
    assert len(got.points) == 16 * 36 + 28 * 48
    want = points_at(VGA, np.ones((480, 640)))[:28, :48].reshape(-1, 3)
    np.testing.assert_allclose(got.points[got.points[:, 1] < -0.35], want, atol=1e-5)


@pytest.mark.parametrize(
    "part",
    [np.s_[200, 100:400], np.s_[50:300, 320], np.s_[100:103, :], np.s_[:, 0], np.s_[479, 5:600]],
    ids=["row", "column", "three rows", "left border", "lowest row"],
)
@pytest.mark.parametrize("depth_of", ["level", "slanted"])
def test_thin_masks(part, depth_of):
    mask = np.zeros((480, 640), bool)
    mask[part] = True
    depth = SHAPES["plane"] if depth_of == "slanted" else np.ones((480, 640))
    got = geometry(depth, mask, replace(DEFAULT, voxel_size=0))
    assert got.is_valid
    assert len(got.points) > 0.3 * mask.sum()
    np.testing.assert_allclose(got.centroid, np.median(points_at(VGA, depth)[mask], 0), atol=0.02)
    assert got.box.size[2] < 0.01


@pytest.mark.parametrize("size", [(90, 640), (640, 90), (1, 300), (300, 1), (720, 1280)])
def test_any_aspect_ratio(size):
    height, width = size
    camera = Intrinsics(width, height, 500.0, 500.0, width / 2, height / 2)
    depth = plane(camera, (0.1, 0.1, -1), (0, 0, 1))
    got = geometry(depth, np.ones(size, bool), RAW, camera)
    np.testing.assert_allclose(got.points, points_at(camera, depth).reshape(-1, 3), atol=1e-5)
    assert geometry(depth, np.ones(size, bool), DEFAULT, camera).is_valid


def test_inputs_stay_as_they_are_and_may_be_read_only():
    depth, mask = on_wall(SHAPES["box"])
    inputs = [colours(VGA), as_float(depth), spilled(mask, 3)]
    copies = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    rgb, metres, mask = inputs
    assert object_geometry(rgb, metres, mask, VGA).is_valid
    scene_cloud(rgb, metres, [mask], VGA)
    for array, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_same_input_same_output():
    depth, mask = on_wall(SHAPES["box"])
    depth = stereo_noise(depth, np.random.default_rng(0))
    one, other = geometry(depth, mask), geometry(depth, mask)
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.box.rotation, other.box.rotation)


# --- boxes -------------------------------------------------------------------------------------

TURNS = {
    "three faces": turned((1, 2, 0.5), 50),
    "three other faces": turned((2, -1, 0.7), 130),
    "two faces": turned((0, 1, 0), 40) @ turned((0, 0, 1), 0),
    "two tilted faces": turned((0, 0, 1), 33) @ turned((0, 1, 0), -35),
    "one face": turned((0, 0, 1), 20),
}
SIZES = [(0.2, 0.15, 0.1), (0.3, 0.06, 0.05), (0.12, 0.12, 0.12), (0.2, 0.14, 0.02)]


@ENCODINGS
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("settings", [RAW, DEFAULT], ids=["raw", "default"])
def test_box_of_a_box(turn, size, encode, settings):
    rotation = TURNS[turn]
    own = box(HD, (0.0, 0.0, 0.6), rotation, size)
    depth, mask = on_wall(own)
    got = geometry(depth, mask, settings, HD, encode).box
    degrees, short = axis_errors(got, rotation, size)
    assert degrees < 2
    if turn == "one face":
        del short[2]  # its depth is hidden
        assert got.size[2] < 0.002
    assert max(map(abs, short.values())) < 0.003
    if turn != "one face":
        np.testing.assert_allclose(got.center, (0, 0, 0.6), atol=0.003)


@pytest.mark.parametrize("degrees", range(0, 90, 9))
def test_outline_of_a_single_face(degrees):
    rotation = turned((0, 0, 1), degrees)
    for size in ((0.05, 0.04, 0.01), (0.2, 0.05, 0.01), (0.1, 0.1, 0.01)):
        depth, mask = on_wall(box(VGA, (0, 0, 0.8), rotation, size))
        error, short = axis_errors(geometry(depth, mask).box, rotation, size)
        assert error < 2
        assert max(abs(short[0]), abs(short[1])) < 0.003


@pytest.mark.parametrize("size", SIZES[:3], ids=str)
@pytest.mark.parametrize("turn", ["three faces", "two tilted faces", "one face"])
@pytest.mark.parametrize("distance", [0.6, 1.0])
def test_box_under_stereo_noise(turn, size, distance):
    """3 mm at 1 m, each pixel on its own: more than 6 mm from end to end if it were extent."""
    rotation, rng = TURNS[turn], np.random.default_rng(1)
    own = box(HD, (0.0, 0.0, distance), rotation, size)
    depth, mask = on_wall(own, distance + 0.6)
    got = geometry(stereo_noise(depth, rng), mask, DEFAULT, HD)
    degrees, short = axis_errors(got.box, rotation, size)
    assert degrees < 2
    if turn == "one face":
        del short[2]
    assert max(map(abs, short.values())) < (0.003 if distance < 1 else 0.006)


@pytest.mark.parametrize(
    ("distance", "width"), [(0.8, 0.012), (1.0, 0.018), (1.5, 0.04), (2.0, 0.06), (2.0, 0.012)]
)
def test_a_narrow_front_keeps_its_width_under_stereo_noise(distance, width):
    """Noise goes along the ray, not across it: a gripper must not be told to close."""
    own = box(HD, (0.0, 0.0, distance), TURNS["one face"], (0.15, width, 0.01))
    depth, mask = on_wall(own, distance + 0.6)
    depth = stereo_noise(depth, np.random.default_rng(1))
    got = geometry(depth, mask, GeometrySettings(min_points=1), HD).box
    assert got.size[1] == pytest.approx(width, rel=0.25, abs=0.004)
    assert got.rotation[2, 2] < -0.95  # z still points to the camera


@pytest.mark.parametrize("degrees", [-2, 0, 2])
def test_the_axis_of_an_upright_thing_points_up(degrees):
    depth, mask = on_wall(
        tube(HD, (0.05, 0, 0.7), turned((0, 0, 1), degrees) @ (0, 1, 0), 0.03, 0.2)
    )
    for seed in range(4):
        noisy = stereo_noise(depth, np.random.default_rng(seed))
        assert geometry(noisy, mask, DEFAULT, HD).box.rotation[1, 0] < -0.9


@pytest.mark.parametrize("row", [100, 101])
def test_a_line_between_the_samples_of_a_smaller_depth_is_seen(row):
    camera, small = Intrinsics(320, 240, 300, 300, 160, 120), np.ones((120, 160), np.float32)
    mask = np.zeros((240, 320), bool)
    mask[row, 50:150] = True
    item = object_geometry(colours(camera), small, mask, camera, RAW)
    assert item.depth_valid_share == 1


@pytest.mark.parametrize("settings", [RAW, DEFAULT], ids=["raw", "default"])
@pytest.mark.parametrize("radius", [0.02, 0.1])
def test_box_of_a_sphere_holds_the_seen_cap(radius, settings):
    center = np.array([0.05, -0.03, 0.7])
    depth, mask = on_wall(sphere(HD, center, radius))
    got = geometry(depth, mask, settings, HD)
    seen = points_at(HD, depth)[mask]
    spread = np.ptp(seen @ got.box.rotation, axis=0)
    assert np.abs(got.box.size - spread).max() < 0.005 + 0.1 * radius
    assert 1.7 * radius < got.box.size[0] < 2.1 * radius
    assert 1.7 * radius < got.box.size[1] < 2.1 * radius
    assert 0.7 * radius < got.box.size[2] < 1.3 * radius


@pytest.mark.parametrize("noise", [0.0, 0.1], ids=["clean", "noisy"])
@pytest.mark.parametrize("tilt", [0, 40, 70])
def test_box_of_a_cylinder_follows_its_axis(tilt, noise):
    axis = turned((0, 0, 1), 25) @ turned((0, 1, 0), -tilt) @ (1, 0, 0)
    depth, mask = on_wall(tube(HD, (0.05, -0.03, 0.7), axis, 0.03, 0.2))
    depth = stereo_noise(depth, np.random.default_rng(2), noise)
    got = geometry(depth, mask, DEFAULT, HD).box
    assert np.rad2deg(np.arccos(abs(got.rotation[:, 0] @ axis))) < 2
    np.testing.assert_allclose(got.size[:2], (0.2, 0.06), atol=0.004)


def test_flat_object_has_no_thickness_from_noise():
    rotation = turned((1, 0, 0), 50) @ turned((0, 0, 1), 20)
    depth, mask = on_wall(box(HD, (0, 0, 0.8), rotation, (0.15, 0.1, 0.001)))
    depth = stereo_noise(depth, np.random.default_rng(0))
    got = geometry(depth, mask, DEFAULT, HD).box
    degrees, short = axis_errors(got, rotation, (0.15, 0.1, 0.001))
    assert degrees < 2
    assert max(map(abs, short.values())) < 0.005


def test_axes_are_right_handed_ordered_and_turned_to_the_viewer():
    for turn in TURNS.values():
        depth, mask = on_wall(box(VGA, (0.1, 0.05, 0.8), turn, (0.2, 0.15, 0.1)))
        got = geometry(depth, mask).box
        np.testing.assert_allclose(got.rotation.T @ got.rotation, np.eye(3), atol=1e-9)
        assert np.linalg.det(got.rotation) == pytest.approx(1)
        assert got.size[0] >= got.size[1] >= got.size[2] >= 0
        assert got.rotation[:, 2] @ got.center < 0
        assert got.rotation[0, 0] >= 0


def test_corners_of_a_box_enclose_its_points():
    depth, mask = on_wall(SHAPES["box"])
    got = geometry(depth, mask, RAW)
    corners = (got.box.corners() - got.box.center) @ got.box.rotation
    np.testing.assert_allclose(np.ptp(corners, axis=0), got.box.size)
    assert len(np.unique(corners.round(6), axis=0)) == 8
    inside = np.abs((got.points - got.box.center) @ got.box.rotation) <= got.box.size / 2 + 0.001
    assert inside.all(axis=1).mean() > 0.99


@pytest.mark.parametrize("settings", [RAW, replace(DEFAULT, min_points=1)], ids=["raw", "default"])
@pytest.mark.parametrize(
    "pixels",
    [
        ([100], [100]),
        ([100, 101], [100, 100]),
        ([100, 200], [100, 100]),
        ([100, 100, 101], [100, 101, 100]),
        (range(50, 250), range(50, 250)),
        (range(50, 250), [30] * 200),
        ([10, 10, 400, 400], [10, 600, 10, 600]),
    ],
    ids=["one", "two", "two apart", "three", "diagonal", "column", "corners"],
)
def test_degenerate_points_have_a_box(pixels, settings):
    rows, columns = map(list, pixels)
    mask = np.zeros((480, 640), bool)
    mask[rows, columns] = True
    for depth in (np.ones((480, 640)), SHAPES["plane"]):
        got = geometry(depth, mask, settings)
        assert got.is_valid
        assert np.isfinite(got.box.center).all()
        assert np.isfinite(got.box.size).all()
        assert np.linalg.det(got.box.rotation) == pytest.approx(1)
        extent = np.linalg.norm(np.ptp(points_at(VGA, depth)[mask], axis=0))
        assert np.linalg.norm(got.box.size) <= 2 * extent + 1e-6


# --- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spill", [3, 8])
@pytest.mark.parametrize("noise", [0.0, 0.1], ids=["clean", "noisy"])
@pytest.mark.parametrize(
    ("size", "elevation"),
    [((0.08, 0.06, 0.12), 30), ((0.06, 0.06, 0.25), 30), ((0.2, 0.12, 0.05), 55)],
    ids=str,
)
def test_flying_pixels_and_spilled_table_do_not_pull_the_centroid(size, elevation, noise, spill):
    scene = box_on_table(HD, size, 0.6, elevation=elevation)
    want = geometry(scene.depth, scene.mask, RAW, HD).centroid
    depth = stereo_noise(with_flying_pixels(scene.depth), np.random.default_rng(0), noise)
    mask = spilled(scene.mask, spill)
    pulled, got = (geometry(depth, mask, s, HD) for s in (replace(RAW, min_points=50), DEFAULT))
    assert np.linalg.norm(got.centroid - want) < 0.005
    degrees, short = axis_errors(got.box, scene.rotation, size)
    assert degrees < 2
    # The rim in front of the object, where the table touches it, cannot be told from it.
    assert max(map(abs, short.values())) < 0.025
    _, short = axis_errors(pulled.box, scene.rotation, size)
    assert max(map(abs, short.values())) > 0.03  # else nothing was shown


def test_what_lies_behind_is_dropped_even_when_it_is_much():
    """Seven pixels around a tall object at VGA: a quarter of the mask is table, metres behind."""
    scene = box_on_table(VGA, (0.06, 0.06, 0.25), 0.9, elevation=20)
    mask = spilled(scene.mask, 7)
    assert scene.mask.sum() < 0.76 * mask.sum()
    want = geometry(scene.depth, scene.mask, RAW).centroid
    pulled, got = (geometry(with_flying_pixels(scene.depth), mask, s) for s in (RAW, DEFAULT))
    assert np.linalg.norm(got.centroid - want) < 0.008
    assert np.linalg.norm(pulled.centroid - want) > 0.015
    assert got.box.size[0] == pytest.approx(0.25, abs=0.03)
    assert pulled.box.size[0] > 1


def test_other_surfaces_are_dropped():
    depth, mask = on_wall(SHAPES["sphere"])
    depth[mask & (points_at(VGA, depth)[..., 0] > -0.06)] = 0.6  # something in front
    depth[:, :210][mask[:, :210]] = 1.5  # and the wall, which the mask takes for the object
    got = geometry(depth, mask, replace(DEFAULT, voxel_size=0))
    assert got.points[:, 2].min() > 0.75
    assert got.points[:, 2].max() < 0.95
    assert len(got.points) > 0.3 * mask.sum()


@pytest.mark.parametrize("gap", ["hole", "pole", "smeared pole"])
def test_parts_beside_a_gap_belong_together(gap):
    """A pole in front, or a band without depth, cuts the object in two halves."""
    depth, mask = on_wall(SHAPES["box"])
    columns = np.flatnonzero(mask.any(axis=0))
    middle = (columns[0] + columns[-1]) // 2
    depth[:, middle - 8 : middle + 8] = np.inf if gap == "hole" else 0.4
    mask[:, middle - 8 : middle + 8] = False
    whole = np.count_nonzero(mask)
    if gap == "smeared pole":
        depth = with_flying_pixels(depth)
    got = geometry(depth, mask, replace(DEFAULT, voxel_size=0))
    assert len(got.points) > 0.9 * whole


def test_specks_are_dropped_by_the_depth_filter():
    depth, mask = on_wall(SHAPES["box"])
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(mask)
    chosen = rng.choice(len(rows), 60, replace=False)
    at = rows[chosen], columns[chosen]
    depth[at] += rng.uniform(0.05, 0.3, 60) * rng.choice([-1, 1], 60)
    got = geometry(depth, mask, replace(RAW, depth_filter=True))
    specks = points_at(VGA, depth)[at]
    assert np.linalg.norm(specks[:, None] - got.points[None], axis=2).min() > 0.001
    assert len(got.points) > 0.95 * mask.sum()


def test_without_open3d_the_point_filter_says_what_to_do(monkeypatch):
    monkeypatch.setattr(point_filter, "o3d", None)
    monkeypatch.setattr(point_filter, "_WHY_MISSING", "No module named 'open3d'", raising=False)
    depth, mask = on_wall(SHAPES["plane"])
    with pytest.raises(GeometryError, match=r"pip install open3d-cpu.*point_filter to false"):
        geometry(depth, mask, DEFAULT)
    assert geometry(depth, mask, replace(DEFAULT, point_filter=False)).is_valid


def test_stray_points_are_dropped_by_the_point_filter():
    depth, mask = on_wall(SHAPES["box"])
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(mask)
    chosen = rng.choice(len(rows), 60, replace=False)
    depth[rows[chosen], columns[chosen]] += rng.uniform(0.1, 0.4, 60)
    true = np.zeros_like(mask)
    true[rows[chosen], columns[chosen]] = True
    settings = replace(RAW, point_filter=True)
    got = geometry(depth, mask, settings)
    behind = points_at(VGA, depth)[true]
    nearest = np.linalg.norm(behind[:, None] - got.points[None], axis=2).min(axis=1)
    assert (nearest > 0.001).mean() > 0.9
    assert len(got.points) > 0.97 * (~true & mask).sum()


def test_far_noise_does_not_eat_the_object():
    """27 mm of noise at 3 m: neighbours differ by more than clean surfaces do."""
    own = box(HD, (0, 0, 3.0), TURNS["three faces"], (0.8, 0.6, 0.4))
    depth, mask = on_wall(own, 5.0)
    got = geometry(stereo_noise(depth, np.random.default_rng(0)), mask, DEFAULT, HD)
    assert np.linalg.norm(got.centroid - geometry(depth, mask, RAW, HD).centroid) < 0.01
    assert got.box.size[0] > 0.75


# --- validity ----------------------------------------------------------------------------------


def check_invalid(got, share):
    assert not got.is_valid
    assert got.box is None
    assert got.depth_valid_share == share
    assert got.points.shape == got.colors.shape == (0, 3)
    assert got.points.dtype == np.float32
    assert got.colors.dtype == np.uint8
    assert np.isnan(got.centroid).all()


@pytest.mark.parametrize("settings", [RAW, DEFAULT, replace(RAW, min_points=0)])
def test_depth_without_any_value(settings):
    check_invalid(geometry(np.full((480, 640), np.inf), np.ones((480, 640), bool), settings), 0.0)


@pytest.mark.parametrize("settings", [RAW, DEFAULT, replace(RAW, min_points=0)])
def test_empty_mask(settings):
    check_invalid(geometry(np.ones((480, 640)), np.zeros((480, 640), bool), settings), 0.0)


def test_too_few_points():
    mask = np.zeros((480, 640), bool)
    mask[100:107, 100:107] = True  # 49 pixels
    check_invalid(geometry(np.ones((480, 640)), mask), 1.0)
    mask[107, 100] = True
    assert geometry(np.ones((480, 640)), mask).is_valid
    depth = np.ones((480, 640))
    depth[:, 103] = np.inf
    check_invalid(geometry(depth, mask), 43 / 50)


def test_too_few_points_after_the_filter():
    mask = np.zeros((480, 640), bool)
    mask[100:110, 100:110] = True
    depth = np.indices((480, 640)).sum(0) % 2 * 0.5 + 1.0  # no two neighbours on one surface
    check_invalid(geometry(depth, mask), 1.0)
    assert geometry(depth, mask, replace(DEFAULT, depth_filter=False)).is_valid


@pytest.mark.parametrize(
    "wrong",
    [
        {"voxel_size": -0.1},
        {"voxel_size": 5e-6},
        {"voxel_size": float("nan")},
        {"min_points": -1},
        {"mask_erosion": -1},
        {"scene_dilation": -1},
        {"min_depth": 2.0, "max_depth": 1.0},
        {"min_depth": -1.0},
        {"max_depth": float("nan")},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(GeometryError, match="expected"):
        GeometrySettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": np.ones((480, 600), np.float32)}, "smaller by a whole ratio, got 600x480"),
        ({"depth": np.ones((960, 1280), np.float32)}, "smaller by a whole ratio"),
        ({"depth": np.ones((480, 640), np.uint16)}, "in metres, got uint16"),
        ({"mask": np.ones((240, 320), bool)}, r"mask of the image's shape \(480, 640\)"),
        ({"rgb": np.zeros((480, 640), np.uint8)}, r"RGB image uint8 \(H, W, 3\)"),
        ({"camera": Intrinsics(1280, 720, 900, 900, 640, 360)}, "scale to 640x480"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_belong_together_is_refused(wrong, message):
    inputs = {
        "rgb": colours(VGA),
        "depth": np.ones((480, 640), np.float32),
        "mask": np.ones((480, 640), bool),
        "camera": VGA,
    } | wrong
    rgb, depth, mask, camera = inputs.values()
    with pytest.raises(GeometryError, match=message):
        object_geometry(rgb, depth, mask, camera)
    with pytest.raises(GeometryError, match=message):
        scene_cloud(rgb, depth, [mask], camera)


# --- depth of a smaller size -------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 4, 5])
def test_smaller_depth(ratio):
    small = HD.scaled_to(HD.width // ratio, HD.height // ratio)
    size, center, rotation = (0.3, 0.2, 0.15), (0.05, -0.03, 0.6), TURNS["three faces"]
    depth = as_float(np.minimum(box(small, center, rotation, size), 1.6))
    mask, rgb = np.isfinite(box(HD, center, rotation, size)), colours(HD)
    got = object_geometry(rgb, depth, mask, HD, RAW)
    sampled = mask[ratio // 2 :: ratio, ratio // 2 :: ratio]
    assert len(got.points) == sampled.sum()
    np.testing.assert_allclose(got.points, points_at(small, depth)[sampled], atol=1e-5)
    np.testing.assert_array_equal(
        got.colors, rgb[ratio // 2 :: ratio, ratio // 2 :: ratio][sampled]
    )
    of_depth = object_geometry(rgb, depth, mask, small, RAW)
    np.testing.assert_allclose(of_depth.points, got.points, atol=1e-6)
    got = object_geometry(rgb, depth, mask, HD, replace(DEFAULT, voxel_size=0))
    degrees, short = axis_errors(got.box, rotation, size)
    assert degrees < 2
    assert max(map(abs, short.values())) < 0.003 * ratio


# --- other frames ------------------------------------------------------------------------------


def a_transform():
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turned((1, 2, 3), 70), (0.5, -1, 2)
    return matrix


def test_transformed_object():
    depth, mask = on_wall(SHAPES["box"])
    here = geometry(depth, mask)
    matrix = a_transform()
    there = here.transformed(matrix)

    def moved(points):
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    np.testing.assert_allclose(there.points, moved(here.points), atol=1e-6)
    assert there.points.dtype == np.float32
    np.testing.assert_allclose(there.centroid, moved(here.centroid))
    np.testing.assert_allclose(there.box.corners(), moved(here.box.corners()))
    np.testing.assert_array_equal(there.colors, here.colors)
    assert there.depth_valid_share == here.depth_valid_share
    back = there.transformed(np.linalg.inv(matrix))
    np.testing.assert_allclose(back.points, here.points, atol=1e-5)
    nothing = geometry(np.full((480, 640), np.inf), mask).transformed(matrix)
    check_invalid(nothing, 0.0)


@pytest.mark.parametrize("matrix", [np.eye(3), 2 * np.eye(4), np.full((4, 4), np.nan)])
def test_transforms_that_are_not_rigid_are_refused(matrix):
    depth, mask = on_wall(SHAPES["box"])
    with pytest.raises(GeometryError, match="rigid transform"):
        geometry(depth, mask).transformed(matrix)


# --- scene -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    scene = box_on_table(VGA, (0.1, 0.08, 0.12), 0.7, elevation=40)
    depth = scene.depth.copy()
    depth[:40, :60] = np.inf
    depth[200:210, 300:320] = 20.0  # out of range
    return as_float(depth), scene.mask


def test_scene_without_its_objects(table):
    depth, mask = table
    other = np.zeros_like(mask)
    other[400:420, 100:130] = True
    got = scene_cloud(colours(VGA), depth, [mask, other], VGA)
    grown = np.zeros_like(mask)
    for rows, columns in (np.nonzero(mask), np.nonzero(other)):
        for y in range(-5, 6):
            for x in range(-5, 6):
                grown[np.clip(rows + y, 0, 479), np.clip(columns + x, 0, 639)] = True
    shown = ~grown & (depth <= 10)
    assert got.organized is None
    np.testing.assert_allclose(got.points, points_at(VGA, depth)[shown], atol=1e-5)
    np.testing.assert_array_equal(got.colors, colours(VGA)[shown])
    np.testing.assert_array_equal(got.labels, np.zeros(shown.sum(), np.uint16))
    assert (got.points.dtype, got.labels.dtype) == (np.float32, np.uint16)


def test_whole_scene_is_labelled(table):
    depth, mask = table
    other = np.zeros_like(mask)
    other[:, :330] = True  # laps over the first
    got = scene_cloud(colours(VGA), depth, [mask, other], VGA, include_objects=True)
    shown = depth <= 10
    want = np.where(mask, 1, np.where(other, 2, 0))[shown]
    np.testing.assert_array_equal(got.labels, want)
    assert {0, 1, 2} == set(got.labels)
    assert len(got.points) == shown.sum()


@pytest.mark.parametrize("include_objects", [False, True])
def test_organized_scene_keeps_the_pixels(table, include_objects):
    depth, mask = table
    args = (colours(VGA), depth, [mask], VGA)
    flat = scene_cloud(*args, include_objects=include_objects)
    got = scene_cloud(*args, include_objects=include_objects, organized=True)
    assert got.organized == (480, 640)
    assert got.points.shape == got.colors.shape == (480 * 640, 3)
    present = np.isfinite(got.points).all(axis=1)
    assert np.isnan(got.points[~present]).all()
    np.testing.assert_array_equal(got.points[present], flat.points)
    np.testing.assert_array_equal(got.labels[present], flat.labels)
    np.testing.assert_array_equal(got.colors, colours(VGA).reshape(-1, 3))
    u = got.points[:, 0] / got.points[:, 2] * VGA.fx + VGA.cx
    np.testing.assert_allclose(u[present], np.tile(np.arange(640), 480)[present], atol=1e-3)


def test_scene_without_objects_asked_for(table):
    depth, _ = table
    assert len(scene_cloud(colours(VGA), depth, [], VGA).points) == (depth <= 10).sum()


def test_scene_of_smaller_depth():
    small = VGA.scaled_to(320, 240)
    depth = np.ones((240, 320), np.float32)
    mask = np.zeros((480, 640), bool)
    mask[100:140, 200:260] = True
    settings = replace(DEFAULT, scene_dilation=1)
    got = scene_cloud(colours(VGA), depth, [mask], VGA, settings, organized=True)
    assert got.organized == (240, 320)
    gone = np.isnan(got.points[:, 0]).reshape(240, 320)
    want = np.zeros((240, 320), bool)
    want[49:71, 99:131] = True
    np.testing.assert_array_equal(gone, want)
    np.testing.assert_allclose(
        got.points.reshape(240, 320, 3)[~gone], points_at(small, depth)[~gone], atol=1e-5
    )


def test_transformed_scene(table):
    depth, mask = table
    here = scene_cloud(colours(VGA), depth, [mask], VGA, organized=True)
    matrix = a_transform()
    there = here.transformed(matrix)
    np.testing.assert_allclose(
        there.points, here.points @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-5
    )
    assert there.points.dtype == np.float32
    assert there.organized == here.organized

"""Random scenes: reproducible, free of collisions, in view, and drawn from the right meshes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

from lisa_ros.sim.catalog import (
    CLASS_NAMES,
    COLOURS,
    PACK,
    colour_name,
    meshes,
    meshes_by_class,
    object_class,
)
from lisa_ros.sim.colours import colours_are_close
from lisa_ros.sim.pack import read_pack, write_pack
from lisa_ros.sim.poses import overlap, rotation_matrix, sample_rest
from lisa_ros.sim.scene import SMALLEST, Scene, footprint, portrait, sample_scene
from lisa_ros.sim.surfaces import KINDS, Surface, draw_surface

SEEDS = range(60)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(seed) for seed in SEEDS]


# --- The catalogue ---


def test_every_class_has_meshes_and_training_ones_among_them() -> None:
    assert len(CLASS_NAMES) >= 50
    assert {mesh.class_name for mesh in meshes().values()} == set(CLASS_NAMES)
    for name, group in meshes_by_class().items():
        assert any(not mesh.held_out for mesh in group), name


def test_most_classes_of_several_meshes_hold_one_out() -> None:
    several = [group for group in meshes_by_class().values() if len(group) > 1]
    held_out = [group for group in several if any(mesh.held_out for mesh in group)]
    assert len(several) >= 40
    assert len(held_out) >= 0.95 * len(several)


def test_the_pack_is_small_and_every_foreign_mesh_is_attributed() -> None:
    assert PACK.stat().st_size <= 4e6
    words = set(re.findall(r"\w+", (PACK.parent / "ATTRIBUTION.md").read_text()))
    assert set(meshes()) <= words


def test_an_object_of_one_colour_shows_no_other(scenes: list[Scene]) -> None:
    """A black brush with a white handle is called white as well: it has no colour's name."""
    told = 0
    for scene in scenes:
        for item in scene.objects:
            if item.colour is None or item.tint is None:
                continue
            told += 1
            tint = (255 * np.array([item.tint])).astype(np.uint8)
            if (tinted := colour_name(tint)) is not None:
                assert colours_are_close(item.colour, tinted), item
    assert told > 10


def test_dark_glass_is_not_black() -> None:
    for name in ("wine_green", "wine_slope"):
        assert meshes()[name].colour(None) == "green"


def test_meshes_are_household_size_and_stand_on_the_table() -> None:
    for mesh in meshes().values():
        low, high = mesh.points.min(0), mesh.points.max(0)
        assert 0.01 < (high - low).max() < 0.4, mesh.name
        np.testing.assert_allclose([low[2], *(low + high)[:2]], 0, atol=2e-4, err_msg=mesh.name)
        assert sum(part.share for part in mesh.parts) == pytest.approx(1, abs=0.02), mesh.name


def test_a_pack_survives_writing_and_reading(tmp_path) -> None:  # type: ignore[no-untyped-def]
    before = read_pack(PACK)[:5]
    write_pack(tmp_path / "copy.pack", before)
    for old, new in zip(before, read_pack(tmp_path / "copy.pack"), strict=True):
        assert (old.name, old.class_name, old.held_out) == (new.name, new.class_name, new.held_out)
        for a, b in zip(old.parts, new.parts, strict=True):
            np.testing.assert_allclose(a.vertices, b.vertices, atol=2e-5)
            np.testing.assert_array_equal(a.triangles, b.triangles)
            assert (a.texture, a.colour, a.alpha, a.tint) == (b.texture, b.colour, b.alpha, b.tint)


# --- Colours ---


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_drawn_by_name_is_called_by_that_name(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        pixel = np.round(np.array(COLOURS[name].sample(rng)) * 255).astype(np.uint8)
        assert colour_name(np.tile(pixel, (10, 1))) == name, pixel


def test_a_mixture_has_no_colour_name() -> None:
    red, green, white = (200, 10, 10), (20, 160, 30), (250, 250, 250)
    assert colour_name(np.array([red] * 5 + [green] * 5, np.uint8)) is None
    assert colour_name(np.array([red] * 8 + [white] * 2, np.uint8)) == "red"
    assert colour_name(np.array([red] * 7 + [white] * 3, np.uint8)) is None
    assert colour_name(np.zeros((0, 3), np.uint8)) is None


def test_fruit_has_its_own_colours() -> None:
    assert meshes()["banana_bent"].colour(None) == "yellow"
    assert meshes()["orange_peel"].colour(None) == "orange"
    assert set(object_class("apple").colours) == {"red", "green", "yellow"}


def test_a_tint_names_the_mug() -> None:
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        assert meshes()["mug_belly"].colour(colour.sample(rng)) == name


# --- Scenes ---


def test_the_same_seed_gives_the_same_scene(scenes: list[Scene]) -> None:
    again = [sample_scene(seed) for seed in SEEDS]
    assert again == scenes
    assert scenes[0] != scenes[1]


def test_another_process_samples_the_same_scene(scenes: list[Scene]) -> None:
    code = "from lisa_ros.sim.scene import sample_scene; print(repr(sample_scene(7).objects))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == repr(scenes[7].objects)


def test_instances_count_from_one_and_numbers_keep_to_the_request(scenes: list[Scene]) -> None:
    for scene in scenes:
        instances = [item.instance for item in scene.objects]
        assert instances == list(range(1, len(instances) + 1))
        assert 3 <= len(instances) <= 10  # in a crowd one may find no room
    assert len(sample_scene(1, num_objects=(1, 1)).objects) == 1
    assert len(sample_scene(1, num_objects=(20, 20)).objects) > 12
    with pytest.raises(ValueError, match="num_objects"):
        sample_scene(1, num_objects=(5, 2))


def test_training_scenes_show_no_held_out_mesh(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert not any(meshes()[item.mesh].held_out for item in scene.objects)


def test_held_out_scenes_show_only_held_out_meshes_where_a_class_has_them() -> None:
    shown = 0
    for seed in range(20):
        for item in sample_scene(seed, held_out_meshes=True).objects:
            if any(mesh.held_out for mesh in meshes_by_class()[item.class_name]):
                assert meshes()[item.mesh].held_out
                shown += 1
    assert shown > 50


def test_objects_rest_on_the_table_apart_from_one_another(scenes: list[Scene]) -> None:
    for scene in scenes:
        outlines = [footprint(item) for item in scene.objects]
        for k, item in enumerate(scene.objects):
            points = item.scale * meshes()[item.mesh].points
            points = points @ rotation_matrix(item.orientation).T + item.origin
            low, high = points.min(0), points.max(0)
            np.testing.assert_allclose((low + high) / 2, item.position, atol=1e-6)
            np.testing.assert_allclose(high - low, item.size, atol=1e-6)
            assert low[2] == pytest.approx(0, abs=1e-6)
            assert item.length >= 0.999 * SMALLEST
            turned_back = points @ rotation_matrix(item.orientation)
            assert item.length == pytest.approx(np.ptp(turned_back, axis=0).max())
            assert not any(overlap(outlines[k], other) for other in outlines[:k])
            on_table = np.abs(outlines[k] @ scene.table.rotation[:2, :2])
            assert (on_table <= np.array(scene.table.size) / 2).all()


def test_overlap_of_convex_polygons() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    diamond = np.array([[0.0, -1], [1, 0], [0, 1], [-1, 0]])
    assert overlap(square, square + 0.9)
    assert not overlap(square, square + np.array([1.1, 0]))
    assert not overlap(diamond, diamond + 1.2)  # their bounding boxes overlap
    assert overlap(diamond, 0.1 * diamond)  # one within the other


def test_about_a_third_of_the_scenes_shows_a_class_twice(scenes: list[Scene]) -> None:
    doubled = 0
    for scene in scenes:
        names = [item.class_name for item in scene.objects]
        doubled += len(set(names)) < len(names)
    assert 0.15 < doubled / len(scenes) < 0.5


def test_the_camera_looks_at_the_objects_as_asked(scenes: list[Scene]) -> None:
    in_view = []
    for scene in scenes:
        camera = scene.camera(640, 480)
        horizontal = 2 * np.degrees(np.arctan(320 / camera.fx))
        assert 54 < horizontal < 71
        down = np.degrees(np.arcsin(-camera.world_from_optical[2, 2]))
        assert 24 < down < 66
        centres = np.array([item.position for item in scene.objects])
        eye = camera.world_from_optical[:3, 3]
        assert 0.4 < np.linalg.norm(eye - centres.mean(0)) < 1.15
        pixels, depth = camera.project(centres)
        inside = ((pixels > 0) & (pixels < [639, 479])).all(1) & (depth > 0)
        in_view.append(inside.mean())
    assert np.mean(in_view) > 0.85


def test_a_close_up_is_near_one_of_its_objects_and_before_none() -> None:
    scenes = [sample_scene(seed, close_up=True) for seed in range(60)]
    near = []
    for scene in scenes:
        eye = scene.view.world_from_optical[:3, 3]
        away = [np.linalg.norm(eye - item.position) for item in scene.objects]
        radii = [np.linalg.norm(item.size) / 2 for item in scene.objects]
        near.append(min(away))
        assert np.subtract(away, radii).min() > 0.02
    assert max(near) < 0.55
    assert np.median(near) < 0.35
    assert [s.objects for s in scenes[:5]] == [sample_scene(seed).objects for seed in range(5)]


def test_the_camera_keeps_its_view_at_any_size() -> None:
    small, large = sample_scene(3).camera(384, 288), sample_scene(3).camera(768, 576)
    point = np.array([[0.02, 0.01, 0.05]])
    pixel, _ = small.project(point)
    np.testing.assert_allclose(large.project(point)[0], 2 * pixel + 0.5, atol=1e-9)


def test_poses_are_rotations_and_unknown_ones_are_refused() -> None:
    rng = np.random.default_rng(0)
    poses = {pose for name in CLASS_NAMES for pose, _ in object_class(name).poses}
    for pose in poses:
        matrix = rotation_matrix(sample_rest(rng, pose))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)
    with pytest.raises(ValueError, match="unknown pose"):
        sample_rest(rng, "hover")


@pytest.mark.parametrize("kind", KINDS)
def test_a_surface_depends_on_its_seed_alone(kind: str) -> None:
    surface = Surface(kind, 5, ((0.6, 0.4, 0.2), (0.2, 0.2, 0.3)), sheets=1)
    pixels = draw_surface(surface, 128)
    assert pixels.shape == (128, 128, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, draw_surface(surface, 128))
    other = dataclasses.replace(surface, seed=6)
    assert (pixels != draw_surface(other, 128)).any()


def test_a_portrait_shows_one_mesh() -> None:
    scene = portrait("mug_tall")
    assert [item.mesh for item in scene.objects] == ["mug_tall"]

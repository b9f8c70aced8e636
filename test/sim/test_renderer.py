"""Pictures agree with geometry: depth with the table's plane, ids with where objects are."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
from collections.abc import Iterator

import numpy as np
import pytest

from lisa_ros.sim import opengl
from lisa_ros.sim.catalog import meshes
from lisa_ros.sim.renderer import Frame, Renderer
from lisa_ros.sim.scene import Scene, View, portrait, sample_scene

WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(WIDTH, HEIGHT) as opened:
        yield opened


@pytest.fixture(scope="module")
def frames(renderer: Renderer) -> list[Frame]:
    return [renderer.render(sample_scene(seed)) for seed in range(12)]


def on_table(frame: Frame, margin: float = 0.02) -> np.ndarray:
    """(H, W): where the ray of a pixel without an object meets the table top."""
    camera, table = frame.camera, frame.scene.table
    eye = camera.world_from_optical[:3, 3]
    rays = camera.back_project(np.ones((camera.height, camera.width))) - eye
    reach = np.where(rays[..., 2] < 0, -eye[2] / np.minimum(rays[..., 2], -1e-9), 1e3)
    spot = (eye + reach[..., None] * rays)[..., :2] @ table.rotation[:2, :2]
    inside = (np.abs(spot) < np.array(table.size) / 2 - margin).all(-1)
    return inside & (frame.ids == 0)


def test_frames_have_the_promised_types_and_shapes(frames: list[Frame]) -> None:
    for frame in frames:
        assert (frame.rgb.shape, frame.rgb.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        assert (frame.depth.shape, frame.depth.dtype) == ((HEIGHT, WIDTH), np.float32)
        assert (frame.ids.shape, frame.ids.dtype) == ((HEIGHT, WIDTH), np.uint8)
        assert np.isfinite(frame.depth).all()
        assert frame.depth.min() > 0.1
        assert frame.depth.max() < 9  # the room is closed
        assert 25 < frame.rgb.mean() < 235
        assert frame.rgb.std() > 10


def test_the_table_back_projects_onto_its_plane(frames: list[Frame]) -> None:
    seen = 0
    for frame in frames:
        table = on_table(frame)
        height = frame.camera.back_project(frame.depth)[..., 2][table]
        assert np.abs(height).max() < 1e-4  # metres
        seen += table.sum()
    assert seen > 100_000


def test_each_object_back_projects_into_its_bounding_box(frames: list[Frame]) -> None:
    """Checks depth, ids, camera and pose at once."""
    for frame in frames:
        points = frame.camera.back_project(frame.depth)
        for item in frame.scene.objects:
            own = points[frame.ids == item.instance]
            outside = np.abs(own - item.position) - np.array(item.size) / 2
            assert (outside < 5e-4).all(), item.mesh


def test_a_lone_object_spans_its_bounding_box(renderer: Renderer) -> None:
    frame = renderer.render(portrait("book_closed"))
    (item,) = frame.scene.objects
    own = frame.camera.back_project(frame.depth)[frame.ids == 1]
    np.testing.assert_allclose(own[:, :2].max(0) - own[:, :2].min(0), item.size[:2], atol=0.004)
    assert own[:, 2].max() == pytest.approx(item.size[2], abs=0.001)


def test_the_middle_of_a_ball_projects_onto_its_id(renderer: Renderer) -> None:
    frame = renderer.render(portrait("orange_round"))
    (item,) = frame.scene.objects
    pixels, depth = frame.camera.project(np.array([item.position]))
    rows, columns = np.nonzero(frame.ids == 1)
    np.testing.assert_allclose(pixels[0], [columns.mean(), rows.mean()], atol=2)
    u, v = np.round(pixels[0]).astype(int)
    assert frame.depth[v, u] == pytest.approx(depth[0] - item.size[0] / 2, abs=0.001)


def test_only_present_instances_are_in_the_ids_and_most_are_seen(frames: list[Frame]) -> None:
    seen = total = 0
    for frame in frames:
        instances = {item.instance for item in frame.scene.objects}
        shown = set(np.unique(frame.ids).tolist()) - {0}
        assert shown <= instances
        seen, total = seen + len(shown), total + len(instances)
    assert seen > 0.85 * total


def test_ids_are_where_an_object_comes_before_the_table(renderer: Renderer) -> None:
    scene = sample_scene(4)
    full = renderer.render(scene)
    empty = renderer.render(dataclasses.replace(scene, objects=()))
    assert not empty.ids.any()
    closer = full.depth < empty.depth - 5e-4
    assert (closer != (full.ids > 0)).mean() < 2e-3  # objects touch the table


def test_an_object_at_the_left_is_at_the_left(renderer: Renderer) -> None:
    """The picture is not mirrored: the camera's right is the picture's right."""
    scene = portrait("can_soda")
    (item,) = scene.objects
    right = scene.view.world_from_optical[:3, 0] * 0.04
    moved = dataclasses.replace(item, origin=tuple(np.add(item.origin, right)))
    before = renderer.render(scene)
    after = renderer.render(dataclasses.replace(scene, objects=(moved,)))
    shift = np.nonzero(after.ids)[1].mean() - np.nonzero(before.ids)[1].mean()
    assert shift > 20


def test_every_mesh_can_be_seen(renderer: Renderer) -> None:
    for name in meshes():
        frame = renderer.render(portrait(name))
        assert (frame.ids == 1).sum() > 0.02 * WIDTH * HEIGHT, name


def test_a_tint_colours_the_picture(renderer: Renderer) -> None:
    scene = portrait("mug_straight")
    (item,) = scene.objects
    for tint, channel in (((0.9, 0.1, 0.1), 0), ((0.1, 0.6, 0.1), 1), ((0.1, 0.2, 0.9), 2)):
        painted = dataclasses.replace(item, tint=tint)
        frame = renderer.render(dataclasses.replace(scene, objects=(painted,)))
        assert frame.rgb[frame.ids == 1].mean(0).argmax() == channel


def test_textures_are_the_right_way_up(renderer: Renderer) -> None:
    """The tin's label has a dark band at its top."""
    scene = portrait("can_tin", yaw=0.0)
    frame = renderer.render(scene)
    (item,) = scene.objects
    heights = frame.camera.back_project(frame.depth)[..., 2]
    grey = frame.rgb.mean(-1)
    own = frame.ids == 1
    upper = own & (heights > 0.8 * item.size[2]) & (heights < 0.88 * item.size[2])
    lower = own & (heights > 0.12 * item.size[2]) & (heights < 0.2 * item.size[2])
    assert grey[upper].mean() < 0.9 * grey[lower].mean()


def test_table_and_wall_change_with_the_scene(renderer: Renderer) -> None:
    first = renderer.render(sample_scene(1)).rgb
    renderer.render(sample_scene(2))
    np.testing.assert_array_equal(renderer.render(sample_scene(1)).rgb, first)


def test_a_scene_may_show_the_same_mesh_many_times(renderer: Renderer) -> None:
    scene = sample_scene(5, num_objects=(3, 3))
    item = scene.objects[0]
    row = tuple(
        dataclasses.replace(item, instance=k + 1, origin=(0.1 * k, 0.0, item.origin[2]))
        for k in range(5)
    )
    frame = renderer.render(dataclasses.replace(scene, objects=row))
    assert len(set(np.unique(frame.ids)) - {0}) >= 3


def test_the_camera_can_be_moved(renderer: Renderer) -> None:
    scene = sample_scene(6)
    pose = scene.view.world_from_optical.copy()
    pose[2, 3] += 0.2
    moved = dataclasses.replace(scene, view=View(pose, scene.view.vertical_angle))
    frame = renderer.render(moved)
    height = frame.camera.back_project(frame.depth)[..., 2][on_table(frame)]
    assert np.abs(height).max() < 1e-4


def digest(seed: int) -> str:
    """What a fresh process sees of a scene."""
    with Renderer(WIDTH, HEIGHT) as own:
        frame = own.render(sample_scene(seed))
    return hashlib.sha256(frame.ids.tobytes() + frame.depth.tobytes()).hexdigest()


def test_several_processes_render_the_same_at_once() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second, third = pool.map(digest, [3, 4, 3], chunksize=1)
    assert first == third == digest(3)
    assert first != second


def test_two_renderers_of_different_size_share_a_process(renderer: Renderer) -> None:
    scene: Scene = sample_scene(8)
    before = renderer.render(scene)
    with Renderer(160, 120) as small:
        assert small.render(scene).rgb.shape == (120, 160, 3)
    after = renderer.render(scene)
    np.testing.assert_array_equal(before.rgb, after.rgb)


def test_a_closed_renderer_says_so() -> None:
    own = Renderer(64, 48)
    own.close()
    own.close()
    with pytest.raises(RuntimeError, match="closed"):
        own.render(sample_scene(0))


def test_without_opengl_the_error_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(opengl, "_LIBRARIES", (("egl", "libNoSuchEGL.so.1"),))
    with pytest.raises(RuntimeError, match=r"libegl1 .*libgl1-mesa-dri .*libosmesa6"):
        opengl.choose_backend()
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RuntimeError, match="'vulkan'"):
        opengl.choose_backend()

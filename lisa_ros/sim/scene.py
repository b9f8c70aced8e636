"""Random table-top scenes, reproducible by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lisa_ros.sim.camera import Camera, look_at
from lisa_ros.sim.catalog import (
    CLASS_NAMES,
    COLOURS,
    Colour,
    Mesh,
    meshes,
    meshes_by_class,
    object_class,
)
from lisa_ros.sim.pack import MeshPart
from lisa_ros.sim.poses import (
    Quaternion,
    grown,
    outline,
    overlap,
    rotation_matrix,
    sample_rest,
)
from lisa_ros.sim.surroundings import (
    Light,
    Room,
    Table,
    Vector,
    sample_lights,
    sample_room,
    sample_table,
    studio,
    vector,
)

SMALLEST = 0.03  # metres: what is shorter is enlarged to this length, so that a camera sees it
GAP = 0.004  # metres between two objects, at least


@dataclass(frozen=True)
class SceneObject:
    """One object on the table, in the world frame (z up, the table top is z = 0)."""

    instance: int  # 1..n, the object's value in `Frame.ids`
    class_name: str
    mesh: str
    colour: str | None  # a key of COLOURS when one colour dominates
    position: Vector  # metres, the centre of its bounding box along the world's axes
    orientation: Quaternion  # (w, x, y, z), world from mesh
    scale: float
    size: Vector  # metres, the extents of that box
    length: float  # metres, its longest side whichever way it is turned
    origin: Vector  # metres, where the mesh's own origin is
    tint: Colour | None = None  # of the parts that may be recoloured; None: the mesh's own colour
    shade: Colour = (1.0, 1.0, 1.0)  # multiplies the colours of all other parts

    def part_colour(self, part: MeshPart) -> Colour:
        """What a part's texture, or white, is multiplied by."""
        if part.tint:
            return part.colour if self.tint is None else self.tint
        base = (1.0, 1.0, 1.0) if part.texture is not None else part.colour
        return vector(np.clip(np.multiply(base, self.shade), 0, 1))


@dataclass(frozen=True, eq=False)
class View:
    """Where the camera is, and how wide it sees."""

    world_from_optical: np.ndarray  # (4, 4)
    vertical_angle: float  # radians, from the top of the picture to its bottom

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, View)
            and self.vertical_angle == other.vertical_angle
            and np.array_equal(self.world_from_optical, other.world_from_optical)
        )

    def __hash__(self) -> int:
        return hash((self.vertical_angle, self.world_from_optical.tobytes()))

    def camera(self, width: int, height: int) -> Camera:
        """The camera at a picture size, with square pixels: f = height / 2 / tan(angle / 2)."""
        f = height / 2 / float(np.tan(self.vertical_angle / 2))
        return Camera(
            width, height, f, f, (width - 1) / 2, (height - 1) / 2, self.world_from_optical
        )


@dataclass(frozen=True)
class Scene:
    """All that the renderer needs."""

    seed: int
    objects: tuple[SceneObject, ...]
    table: Table
    room: Room
    lights: tuple[Light, ...]
    view: View

    def camera(self, width: int = 640, height: int = 480) -> Camera:
        """The camera at a picture size."""
        return self.view.camera(width, height)


def _at_origin(
    mesh: Mesh, orientation: np.ndarray, scale: float, tint: Colour | None, shade: Colour
) -> SceneObject:
    """An object whose bounding box stands on z = 0, its middle above the origin."""
    points = scale * mesh.points @ rotation_matrix(orientation).T
    low, high = points.min(0), points.max(0)
    centre = (low + high) / 2
    w, x, y, z = (float(q) for q in orientation)
    return SceneObject(
        instance=1,
        class_name=mesh.class_name,
        mesh=mesh.name,
        colour=mesh.colour(tint),
        position=(0.0, 0.0, float(centre[2] - low[2])),
        orientation=(w, x, y, z),
        scale=scale,
        size=vector(high - low),
        length=scale * mesh.length,
        origin=vector(-np.array([centre[0], centre[1], low[2]])),
        tint=tint,
        shade=shade,
    )


def _sample_object(
    rng: np.random.Generator, mesh: Mesh, avoid: set[str | None], facing: float
) -> SceneObject:
    """An object in a random pose, size and colour.

    avoid: colours that it should not have, if it has the choice.
    facing: the direction in radians in which the camera will be.
    """
    kind = object_class(mesh.class_name)
    poses, weights = zip(*kind.poses, strict=True)
    pose = poses[int(rng.choice(len(poses), p=np.array(weights) / sum(weights)))]
    orientation = sample_rest(rng, pose, facing if kind.front else None)
    scale = max(float(rng.uniform(0.85, 1.2)), SMALLEST / mesh.length)
    tint = None
    if any(part.tint for part in mesh.parts) and rng.random() < kind.recolour:
        names = [name for name in kind.colours if name not in avoid] or kind.colours
        tint = COLOURS[names[int(rng.integers(len(names)))]].sample(rng)
    shade = vector(rng.uniform(0.85, 1.1) * rng.uniform(0.96, 1.04, 3))
    return _at_origin(mesh, orientation, scale, tint, shade)


def _moved(item: SceneObject, xy: np.ndarray) -> SceneObject:
    shift = np.array([xy[0], xy[1], 0.0])
    return replace(item, position=vector(item.position + shift), origin=vector(item.origin + shift))


def footprint(item: SceneObject) -> np.ndarray:
    """The convex outline (K, 2) of an object seen from above, metres."""
    points = item.scale * meshes()[item.mesh].points @ rotation_matrix(item.orientation).T
    return outline(points[:, :2] + item.origin[:2])


def _sample_meshes(rng: np.random.Generator, count: int, held_out: bool) -> list[Mesh]:
    """`count` meshes of random classes; in 30 % of all scenes one comes twice or three times."""
    available = {}
    for name, group in meshes_by_class().items():
        chosen = [mesh for mesh in group if mesh.held_out == held_out]
        available[name] = chosen or list(group)  # a class of one mesh has none to hold out
    classes = [CLASS_NAMES[i] for i in rng.permutation(len(CLASS_NAMES))]
    while len(classes) < count:
        classes += classes
    classes = classes[:count]
    if count > 1 and rng.random() < 0.3:
        copies = int(rng.integers(1, min(3, count)))
        classes[-copies:] = [classes[0]] * copies
    return [available[name][int(rng.integers(len(available[name])))] for name in classes]


def _place(
    rng: np.random.Generator, items: list[SceneObject], table: Table, spread: float
) -> list[SceneObject]:
    """Each object at a free spot near the middle; those for which there is none are left out."""
    half = np.array(table.size) / 2
    placed: list[SceneObject] = []
    outlines: list[np.ndarray] = []
    for item in items:
        shape = grown(footprint(item), GAP)
        for attempt in range(60):
            xy = rng.normal(0, spread * (1 + attempt / 60), 2)
            spot = shape + xy
            if (np.abs(spot @ table.rotation[:2, :2]) > half).any():
                continue
            if any(overlap(spot, other) for other in outlines):
                continue
            placed.append(replace(_moved(item, xy), instance=len(placed) + 1))
            outlines.append(spot)
            break
    return placed


def _sample_view(
    rng: np.random.Generator, objects: list[SceneObject], facing: float, close_up: bool
) -> View:
    """A camera that looks 25 to 65 degrees down.

    It is 0.45 to 1 m away and has most objects in view, or for a close-up 0.2 to 0.45 m from one of
    them, as a camera on the wrist is.
    """
    centres = np.array([item.position for item in objects])
    radii = np.array([np.linalg.norm(item.size) / 2 for item in objects])
    distance, clearance = ((0.2, 0.45), 0.1) if close_up else ((0.45, 1.0), 0.22)
    best: tuple[float, View] | None = None
    for _ in range(12):
        horizontal = np.radians(rng.uniform(55, 70))  # of a picture of 4 : 3
        vertical = 2 * np.arctan(np.tan(horizontal / 2) * 3 / 4)
        pitch, yaw = np.radians(rng.uniform(25, 65)), facing + rng.normal(0, 0.2)
        away = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
        middle = centres[rng.integers(len(centres))] if close_up else centres.mean(0)
        target = middle * [1, 1, 0]
        target += [*rng.normal(0, 0.03, 2), rng.uniform(0, 0.08)]
        eye = target + rng.uniform(*distance) * away
        view = View(look_at(eye, target, np.radians(rng.normal(0, 3))), float(vertical))
        pixels, _ = view.camera(4, 3).project(centres)
        inside = (np.abs(pixels - [1.5, 1.0]) < [2.0, 1.5]).all(1).mean()
        nearest = (np.linalg.norm(centres - eye, axis=1) - radii).min()
        # Some objects may be cut or outside, but none may hang before the lens.
        enough = 0.85 if not close_up else 0.0
        score = min(float(inside), enough) + 10 * min(0.0, float(nearest) - clearance)
        if best is None or score > best[0]:
            best = score, view
        if score >= min(enough, 0.8):
            break
    assert best is not None
    return best[1]


def sample_scene(
    seed: int,
    *,
    held_out_meshes: bool = False,
    num_objects: tuple[int, int] = (4, 10),
    also: Sequence[str] = (),
    close_up: bool = False,
) -> Scene:
    """A random scene; the same seed gives the same scene on any machine.

    held_out_meshes: of each class that has such, take meshes that no scene shows otherwise.
    num_objects: fewest and most objects (in a crowd, some find no room and are left out).
    also: meshes that lie on the table besides these.
    close_up: the camera is near one of the objects, which then fills much of the picture.
    """
    fewest, most = num_objects
    if not 1 <= fewest <= most <= 50:
        raise ValueError(f"expected num_objects with 1 <= fewest <= most <= 50, got {num_objects}")
    rng = np.random.default_rng(seed)
    table, room, lights = sample_table(rng), sample_room(rng), sample_lights(rng)
    facing = float(rng.uniform(0, 2 * np.pi))
    items: list[SceneObject] = []
    for mesh in _sample_meshes(rng, int(rng.integers(fewest, most + 1)), held_out_meshes):
        used = {item.colour for item in items if item.class_name == mesh.class_name}
        items.append(_sample_object(rng, mesh, used, facing))
    items += [_sample_object(rng, meshes()[name], set(), facing) for name in also]
    items.sort(key=lambda item: -max(item.size[:2]))  # small things find room last
    objects = _place(rng, items, table, spread=float(rng.uniform(0.09, 0.2)))
    view = _sample_view(rng, objects, facing, close_up)
    return Scene(seed, tuple(objects), table, room, lights, view)


def portrait(mesh: str, *, yaw: float = 0.6) -> Scene:
    """One mesh, standing alone on a plain table in plain light, filling most of the picture.

    yaw: the camera's direction in radians; 0 sees the object from its front (-y).
    """
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    item = _at_origin(meshes()[mesh], upright, 1.0, None, (1.0, 1.0, 1.0))
    table, room, lights = studio()
    away = np.array([np.sin(yaw), -np.cos(yaw), 0.75])
    distance = max(1.3 * float(np.linalg.norm(item.size)), 0.09)
    eye = item.position + distance * away / np.linalg.norm(away)
    view = View(look_at(eye, np.array(item.position)), float(np.radians(42)))
    return Scene(0, (item,), table, room, lights, view)

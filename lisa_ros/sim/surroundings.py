"""What is around the objects: a table, a room, lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lisa_ros.sim.catalog import Colour, ColourRange
from lisa_ros.sim.poses import yaw_matrix
from lisa_ros.sim.surfaces import KINDS, Surface

Vector = tuple[float, float, float]
DARK: Colour = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Table:
    """A rectangular table whose top is z = 0, centred at the origin."""

    size: tuple[float, float]  # metres
    yaw: float  # radians
    thickness: float  # metres
    surface: Surface
    edge_colour: Colour
    gloss: float  # 0..1

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3), world from table."""
        return yaw_matrix(self.yaw)


@dataclass(frozen=True)
class Room:
    """Four walls and a floor around the table, centred at the origin."""

    size: tuple[float, float]  # metres
    height: float  # metres
    floor: float  # metres, negative: below the table top
    yaw: float  # radians
    wall: Surface
    ground: Surface

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3), world from room."""
        return yaw_matrix(self.yaw)


@dataclass(frozen=True)
class Light:
    """A lamp that shines from `position` along `direction`, in a wide cone."""

    position: Vector  # metres
    direction: Vector  # of unit length
    ambient: Colour
    diffuse: Colour
    specular: Colour
    shadows: bool


def vector(values: np.ndarray) -> Vector:
    """Three numbers as plain floats, which compare and print well."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def _sample_colour(rng: np.random.Generator) -> Colour:
    """Mostly the dull colours of furniture and walls, sometimes any."""
    if rng.random() < 0.15:
        return vector(rng.uniform(0.05, 0.95, 3))
    woods = rng.random() < 0.5
    hue = float(rng.uniform(15, 45) if woods else rng.uniform(0, 360))
    return ColourRange((hue, hue), (0.0, 0.55), (0.15, 0.9)).sample(rng)


def _sample_surface(rng: np.random.Generator, sheets: bool = False) -> Surface:
    kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind == "busy" and rng.random() < 0.5:
        kind = "plain"
    first = _sample_colour(rng)
    if rng.random() < 0.7:  # a second tone close to the first
        second = vector(np.clip(np.array(first) * rng.uniform(0.6, 1.3, 3), 0, 1))
    else:
        second = _sample_colour(rng)
    lying = int(rng.integers(1, 3)) if sheets and rng.random() < 0.25 else 0
    return Surface(kind, int(rng.integers(2**31)), (first, second), lying)


def sample_table(rng: np.random.Generator) -> Table:
    """A table of 0.8 to 1.6 m, sometimes with paper or mats on it."""
    width, depth = (float(s) for s in rng.uniform(0.8, 1.6, 2))
    return Table(
        size=(width, depth),
        yaw=float(rng.uniform(0, 2 * np.pi)),
        thickness=float(rng.uniform(0.02, 0.06)),
        surface=_sample_surface(rng, sheets=True),
        edge_colour=_sample_colour(rng),
        gloss=float(rng.uniform(0, 0.6)),
    )


def sample_room(rng: np.random.Generator) -> Room:
    """A room large enough that the camera is inside it."""
    width, depth = (float(s) for s in rng.uniform(3.0, 5.5, 2))
    return Room(
        size=(width, depth),
        height=2.6,
        floor=float(-rng.uniform(0.6, 0.9)),
        yaw=float(rng.uniform(0, 2 * np.pi)),
        wall=_sample_surface(rng),
        ground=_sample_surface(rng),
    )


def sample_lights(rng: np.random.Generator) -> tuple[Light, ...]:
    """Light from all sides, and one to three lamps, of which the first may cast shadows."""
    count = int(rng.integers(1, 4))
    ambient = rng.uniform(0.35, 0.7)
    warmth = rng.uniform(-0.08, 0.08)
    white = np.array([1 + warmth, 1.0, 1 - warmth]) * rng.uniform(0.8, 1.25)
    shadows = bool(rng.random() < 0.6)
    lights = [Light((0.0, 0.0, 2.5), (0.0, 0.0, -1.0), vector(white * ambient), DARK, DARK, False)]
    for share in rng.dirichlet(np.full(count, 2.0)) * (1 - 0.6 * ambient):
        yaw, up = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 85))
        away = np.array([np.cos(yaw) * np.cos(up), np.sin(yaw) * np.cos(up), np.sin(up)])
        position, lamp = vector(rng.uniform(1.0, 2.2) * away), white * share
        lights.append(
            Light(position, vector(-away), DARK, vector(lamp), vector(0.6 * lamp), shadows)
        )
        shadows = False
    return tuple(lights)


def studio() -> tuple[Table, Room, tuple[Light, ...]]:
    """A grey table and room in plain light, for portraits and tests."""
    grey = Surface("plain", 0, ((0.5, 0.5, 0.52), (0.5, 0.5, 0.52)))
    table = Table((3.0, 3.0), 0.0, 0.03, grey, (0.4, 0.4, 0.4), 0.0)
    room = Room((5.0, 5.0), 2.6, -0.7, 0.0, grey, grey)
    lights = (
        Light((0.0, 0.0, 2.0), (0.0, 0.0, -1.0), (0.55,) * 3, DARK, DARK, False),
        Light((1.0, -1.0, 1.6), (-0.47, 0.47, -0.75), DARK, (0.6,) * 3, (0.3,) * 3, True),
    )
    return table, room, lights

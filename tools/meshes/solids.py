"""Solids made of numbers: boxes, tubes, turned and drawn-up outlines. Sizes are metres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]

BLACK, DARK, GREY, LIGHT = (0.07,) * 3, (0.2, 0.2, 0.21), (0.5, 0.5, 0.52), (0.78, 0.78, 0.8)
WHITE, STEEL, WOOD = (0.94, 0.94, 0.92), (0.66, 0.67, 0.69), (0.76, 0.58, 0.36)
RED, YELLOW, GREEN, BLUE = (0.8, 0.1, 0.08), (0.95, 0.8, 0.1), (0.15, 0.5, 0.15), (0.12, 0.25, 0.7)
BRASS = (0.78, 0.63, 0.25)


@dataclass(frozen=True)
class Part:
    """Triangles of one material, not indexed."""

    corners: np.ndarray  # (F, 3, 3) metres, counter-clockwise seen from outside
    colour: Colour
    name: str = ""
    uv: np.ndarray | None = None  # (F, 3, 2)
    texture: Image.Image | None = None
    alpha: float = 1.0
    shininess: float = 0.0
    tint: bool = False

    def normals(self) -> np.ndarray:
        """(F, 3) unit normals; zero for a triangle without area."""
        a, b, c = self.corners.transpose(1, 0, 2)
        n = np.cross(b - a, c - a)
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-15)

    def areas(self) -> np.ndarray:
        """(F,) square metres."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2

    def take(self, mask: np.ndarray) -> Part:
        """The triangles of a boolean mask (F,)."""
        return replace(
            self, corners=self.corners[mask], uv=None if self.uv is None else self.uv[mask]
        )

    def flip(self, mask: np.ndarray) -> Part:
        """With the triangles of a boolean mask (F,) turned around."""
        corners = np.where(mask[:, None, None], self.corners[:, ::-1], self.corners)
        uv = None if self.uv is None else np.where(mask[:, None, None], self.uv[:, ::-1], self.uv)
        return replace(self, corners=corners, uv=uv)

    def join(self, other: Part) -> Part:
        """Both parts' triangles, with this part's material."""
        uv = None
        if self.uv is not None and other.uv is not None:
            uv = np.concatenate([self.uv, other.uv])
        return replace(self, corners=np.concatenate([self.corners, other.corners]), uv=uv)

    def moved(self, x: float = 0, y: float = 0, z: float = 0) -> Part:
        return replace(self, corners=self.corners + np.array([x, y, z]))

    def scaled(self, x: float, y: float, z: float) -> Part:
        return replace(self, corners=self.corners * [x, y, z])

    def turned(self, axis: str, degrees: float) -> Part:
        """Turned about a coordinate axis through the origin."""
        a = np.radians(degrees)
        c, s = np.cos(a), np.sin(a)
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        matrix = np.eye(3)
        matrix[i, i] = matrix[j, j] = c
        matrix[i, j], matrix[j, i] = -s, s
        return replace(self, corners=self.corners @ matrix.T)


# --- Solids ---


def rows(grid: np.ndarray, colour: Colour, name: str = "", uv: np.ndarray | None = None) -> Part:
    """The surface through a grid of points (R, C, 3).

    Seen from outside, the columns go to the right and the rows upwards.
    """

    def cells(values: np.ndarray) -> np.ndarray:
        a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
        width = values.shape[-1]
        first = np.stack([a, b, c], 2).reshape(-1, 3, width)
        return np.concatenate([first, np.stack([a, c, d], 2).reshape(-1, 3, width)])

    corners = cells(grid)
    edges = corners[:, [1, 2, 0]] - corners
    solid = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) > 1e-12
    return Part(corners[solid], colour, name, uv=None if uv is None else cells(uv)[solid])


def lathe(
    profile: Sequence[tuple[float, float]],
    colour: Colour,
    name: str = "",
    n: int = 28,
    texture: Image.Image | None = None,
) -> Part:
    """A profile of (radius, z), from the bottom upwards on the outside, turned about the z axis."""
    outline = np.array(profile, float)
    angle = np.linspace(0, 2 * np.pi, n + 1)
    grid = np.stack(
        [
            outline[:, :1] * np.cos(angle),
            outline[:, :1] * np.sin(angle),
            np.repeat(outline[:, 1:], n + 1, 1),
        ],
        -1,
    )
    if texture is None:
        return rows(grid, colour, name)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))])
    v = np.repeat((length / length[-1])[:, None], n + 1, 1)
    uv = np.stack([np.broadcast_to(angle / (2 * np.pi), v.shape), v], -1)
    return replace(rows(grid, colour, name, uv), texture=texture)


def layers(outlines: Sequence[np.ndarray], colour: Colour, name: str = "") -> Part:
    """A solid between closed outlines (K, 3), from the bottom upwards.

    Each is counter-clockwise seen from above.
    """
    rings = [np.concatenate([o, o[:1]]) for o in outlines]
    bottom = np.repeat(rings[0].mean(0, keepdims=True), len(rings[0]), 0)
    top = np.repeat(rings[-1].mean(0, keepdims=True), len(rings[0]), 0)
    return rows(np.stack([bottom, *rings, top]), colour, name)


def prism(outline: np.ndarray, low: float, high: float, colour: Colour, name: str = "") -> Part:
    """An outline (K, 2), star-shaped about its middle, drawn up from z = low to z = high."""
    return layers([np.c_[outline, np.full(len(outline), z)] for z in (low, high)], colour, name)


def rounded(width: float, depth: float, radius: float, steps: int = 4) -> np.ndarray:
    """A rectangle with round corners as an outline (K, 2), centred."""
    points = []
    for k, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = np.pi / 2 * (k + np.linspace(0, 1, steps))
        x, y = sx * (width / 2 - radius), sy * (depth / 2 - radius)
        points.append(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1))
    return np.concatenate(points)


def slab(
    width: float,
    depth: float,
    height: float,
    colour: Colour,
    name: str = "",
    radius: float = 0.005,
    bevel: float = 0.001,
) -> Part:
    """A box with round corners and bevelled edges, standing on z = 0."""
    outlines = []
    for inset, z in ((bevel, 0), (0, bevel), (0, height - bevel), (bevel, height)):
        outline = rounded(width - 2 * inset, depth - 2 * inset, max(radius - inset, 1e-4))
        outlines.append(np.c_[outline, np.full(len(outline), z)])
    return layers(outlines, colour, name)


def box(width: float, depth: float, height: float, colour: Colour, name: str = "") -> Part:
    """A plain box, standing on z = 0."""
    x, y = width / 2, depth / 2
    return prism(np.array([[x, -y], [x, y], [-x, y], [-x, -y]]), 0, height, colour, name)


def tube(
    path: Sequence[Sequence[float]],
    radii: float | Sequence[float],
    colour: Colour,
    name: str = "",
    n: int = 12,
) -> Part:
    """A tube along a path of points, of one radius or one for each point, with closed ends."""
    points = np.array(path, float)
    radius = np.broadcast_to(np.asarray(radii, float), len(points))
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    across = np.cross(tangent[0], [0.31, 0.52, 0.8])
    angle = np.linspace(0, 2 * np.pi, n + 1)
    rings = []
    for p, t, r in zip(points, tangent, radius, strict=True):
        across = across - t * (across @ t)  # carried along without a twist
        across /= np.linalg.norm(across)
        other = np.cross(t, across)
        rings.append(p + r * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * other))
    first = np.repeat(points[:1], n + 1, 0)
    last = np.repeat(points[-1:], n + 1, 0)
    return rows(np.stack([first, *rings, last]), colour, name)


def ball(
    radius: float, colour: Colour, name: str = "", n: int = 24, texture: Image.Image | None = None
) -> Part:
    """A sphere standing on z = 0."""
    a = np.linspace(-np.pi / 2, np.pi / 2, n // 2 + 1)
    profile = list(zip(radius * np.cos(a).clip(0), radius * (1 + np.sin(a)), strict=True))
    return lathe(profile, colour, name, n, texture)


def joined(parts: Iterable[Part]) -> Part:
    """All parts' triangles, with the first one's material."""
    first, *others = parts
    for other in others:
        first = first.join(other)
    return first


def arc(radius: float, start: float, end: float, steps: int, plane: str = "xz") -> np.ndarray:
    """Points (steps, 3) of a circle about the origin, from `start` to `end` degrees."""
    a = np.radians(np.linspace(start, end, steps))
    points = np.zeros((steps, 3))
    points[:, "xyz".index(plane[0])] = radius * np.cos(a)
    points[:, "xyz".index(plane[1])] = radius * np.sin(a)
    return points


def ring(outer: float, inner: float, height: float, colour: Colour, name: str = "") -> Part:
    """A flat tube standing on z = 0, open in the middle."""
    return lathe(
        [(inner, height), (inner, 0), (outer, 0), (outer, height), (inner, height)], colour, name
    )


def blank_label(background: Colour, size: int = 64) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A square picture of one colour, and what draws on it."""
    image = Image.new("RGB", (size, size), tuple(int(255 * c) for c in background))
    return image, ImageDraw.Draw(image)

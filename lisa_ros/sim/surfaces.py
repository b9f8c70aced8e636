"""Textures for tables, walls and floors, made of random numbers.

They are drawn for every scene, so they are kept cheap: a pattern of 8 bits, and colours looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[float, float, float]  # RGB, 0..1


@dataclass(frozen=True)
class Surface:
    """A texture to be drawn: equal ones look equal."""

    kind: str  # one of KINDS
    seed: int
    colours: tuple[Colour, Colour]  # main and second colour
    sheets: int = 0  # sheets of paper or place mats lying on it


@dataclass
class _Canvas:
    """What a pattern draws: where the second colour shows, and how bright it is."""

    rng: np.random.Generator
    size: int
    mix: np.ndarray  # (S, S) float32, 0 first colour .. 1 second colour
    brightness: np.ndarray | None = None  # (S, S) float32 about 1

    @property
    def axis(self) -> np.ndarray:
        """(S,) 0..1: column positions; as rows, `axis[:, None]`."""
        return np.arange(self.size, dtype=np.float32) / self.size

    def noise(self, rows: int, columns: int, octaves: int = 3) -> np.ndarray:
        """Smooth noise (S, S), about -1..1, of `rows` x `columns` bumps in its coarsest octave."""
        total = np.zeros((self.size, self.size), np.float32)
        for octave in range(octaves):
            shape = [min(self.size, n << octave) for n in (rows, columns)]
            coarse = self.rng.uniform(-1, 1, shape).astype(np.float32) / (1 << octave)
            total += cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return total


def _plain(canvas: _Canvas) -> None:
    canvas.mix = 0.15 * canvas.noise(3, 3, 1) + 0.15


def _speckle(canvas: _Canvas) -> None:
    threshold = canvas.rng.uniform(0.05, 0.4) * 255
    dots = np.frombuffer(canvas.rng.bytes(canvas.size**2), np.uint8) < threshold
    canvas.mix = dots.reshape(canvas.size, canvas.size).astype(np.float32)


def _wood(canvas: _Canvas) -> None:
    warp = canvas.noise(3, 2, 2) * canvas.rng.uniform(0.02, 0.15)
    rings = np.sin((canvas.axis[:, None] + warp) * canvas.rng.uniform(20, 120))
    canvas.mix = 0.5 + 0.3 * rings + 0.2 * canvas.noise(128, 4, 1)


def _planks(canvas: _Canvas) -> None:
    _wood(canvas)
    count = int(canvas.rng.integers(4, 14))
    position = canvas.axis * count
    tone = canvas.rng.uniform(0.8, 1.1, count).astype(np.float32)[position.astype(int)]
    gap = np.abs(position - np.round(position)) < 0.02 + 0.002 * count
    canvas.brightness = np.repeat(np.where(gap, tone - 0.35, tone)[:, None], canvas.size, axis=1)


def _marble(canvas: _Canvas) -> None:
    vein = np.sqrt(np.abs(canvas.noise(4, 4, 5)))
    canvas.mix = 1 - vein * canvas.rng.uniform(1.5, 3)


def _tiles(canvas: _Canvas) -> None:
    count = int(canvas.rng.integers(3, 12))
    cell = (canvas.axis * count).astype(int)
    edge = np.abs(canvas.axis * count % 1 - 0.5) > 0.46
    canvas.mix = (edge[:, None] | edge).astype(np.float32)
    tone = canvas.rng.uniform(0.92, 1.08, (count, count)).astype(np.float32)
    canvas.brightness = tone[np.ix_(cell, cell)]


def _checks(canvas: _Canvas) -> None:
    cell = (canvas.axis * int(canvas.rng.integers(3, 24))).astype(int)
    canvas.mix = ((cell[:, None] + cell) % 2).astype(np.float32)


def _stripes(canvas: _Canvas) -> None:
    angle = canvas.rng.uniform(0, np.pi)
    across = canvas.axis * np.cos(angle) + canvas.axis[:, None] * np.sin(angle)
    wave = np.sin(across * canvas.rng.uniform(15, 200))
    canvas.mix = 0.5 + wave * canvas.rng.uniform(0.5, 4)


def _cloth(canvas: _Canvas) -> None:
    threads = np.sin(np.arange(canvas.size, dtype=np.float32) * canvas.rng.uniform(0.5, 1.2))
    canvas.mix = 0.5 + 0.4 * threads[:, None] * threads
    canvas.brightness = 1 + 0.06 * canvas.noise(8, 8, 2)


_PATTERNS: dict[str, Callable[[_Canvas], None]] = {
    "plain": _plain,
    "speckle": _speckle,
    "wood": _wood,
    "planks": _planks,
    "marble": _marble,
    "tiles": _tiles,
    "checks": _checks,
    "stripes": _stripes,
    "cloth": _cloth,
}
KINDS = (*_PATTERNS, "busy")  # busy: overlapping shapes of any colour


@lru_cache(maxsize=4)
def _grain(size: int) -> np.ndarray:
    """(S, S) float32 in about -4..4: fine grain, the same for all, since nobody can tell."""
    return np.random.default_rng(0).normal(0, 4, (size, size)).astype(np.float32)


def draw_surface(surface: Surface, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB."""
    rng = np.random.default_rng(surface.seed)
    if surface.kind == "busy":
        pixels = _busy(rng, size)
    elif surface.kind in _PATTERNS:
        canvas = _Canvas(rng, size, np.zeros((size, size), np.float32))
        _PATTERNS[surface.kind](canvas)
        level = np.clip(canvas.mix * 255 + _grain(size), 0, 255).astype(np.uint8)
        first, second = (np.array(c) * 255 for c in surface.colours)
        ramp = first + np.linspace(0, 1, 256)[:, None] * (second - first)
        pixels = np.clip(ramp, 0, 255).astype(np.uint8)[level]
        if canvas.brightness is not None:
            gain = np.repeat((canvas.brightness * 128)[..., None], 3, axis=2).astype(np.uint8)
            pixels = cv2.multiply(pixels, gain, scale=1 / 128)
    else:
        raise ValueError(f"expected a surface kind of {KINDS}, got {surface.kind!r}")
    for _ in range(surface.sheets):
        _sheet(rng, pixels)
    return pixels


def _colour(rng: np.random.Generator) -> list[int]:
    return [int(c) for c in rng.integers(0, 256, 3)]


def _busy(rng: np.random.Generator, size: int) -> np.ndarray:
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = _colour(rng)
    for _ in range(int(rng.integers(30, 150))):
        centre = [int(c) for c in rng.integers(0, size, 2)]
        radii = [int(r) for r in rng.integers(size // 128, size // 9, 2)]
        angle = float(rng.uniform(0, 180))
        shape = int(rng.integers(3))
        if shape == 0:
            cv2.ellipse(pixels, centre, radii, angle, 0, 360, _colour(rng), -1)
        elif shape == 1:
            box = ((float(centre[0]), float(centre[1])), (float(radii[0]), float(radii[1])), angle)
            cv2.fillPoly(pixels, [cv2.boxPoints(box).astype(np.int32)], _colour(rng))
        else:
            end = [int(c) for c in rng.integers(0, size, 2)]
            cv2.line(pixels, centre, end, _colour(rng), int(rng.integers(1, 8)))
    return pixels


def _sheet(rng: np.random.Generator, pixels: np.ndarray) -> None:
    """Draws a printed sheet or a place mat. It is paint: the table stays exactly flat."""
    size = len(pixels)
    x, y = (float(c) for c in rng.uniform(0.3, 0.7, 2) * size)
    extent = (float(rng.uniform(0.12, 0.3) * size), float(rng.uniform(0.1, 0.25) * size))
    corners = cv2.boxPoints(((x, y), extent, float(rng.uniform(0, 180))))
    if rng.random() < 0.5:
        cv2.fillPoly(pixels, [corners.astype(np.int32)], _colour(rng))
        return
    cv2.fillPoly(pixels, [corners.astype(np.int32)], [int(rng.integers(215, 250))] * 3)
    a, b, _, d = corners
    for t in np.linspace(0.12, 0.88, int(rng.integers(5, 14))):  # lines of print
        start = a + (d - a) * t + (b - a) * 0.1
        end = a + (d - a) * t + (b - a) * rng.uniform(0.5, 0.9)
        cv2.line(pixels, [int(p) for p in start], [int(p) for p in end], (120, 120, 125), 1)

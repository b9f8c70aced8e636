"""Shapes for the kitchen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from meshes.solids import (
    BLACK,
    LIGHT,
    RED,
    STEEL,
    WHITE,
    Colour,
    Part,
    arc,
    blank_label,
    joined,
    lathe,
    prism,
    slab,
    tube,
)


def can(radius: float, height: float, label: bool) -> list[Part]:
    r, h = radius, height
    body = [(r * 0.8, 0), (r * 0.84, 0.003), (r, 0.009), (r, h - 0.014), (r * 0.82, h - 0.002)]
    lid = [
        (r * 0.82, h - 0.002),
        (r * 0.82, h),
        (r * 0.76, h),
        (r * 0.74, h - 0.005),
        (0, h - 0.005),
    ]
    image, draw = blank_label((0.92, 0.92, 0.92))
    if label:
        draw.ellipse((14, 16, 50, 44), fill=(150, 150, 150))
        draw.ellipse((20, 21, 44, 39), fill=(245, 245, 245))
        draw.rectangle((0, 52, 64, 56), fill=(140, 140, 140))
    else:
        draw.polygon([(0, 60), (30, 8), (40, 8), (10, 60)], fill=(160, 160, 160))
        draw.polygon([(34, 60), (60, 12), (64, 12), (42, 60)], fill=(170, 170, 170))
    return [
        lathe(body, RED, "body", texture=image),
        lathe(lid, STEEL, "lid"),
        lathe([(0, 0.004), (r * 0.7, 0.004), (r * 0.8, 0)], STEEL, "lid"),
        slab(r * 0.5, r * 0.28, 0.002, LIGHT, "tab").moved(r * 0.2, 0, h - 0.004),
    ]


def tin(radius: float, height: float) -> list[Part]:
    """A food tin with a paper label."""
    r, h = radius, height
    label, draw = blank_label((0.92, 0.92, 0.92))
    draw.rectangle((0, 0, 64, 12), fill=(170, 170, 170))
    draw.rectangle((8, 22, 56, 40), fill=(250, 250, 250))
    draw.rectangle((14, 28, 50, 33), fill=(110, 110, 110))
    return [
        lathe([(r, 0.008), (r, h - 0.008)], RED, "body", texture=label),
        lathe([(0, 0.002), (r, 0), (r * 1.02, 0.004), (r, 0.008)], STEEL, "lid"),
        lathe(
            [(r, h - 0.008), (r * 1.02, h - 0.004), (r, h), (r * 0.95, h - 0.003), (0, h - 0.003)],
            STEEL,
            "lid",
        ),
    ]


def cup(
    outside: Sequence[tuple[float, float]], wall: float, colour: Colour, base: float = 0.006
) -> Part:
    """A vessel: an outside profile from the foot to the rim, and an inside `wall` metres off."""
    inside = [(max(r - wall, 0.001), max(z, base)) for r, z in reversed(outside) if z > base]
    return lathe([(0, 0), *outside, *inside, (0, base)], colour, "body")


def handle(
    x: float,
    low: float,
    high: float,
    reach: float,
    thick: float,
    colour: Colour,
    name: str = "body",
) -> Part:
    """A vessel's handle: an ear at distance x from the axis, between two heights."""
    half = (high - low) / 2
    path = arc(1, -90, 90, 12) * [reach, 1, half] + [x, 0, (low + high) / 2]
    return tube(path, thick, colour, name, n=8)


def mug(radius: float, height: float, belly: float) -> list[Part]:
    z = np.linspace(0, height, 9)
    r = radius * (1 + belly * np.sin(np.pi * z / height)) - 0.004 * (z < 1e-6)
    body = cup(list(zip(r, z, strict=True)), 0.004, WHITE)
    grip = handle(
        radius * (1 + belly / 2) - 0.003, height * 0.2, height * 0.8, radius * 0.6, 0.005, WHITE
    )
    return [body.join(grip)]


def teapot() -> list[Part]:
    belly = [(0.03, 0), (0.055, 0.01), (0.07, 0.04), (0.068, 0.07), (0.045, 0.098), (0.03, 0.104)]
    lid = [(0.034, 0.102), (0.03, 0.108), (0.012, 0.114), (0.008, 0.12), (0.012, 0.127), (0, 0.132)]
    body = lathe([(0, 0), *belly], WHITE, "body").join(lathe(lid, WHITE, "body"))
    spout = tube(
        [(0.055, 0, 0.035), (0.085, 0, 0.05), (0.098, 0, 0.08), (0.112, 0, 0.1)],
        [0.016, 0.013, 0.009, 0.008],
        WHITE,
        "body",
    )
    return [body.join(spout).join(handle(0.06, 0.03, 0.09, 0.045, 0.007, WHITE).turned("z", 180))]


def bottle(
    r: float, shoulder: float, neck: float, height: float, glass: Colour, cap: Colour
) -> list[Part]:
    label, draw = blank_label((0.93, 0.91, 0.84))
    draw.rectangle((10, 12, 54, 26), fill=(90, 30, 30))
    for y in (34, 42, 50):
        draw.line((16, y, 48, y), fill=(80, 80, 80), width=2)
    body = [(0, 0), (r - 0.004, 0), (r, 0.006), (r, shoulder)]
    a = np.linspace(0, 1, 7)
    s = a * a * (3 - 2 * a)
    slope = list(zip(r + (neck - r) * s, shoulder + 0.32 * (height - shoulder) * a, strict=True))
    top = [(neck, height - 0.05)]
    seal = [(neck + 0.001, height - 0.06), (neck + 0.001, height - 0.002), (0, height)]
    return [
        replace(lathe([*body, *slope[1:], *top], glass, "glass"), shininess=0.8),
        lathe(
            [(r + 0.0005, shoulder * 0.2), (r + 0.0005, shoulder * 0.8)],
            WHITE,
            "label",
            texture=label,
        ),
        lathe(seal, cap, "cap"),
    ]


def medicine() -> list[Part]:
    label, draw = blank_label((0.95, 0.95, 0.95))
    draw.rectangle((0, 0, 64, 14), fill=(40, 90, 160))
    draw.rectangle((26, 20, 38, 52), fill=(200, 40, 40))
    draw.rectangle((16, 31, 48, 41), fill=(200, 40, 40))
    ridges = [(0.02 + 0.0008 * (k % 2), 0.075 + 0.0025 * k) for k in range(8)]
    return [
        lathe(
            [(0, 0), (0.021, 0), (0.023, 0.003), (0.023, 0.062), (0.017, 0.07), (0.017, 0.076)],
            (0.85, 0.42, 0.08),
            "bottle",
        ),
        lathe([(0.0235, 0.012), (0.0235, 0.055)], WHITE, "label", texture=label),
        lathe([(0.017, 0.075), *ridges, (0.019, 0.095), (0, 0.096)], WHITE, "cap"),
    ]


def salt() -> list[Part]:
    holes = [
        lathe([(0.0017, 0), (0, 0.0004)], BLACK, "holes", n=8).moved(
            0.009 * np.cos(t), 0.009 * np.sin(t), 0.0815
        )
        for t in np.arange(6) * np.pi / 3
    ]
    return [
        replace(
            lathe([(0, 0), (0.02, 0), (0.022, 0.004), (0.016, 0.062)], (0.86, 0.9, 0.92), "glass"),
            alpha=0.6,
        ),
        lathe([(0, 0.003), (0.017, 0.003), (0.0145, 0.04), (0, 0.042)], WHITE, "salt"),
        lathe([(0.0175, 0.06), (0.0175, 0.072), (0.014, 0.081), (0, 0.0815)], STEEL, "lid"),
        joined(holes),
    ]


def apple(squash: float) -> list[Part]:
    a = np.linspace(-np.pi / 2, np.pi / 2, 17)
    r = 0.04 * np.cos(a) ** 0.8 * (1 + 0.12 * np.sin(a))
    z = 0.036 * squash * (np.sin(a) - 0.55 * np.exp(-((r / 0.014) ** 2)) * np.sign(a))
    stem = tube(
        [(0, 0, 0.05), (0.001, 0, 0.062), (0.004, 0, 0.072)], 0.0016, (0.3, 0.2, 0.08), "stem", 6
    )
    body = lathe(list(zip(r.clip(0), z + 0.033 * squash, strict=True)), RED, "body")
    return [body, stem.moved(0, 0, 0.066 * squash - 0.066)]


def banana(bend: float, radius: float) -> list[Part]:
    path = arc(0.11, -90 - bend, -90 + bend, 15, "xy") + np.array([0, 0.11, radius])
    t = np.linspace(-1, 1, 15)
    radii = radius * (1 - 0.75 * np.abs(t) ** 5)
    body = tube(path[1:-1], radii[1:-1], (0.93, 0.78, 0.15), "body", n=6)
    ends = tube(path[:2], [0.004, 0.006], (0.3, 0.22, 0.08), "ends", 6)
    return [body, ends.join(tube(path[-2:], [0.0075, 0.005], (0.3, 0.22, 0.08), "ends", 6))]


def citrus(radius: float, colour: Colour, pointed: float) -> list[Part]:
    a = np.linspace(-np.pi / 2, np.pi / 2, 19)
    r = radius * np.cos(a)
    z = radius * (np.sin(a) + pointed * np.sin(a) ** 9)
    spot = lathe([(0.004, 0), (0.002, 0.002), (0, 0.0025)], (0.35, 0.4, 0.12), "stem", 8)
    return [
        lathe(list(zip(r.clip(0), z - z[0], strict=True)), colour, "body"),
        spot.moved(0, 0, 2 * radius * (1 + pointed) - 0.0008),
    ]


def cutlery(kind: str, length: float) -> list[Part]:
    """A fork, knife or spoon that lies along y."""
    grip = slab(0.012, length * 0.55, 0.003, STEEL, "metal", 0.005).moved(0, -length * 0.22, 0.002)
    neck = slab(0.006, length * 0.2, 0.003, STEEL, "metal", 0.002).moved(0, length * 0.1, 0.003)
    if kind == "spoon":
        z = [(0, 0), (0.6, 0.1), (1, 0.5), (0.96, 0.5), (0.55, 0.16), (0, 0.08)]
        head = lathe([(0.021 * r, 0.018 * h) for r, h in z], STEEL, "metal").scaled(1, 1.5, 1)
        head = head.moved(0, length * 0.3, 0)
    elif kind == "fork":
        head = slab(0.024, 0.03, 0.003, STEEL, "metal", 0.008).moved(0, length * 0.22, 0.003)
        for x in (-0.0095, -0.0032, 0.0032, 0.0095):
            head = head.join(
                slab(0.0035, 0.045, 0.003, STEEL, "metal", 0.0015).moved(
                    x, length * 0.22 + 0.033, 0.003
                )
            )
    else:
        outline = np.array(
            [[0.009, 0], [0.011, 0.04], [0.008, 0.085], [-0.004, 0.105], [-0.008, 0.1], [-0.008, 0]]
        )
        head = prism(outline, 0.002, 0.004, STEEL, "metal").moved(0, length * 0.1, 0)
    return [grip, neck.join(head)]

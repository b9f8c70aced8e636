"""Shapes of things around the house."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from meshes.kitchen import cup
from meshes.solids import (
    BLACK,
    BLUE,
    BRASS,
    DARK,
    GREEN,
    GREY,
    LIGHT,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    Part,
    arc,
    ball,
    blank_label,
    box,
    joined,
    lathe,
    layers,
    ring,
    rounded,
    rows,
    slab,
    tube,
)


def phone_slab(width: float, length: float, buttons: bool) -> list[Part]:
    body = slab(width, length, 0.008, DARK, "body", 0.01, 0.002)
    image, draw = blank_label((0.15, 0.25, 0.5))
    draw.rectangle((0, 40, 64, 64), fill=(50, 110, 140))
    for x in range(4):
        for y in range(5):
            colour = [(220, 80, 60), (240, 200, 60), (90, 200, 110), (230, 230, 235)][
                (x + 2 * y) % 4
            ]
            draw.rounded_rectangle(
                (5 + 14 * x, 6 + 11 * y, 14 + 14 * x, 13 + 11 * y), 2, fill=colour
            )
    inset = 0.022 if buttons else 0.008
    screen = face(width - 0.006, length - inset, 0.0082, image)
    parts = [body, screen]
    if buttons:
        parts.append(
            lathe([(0.005, 0), (0, 0.0004)], LIGHT, "button", 16).moved(
                0, -length / 2 + 0.006, 0.008
            )
        )
    return parts


def face(width: float, depth: float, z: float, image: Image.Image, name: str = "face") -> Part:
    """A picture (seen from above) on a rectangle at height z."""
    x, y = width / 2, depth / 2
    grid = np.array([[[-x, -y, z], [x, -y, z]], [[-x, y, z], [x, y, z]]])
    uv = np.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    return replace(rows(grid, LIGHT, name, uv), texture=image, shininess=0.6)


def tablet_slab() -> list[Part]:
    image, draw = blank_label((0.8, 0.85, 0.9))
    draw.rectangle((0, 0, 64, 10), fill=(60, 90, 150))
    draw.rectangle((6, 16, 34, 40), fill=(100, 150, 90))
    for y in (18, 26, 34, 46, 54):
        draw.line((38 if y < 42 else 6, y, 58, y), fill=(90, 90, 90), width=2)
    return [slab(0.165, 0.235, 0.008, LIGHT, "body", 0.012, 0.002), face(0.145, 0.2, 0.0082, image)]


def remote_slim() -> list[Part]:
    body = slab(0.042, 0.15, 0.014, DARK, "body", 0.012, 0.004)
    keys = []
    for row in range(7):
        for column in range(3):
            keys.append(
                slab(0.0075, 0.006, 0.0018, LIGHT, "keys", 0.002, 0.0004).moved(
                    0.011 * (column - 1), -0.055 + 0.011 * row, 0.0138
                )
            )
    wheel = ring(0.013, 0.007, 0.0018, GREY, "wheel").moved(0, 0.035, 0.0138)
    power = slab(0.008, 0.008, 0.002, RED, "power", 0.004, 0.0004).moved(-0.011, 0.063, 0.0138)
    return [body, joined(keys), wheel, power]


def book_closed(width: float, depth: float, height: float) -> list[Part]:
    pages = box(width - 0.006, depth - 0.008, height - 0.005, (0.93, 0.9, 0.82), "pages").moved(
        0.001, 0, 0.0025
    )
    cover = box(width, depth, 0.0025, BLUE, "cover").join(
        box(width, depth, 0.0025, BLUE, "cover").moved(0, 0, height - 0.0025)
    )
    cover = cover.join(box(0.003, depth, height, BLUE, "cover").moved(-width / 2 + 0.0015, 0, 0))
    title = box(width * 0.6, depth * 0.1, 0.0006, (0.95, 0.9, 0.7), "title").moved(
        0, depth * 0.22, height
    )
    title = title.join(
        box(width * 0.4, depth * 0.04, 0.0006, (0.95, 0.9, 0.7), "title").moved(
            0, -depth * 0.3, height
        )
    )
    return [cover, pages, title]


def gift_flat(width: float, depth: float, height: float) -> list[Part]:
    paper = box(width, depth, height, RED, "paper")
    band = box(0.022, depth + 0.002, height + 0.002, YELLOW, "ribbon").join(
        box(width + 0.002, 0.022, height + 0.002, YELLOW, "ribbon")
    )
    for side in (0, 180):
        loop = tube(arc(0.02, 0, 360, 13) * [1.3, 1, 0.8], 0.005, YELLOW, "ribbon", 6).moved(
            0.026, 0, 0
        )
        band = band.join(loop.turned("z", side + 30).moved(0, 0, height + 0.014))
    return [paper, band]


def candle_pillar(radius: float, height: float) -> list[Part]:
    body = lathe(
        [
            (0, 0),
            (radius, 0),
            (radius, height - 0.003),
            (radius * 0.9, height),
            (radius * 0.75, height - 0.004),
            (0, height - 0.005),
        ],
        (0.9, 0.85, 0.7),
        "wax",
    )
    wick = tube(
        [(0, 0, height - 0.006), (0, 0, height + 0.004), (0.002, 0, height + 0.01)],
        0.0012,
        BLACK,
        "wick",
        6,
    )
    flame = lathe(
        [(0, 0), (0.004, 0.006), (0.003, 0.013), (0, 0.024)], (1.0, 0.8, 0.25), "flame", 10
    )
    return [body, wick, flame.moved(0.002, 0, height + 0.008)]


def vase_slim() -> list[Part]:
    z = np.linspace(0, 0.21, 15)
    r = 0.028 + 0.02 * np.sin(z / 0.21 * 5.2 + 0.2) * np.exp(-4 * z)
    return [cup(list(zip(r, z, strict=True)), 0.004, WHITE)]


def clock_alarm() -> list[Part]:
    case = lathe(
        [(0, 0), (0.042, 0), (0.046, 0.004), (0.046, 0.032), (0.042, 0.036), (0.04, 0.033)],
        RED,
        "case",
    )
    dial = lathe([(0.04, 0.033), (0, 0.033)], WHITE, "dial")
    hands = box(0.003, 0.028, 0.001, BLACK, "hands").moved(0, 0.012, 0.0335)
    hands = hands.join(
        box(0.004, 0.02, 0.001, BLACK, "hands").moved(0, 0.008, 0.034).turned("z", -110)
    )
    for k in range(12):
        hands = hands.join(
            box(0.0025, 0.006, 0.0008, BLACK, "hands").moved(0, 0.034, 0.0332).turned("z", 30 * k)
        )
    bells = []
    for side in (-1, 1):
        bell = (
            ball(0.016, BRASS, "bells", 16)
            .scaled(1, 0.7, 1)
            .moved(0, 0.05, 0.002)
            .turned("z", -32 * side)
        )
        bells.append(bell)
    feet = tube([(-0.028, -0.03, 0.018), (-0.036, -0.054, 0.018)], 0.004, DARK, "feet", 8)
    feet = feet.join(tube([(0.028, -0.03, 0.018), (0.036, -0.054, 0.018)], 0.004, DARK, "feet", 8))
    return [
        p.turned("x", 90).moved(0, 0.018, 0.054) for p in (case, dial, hands, joined(bells), feet)
    ]


def umbrella_open() -> list[Part]:
    ribs, radius, height = 8, 0.12, 0.06
    angle = np.linspace(0, 2 * np.pi, 4 * ribs + 1)
    sag = 1 - 0.09 * np.sin(ribs * angle / 2) ** 2
    grid = []
    for t in np.linspace(1, 0, 8):
        r = radius * t * (1 - (1 - sag) * t)
        z = height * np.cos(t * np.pi / 2) ** 0.9
        grid.append(np.stack([r * np.cos(angle), r * np.sin(angle), np.full_like(angle, z)], 1))
    dome = rows(np.stack(grid), RED, "cloth")
    inside = rows(np.stack(grid)[::-1] * [0.99, 0.99, 0.985], RED, "cloth")
    pole = tube([(0, 0, height + 0.012), (0, 0, -0.12)], 0.0022, STEEL, "pole", 8)
    hook = tube(
        np.concatenate([[[0.012, 0, 0.02]], arc(0.012, 0, -180, 9)])
        + np.array([-0.012, 0, -0.125]),
        0.004,
        WOOD,
        "hook",
        8,
    )
    return [p.turned("x", 118) for p in (dome.join(inside), pole, hook)]


def umbrella_folded() -> list[Part]:
    folds = 8
    angle = np.linspace(0, 2 * np.pi, 4 * folds + 1)
    grid = []
    for t, r in ((0, 0.004), (0.1, 0.012), (0.45, 0.02), (0.75, 0.022), (0.97, 0.014), (1, 0.004)):
        wave = r * (1 + 0.22 * np.cos(folds * angle + 2 * t))
        grid.append(
            np.stack([wave * np.cos(angle), wave * np.sin(angle), np.full_like(angle, 0.17 * t)], 1)
        )
    cloth = rows(np.stack(grid), BLUE, "cloth")
    tip = tube([(0, 0, -0.012), (0, 0, 0.005)], [0.002, 0.003], STEEL, "pole", 8)
    pole = tip.join(tube([(0, 0, 0.165), (0, 0, 0.2)], 0.003, STEEL, "pole", 8))
    band = ring(0.024, 0.015, 0.008, DARK, "band").moved(0, 0, 0.09)
    hook = tube(
        np.concatenate([[[0.014, 0, -0.02]], arc(0.014, 0, 180, 9)]) + np.array([-0.014, 0, 0.215]),
        0.0045,
        WOOD,
        "hook",
        8,
    )
    return [p.turned("x", -90).moved(0, 0, 0.022) for p in (cloth, pole, band, hook)]


def soap_bar(round_bar: bool) -> list[Part]:
    if round_bar:
        a = np.linspace(-np.pi / 2, np.pi / 2, 11)
        profile = [(np.cos(t) ** 0.6 if abs(t) < 1.57 else 0.0, np.sin(t)) for t in a]
        bar = lathe(
            [(0.042 * r, 0.014 * (z + 1)) for r, z in profile], (0.95, 0.8, 0.8), "soap"
        ).scaled(1, 0.7, 1)
        return [bar]
    bar = slab(0.085, 0.055, 0.026, (0.9, 0.9, 0.8), "soap", 0.018, 0.009)
    stamp = slab(0.045, 0.02, 0.001, (0.8, 0.8, 0.7), "stamp", 0.009, 0.0003).moved(0, 0, 0.0255)
    return [bar, stamp]


def sponge(two_sided: bool) -> list[Part]:
    rng = np.random.default_rng(1)
    image, draw = blank_label((0.92, 0.92, 0.92))
    for _ in range(140):
        x, y = rng.integers(0, 64, 2)
        r = int(rng.integers(1, 3))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(150, 150, 150))
    height = 0.026 if two_sided else 0.034
    body = slab(0.1, 0.066, height, YELLOW, "foam", 0.008, 0.003)
    flat = body.corners
    axis = np.abs(body.normals()).argmax(1)
    uv = np.where(
        (axis == 0)[:, None, None],
        flat[..., [1, 2]],
        np.where((axis == 1)[:, None, None], flat[..., [0, 2]], flat[..., [0, 1]]),
    )
    body = replace(body, uv=uv / 0.1 + 0.5, texture=image)
    if not two_sided:
        return [body]
    return [
        body,
        slab(0.1, 0.066, 0.009, GREEN, "scourer", 0.008, 0.002).moved(0, 0, height - 0.0005),
    ]


def toilet_roll(loose: bool) -> list[Part]:
    roll = ring(0.055, 0.0225, 0.098, WHITE, "paper")
    core = ring(0.0228, 0.021, 0.0985, (0.62, 0.48, 0.33), "core")
    lines = lathe([(0.0553, 0.02), (0.0553, 0.0205)], LIGHT, "paper")
    if loose:
        sheet = box(0.0015, 0.1, 0.098, WHITE, "paper").moved(0.0548, -0.045, 0)
        roll = roll.join(sheet)
    return [roll.join(lines), core]


def lipstick_open() -> list[Part]:
    case = lathe([(0, 0), (0.0105, 0), (0.0105, 0.035)], BLACK, "case", 18)
    sleeve = lathe([(0.009, 0.035), (0.009, 0.052), (0.007, 0.052)], BRASS, "sleeve", 18)
    stick = layers(
        [
            np.c_[rounded(0.0145, 0.0145, 0.007), np.full(16, 0.05)],
            np.c_[rounded(0.0145, 0.0145, 0.007), 0.064 + rounded(0.0145, 0.0145, 0.007)[:, 0]],
            np.c_[rounded(0.006, 0.008, 0.003), 0.0665 + rounded(0.006, 0.008, 0.003)[:, 0]],
        ],
        RED,
        "stick",
    )
    return [case, sleeve, stick]


def cube_small() -> list[Part]:
    """A puzzle cube of 2 x 2 x 2."""
    size = 0.05
    body = box(size, size, size, BLACK, "body")
    parts = [body]
    sides = {
        "top": ("x", 0, WHITE),
        "bottom": ("x", 180, YELLOW),
        "a": ("x", 90, (0.85, 0.1, 0.05)),
        "b": ("x", -90, (1.0, 0.5, 0.05)),
        "c": ("y", 90, (0.05, 0.2, 0.8)),
        "d": ("y", -90, (0.05, 0.6, 0.15)),
    }
    for name, (axis, degrees, colour) in sides.items():
        tiles = []
        for x in (-1, 1):
            for y in (-1, 1):
                tile = slab(0.0225, 0.0225, 0.001, colour, name, 0.003, 0.0003).moved(
                    0.0123 * x, 0.0123 * y, size / 2
                )
                tiles.append(tile)
        parts.append(joined(tiles).turned(axis, degrees).moved(0, 0, size / 2))
    return parts


def tennis_ball() -> list[Part]:
    t = np.linspace(0, 2 * np.pi, 61)
    a, b = 0.75, 0.25
    curve = np.stack(
        [
            a * np.cos(t) + b * np.cos(3 * t),
            a * np.sin(t) - b * np.sin(3 * t),
            2 * np.sqrt(a * b) * np.sin(2 * t),
        ],
        1,
    )
    seam = tube(curve * 0.0331, 0.0013, WHITE, "seam", 6).moved(0, 0, 0.0335)
    return [ball(0.0335, (0.8, 0.9, 0.15), "felt", 28), seam]


def toy_car() -> list[Part]:
    body = slab(0.055, 0.12, 0.022, RED, "paint", 0.012, 0.004).moved(0, 0, 0.01)
    cabin = layers(
        [
            np.c_[rounded(0.05, 0.075, 0.008) - [0, 0.008], np.full(16, 0.031)],
            np.c_[rounded(0.042, 0.045, 0.008) - [0, 0.01], np.full(16, 0.053)],
        ],
        (0.25, 0.35, 0.42),
        "window",
    )
    roof = slab(0.043, 0.046, 0.004, RED, "paint", 0.008, 0.001).moved(0, -0.01, 0.052)
    wheels, hubs = [], []
    for x in (-1, 1):
        for along in (-0.038, 0.038):
            wheel = lathe(
                [(0, 0), (0.014, 0.001), (0.014, 0.009), (0, 0.01)], BLACK, "tyre", 18
            ).turned("y", 90 * x)
            hub = lathe([(0.007, 0), (0, 0.0012)], LIGHT, "hub", 12).turned("y", 90 * x)
            wheel, hub = wheel.moved(0.02 * x, along, 0.014), hub.moved(0.03 * x, along, 0.014)
            wheels.append(wheel)
            hubs.append(hub)
    lamps = (
        ball(0.005, (1, 0.95, 0.7), "lamp", 10)
        .moved(0.018, 0.058, 0.016)
        .join(ball(0.005, (1, 0.95, 0.7), "lamp", 10).moved(-0.018, 0.058, 0.016))
    )
    return [body.join(roof), cabin, joined(wheels), joined(hubs), lamps]


def cactus_round() -> list[Part]:
    ribs = 12
    angle = np.linspace(0, 2 * np.pi, 4 * ribs + 1)
    grid = []
    for a in np.linspace(-1.3, np.pi / 2, 11):
        r = 0.045 * np.cos(a) * (1 + 0.1 * np.cos(ribs * angle))
        grid.append(
            np.stack(
                [
                    r * np.cos(angle),
                    r * np.sin(angle),
                    np.full_like(angle, 0.11 + 0.05 * np.sin(a)),
                ],
                1,
            )
        )
    pot = cup([(0.03, 0), (0.042, 0.055), (0.046, 0.056), (0.047, 0.07)], 0.005, (0.72, 0.36, 0.2))
    soil = lathe([(0.041, 0.062), (0, 0.064)], (0.25, 0.17, 0.1), "soil")
    flower = lathe(
        [(0, 0), (0.012, 0.008), (0.014, 0.014), (0, 0.01)], (0.9, 0.3, 0.5), "flower", 10
    )
    return [rows(np.stack(grid), GREEN, "plant"), pot, soil, flower.moved(0.006, 0, 0.156)]


def hairbrush_paddle() -> list[Part]:
    head = slab(0.065, 0.1, 0.012, RED, "frame", 0.03, 0.004).moved(0, 0.05, 0)
    grip = tube(
        [(0, 0.01, 0.008), (0, -0.05, 0.009), (0, -0.11, 0.008)],
        [0.008, 0.011, 0.009],
        RED,
        "frame",
        10,
    )
    pad = slab(0.05, 0.082, 0.003, DARK, "pad", 0.024, 0.001).moved(0, 0.05, 0.0115)
    bristles = []
    for x in np.linspace(-0.018, 0.018, 6):
        for y in np.linspace(-0.032, 0.032, 9):
            if (x / 0.024) ** 2 + (y / 0.04) ** 2 > 1:
                continue
            pin = lathe([(0.0011, 0), (0.0011, 0.011), (0, 0.012)], BLACK, "bristles", 4).moved(
                x, 0.05 + y, 0.014
            )
            bristles.append(pin)
    return [head.join(grip), pad, joined(bristles)]


def comb_straight() -> list[Part]:
    spine = slab(0.18, 0.012, 0.004, BLACK, "comb", 0.005, 0.001).moved(0, 0.012, 0)
    for k in range(36):
        wide = 0.0026 if k > 17 else 0.0018
        spine = spine.join(
            box(wide, 0.024, 0.003, BLACK, "comb").moved(-0.085 + 0.00485 * k, -0.005, 0.0005)
        )
    for x in (-0.088, 0.088):
        spine = spine.join(box(0.005, 0.026, 0.004, BLACK, "comb").moved(x, -0.004, 0))
    return [spine]


def tape_measure_square() -> list[Part]:
    case = slab(0.066, 0.066, 0.032, YELLOW, "case", 0.016, 0.004)
    label = lathe([(0.022, 0), (0.021, 0.001), (0, 0.001)], BLACK, "label", 24).moved(0, 0, 0.0318)
    blade = box(0.05, 0.0006, 0.018, (0.95, 0.85, 0.3), "blade").moved(0.055, -0.031, 0.006)
    hook = box(0.001, 0.006, 0.02, STEEL, "hook").moved(0.08, -0.033, 0.005)
    return [case, label, blade, hook]


def spray_round() -> list[Part]:
    body = lathe(
        [
            (0, 0),
            (0.036, 0),
            (0.038, 0.004),
            (0.038, 0.11),
            (0.03, 0.14),
            (0.013, 0.155),
            (0.013, 0.165),
        ],
        BLUE,
        "bottle",
    )
    label, draw = blank_label((0.95, 0.95, 0.95))
    draw.ellipse((16, 16, 48, 48), fill=(70, 140, 200))
    band = lathe([(0.0385, 0.03), (0.0385, 0.09)], WHITE, "label", texture=label)
    collar = lathe([(0.016, 0.16), (0.016, 0.178), (0.009, 0.18)], WHITE, "head", 20)
    head = slab(0.024, 0.075, 0.022, WHITE, "head", 0.006, 0.003).moved(0, -0.018, 0.178)
    nozzle = tube([(0, -0.05, 0.19), (0, -0.064, 0.19)], 0.006, RED, "nozzle", 12)
    trigger = tube(
        [(0, -0.03, 0.18), (0, -0.042, 0.16), (0, -0.036, 0.135)],
        [0.005, 0.004, 0.003],
        RED,
        "nozzle",
        8,
    )
    return [body, band, collar.join(head), nozzle.join(trigger)]


def laptop_dark() -> list[Part]:
    base = slab(0.25, 0.175, 0.012, DARK, "case", 0.008, 0.002)
    keys = []
    for row in range(4):
        for column in range(11):
            key = box(0.016, 0.014, 0.0012, BLACK, "keys").moved(
                -0.1 + 0.02 * column, 0.065 - 0.0185 * row, 0.012
            )
            keys.append(key)
    keys.append(box(0.07, 0.04, 0.0006, BLACK, "keys").moved(0, -0.05, 0.012))
    image, draw = blank_label((0.2, 0.45, 0.7))
    draw.ellipse((30, 26, 90, 80), fill=(60, 130, 70))
    draw.rectangle((0, 58, 64, 64), fill=(30, 30, 40))
    lid = [
        slab(0.25, 0.165, 0.006, DARK, "case", 0.008, 0.001),
        face(0.235, 0.15, 0.0062, image, "screen"),
    ]
    lid = [p.moved(0, 0.0825, 0).turned("x", 75).moved(0, 0.085, 0.012) for p in lid]
    return [base.join(lid[0]), joined(keys), lid[1]]

"""Shapes of tools and stationery."""

from __future__ import annotations

import numpy as np

from meshes.solids import (
    BLACK,
    BLUE,
    BRASS,
    DARK,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    Colour,
    Part,
    arc,
    box,
    joined,
    lathe,
    ring,
    slab,
    tube,
)


def hammer_claw() -> list[Part]:
    grip = slab(0.03, 0.13, 0.028, BLUE, "grip", 0.012, 0.006)
    shaft = slab(0.02, 0.28, 0.02, WOOD, "shaft", 0.009, 0.004).moved(0, 0.1, 0.004)
    face = lathe(
        [(0, 0), (0.014, 0), (0.014, 0.02), (0.009, 0.03), (0.009, 0.045)], STEEL, "head", 16
    )
    head = slab(0.035, 0.026, 0.026, STEEL, "head", 0.008, 0.003).moved(0, 0.235, 0.001)
    head = head.join(face.turned("y", 90).moved(-0.06, 0.235, 0.014))
    for y in (-0.008, 0.008):
        claw = tube(
            [(0.012, y * 0.5, 0.014), (0.035, y * 0.8, 0.016), (0.06, y * 1.3, 0.006)],
            [0.011, 0.008, 0.003],
            STEEL,
            "head",
            8,
        )
        head = head.join(claw.moved(0, 0.235, 0))
    return [grip.moved(0, -0.05, 0), shaft, head]


def screwdriver() -> list[Part]:
    r = [
        (0, 0),
        (0.013, 0.002),
        (0.016, 0.01),
        (0.0145, 0.05),
        (0.016, 0.075),
        (0.009, 0.088),
        (0.012, 0.098),
        (0.006, 0.102),
    ]
    rod = lathe([(0.0035, 0.1), (0.0035, 0.2)], STEEL, "rod", 12)
    tip = tube(
        [(0, 0, 0.198), (0, 0, 0.208), (0, 0, 0.215)], [0.0035, 0.0045, 0.002], STEEL, "rod", 4
    )
    parts = [
        lathe(r, YELLOW, "handle", 8),
        rod.join(tip),
        ring(0.0165, 0.012, 0.01, BLACK, "band").moved(0, 0, 0.06),
    ]
    return [p.turned("x", -90).moved(0, 0, 0.0165) for p in parts]


def flashlight_slim() -> list[Part]:
    body = lathe(
        [(0, 0), (0.013, 0.001), (0.014, 0.004), (0.014, 0.1), (0.014, 0.105)], BLUE, "body", 20
    )
    head = lathe([(0.014, 0.105), (0.02, 0.118), (0.021, 0.14), (0.018, 0.141)], DARK, "head", 20)
    lens = lathe([(0.018, 0.141), (0.012, 0.136), (0, 0.136)], (0.9, 0.92, 0.85), "lens", 20)
    bands = ring(0.0146, 0.013, 0.006, DARK, "head").moved(0, 0, 0.02)
    bands = bands.join(ring(0.0146, 0.013, 0.006, DARK, "head").moved(0, 0, 0.088))
    button = slab(0.007, 0.014, 0.003, DARK, "head", 0.003).turned("x", 90).moved(0, -0.012, 0.075)
    parts = [body, head.join(bands).join(button), lens]
    return [p.turned("x", -90).moved(0, 0, 0.021) for p in parts]


def padlock(width: float, colour: Colour, round_body: bool) -> list[Part]:
    thick = width * 0.4
    if round_body:
        body = lathe(
            [
                (0, 0),
                (width * 0.48, 0),
                (width * 0.5, 0.002),
                (width * 0.5, thick - 0.002),
                (width * 0.48, thick),
                (0, thick),
            ],
            colour,
            "body",
        )
    else:
        body = slab(width, width * 0.85, thick, colour, "body", 0.006, 0.002)
    path = (
        np.concatenate([[[1, -0.4, 0]], arc(1, 0, 180, 12, "xy"), [[-1, -0.4, 0]]]) * width * 0.32
    )
    shackle = tube(path, width * 0.08, STEEL, "shackle", 10).moved(0, width * 0.6, thick / 2)
    hole = lathe([(0.005, 0), (0, 0.0005)], BLACK, "keyhole", 12).moved(0, -width * 0.05, thick)
    slot = box(0.003, 0.012, 0.0006, BLACK, "keyhole").moved(0, -width * 0.12, thick)
    return [body, shackle, hole.join(slot)]


def key_single() -> list[Part]:
    bow = ring(0.013, 0.006, 0.0025, BRASS, "metal")
    blade = box(0.007, 0.042, 0.0025, BRASS, "metal").moved(0, -0.033, 0)
    for k, depth in enumerate((0.004, 0.002, 0.005, 0.003)):
        blade = blade.join(
            box(depth, 0.004, 0.0025, BRASS, "metal").moved(
                0.0035 + depth / 2, -0.03 - 0.006 * k, 0
            )
        )
    second = bow.join(blade).turned("z", 55).moved(0.02, 0.018, 0.003)
    loop = tube(arc(0.018, 0, 360, 25, "xy"), 0.0013, STEEL, "loop", 6).moved(0.006, 0.024, 0.004)
    tag = slab(0.028, 0.045, 0.004, RED, "tag", 0.006).turned("z", -60).moved(-0.025, 0.045, 0)
    return [bow.join(blade).join(second), loop, tag]


def ruler(length: float, width: float, colour: Colour) -> list[Part]:
    body = box(length, width, 0.003, colour, "body")
    ticks = []
    count = int(length / 0.005)
    for k in range(1, count):
        long = 0.5 if k % 2 == 0 else 0.28
        tick = box(0.0009, width * long, 0.0003, BLACK, "ticks")
        ticks.append(tick.moved(-length / 2 + 0.005 * k, width / 2 * (1 - long), 0.003))
    marks = joined(ticks)
    top = np.array([f[:, 2].min() > 0.0032 for f in marks.corners])  # the tops alone are seen
    return [body, marks.take(top)]


def pencil(sides: int, length: float) -> list[Part]:
    r = 0.0042
    body = lathe([(r, 0.018), (r, length - 0.022)], YELLOW, "paint", sides)
    wood = lathe(
        [(0.0014, length - 0.006), (r, length - 0.022)][::-1], (0.85, 0.68, 0.45), "wood", sides
    )
    lead = lathe([(0.0014, length - 0.006), (0, length)], BLACK, "lead", sides)
    band = lathe([(r, 0.009), (r * 1.06, 0.01), (r * 1.06, 0.017), (r, 0.018)], STEEL, "band", 12)
    rubber = lathe([(0, 0), (r, 0.001), (r, 0.009)], (0.9, 0.5, 0.5), "rubber", 12)
    return [p.turned("x", 90).moved(0, 0, r) for p in (body, wood, lead, band, rubber)]


def marker_round() -> list[Part]:
    body = lathe([(0, 0), (0.008, 0.001), (0.009, 0.004), (0.009, 0.085)], WHITE, "barrel", 18)
    cap = lathe([(0.0098, 0.083), (0.0098, 0.128), (0.008, 0.136), (0, 0.137)], RED, "cap", 18)
    plug = lathe([(0.0093, 0.004), (0.0093, 0.02)], RED, "cap", 18)
    clip = box(0.004, 0.04, 0.002, RED, "cap").turned("x", 90).moved(0, -0.0105, 0.1)
    return [p.turned("x", -90).moved(0, 0, 0.0105) for p in (body, cap.join(plug).join(clip))]


def dice(size: float, radius: float) -> list[Part]:
    half = size / 2
    body = slab(size, size, size, WHITE, "body", radius, radius * 0.6)
    q = size * 0.26
    spots = {
        1: [(0, 0)],
        2: [(-q, -q), (q, q)],
        3: [(-q, -q), (0, 0), (q, q)],
        4: [(-q, -q), (q, q), (-q, q), (q, -q)],
    }
    spots[5] = [*spots[4], (0, 0)]
    spots[6] = [*spots[4], (-q, 0), (q, 0)]
    pips = []
    turns = {1: ("x", 0), 6: ("x", 180), 2: ("x", 90), 5: ("x", -90), 3: ("y", 90), 4: ("y", -90)}
    for value, (axis, degrees) in turns.items():
        for x, y in spots[value]:
            pip = lathe([(size * 0.09, 0), (0, size * 0.004)], BLACK, "pips", 10).moved(x, y, half)
            pip = pip.turned(axis, degrees).moved(0, 0, half)
            pips.append(pip)
    return [body, joined(pips)]


def battery(radius: float, height: float) -> list[Part]:
    r, h = radius, height
    body = lathe([(r, 0.0), (r, h * 0.68)], BLACK, "body", 20)
    top = lathe([(r, h * 0.68), (r, h - 0.002)], (0.8, 0.55, 0.2), "band", 20)
    ends = lathe(
        [(r, h - 0.002), (r * 0.95, h - 0.0015), (r * 0.35, h - 0.0015), (r * 0.35, h), (0, h)],
        STEEL,
        "ends",
        20,
    )
    ends = ends.join(lathe([(0, 0), (r, 0)], STEEL, "ends", 20))
    return [body, top, ends]


def tape_roll(colour: Colour) -> list[Part]:
    return [
        ring(0.045, 0.0375, 0.024, colour, "tape"),
        ring(0.0378, 0.035, 0.024, (0.85, 0.8, 0.7), "core"),
    ]

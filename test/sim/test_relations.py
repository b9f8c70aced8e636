"""Only what all people agree on counts as a place, a size or a neighbour: margins, either side."""

import pytest

from lisa_ros.sim.relations import Layout
from lisa_ros.sim.view import VisibleObject


def thing(instance: int, x: float, y: float = 100, **other):
    """An object about 20 pixels wide, 1 m away, 10 cm long."""
    box = (int(x) - 10, int(y) - 10, int(x) + 10, int(y) + 10)
    values = {"pixels": 400, "box_xyxy": box, "distance": 1.0, "size_m": 0.1, **other}
    return VisibleObject(instance, "mug", None, centre_xy=(x, y), **values)


def layout_of(*items) -> Layout:
    return Layout(items, [], (240, 320))


@pytest.mark.parametrize(
    ("clear", "unclear", "choose"),
    [
        ({"x": 120}, {"x": 118}, lambda layout: layout.along_x(layout.visible, 0)),
        (
            {"x": 200, "distance": 1.06},
            {"x": 200, "distance": 1.04},
            lambda layout: layout.by_distance(layout.visible, farthest=False),
        ),
        (
            {"x": 200, "size_m": 0.08, "pixels": 300},
            {"x": 200, "size_m": 0.09, "pixels": 300},
            lambda layout: layout.by_size(layout.visible, biggest=True),
        ),
        (
            {"x": 200, "size_m": 0.08, "pixels": 300},
            {"x": 200, "size_m": 0.08, "pixels": 320},
            lambda layout: layout.by_size(layout.visible, biggest=True),
        ),
    ],
)
def test_only_what_is_clear_cut_is_asked(clear, unclear, choose):
    first = thing(1, 100)
    assert choose(layout_of(first, thing(2, **clear))) is first
    assert choose(layout_of(first, thing(2, **unclear))) is None


def test_farther_is_by_5_cm_and_by_a_twentieth():
    for near, far, is_clear in (
        (2.0, 2.11, True),
        (2.0, 2.08, False),
        (0.5, 0.56, True),
        (0.5, 0.54, False),
    ):
        a, b = thing(1, 100, distance=far), thing(2, 200, distance=near)
        assert (Layout.deeper(a, b), Layout.deeper(b, a)) == ((1, -1) if is_clear else (0, 0))


def test_next_to_is_nearest_by_centre_and_by_edge():
    anchor, near = thing(1, 100), thing(2, 140)
    assert layout_of(anchor, near, thing(3, 200)).next_to(anchor) is near
    assert layout_of(anchor, near, thing(3, 50)).next_to(anchor) is None  # hardly farther away
    big = thing(3, 30, box_xyxy=(0, 60, 85, 140))  # its centre is far, its edge near
    assert layout_of(anchor, near, big).next_to(anchor) is None


def test_between_is_about_halfway_and_on_the_line():
    a, b = thing(1, 60), thing(2, 260)
    middle = thing(3, 160)
    assert layout_of(a, b, middle).between(a, b) is middle
    for other in (thing(3, 90), thing(3, 160, y=160)):  # near an end, and off the line
        assert layout_of(a, b, other).between(a, b) is None

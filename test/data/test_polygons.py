"""Polygons as the OpenCV of the published code draws them; the pictures here are OpenCV 4.10's."""

import cv2
import numpy as np
import pytest

from lisa_ros.data.polygons import _inside, polygon_region


def region(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A polygon's pixels in the whole picture, bool (H, W)."""
    window, part = polygon_region(points, size)
    whole = np.zeros(size, bool)
    assert whole[window].shape == part.shape
    whole[window] = part
    return whole


INSIDE = """
............
..##........
..####......
..######....
..########..
...######...
...####.....
...###......
...#........
............
"""
CROSSED = """
............
.##########.
..########..
...######...
.....##.....
.....##.....
...######...
..########..
.##########.
............
"""
BELOW = """
..............
..........#...
.........#....
........##....
.......##.....
......###.....
.....###......
....####......
...####.......
...####.......
"""
AROUND = """
##########....
.#########....
..#########...
...########...
....#######...
.....#######..
......######..
.......#####..
........#####.
........#####.
"""


@pytest.mark.parametrize(
    ("points", "drawing"),
    [
        ([(2, 1), (9, 4), (3, 8)], INSIDE),
        ([(1, 1), (10, 1), (1, 8), (10, 8)], CROSSED),
        ([(6, 11), (2, 11), (10, 1)], BELOW),  # OpenCV 4.11 leaves out three pixels
        ([(-2, 0), (1, 0), (13, 14), (8, -3)], AROUND),  # and here five
    ],
)
def test_pixels_are_those_of_the_published_opencv(points, drawing):
    want = np.array([[pixel == "#" for pixel in row] for row in drawing.split()])
    got = region(np.array(points, np.int32), want.shape)
    np.testing.assert_array_equal(got, want)


def test_any_opencv_differs_at_the_border_only():
    rng = np.random.default_rng(0)
    differing = 0
    for _ in range(200):
        points = rng.integers(0, 40, (int(rng.integers(1, 9)), 2), dtype=np.int32)
        got = region(points, (40, 60))
        filled = np.zeros((40, 60), np.uint8)
        cv2.fillPoly(filled, [points], 1)
        border = np.zeros((40, 60), np.uint8)
        cv2.polylines(border, [points], True, 1, 3)
        assert not (got != (filled == 1))[border == 0].any()
        differing += (got != (filled == 1)).sum()
    assert differing < 200 * 10


@pytest.mark.parametrize("count", [1, 2])
def test_points_and_lines_have_pixels(count):
    points = np.array([(3, 2), (6, 2)], np.int32)[:count]
    want = np.zeros((5, 9), bool)
    want[2, 3 : 4 if count == 1 else 7] = True
    np.testing.assert_array_equal(region(points, (5, 9)), want)


def test_outside_there_is_nothing():
    points = np.array([(60, 5), (90, 5), (90, 30)], np.int32)
    assert not region(points, (40, 60)).any()


def test_a_polygon_costs_its_own_part_of_the_picture():
    points = np.array([(2000, 1000), (2039, 1000), (2039, 1029)], np.int32)
    window, part = polygon_region(points, (3000, 4000))
    assert window == np.s_[1000:1030, 2000:2040]
    assert part.shape == (30, 40)


@pytest.mark.parametrize("spread", [3, 30, 1000, 100_000])
def test_the_part_has_the_pixels_of_the_whole_picture(spread):
    """Also where edges leave it, which OpenCV cuts off at the picture's border."""
    rng = np.random.default_rng(spread)
    size = (40, 60)
    leaving = 0
    for _ in range(300):
        count = int(rng.integers(1, 9))
        points = (rng.normal(size=(count, 2)) * spread + rng.uniform((-9, -9), (69, 49))).astype(
            np.int32
        )
        outline = np.zeros(size, np.uint8)
        cv2.polylines(outline, [points], True, 1, 1)
        np.testing.assert_array_equal(
            region(points, size), (outline == 1) | _inside(points, size), str(points.tolist())
        )
        leaving += bool(((points < 0) | (points >= (60, 40))).any())
    assert leaving > 30

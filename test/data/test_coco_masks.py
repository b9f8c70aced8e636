"""COCO's polygons and run lengths."""

import numpy as np
import pytest
from data_miniatures import LEFT, RIGHT, H, W, compressed, mask_of, polygon_of, uncompressed

from lisa_ros.data.coco_masks import SegmentationError, lies_outside, segmentation_to_mask

TWO = mask_of(LEFT, RIGHT)


@pytest.mark.parametrize(
    ("segmentation", "want"),
    [
        ([polygon_of(LEFT)], mask_of(LEFT)),
        ([polygon_of(LEFT), polygon_of(RIGHT)], TWO),
        ([polygon_of(LEFT), polygon_of(LEFT)], mask_of(LEFT)),
        ([polygon_of(LEFT), [3, 4, 8, 9], [5, 6], []], mask_of(LEFT)),
        (compressed(TWO), TWO),
        (uncompressed(TWO), TWO),
        ([compressed(mask_of(LEFT)), uncompressed(mask_of(RIGHT))], TWO),
        (compressed(mask_of()), mask_of()),
        (compressed(mask_of(np.s_[0:H, 0:W])), mask_of(np.s_[0:H, 0:W])),
        ([], mask_of()),
    ],
)
def test_masks(segmentation, want):
    got = segmentation_to_mask(segmentation, H, W)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


def test_polygons_beyond_the_picture_are_cut():
    box = np.s_[30:100, 50:100]
    got = segmentation_to_mask([polygon_of(box)], H, W)
    np.testing.assert_array_equal(got, mask_of(box))


@pytest.mark.parametrize(
    ("segmentation", "is_outside"),
    [
        ([[W, 0, W + 5, 0, W + 5, 9]], True),
        ([[0, H, 5, H, 5, H + 9], [-5, 0, 0, 0, 0, 9]], True),
        ([[W, 0, W + 5, 0, W + 5, 9], polygon_of(LEFT)], False),
        ([[5], [W, 0, W + 5, 0, W + 5, 9]], True),
        ([[3.1, 3, 3.2, 3, 3.2, 9]], False),  # too thin for a pixel, but in the picture
        ([], False),
        ([compressed(mask_of())], False),
        (compressed(mask_of()), False),
    ],
)
def test_polygons_beside_the_picture(segmentation, is_outside):
    assert lies_outside(segmentation, H, W) is is_outside


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "neither polygons nor run lengths"),
        ("0000", "neither polygons nor run lengths"),
        ([[1.0, 2.0, 3.0, 4.0]], "three points or more"),
        ([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], "three points or more"),
        ([["1", "2", "3", "4", "5", "6"]], "three points or more"),
        ([[0.0, 0.0, 1e9, 0.0, 0.0, 1e9]], "three points or more"),
        ([[0.0, 0.0, float("nan"), 0.0, 0.0, 1.0]], "three points or more"),
        ([3], "run lengths of size 3"),
        ({"counts": "0"}, "run lengths of size None"),
        ({**compressed(TWO), "size": [W, H]}, r"size \[60, 40\]; expected \[40, 60\]"),
        ({"size": [H, W], "counts": [3, 5]}, "do not sum to 2400"),
        ({"size": [H, W], "counts": [2405, -5]}, "do not sum to 2400"),
        ({"size": [H, W], "counts": None}, "cut off or garbled"),
        ({"size": [H, W], "counts": ""}, "cut off or garbled"),
        ({"size": [H, W], "counts": "\u201c"}, "cut off or garbled"),
        ({"size": [H, W], "counts": compressed(TWO)["counts"][:-1]}, "cut off or garbled"),
        ({"size": [H, W], "counts": compressed(TWO)["counts"] + "5"}, "cut off or garbled"),
        ({"size": [H, W], "counts": "`" * 9}, "cut off or garbled"),
        ({"size": [H, W], "counts": "PPPP"}, "cut off or garbled"),
    ],
)
def test_what_is_no_mask_is_named(segmentation, words):
    with pytest.raises(SegmentationError, match=words):
        segmentation_to_mask(segmentation, H, W)

"""An answer drawn on its image."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lisa_ros.perception.overlay import draw_overlay


@pytest.fixture(scope="module")
def image(picture):
    return picture(90, 160)


@pytest.fixture(scope="module")
def answer(segmenter, image):
    segmenter.set_image(image)
    return segmenter.answer("the cup", mask_only=True)


def with_mask(answer, mask):
    rows, columns = np.nonzero(mask)
    box = None
    if len(rows):
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    item = replace(answer.objects[0], mask=mask, area=int(mask.sum()), box_xyxy=box)
    return replace(answer, objects=(item,))


def test_shape_and_untouched_inputs(answer, image):
    image_before, mask_before = image.copy(), answer.objects[0].mask.copy()
    overlay = draw_overlay(image, answer)
    assert overlay.shape == image.shape
    assert overlay.dtype == np.uint8
    assert not np.shares_memory(overlay, image)
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(answer.objects[0].mask, mask_before)


def test_object_is_tinted_and_the_rest_is_not(answer, image):
    mask = np.zeros((90, 160), bool)
    mask[30:60, 60:100] = True
    overlay = draw_overlay(image, with_mask(answer, mask)).astype(int)
    assert (overlay[40:50, 70:90] != image[40:50, 70:90]).any(axis=-1).all()
    x0, y0, x1, y1 = answer.language_view
    far = np.zeros_like(mask)
    far[y0:y1, x0:x1] = True
    far[24:66, 54:106] = False  # room for the outline
    np.testing.assert_array_equal(overlay[far], image[far])


def test_what_the_model_did_not_see_is_darker(answer, image):
    answer = with_mask(answer, np.zeros((90, 160), bool))
    overlay = draw_overlay(image, answer).astype(int)
    x0, y0, x1, y1 = answer.language_view
    assert (x0, y0, x1, y1) == (35, 0, 125, 90)
    np.testing.assert_array_equal(overlay[y0:y1, x0:x1], image[y0:y1, x0:x1])
    for side in (slice(0, x0), slice(x1, None)):
        assert (overlay[:, side] <= image[:, side]).all()
        assert overlay[:, side].mean() < 0.7 * image[:, side].mean()


def test_answer_without_objects(answer, image):
    overlay = draw_overlay(image, replace(answer, objects=()))
    assert overlay.shape == image.shape


def test_more_objects_than_colours(answer, image):
    item = answer.objects[0]
    assert draw_overlay(image, replace(answer, objects=(item,) * 12)).shape == image.shape


def test_read_only_image(answer, image):
    frozen = image.copy()
    frozen.flags.writeable = False
    draw_overlay(frozen, answer)


def test_an_image_that_is_a_view(answer, image):
    turned = image[:, :, ::-1]
    np.testing.assert_array_equal(draw_overlay(turned, answer), draw_overlay(turned.copy(), answer))


def test_a_large_image_is_darkened_without_a_wide_copy(answer):
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    nothing = replace(answer, objects=(), language_view=(300, 200, 500, 400))
    want = (image * 0.55).astype(np.uint8)
    want[200:400, 300:500] = image[200:400, 300:500]
    tracemalloc.start()
    got = draw_overlay(image, nothing)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(got, want)
    assert peak < 2 * image.nbytes

"""An image into CLIP's and SAM's inputs, and masks back to the image's size."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_ros.model import preprocessing
from lisa_ros.model.config import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, ClipPreprocessing
from lisa_ros.model.errors import ImageError
from lisa_ros.model.preprocessing import (
    MaskGeometry,
    check_image,
    clip_input,
    language_view,
    sam_input,
    upscale_masks,
)

CLIP = ClipPreprocessing()
SAM_MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
SAM_STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


def clip_colours(tensor: torch.Tensor) -> np.ndarray:
    """Back to (H, W, 3) levels of 0 to 255."""
    mean, std = np.array(OPENAI_CLIP_MEAN), np.array(OPENAI_CLIP_STD)
    return (tensor.permute(1, 2, 0).numpy() * std + mean) * 255


def thirds() -> np.ndarray:
    """300 x 900: red, green, blue."""
    image = np.zeros((300, 900, 3), np.uint8)
    for i in range(3):
        image[:, 300 * i : 300 * (i + 1), i] = 255
    return image


def test_clip_input_is_bit_identical(golden, image_index):
    got = clip_input(golden.image(image_index), CLIP, "crop").numpy()
    want = golden.arrays("preprocess")[f"img{image_index}/clip_input"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


def test_sam_input_is_bit_identical(golden, image_index):
    want = golden.group("preprocess", f"img{image_index}")
    got, geometry = sam_input(golden.image(image_index), 1024)
    assert geometry == MaskGeometry(tuple(want["original_size"]), tuple(want["resize"]), 1024)
    np.testing.assert_array_equal(got.numpy()[:, ::16, ::16], want["sam_input_sub16"])
    total, absolute = want["sam_input_sum"]
    assert got.double().sum().item() == pytest.approx(total, rel=1e-12)
    assert got.double().abs().sum().item() == pytest.approx(absolute, rel=1e-12)


def test_sam_resize_is_exact_and_padding_zero(golden, image_index):
    want = golden.group("preprocess", f"img{image_index}")
    height, width = want["resize"]
    padded, _ = sam_input(golden.image(image_index), 1024)
    levels = (padded * SAM_STD + SAM_MEAN).round().long()[:, :height, :width]
    resized = levels.permute(1, 2, 0).numpy()  # (h', w', 3)
    for step in (4, 8):
        if (name := f"sam_resized_u8_sub{step}") in want:
            np.testing.assert_array_equal(resized[::step, ::step], want[name])
    np.testing.assert_array_equal(resized.sum(axis=1), want["sam_resized_u8_rowsum"])
    np.testing.assert_array_equal(resized.sum(axis=0), want["sam_resized_u8_colsum"])
    assert not padded[:, height:].any()
    assert not padded[:, :, width:].any()


def test_crop_sees_only_the_centre_square():
    colours = clip_colours(clip_input(thirds(), CLIP, "crop"))
    np.testing.assert_allclose(colours[:, 4:-4], np.full((224, 216, 3), (0, 255, 0)), atol=1)
    assert language_view(300, 900, CLIP, "crop") == (300, 0, 600, 300)


def test_squash_sees_all():
    colours = clip_colours(clip_input(thirds(), CLIP, "squash"))
    for i, column in enumerate((20, 112, 204)):
        np.testing.assert_allclose(colours[:, column, i], 255, atol=1)
    assert language_view(300, 900, CLIP, "squash") == (0, 0, 900, 300)


def test_pad_sees_all_between_bars_of_the_mean_colour():
    tensor = clip_input(thirds(), CLIP, "pad")
    colours = clip_colours(tensor)
    for i, column in enumerate((20, 112, 204)):
        np.testing.assert_allclose(colours[112, column, i], 255, atol=1)
    assert tensor[:, :70].abs().max() < 0.02
    assert tensor[:, -70:].abs().max() < 0.02
    assert language_view(300, 900, CLIP, "pad") == (0, 0, 900, 300)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (720, 1280, (280, 0, 1000, 720)),
        (1280, 720, (0, 280, 720, 1000)),
        (480, 640, (80, 0, 560, 480)),
        (500, 500, (0, 0, 500, 500)),
        (1, 1, (0, 0, 1, 1)),
    ],
)
def test_language_view_is_the_centre_square(height, width, box):
    got = language_view(height, width, CLIP, "crop")
    assert np.abs(np.array(got) - box).max() <= 1
    assert 0 <= got[0] < got[2] <= width
    assert 0 <= got[1] < got[3] <= height


@pytest.mark.parametrize("size", [(1, 12000), (12000, 1), (3, 7000), (1, 2), (2, 1), (1, 999)])
def test_language_view_is_never_empty(size):
    height, width = size
    x0, y0, x1, y1 = language_view(height, width, CLIP, "crop")
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


@pytest.mark.parametrize("view", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 12000), (12000, 1), (2, 3), (37, 4000)])
def test_extreme_pictures(size, view):
    image = np.full((*size, 3), (200, 100, 50), np.uint8)
    started = time.perf_counter()
    pixels = clip_input(image, CLIP, view)
    padded, geometry = sam_input(image, 1024)
    assert time.perf_counter() - started < 20
    assert pixels.shape == (3, 224, 224)
    centre = clip_colours(pixels)[112, 112]
    if view != "pad" or min(size) * 12 > max(size):  # a thin line between the bars fades
        np.testing.assert_allclose(centre, (200, 100, 50), atol=1)
    assert padded.shape == (3, 1024, 1024)
    assert geometry.original == size
    assert min(geometry.resized) >= 1
    assert max(geometry.resized) == 1024
    np.testing.assert_allclose((padded * SAM_STD + SAM_MEAN)[:, 0, 0], (200, 100, 50), atol=1)
    masks = upscale_masks(torch.ones(2, 256, 256), geometry)
    assert masks.shape == (2, *size)
    assert bool((masks == 1).all())


@pytest.mark.parametrize("shape", [(1500, 700), (1024, 400), (2048, 300), (300, 2048)])
def test_rows_are_resized_before_columns(shape):
    """As published; Pillow 13 would begin with a tall picture's columns, and round otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    height, width = (int(224 * side / min(shape)) for side in shape)
    rows = Image.fromarray(noise).resize((width, shape[0]), Image.Resampling.BICUBIC)
    whole = np.asarray(rows.resize((width, height), Image.Resampling.BICUBIC))
    top, left = (height - 224) // 2, (width - 224) // 2
    got = clip_colours(clip_input(noise, CLIP, "crop"))
    np.testing.assert_allclose(got, whole[top : top + 224, left : left + 224], atol=1e-3)
    height, width = (int(1024 * side / max(shape) + 0.5) for side in shape)
    rows = Image.fromarray(noise).resize((width, shape[0]), Image.Resampling.BILINEAR)
    whole = np.asarray(rows.resize((width, height), Image.Resampling.BILINEAR))
    padded, _ = sam_input(noise, 1024)
    got = (padded * SAM_STD + SAM_MEAN)[:, :height, :width].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, whole, atol=1e-3)


@pytest.mark.parametrize("shape", [(400, 37), (37, 400), (7000, 3), (480, 640)])
def test_a_picture_that_is_too_thin_to_be_resized_whole(shape, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    whole = clip_colours(clip_input(noise, CLIP, "crop"))
    monkeypatch.setattr(preprocessing, "_MAX_RESIZED_PIXELS", 0)
    part = clip_colours(clip_input(noise, CLIP, "crop"))
    np.testing.assert_allclose(part, whole, atol=1.001)


def test_other_square_and_crop_sizes():
    image = thirds()
    padded, geometry = sam_input(image, 256)
    assert padded.shape == (3, 256, 256)
    assert geometry.resized == (85, 256)
    clip = ClipPreprocessing(shortest_edge=336, crop_size=336)
    assert clip_input(image, clip, "crop").shape == (3, 336, 336)


def test_large_picture_gives_masks_of_its_size():
    _, geometry = sam_input(np.zeros((3000, 4000, 3), np.uint8), 1024)
    low_res = torch.full((1, 256, 256), -1.0)
    low_res[:, :96, :128] = 1  # the top left quarter of the 768 x 1024 part
    mask = upscale_masks(low_res, geometry)[0] > 0
    assert mask.shape == (3000, 4000)
    assert bool(mask[:1450, :1950].all())
    assert not bool(mask[1550:].any())
    assert not bool(mask[:, 2050:].any())


def test_no_masks_keep_the_shape():
    geometry = MaskGeometry((20, 30), (683, 1024), 1024)
    assert upscale_masks(torch.zeros(0, 256, 256), geometry).shape == (0, 20, 30)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_are_upscaled_in_float32(dtype):
    low_res = torch.linspace(-3, 3, 256 * 256).view(1, 256, 256).to(dtype)
    geometry = MaskGeometry((300, 400), (768, 1024), 1024)
    got = upscale_masks(low_res, geometry)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, upscale_masks(low_res.float(), geometry), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[0]], "list"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (torch.zeros(4, 4, 3), "Tensor"),
        (None, "NoneType"),
    ],
)
def test_wrong_image_is_named(image, words):
    with pytest.raises(ImageError, match=words):
        check_image(image)


def test_picture_that_is_no_whole_memory_block(picture):
    """A view (mirrored, every second pixel, read-only) gives what its copy gives."""
    whole = picture(60, 90)
    view = whole[::-1, ::2]
    view.flags.writeable = False
    copy = view.copy()
    assert torch.equal(clip_input(view, CLIP, "crop"), clip_input(copy, CLIP, "crop"))
    assert torch.equal(sam_input(view, 256)[0], sam_input(copy, 256)[0])

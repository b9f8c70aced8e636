"""Resizing on a device against Pillow, byte by byte."""

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_ros.model import preprocessing
from lisa_ros.model.config import ClipPreprocessing
from lisa_ros.model.resample import BICUBIC, BILINEAR, resample

WHOLE = slice(None), slice(None)
FILTERS = {"bilinear": BILINEAR, "bicubic": BICUBIC}
SIZES = [  # of the image, of the result
    ((720, 1280), (576, 1024)),
    ((720, 1280), (224, 398)),
    ((480, 640), (768, 1024)),
    ((37, 53), (224, 321)),
    ((97, 31), (97, 31)),
    ((1, 7), (224, 1568)),
    ((3, 1), (1, 1)),
    ((1080, 1920), (5, 3)),
]


def noise(height: int, width: int) -> np.ndarray:
    """Bytes that overshoot: most of them black or white."""
    rng = np.random.default_rng(height * width)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return np.where(rng.random((height, width, 1)) < 0.7, 255 * (image > 127), image).astype(
        np.uint8
    )


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("size", "target"), SIZES)
def test_equal_to_pillow(size, target, name):
    image, method = noise(*size), Image.Resampling[name.upper()]
    rows = Image.fromarray(image).resize((target[1], size[0]), method)
    want = np.asarray(rows.resize((target[1], target[0]), method))
    got = resample(torch.from_numpy(image), target, FILTERS[name], (0, size[1]), (0, size[0]))
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", FILTERS)
def test_a_part_is_equal_to_pillow(name):
    image, method = noise(300, 200), Image.Resampling[name.upper()]
    across, down = (10.3, 150.9), (0.5, 299.25)
    rows = Image.fromarray(image).resize((64, 300), method, (across[0], 0, across[1], 300))
    want = np.asarray(rows.resize((64, 48), method, (0, down[0], 64, down[1])))
    got = resample(torch.from_numpy(image), (48, 64), FILTERS[name], across, down)
    np.testing.assert_array_equal(got.numpy(), want)


def test_what_is_cropped_away_is_not_needed():
    pixels = torch.from_numpy(noise(70, 90))
    whole = resample(pixels, (40, 200), BICUBIC, (0, 90), (0, 70))
    crop = slice(3, 21), slice(50, 150)
    assert torch.equal(resample(pixels, (40, 200), BICUBIC, (0, 90), (0, 70), crop), whole[crop])


@pytest.mark.parametrize("view", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(72, 128), (1, 9000), (333, 250)])
def test_inputs_are_those_of_the_cpu(size, view, monkeypatch):
    """All of the preprocessing as on a GPU, but for the device."""
    image, clip = noise(*size), ClipPreprocessing()
    want = preprocessing.clip_input(image, clip, view), *preprocessing.sam_input(image, 256)

    def resize(pixels, target, kernel=BICUBIC, *, across=None, down=None, crop=WHOLE):
        height, width = pixels.shape[:2]
        across, down = across or (0, width), down or (0, height)
        return resample(pixels, target, kernel, across, down, crop)

    monkeypatch.setattr(preprocessing, "_resize", resize)
    got = preprocessing.clip_input(image, clip, view), *preprocessing.sam_input(image, 256)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
    assert got[2] == want[2]

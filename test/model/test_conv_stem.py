"""Convolutions in place of the patch embeddings: an option of small models."""

from dataclasses import replace

import pytest
import torch

from lisa_ros.model.config import LisaConfig, SamConfig
from lisa_ros.model.conv_stem import ConvStem, patch_sizes
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.random_weights import named_config
from lisa_ros.model.sam import Sam
from lisa_ros.training.embedded import EmbeddedSizes, embedded_config


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 32)])
def test_each_width_halves_the_resolution(widths):
    for patch in patch_sizes(widths):
        stem = ConvStem(widths, 24, patch)
        assert stem(torch.randn(2, 3, 96, 96)).shape == (2, 24, 96 // patch, 96 // patch)


def test_it_sees_beyond_its_patch():
    stem = ConvStem((8, 16, 32), 24, 16)
    pixels = torch.randn(1, 3, 64, 64)
    other = pixels.clone()
    other[..., 17, 17] += 1  # in the patch below and to the right of the first one
    assert not torch.equal(stem(pixels)[..., 0, 0], stem(other)[..., 0, 0])


def test_published_models_have_none():
    assert SamConfig().conv_stem == ()
    assert named_config("7b").clip_conv_stem == ()


def test_sizes_read_off_the_weights_are_those_that_made_them():
    config = embedded_config(EmbeddedSizes(conv_stem=(8, 16, 32))).sam
    shapes = {name: tuple(value.shape) for name, value in Sam(config).state_dict().items()}
    known = {
        "conv_stem": (8, 16, 32),
        "decoder_num_heads": config.decoder_num_heads,
        "iou_sigmoid": True,
    }
    assert SamConfig.from_shapes(shapes, **known) == config


def test_config_json_keeps_the_widths():
    config = embedded_config(EmbeddedSizes(conv_stem=(8, 16, 32)))
    values = config.to_json()
    again = LisaConfig.from_json(
        values, clip=config.clip, clip_preprocessing=config.clip_preprocessing, sam=config.sam
    )
    assert again.clip_conv_stem == config.clip_conv_stem == (8, 16, 32)
    assert replace(again, clip_conv_stem=()) != again


def test_a_stem_of_another_patch_size_is_refused():
    config = embedded_config(EmbeddedSizes())
    with pytest.raises(CheckpointError, match="clip_conv_stem: 2 widths make patches of 8 or 12 "):
        replace(config, clip_conv_stem=(8, 16))

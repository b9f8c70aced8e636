"""Features of the frozen encoders on disk: the same training without running them again."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_set import GoldenSet
from small_training import write_start

from lisa_ros.model import load
from lisa_ros.training import feature_cache
from lisa_ros.training.config import TrainConfig
from lisa_ros.training.feature_cache import FeatureCache, encoder_hash
from lisa_ros.training.finetune import train


@pytest.fixture(scope="module")
def start(tmp_path_factory, first_golden: GoldenSet) -> TrainConfig:
    start = write_start(tmp_path_factory.mktemp("cache"), first_golden.lisa / "tokenizer.model")
    return replace(start, validation=None)


@pytest.fixture(scope="module")
def cached(start) -> TrainConfig:
    """A finished training that kept its features."""
    root = Path(start.run).parent
    config = replace(start, run=str(root / "cached"), feature_cache=str(root / "features"))
    train(config, say=lambda _: None)
    return config


def weights_of(config: TrainConfig) -> dict[str, torch.Tensor]:
    return torch.load(Path(config.run) / "last.pt", weights_only=True)["module"]


def no_encoding(*_):
    raise AssertionError("the encoders ran")


def test_a_training_with_kept_features_is_the_same(start, cached, monkeypatch):
    train(start, say=lambda _: None)
    monkeypatch.setattr(feature_cache, "encode_images", no_encoding)
    again = replace(cached, run=cached.run + "-again")
    train(again, say=lambda _: None)
    for name, value in weights_of(start).items():
        assert torch.equal(value, weights_of(cached)[name]), name
        assert torch.equal(value, weights_of(again)[name]), name


def test_a_broken_file_is_made_anew(cached, monkeypatch, caplog):
    folder = Path(cached.feature_cache)
    files = sorted(folder.glob("*.safetensors"))
    whole = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(whole[file][:100])
    train(replace(cached, run=cached.run + "-broken"), say=lambda _: None)
    assert {file: file.read_bytes() for file in files} == whole
    assert "is broken" in caplog.text
    assert sorted(folder.iterdir()) == files  # nothing unfinished lies about


def test_a_changed_picture_or_encoder_or_precision_has_features_of_its_own(
    start, tmp_path, monkeypatch
):
    model = load(start.model, vision_tower=start.vision_tower, device="cpu", precision="fp32")
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"one")
    keys = [FeatureCache(tmp_path / "cache", model, "fp32")._path(picture)]
    keys.append(FeatureCache(tmp_path / "cache", model, "bf16")._path(picture))
    os.utime(picture, (1, 1))
    keys.append(FeatureCache(tmp_path / "cache", model, "fp32")._path(picture))
    model.config = replace(model.config, clip_view="squash")
    keys.append(FeatureCache(tmp_path / "cache", model, "fp32")._path(picture))
    model.visual_model.image_encoder.neck[0].weight.data[0, 0, 0, 0] += 1e-3
    keys.append(FeatureCache(tmp_path / "cache", model, "fp32")._path(picture))
    assert len(set(keys)) == len(keys)
    before = encoder_hash(model)
    model.language_model.lm_head.weight.data += 1  # is trained, and no encoder
    assert encoder_hash(model) == before


def test_a_full_disk_costs_time_only(start, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_cache, "save_file", full)
    config = replace(start, run=str(tmp_path / "run"), feature_cache=str(tmp_path / "features"))
    train(config, say=lambda _: None)
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "features").iterdir())

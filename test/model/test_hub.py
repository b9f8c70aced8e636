"""Hub ids without a network: what is cached is used, what is missing is named."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from lisa_ros.model import load
from lisa_ros.model.errors import CheckpointError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put_into_cache(cache: Path, name: str, source: Path, leave_out: str = "") -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123456789"
    shutil.copytree(source, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    if leave_out:
        (snapshot / leave_out).unlink()
    return snapshot


def test_not_cached_names_every_file_and_where_to_get_it():
    with pytest.raises(CheckpointError) as caught:
        load("xinlai/LISA-7B-v1", device="cpu")
    message = str(caught.value)
    for words in (
        "config.json",
        "tokenizer.model",
        "added_tokens.json",
        "weights",
        "https://huggingface.co/xinlai/LISA-7B-v1",
        "path",
    ):
        assert words in message


def test_cached_model_and_tower_load(first_golden, cache):
    put_into_cache(cache, "xinlai/LISA-7B-v1", first_golden.lisa)
    put_into_cache(cache, "openai/clip-vit-large-patch14", first_golden.clip)
    assert load("xinlai/LISA-7B-v1", device="cpu").config.llama.vocab_size == 643


def test_tower_that_is_not_cached_is_named(first_golden):
    with pytest.raises(CheckpointError) as caught:
        load(first_golden.lisa, device="cpu")
    message = str(caught.value)
    assert "vision tower" in message
    assert "openai/clip-vit-large-patch14" in message
    assert "preprocessor_config.json" in message


@pytest.mark.parametrize("file", ["tokenizer.model", "pytorch_model.bin", "config.json"])
def test_half_downloaded_model_names_what_is_missing(first_golden, cache, file):
    put_into_cache(cache, "xinlai/LISA-7B-v1", first_golden.lisa, leave_out=file)
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        load("xinlai/LISA-7B-v1", vision_tower=first_golden.clip, device="cpu")

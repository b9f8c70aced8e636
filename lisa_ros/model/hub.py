"""Where a model's files are: a folder, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.weights import weight_paths

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHT_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")

LISA_FILES = ("config.json", "tokenizer.model", "added_tokens.json")
LISA_PATTERNS = ("*.json", "tokenizer.model", *_WEIGHT_PATTERNS)
CLIP_FILES = ("config.json", "preprocessor_config.json")
# CLIP's repository also holds the same weights for TensorFlow and Flax.
CLIP_PATTERNS = (*CLIP_FILES, "pytorch_model.bin")


def resolve_folder(source: str | Path, *, files: Sequence[str], patterns: Sequence[str]) -> Path:
    """The local folder of a model, downloaded if it is a hub id that is not cached yet.

    Args:
        source: a folder, or a hub id such as `xinlai/LISA-7B-v1`.
        files: file names that the folder must have besides its weights.
        patterns: what to download.

    Raises:
        CheckpointError: there is no such folder, or the hub cannot be reached and which files
            would be needed where.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file; expected the folder that holds config.json, tokenizer.model and "
            "the weights. A pytorch_model.bin of a LoRA training must be merged first"
        )
    name = str(source)
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"{name}: no such folder, and not a hub id of the form owner/name either"
        )
    cached = _cached(name, patterns)
    if cached is not None and _is_complete(cached, files):
        return cached
    return _download(name, files, patterns)


def _cached(name: str, patterns: Sequence[str]) -> Path | None:
    try:
        return Path(snapshot_download(name, allow_patterns=[*patterns], local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _is_complete(folder: Path, files: Sequence[str]) -> bool:
    return not _missing(folder, files)


def _missing(folder: Path | None, files: Sequence[str]) -> list[str]:
    if folder is None:
        return [*files, "the weights (*.safetensors or *.bin with their index)"]
    missing = [name for name in files if not (folder / name).is_file()]
    try:
        missing += [path.name for path in weight_paths(folder) if not path.is_file()]
    except CheckpointError:
        missing.append("the weights (*.safetensors or *.bin with their index)")
    return missing


def _download(name: str, files: Sequence[str], patterns: Sequence[str]) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=[*patterns]))
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{name}: no such folder here, and no such repository on the Hugging Face hub"
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        missing = _missing(_cached(name, patterns), files)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{name} is not cached and cannot be downloaded ({reason}).\n"
            f"Missing: {', '.join(missing)}.\n"
            f"Download https://huggingface.co/{name} on a machine with network, copy the folder "
            "here, and give its path instead of the id"
        ) from None

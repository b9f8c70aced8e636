"""What an evaluation was made with: hashes of model and data, versions, hardware."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import transformers

from lisa_ros import __version__
from lisa_ros.evaluation.cases import Picture
from lisa_ros.model.checkpoint import open_checkpoint
from lisa_ros.model.loading import EMBEDDED_MODEL

_TOKENIZER_FILES = ("tokenizer.model", "added_tokens.json", "tokenizer_config.json")
_CLIP_FILES = ("config.json", "preprocessor_config.json")


def model_hashes(
    source: str | Path | None,
    *,
    vision_tower: str | Path | None = None,
    sam_config: str | Path | None = None,
) -> dict[str, str]:
    """SHA-256 of each file that a model is made of, by name; arguments as of `load`."""
    checkpoint = open_checkpoint(
        EMBEDDED_MODEL if source is None else source,
        vision_tower=vision_tower,
        sam_config=sam_config,
    )
    folder = checkpoint.folder
    names = ("config.json", *_TOKENIZER_FILES)
    files = {name: folder / name for name in names}
    files |= {path.name: path for path in checkpoint.weights.files}
    if checkpoint.clip_weights is not None:
        clip_files = checkpoint.clip_weights.files
        clip_files += tuple(clip_files[0].parent / name for name in _CLIP_FILES)
        files |= {f"CLIP {path.name}": path for path in clip_files}
    if sam_config is not None:
        files["SAM's sizes"] = Path(sam_config)
    return {name: _file_hash(path) for name, path in sorted(files.items()) if path.is_file()}


def picture_hash(picture: Picture) -> str:
    """SHA-256 of what is evaluated on: pixels, questions and true masks, as they were read."""
    digest = hashlib.sha256()
    arrays = [picture.image, *(case.target for case in picture.cases)]
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    for case in picture.cases:
        digest.update(repr((case.instruction, case.groups, case.names, case.is_phrase)).encode())
    return digest.hexdigest()


def joint_hash(hashes: Iterable[str]) -> str:
    """SHA-256 over several, in their order."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of the software that decides the figures."""
    found = {
        "lisa_ros": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "transformers": transformers.__version__,
        "NumPy": np.__version__,
    }
    if torch.version.cuda is not None:
        found["CUDA"] = torch.version.cuda
    return found


def hardware(device: torch.device) -> str:
    """The device in words, for example `NVIDIA H100 80GB HBM3`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, threads: {torch.get_num_threads()}"


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()

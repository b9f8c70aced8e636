"""What the frozen encoders make of each picture, kept on disk between epochs and runs."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lisa_ros.model.lisa import Lisa
from lisa_ros.training.batch import Batch, Features, encode_images

logger = logging.getLogger(__name__)

_ENCODERS = ("vision_tower.", "mm_projector.", "visual_model.image_encoder.")


class FeatureCache:
    """One file a picture; of LISA-7B 4 MB each in bf16.

    A file is found again for the same picture file (path, size and time of change), encoder
    weights, way to bring pictures into them, and precision.

    Args:
        folder: is made; may be shared by runs and processes.
        model: its encoders must not change from here on.
        precision: that the encoders compute in.
    """

    def __init__(self, folder: Path, model: Lisa, precision: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        config = model.config
        view = (config.clip_view, config.clip_preprocessing, config.sam.image_size)
        self._encoders = f"{encoder_hash(model)} {view} {precision}"

    @torch.no_grad()
    def features(self, model: Lisa, batch: Batch, pictures: Sequence[Path]) -> Features:
        """The features of a batch on the model's device, encoding only pictures that are new."""
        paths = [self._path(picture) for picture in pictures]
        entries = {i: entry for i, p in enumerate(paths) if (entry := _read(p, model.device))}
        missing = [i for i in range(len(paths)) if i not in entries]
        if missing:
            part = replace(
                batch, sam_pixels=batch.sam_pixels[missing], clip_pixels=batch.clip_pixels[missing]
            )
            new = encode_images(model, part)
            for k, i in enumerate(missing):
                entries[i] = new.image_tokens[k], new.sam_embeddings[k]
                _write(paths[i], *entries[i])
        in_order = [entries[i] for i in range(len(paths))]
        return Features(
            torch.stack([tokens for tokens, _ in in_order]),
            torch.stack([embeddings for _, embeddings in in_order]),
        )

    def _path(self, picture: Path) -> Path:
        status = picture.stat()
        key = f"{picture.resolve()} {status.st_size} {status.st_mtime_ns} {self._encoders}"
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def encoder_hash(model: Lisa) -> str:
    """A digest of the encoders' and the projector's weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if name.startswith(_ENCODERS):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _read(path: Path, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    try:
        entry = load_file(path, device=str(device))
        return entry["image_tokens"], entry["sam_embeddings"]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError) as error:
        logger.warning("%s is broken (%s); it is made anew", path, error)
        return None


def _write(path: Path, image_tokens: torch.Tensor, sam_embeddings: torch.Tensor) -> None:
    """Write at once; a disk that is full costs time only."""
    entry = {"image_tokens": image_tokens, "sam_embeddings": sam_embeddings}
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        save_file({name: value.contiguous().cpu() for name, value in entry.items()}, unfinished)
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        logger.warning(
            "%s cannot be kept (%s); its picture is encoded again next time", path, error
        )

"""Write a checkpoint as one folder of safetensors that holds everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lisa_ros.model.checkpoint import check_names, open_checkpoint, own_name, read_config
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.loading import empty_model

_SHARD_BYTES = 2 << 30


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    vision_tower: str | Path | None = None,
    sam_config: str | Path | None = None,
    conversation: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a checkpoint as one folder of safetensors that holds CLIP and every size as well.

    Weights keep the precision they are stored in.

    Args:
        destination: a folder that does not exist yet or is empty.
        progress: called with the bytes done and the bytes in all.
    """
    checkpoint = open_checkpoint(
        source, vision_tower=vision_tower, sam_config=sam_config, conversation=conversation
    )
    model = empty_model(checkpoint.config, checkpoint.tokenizer)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_names(checkpoint, expected)
    destination = Path(destination)
    if destination.is_dir() and any(destination.iterdir()):
        raise CheckpointError(f"{destination} is not empty; give a new folder")
    destination.mkdir(parents=True, exist_ok=True)
    wanted = ((name, tensor) for name, tensor in checkpoint.tensors() if own_name(name) in expected)
    total = sum(n for name, n in checkpoint.num_bytes().items() if own_name(name) in expected)
    save_shards(wanted, destination, lambda done: progress(done, total))
    shutil.copyfile(checkpoint.folder / "tokenizer.model", destination / "tokenizer.model")
    values = {**read_config(checkpoint.folder), **checkpoint.config.to_json()}
    values.pop("rope_parameters", None)  # told by older keys, which all versions read
    write_json(destination / "added_tokens.json", checkpoint.tokenizer.added_tokens)
    write_json(destination / "tokenizer_config.json", checkpoint.tokenizer.settings)
    # Last, so that an interrupted conversion is never taken for a whole one.
    write_json(destination / "config.json", values)
    return destination


def save_shards(
    tensors: Iterator[tuple[str, torch.Tensor]],
    folder: Path,
    progress: Callable[[int], None],
) -> None:
    """Write weights as safetensors: one file, or shards of at most 2 GiB with their index.

    Raises:
        CheckpointError: a file cannot be written.
    """
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    shards, size, done = 0, 0, 0

    def flush() -> None:
        nonlocal shard, shards, size, done
        shards += 1
        name = f"model-{shards:05d}.safetensors"
        try:
            save_file(shard, folder / name, metadata={"format": "pt"})
        except SafetensorError as error:  # a full disk, as a rule
            raise CheckpointError(
                f"{folder / name} cannot be written ({error}); make room, remove {folder} and "
                "start again"
            ) from None
        (folder / name).chmod(0o644)  # safetensors makes it private, even against the umask
        weight_map.update(dict.fromkeys(shard, name))
        done += size
        shard, size = {}, 0
        progress(done)

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > _SHARD_BYTES:
            flush()
        # A head that is tied to the embeddings is stored again; safetensors shares nothing.
        is_shared = any(tensor.data_ptr() == other.data_ptr() for other in shard.values())
        shard[name] = tensor.clone() if is_shared else tensor.contiguous()
        size += tensor.nbytes
    flush()
    if shards == 1:
        (folder / "model-00001.safetensors").rename(folder / "model.safetensors")
    else:
        index = {"metadata": {"total_size": done}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an indented JSON object."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

"""Weight files of a folder, read tensor by tensor.

Files are memory-mapped: a tensor that already has its final precision and stays on the host is
used in place, any other is copied straight to where it ends.  Pickles are only ever read with
`weights_only=True`, which executes nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lisa_ros.model.config import read_json, values_of
from lisa_ros.model.errors import CheckpointError

INDEX_NAMES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE_NAMES = ("model.safetensors", "pytorch_model.bin")

_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one folder.

    Attributes:
        files: paths, in the order in which they are read.
        shapes: weight name to shape, over all files.
        num_bytes: weight name to its size as stored.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    num_bytes: Mapping[str, int]

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every weight once, with its name; at most one file is open at a time."""
        for path in self.files:
            yield from read_weights(path)


def find_weights(folder: Path) -> WeightFiles:
    """Open the weights of a folder: one file or shards, safetensors preferred.

    Raises:
        CheckpointError: none, or a shard is missing, truncated, or holds more than tensors.
    """
    files = weight_paths(folder)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: {len(missing)} of {len(files)} weight files are missing: "
            f"{', '.join(missing)}; put them there, the download is incomplete"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    num_bytes: dict[str, int] = {}
    for path in files:
        for name, tensor in read_weights(path):
            shapes[name], num_bytes[name] = tuple(tensor.shape), tensor.nbytes
    return WeightFiles(tuple(files), shapes, num_bytes)


def weight_paths(folder: Path) -> list[Path]:
    """Where the weights of a folder should be, whether or not they are.

    Raises:
        CheckpointError: the folder has neither a known single file nor an index.
    """
    for single, index in zip(SINGLE_NAMES, INDEX_NAMES, strict=True):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            weight_map = read_json(folder / index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(f"{folder / index}: expected a weight_map, found none")
            with values_of(folder / index):
                return [folder / name for name in sorted(set(weight_map.values()))]
    raise CheckpointError(
        f"{folder} holds no weights; expected {' or '.join(SINGLE_NAMES)}, or shards with "
        f"{' or '.join(INDEX_NAMES)}"
    )


def release_pages(tensor: torch.Tensor) -> None:
    """Let the host forget a tensor of a mapped file that is not needed any more.

    Its pages would stay resident beside the converted copy until the whole file is closed.
    """
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (tensor.data_ptr() + tensor.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if length > 0:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def read_weights(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of one file, with their names.

    Raises:
        CheckpointError: it is truncated, or holds more than tensors.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                    yield name, file.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(_broken(path, error)) from None
    else:
        yield from _read_pickle(path).items()


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        starts_as_zip = file.read(2) == b"PK"
    is_zip = zipfile.is_zipfile(path)
    if starts_as_zip and not is_zip:
        raise CheckpointError(_broken(path, "its end is missing"))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        reason = str(error)
        if "Unsupported global" in reason or "GLOBAL" in reason or "Weights only" in reason:
            raise CheckpointError(
                f"{path} holds more than tensors and was refused; nothing in it was executed. "
                "Expected a state dict; if you trust the file, convert it to safetensors elsewhere"
            ) from None
        raise CheckpointError(_broken(path, error)) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(_broken(path, error)) from None
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise CheckpointError(
            f"{path}: expected a dictionary of tensors; this looks like a training checkpoint, "
            "not like merged weights"
        )
    # A file that cannot be mapped is in memory as it is; tensors may share it, pages may not.
    return state if is_zip else {name: tensor.clone() for name, tensor in state.items()}


def _broken(path: Path, error: object) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path} is truncated or corrupt ({path.stat().st_size:,} bytes: {reason}); "
        "download or copy it again"
    )

"""Load LISA checkpoints: the official merged layout, and the converted folder that holds all.

The official layout keeps CLIP elsewhere and says nothing of SAM's sizes; a converted folder has
the same weight names, CLIP's beside them, and the whole configuration in its `config.json`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lisa_ros.model.config import ClipPreprocessing, LisaConfig, SamConfig, clip_config, read_json
from lisa_ros.model.errors import CheckpointError, OutOfMemoryError
from lisa_ros.model.hub import (
    CLIP_FILES,
    CLIP_PATTERNS,
    LISA_FILES,
    LISA_PATTERNS,
    resolve_folder,
)
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.precision import (
    Precision,
    available_bytes,
    parse_precision,
    quantisable_layers,
    quantise_layers,
    quantised_parameter,
    required_bytes,
    resolve_device,
)
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.model.weights import WeightFiles, find_weights

# Official weight name -> name in `Lisa`; the first pattern that matches wins.
_NAMES = (
    (r"model\.visual_model\.(.*)", r"visual_model.\1"),
    (r"model\.mm_projector\.(.*)", r"mm_projector.\1"),
    (r"model\.text_hidden_fcs\.0\.(.*)", r"text_hidden_fcs.\1"),
    (r"model\.vision_tower\.vision_tower\.(.*)", r"vision_tower.\1"),
    (r"(model\.(?:embed_tokens|layers|norm)\..*)", r"language_model.\1"),
    (r"(lm_head\..*)", r"language_model.\1"),
)
# Weights that older versions saved and nothing reads: recomputed buffers.
_HARMLESS = re.compile(r".*\.(rotary_emb\.inv_freq|position_ids|pixel_mean|pixel_std)")
_SAM_PREFIX = "model.visual_model."
_CLIP_PREFIX = "model.vision_tower.vision_tower."
_V0_FILES = ("pytorch_model-visual_model.bin", "pytorch_model-text_hidden_fcs.bin")
_SHARD_BYTES = 2 << 30

_T = TypeVar("_T")


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: everything but the weights in memory.

    Attributes:
        folder: where it is.
        config: the sizes and conventions.
        tokenizer: its vocabulary.
        weights: LISA's weight files.
        clip_weights: CLIP's, where they lie in a folder of their own.
    """

    folder: Path
    config: LisaConfig
    tokenizer: LisaTokenizer
    weights: WeightFiles
    clip_weights: WeightFiles | None

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All weights under their official names, CLIP's included, each once."""
        for files in self._sources():
            for name, tensor in files.tensors():
                official = self._official_name(files, name)
                if official is not None:
                    yield official, tensor

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each of `tensors`, without reading them."""
        return self._table(lambda files, name: files.shapes[name])

    def num_bytes(self) -> dict[str, int]:
        """Size as stored of each of `tensors`, without reading them."""
        return self._table(lambda files, name: files.num_bytes[name])

    def _sources(self) -> list[WeightFiles]:
        return [self.weights, *([self.clip_weights] if self.clip_weights is not None else [])]

    def _official_name(self, files: WeightFiles, name: str) -> str | None:
        if files is self.clip_weights:
            # CLIP's folder also holds a text tower, which has no use here.
            return _CLIP_PREFIX + name if name.startswith("vision_model.") else None
        replaced = self.clip_weights is not None and name.startswith(_CLIP_PREFIX)
        return None if replaced else name

    def _table(self, value: Callable[[WeightFiles, str], _T]) -> dict[str, _T]:
        return {
            official: value(files, name)
            for files in self._sources()
            for name in files.shapes
            if (official := self._official_name(files, name)) is not None
        }


def load(
    source: str | Path,
    *,
    precision: str | Precision | None = None,
    device: str | torch.device | None = None,
    vision_tower: str | Path | None = None,
    sam_config: str | Path | None = None,
    conversation: str | None = None,
) -> Lisa:
    """Load a model, ready to answer.

    Weights go straight to their device and precision; nothing is initialised at random first.

    Args:
        source: hub id (`xinlai/LISA-7B-v1`), or a folder in the official or converted layout.
        precision: `fp32`, `bf16`, `fp16`, `int8` or `nf4`; by default bf16 on CUDA, else fp32.
        device: `cpu`, `cuda`, `cuda:N`; by default the GPU if there is one.
        vision_tower: folder or hub id of CLIP, instead of the one the checkpoint names.
        sam_config: JSON file with SAM's sizes, where the weights do not tell them.
        conversation: conversation template, instead of the checkpoint's.

    Raises:
        CheckpointError: the files are not a LISA checkpoint, or not a whole one.
        DeviceError: the device or precision is not available here.
        OutOfMemoryError: the weights do not fit.
    """
    target = resolve_device(device)
    if precision is None:
        precision = Precision.BF16 if target.type == "cuda" else Precision.FP32
    precision = parse_precision(precision)
    checkpoint = open_checkpoint(
        source, vision_tower=vision_tower, sam_config=sam_config, conversation=conversation
    )
    model = empty_model(checkpoint.config, checkpoint.tokenizer)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    _check_names(checkpoint, expected)
    _check_memory(model, precision, target)
    put = weight_putter(model, precision, target)
    try:
        for name, tensor in checkpoint.tensors():
            own = _own_name(name)
            if own in expected:
                put(own, tensor)
    except torch.OutOfMemoryError:
        raise OutOfMemoryError(_does_not_fit(model, precision, target)) from None
    return finish(model, target)


def open_checkpoint(
    source: str | Path,
    *,
    vision_tower: str | Path | None = None,
    sam_config: str | Path | None = None,
    conversation: str | None = None,
) -> Checkpoint:
    """Find a checkpoint's files and read its configuration; see `load` for the arguments."""
    _refuse_v0_name(str(source))
    folder = resolve_folder(source, files=LISA_FILES, patterns=LISA_PATTERNS)
    values = _lisa_values(folder)
    weights = find_weights(folder)
    _refuse_other_layouts(folder, weights)
    clip, preprocessing, clip_weights = _open_clip(folder, values, weights, vision_tower)
    known = values.get("sam_config") or {}
    if sam_config is not None:
        known = read_json(Path(sam_config))
    sam_shapes = {
        name.removeprefix(_SAM_PREFIX): shape
        for name, shape in weights.shapes.items()
        if name.startswith(_SAM_PREFIX)
    }
    sam = SamConfig.from_shapes(
        sam_shapes, **SamConfig.known_sizes(known, str(sam_config or folder / "config.json"))
    )
    config = LisaConfig.from_json(values, clip=clip, clip_preprocessing=preprocessing, sam=sam)
    config = config.with_defaults(conversation=conversation)
    tokenizer = LisaTokenizer.from_folder(folder)
    if tokenizer.vocab_size > config.llama.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens but the language model "
            f"only {config.llama.vocab_size}; the tokenizer files are of another checkpoint"
        )
    return Checkpoint(folder, config, tokenizer, weights, clip_weights)


def empty_model(config: LisaConfig, tokenizer: LisaTokenizer) -> Lisa:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return Lisa(config, tokenizer).eval()


def weight_putter(
    model: Lisa, precision: Precision, device: torch.device
) -> Callable[[str, torch.Tensor], None]:
    """A function that puts one weight of `model`, by name, where and how it ends."""
    quantised: set[str] = set()
    if precision in (Precision.INT8, Precision.NF4):
        quantised = {f"{name}.weight" for name in quantisable_layers(model)}
        quantise_layers(model, precision)

    def put(name: str, tensor: torch.Tensor) -> None:
        module_name, _, leaf = name.rpartition(".")
        module = model.get_submodule(module_name)
        if name in quantised:
            module.register_parameter(leaf, quantised_parameter(tensor, precision, device))
            return
        # fp16 overflows in SAM's neck, which therefore stays in fp32 as published.
        in_neck = name.startswith("visual_model.image_encoder.neck.")
        dtype = torch.float32 if in_neck and precision is Precision.FP16 else precision.dtype
        tensor = tensor.to(device=device, dtype=dtype)
        if leaf in module._buffers:
            module.register_buffer(leaf, tensor)
        else:
            module.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))

    return put


def finish(model: Lisa, device: torch.device) -> Lisa:
    """Compute the buffers that no checkpoint holds, once all weights are in place."""
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.config.llama).to(device)
    clip = model.vision_tower.vision_model.embeddings
    clip.register_buffer(
        "position_ids", torch.arange(clip.num_positions, device=device)[None], persistent=False
    )
    return model


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
    _check_names(checkpoint, expected)
    destination = Path(destination)
    if destination.is_dir() and any(destination.iterdir()):
        raise CheckpointError(f"{destination} is not empty; give a new folder")
    destination.mkdir(parents=True, exist_ok=True)
    wanted = (
        (name, tensor) for name, tensor in checkpoint.tensors() if _own_name(name) in expected
    )
    total = sum(n for name, n in checkpoint.num_bytes().items() if _own_name(name) in expected)
    _save_shards(wanted, destination, lambda done: progress(done, total))
    shutil.copyfile(checkpoint.folder / "tokenizer.model", destination / "tokenizer.model")
    values = {**_lisa_values(checkpoint.folder), **checkpoint.config.to_json()}
    _write_json(destination / "added_tokens.json", checkpoint.tokenizer.added_tokens)
    # Last, so that an interrupted conversion is never taken for a whole one.
    _write_json(destination / "config.json", values)
    return destination


def _lisa_values(folder: Path) -> dict[str, Any]:
    """config.json, after a look at whether the folder can be a LISA checkpoint at all."""
    if any((folder / name).is_file() for name in _V0_FILES):
        raise CheckpointError(_v0_message(str(folder)))
    if not (folder / "config.json").is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise CheckpointError(
            f"{folder} is no LISA checkpoint: config.json is missing (found {found}); expected the "
            "merged layout of LISA-7B-v1, with config.json, tokenizer.model and the weights"
        )
    return read_json(folder / "config.json")


def _refuse_v0_name(source: str) -> None:
    if re.search(r"LISA-\w+(-llama2)?-v0", source, re.IGNORECASE) and not Path(source).is_dir():
        raise CheckpointError(_v0_message(source))


def _v0_message(source: str) -> str:
    size = "13B-llama2" if "13b" in source.lower() else "7B"
    suffix = "-explanatory" if "explanatory" in source.lower() else ""
    return (
        f"{source} is a v0 model, whose layout and prompts differ and are not supported; use its "
        f"successor xinlai/LISA-{size}-v1{suffix}"
    )


def _refuse_other_layouts(folder: Path, weights: WeightFiles) -> None:
    names = weights.shapes
    if any(name.startswith("base_model.") or ".lora_A." in name for name in names):
        raise CheckpointError(
            f"{folder} holds the raw weights of a LoRA training; they must be merged first "
            "(merge_lora_weights_and_save_hf_model.py of the published code), then give the merged "
            "folder"
        )
    for part, meaning in (
        ("model.text_hidden_fcs.0.", "the projection of [SEG]"),
        (_SAM_PREFIX, "SAM"),
        ("model.mm_projector.", "the projection of CLIP's features"),
        ("lm_head.", "the language model's head"),
    ):
        if not any(name.startswith(part) for name in names):
            raise CheckpointError(
                f"{folder} is no merged LISA checkpoint: it has no {part}* ({meaning})"
            )


def _open_clip(
    folder: Path,
    values: dict[str, Any],
    weights: WeightFiles,
    vision_tower: str | Path | None,
) -> tuple[Any, ClipPreprocessing, WeightFiles | None]:
    """CLIP's config and weights: those given, those in the folder, or those the config names."""
    inside = "vision_config" in values and any(n.startswith(_CLIP_PREFIX) for n in weights.shapes)
    if vision_tower is None and inside:
        preprocessing = ClipPreprocessing(**values.get("clip_preprocessing", {}))
        return clip_config(values), preprocessing, None
    name = vision_tower or values.get("vision_tower") or values.get("mm_vision_tower")
    if name is None:
        raise CheckpointError(
            f"{folder}: config.json names no vision tower; give one, such as "
            "openai/clip-vit-large-patch14"
        )
    try:
        clip_folder = resolve_folder(name, files=CLIP_FILES, patterns=CLIP_PATTERNS)
    except CheckpointError as error:
        raise CheckpointError(
            f"the vision tower (CLIP) of {folder} cannot be found: {error}"
        ) from None
    preprocessing = ClipPreprocessing()
    if (clip_folder / "preprocessor_config.json").is_file():
        preprocessing = ClipPreprocessing.from_json(
            read_json(clip_folder / "preprocessor_config.json")
        )
    clip = clip_config(read_json(clip_folder / "config.json"))
    return clip, preprocessing, find_weights(clip_folder)


def _own_name(name: str) -> str | None:
    for pattern, replacement in _NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def _check_names(checkpoint: Checkpoint, expected: dict[str, tuple[int, ...]]) -> None:
    """Name every missing, unexpected and mis-shaped weight in one error."""
    unused_clip = re.compile(re.escape(_CLIP_PREFIX) + r"vision_model\.encoder\.layers\.(\d+)\..*")
    found, wrong, unexpected = set(), [], []
    for name, shape in checkpoint.shapes().items():
        own = _own_name(name)
        if own in expected:
            found.add(own)
            if shape != expected[own]:
                wrong.append(f"{name}: expected {expected[own]}, got {shape}")
            continue
        layer = unused_clip.fullmatch(name)
        above = layer is not None and int(layer[1]) >= checkpoint.config.num_clip_layers
        if not above and not _HARMLESS.fullmatch(name):
            unexpected.append(name)
    missing = sorted(set(expected) - found)
    problems = [
        f"{len(names)} {kind}: {'; '.join(names)}"
        for kind, names in (
            ("missing", missing),
            ("of another shape", wrong),
            ("unexpected", unexpected),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.folder}: the weights do not fit the configuration.\n"
            + "\n".join(problems)
        )


def _check_memory(model: Lisa, precision: Precision, device: torch.device) -> None:
    # A small model always fits well enough to try.
    if required_bytes(model, precision) > max(available_bytes(device), 1 << 28):
        raise OutOfMemoryError(_does_not_fit(model, precision, device))


def _does_not_fit(model: Lisa, precision: Precision, device: torch.device) -> str:
    free = available_bytes(device)
    fitting = [
        f"{p.value} ({_gib(required_bytes(model, p))})"
        for p in Precision
        if required_bytes(model, p) < 0.9 * free
    ]
    return (
        f"the weights need {_gib(required_bytes(model, precision))} in {precision.value}, but "
        f"{device} has {_gib(free)} free; "
        + (f"these would fit: {', '.join(fitting)}" if fitting else "no precision would fit")
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _save_shards(
    tensors: Iterator[tuple[str, torch.Tensor]],
    folder: Path,
    progress: Callable[[int], None],
) -> None:
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    shards, size, done = 0, 0, 0

    def flush() -> None:
        nonlocal shard, shards, size, done
        shards += 1
        name = f"model-{shards:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)  # safetensors makes it private, even against the umask
        weight_map.update(dict.fromkeys(shard, name))
        done += size
        shard, size = {}, 0
        progress(done)

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > _SHARD_BYTES:
            flush()
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
    flush()
    if shards == 1:
        (folder / "model-00001.safetensors").rename(folder / "model.safetensors")
    else:
        index = {"metadata": {"total_size": done}, "weight_map": weight_map}
        _write_json(folder / "model.safetensors.index.json", index)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

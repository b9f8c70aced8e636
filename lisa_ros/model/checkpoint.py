"""Open LISA checkpoints: the official merged layout, and the converted folder that holds all.

The official layout keeps CLIP elsewhere and says nothing of SAM's sizes; a converted folder has
the same weight names, CLIP's beside them, and the whole configuration in its `config.json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from lisa_ros.model.config import (
    ClipPreprocessing,
    LisaConfig,
    SamConfig,
    clip_config,
    read_json,
    values_of,
)
from lisa_ros.model.conversation import Turn, conversation_pieces
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.hub import (
    CLIP_FILES,
    CLIP_PATTERNS,
    LISA_FILES,
    LISA_PATTERNS,
    resolve_folder,
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
_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_V0_FILES = ("pytorch_model-visual_model.bin", "pytorch_model-text_hidden_fcs.bin")

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
                for official in self._official_names(files, name):
                    yield official, tensor

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each of `tensors`, without reading them."""
        return self._table(lambda files, name: files.shapes[name])

    def num_bytes(self) -> dict[str, int]:
        """Size as stored of each of `tensors`, without reading them."""
        return self._table(lambda files, name: files.num_bytes[name])

    def _sources(self) -> list[WeightFiles]:
        return [self.weights, *([self.clip_weights] if self.clip_weights is not None else [])]

    def is_tied(self, name: str) -> bool:
        """Whether `tensors` gives this weight's memory under another name as well."""
        return name in (_EMBEDDINGS, _HEAD) and self.config.llama.tie_word_embeddings

    def _official_names(self, files: WeightFiles, name: str) -> list[str]:
        """None for a weight without use, two for the embeddings of a model without a head."""
        if files is self.clip_weights:
            if self._is_bare_tower:
                return [f"{_CLIP_PREFIX}vision_model.{name}"]
            # CLIP's folder also holds a text tower, which has no use here.
            return [_CLIP_PREFIX + name] if name.startswith("vision_model.") else []
        if self.clip_weights is not None and name.startswith(_CLIP_PREFIX):
            return []
        ties = name == _EMBEDDINGS and self.config.llama.tie_word_embeddings
        return [name, _HEAD] if ties and _HEAD not in files.shapes else [name]

    @cached_property
    def _is_bare_tower(self) -> bool:
        """Whether CLIP's weights are named as today's transformers names a vision tower's."""
        names = () if self.clip_weights is None else self.clip_weights.shapes
        return not any(name.startswith("vision_model.") for name in names)

    def _table(self, value: Callable[[WeightFiles, str], _T]) -> dict[str, _T]:
        return {
            official: value(files, name)
            for files in self._sources()
            for name in files.shapes
            for official in self._official_names(files, name)
        }


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
    values = read_config(folder)
    weights = find_weights(folder)
    _refuse_other_layouts(folder, weights, bool(values.get("tie_word_embeddings")))
    clip, preprocessing, clip_weights = open_clip(folder, values, weights, vision_tower)
    known = values.get("sam_config") or {}
    if sam_config is not None:
        known = read_json(Path(sam_config))
    sam_shapes = {
        name.removeprefix(_SAM_PREFIX): shape
        for name, shape in weights.shapes.items()
        if name.startswith(_SAM_PREFIX)
    }
    sam_source = Path(sam_config or folder / "config.json")
    with values_of(sam_source):
        sam = SamConfig.from_shapes(sam_shapes, **SamConfig.known_sizes(known, str(sam_source)))
    with values_of(folder / "config.json"):
        config = LisaConfig.from_json(values, clip=clip, clip_preprocessing=preprocessing, sam=sam)
        config = config.with_defaults(conversation=conversation)
    tokenizer = LisaTokenizer.from_folder(folder)
    if tokenizer.vocab_size > config.llama.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens but the language model "
            f"only {config.llama.vocab_size}; the tokenizer files are of another checkpoint"
        )
    pieces = conversation_pieces(
        config.conversation, [Turn("?")], use_im_start_end=config.use_im_start_end
    )
    tokenizer.encode(pieces)  # its control tokens must be there before anybody asks
    return Checkpoint(folder, config, tokenizer, weights, clip_weights)


def read_config(folder: Path) -> dict[str, Any]:
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


def _refuse_other_layouts(folder: Path, weights: WeightFiles, ties: bool) -> None:
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
        (_EMBEDDINGS if ties else _HEAD, "the language model's head"),
    ):
        if not any(name.startswith(part) for name in names):
            raise CheckpointError(
                f"{folder} is no merged LISA checkpoint: it has no {part}* ({meaning})"
            )


def open_clip(
    folder: Path,
    values: dict[str, Any],
    weights: WeightFiles,
    vision_tower: str | Path | None,
) -> tuple[Any, ClipPreprocessing, WeightFiles | None]:
    """CLIP's config and weights: those given, those in the folder, or those the config names."""
    inside = "vision_config" in values and any(n.startswith(_CLIP_PREFIX) for n in weights.shapes)
    if vision_tower is None and inside:
        with values_of(folder / "config.json"):
            clip = clip_config(values)
            sizes = {"shortest_edge": clip.image_size, "crop_size": clip.image_size}
            chosen = values.get("clip_preprocessing") or {}
            return clip, ClipPreprocessing(**{**sizes, **chosen}), None
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
    with values_of(clip_folder / "config.json"):
        clip = clip_config(read_json(clip_folder / "config.json"))
    path = clip_folder / "preprocessor_config.json"
    with values_of(path):
        preprocessing = ClipPreprocessing.from_json(
            read_json(path) if path.is_file() else {}, cast(int, clip.image_size)
        )
    return clip, preprocessing, find_weights(clip_folder)


def own_name(name: str) -> str | None:
    """Official weight name to the name in `Lisa`; None for weights that it has no use for."""
    for pattern, replacement in _NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def official_name(own: str) -> str:
    """The name of a weight of `Lisa` in the files of a checkpoint; the inverse of `own_name`."""
    if own.startswith("language_model."):
        return own.removeprefix("language_model.")
    if own.startswith("vision_tower."):
        return _CLIP_PREFIX + own.removeprefix("vision_tower.")
    return "model." + own.replace("text_hidden_fcs.", "text_hidden_fcs.0.")


def check_names(checkpoint: Checkpoint, expected: dict[str, tuple[int, ...]]) -> None:
    """Name every missing, unexpected and mis-shaped weight in one error."""
    unused_clip = re.compile(re.escape(_CLIP_PREFIX) + r"vision_model\.encoder\.layers\.(\d+)\..*")
    found, wrong, unexpected = set(), [], []
    for name, shape in checkpoint.shapes().items():
        own = own_name(name)
        if own in expected:
            found.add(own)
            if shape != expected[own]:
                wrong.append(f"{name}: expected {expected[own]}, got {shape}")
            continue
        layer = unused_clip.fullmatch(name)
        above = layer is not None and int(layer[1]) >= checkpoint.config.num_clip_layers
        if not above and not _HARMLESS.fullmatch(name):
            unexpected.append(name)
    missing = sorted(official_name(own) for own in set(expected) - found)
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

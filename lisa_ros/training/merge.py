"""`lisa merge`: what was trained becomes a checkpoint that the published code reads as well."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lisa_ros.model.conversion import save_shards, write_json
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.precision import Precision
from lisa_ros.model.weights import read_weights
from lisa_ros.training.config import read_train_config
from lisa_ros.training.finetune import CONFIG_NAME, Finetune, start_of, trainable_model
from lisa_ros.training.loop import BEST_NAME
from lisa_ros.training.lora import merged_weights

_CLIP = "model.vision_tower."
_COPIED = (
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)


def merge(
    run: Path,
    destination: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the best weights of a training, or the last if none were scored, as a checkpoint.

    Names and files are those of the published merged layout; CLIP is in it where the start held its
    own.  Weights are in bf16, after a training in fp32 in fp32.  After one in nf4, the language
    model's are those that nf4 stands for, so that the answers are the ones that were trained.

    Args:
        destination: a folder that does not exist yet or is empty.
        progress: called with the bytes done and the bytes in all.

    Raises:
        CheckpointError: the folder holds no training, or its start cannot be opened any more.
    """
    if not (run / CONFIG_NAME).is_file():
        raise CheckpointError(f"{run} holds no training: {CONFIG_NAME} is missing")
    weights = trained_weights(run)
    if destination.is_dir() and any(destination.iterdir()):
        raise CheckpointError(f"{destination} is not empty; give a new folder")
    destination.mkdir(parents=True, exist_ok=True)
    config = read_train_config(run / CONFIG_NAME)
    start = start_of(config)
    checkpoint = start.checkpoint
    model = trainable_model(start, config, torch.device("cpu"))
    load_trained(model, weights)
    dtype = Precision(config.precision).dtype
    holds_clip = checkpoint.clip_weights is None
    sizes = [
        math.prod(shape)
        for name, shape in checkpoint.shapes().items()
        if holds_clip or not name.startswith(_CLIP)
    ]
    total = dtype.itemsize * sum(sizes)
    save_shards(
        _published(model, dtype, holds_clip=holds_clip),
        destination,
        lambda done: progress(done, total),
    )
    for name in _COPIED:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, destination / name)
    write_json(destination / "added_tokens.json", checkpoint.tokenizer.added_tokens)
    values = {
        **start.values,
        "conversation": checkpoint.config.conversation,
        "tie_word_embeddings": False,  # both were trained, and are here
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    # Last, so that an interrupted merge is never taken for a whole one.
    write_json(destination / "config.json", values)
    return destination


def trained_weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of the highest score, or the last ones, under the names of `Finetune`.

    Raises:
        CheckpointError: the training has not saved any yet.
    """
    best, last = run / BEST_NAME, run / "last.pt"
    if best.is_file():
        return dict(read_weights(best))
    if last.is_file():
        return torch.load(last, map_location="cpu", weights_only=True, mmap=True)["module"]
    raise CheckpointError(f"{run} has neither {best.name} nor {last.name}; train first")


def load_trained(model: Lisa, weights: dict[str, torch.Tensor]) -> None:
    """Put what was trained into a model that was prepared for it."""
    stage = Finetune(model)
    trained = {name for name, p in stage.named_parameters() if p.requires_grad}
    missing = sorted(trained - set(weights))
    unexpected = stage.load_state_dict(weights, strict=False).unexpected_keys
    if missing or unexpected:
        raise CheckpointError(
            f"the trained weights are not of this model: {len(missing)} are missing, "
            f"{len(unexpected)} unexpected, such as {[*missing, *unexpected][0]}; the start of the "
            "training was changed"
        )


def _published(
    model: Lisa, dtype: torch.dtype, *, holds_clip: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in merged_weights(model, dtype):
        if holds_clip or not name.startswith(_CLIP):
            yield name, tensor
    if not holds_clip:
        # Computed anew by all readers, but in the published files.
        frequencies = model.language_model.model.rotary_emb.inv_freq
        for i in range(model.config.llama.num_hidden_layers):
            yield f"model.layers.{i}.self_attn.rotary_emb.inv_freq", frequencies.clone()

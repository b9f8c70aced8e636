"""Where a training starts: a LISA, or a LLaVA and a SAM that are to become one.

A LISA's SAM and `[SEG]` projection are trained already and are taken as they are.  A LLaVA has
neither: it gets the tokens, the projection and the SAM that the published training begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lisa_ros.model.checkpoint import Checkpoint, open_checkpoint, open_clip, read_config
from lisa_ros.model.config import LisaConfig, SamConfig, read_json
from lisa_ros.model.conversation import IM_END, IM_START, SEG
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.hub import LISA_PATTERNS, resolve_folder
from lisa_ros.model.tokenizer import LisaTokenizer, read_added_tokens, read_settings
from lisa_ros.model.weights import WeightFiles, find_weights, read_weights

_EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")
_PROJECTION = "model.text_hidden_fcs.0."
_SAM = "model.visual_model."


@dataclass(frozen=True)
class Start:
    """An opened start.

    Attributes:
        checkpoint: a whole LISA, some weights of which may be new.
        values: what `config.json` says, or will say, of it in the official layout.
    """

    checkpoint: Checkpoint
    values: dict[str, Any]


def open_start(
    model: str,
    *,
    sam: str | None = None,
    vision_tower: str | None = None,
    sam_config: str | None = None,
    conversation: str | None = None,
    seed: int = 0,
) -> Start:
    """Open what a training starts from.

    Args:
        model: hub id or folder of a LISA or, with `sam`, of a LLaVA.
        sam: file of SAM's weights, such as sam_vit_h_4b8939.pth.
        vision_tower, sam_config, conversation: as in `lisa_ros.model.load`.
        seed: of the weights that are new.

    Raises:
        CheckpointError: the files are not what they should be, or do not fit each other.
    """
    if sam is not None:
        start = _open_llava(model, Path(sam), vision_tower, sam_config, conversation, seed)
    else:
        checkpoint = open_checkpoint(
            model, vision_tower=vision_tower, sam_config=sam_config, conversation=conversation
        )
        start = Start(checkpoint, {**read_config(checkpoint.folder), **_tower(vision_tower)})
    if sam_config is not None:  # no shape of a weight tells all of it
        start.values["sam_config"] = asdict(start.checkpoint.config.sam)
    return start


def _open_llava(
    source: str,
    sam: Path,
    vision_tower: str | None,
    sam_config: str | None,
    conversation: str | None,
    seed: int,
) -> Start:
    folder = resolve_folder(
        source, files=("config.json", "tokenizer.model"), patterns=LISA_PATTERNS
    )
    values = read_json(folder / "config.json")
    llava = find_weights(folder)
    _check_llava(folder, llava.shapes)
    sam_shapes = {name: tuple(tensor.shape) for name, tensor in read_weights(_need_file(sam))}
    known = {} if sam_config is None else read_json(Path(sam_config))
    sizes = SamConfig.from_shapes(sam_shapes, **SamConfig.known_sizes(known, str(sam_config)))
    tokenizer = _with_new_tokens(folder)
    clip, preprocessing, clip_weights = open_clip(folder, values, llava, vision_tower)
    values |= {
        "architectures": ["LISAForCausalLM"],
        "model_type": "llava",
        "vocab_size": tokenizer.vocab_size,
        "out_dim": sizes.prompt_embed_dim,
        "mm_use_im_start_end": True,
        "train_mask_decoder": True,  # tells the published code that this is a LISA
        "vision_tower": values.get("mm_vision_tower"),
        "use_cache": False,
        **_tower(vision_tower),
    }
    config = LisaConfig.from_json(values, clip=clip, clip_preprocessing=preprocessing, sam=sizes)
    config = config.with_defaults(conversation=conversation)
    new = _new_weights(
        old_size=llava.shapes[_EMBEDDINGS[0]][0],
        new_size=tokenizer.vocab_size,
        hidden=config.llama.hidden_size,
        out_dim=config.out_dim,
        std=values.get("initializer_range", 0.02),
        seed=seed,
    )
    shapes = {
        **llava.shapes,
        **{_SAM + name: shape for name, shape in sam_shapes.items()},
        **{name: tuple(t.shape) for name, t in new.items() if name.startswith(_PROJECTION)},
        **dict.fromkeys(_EMBEDDINGS, (tokenizer.vocab_size, config.llama.hidden_size)),
    }
    weights = _LlavaAndSam(llava.files, shapes, {}, sam=sam, new=new)
    return Start(Checkpoint(folder, config, tokenizer, weights, clip_weights), values)


def _tower(chosen: str | None) -> dict[str, str]:
    """What the config of a trained model says of a CLIP that was chosen for it."""
    return {} if chosen is None else {"vision_tower": chosen, "mm_vision_tower": chosen}


@dataclass(frozen=True)
class _LlavaAndSam(WeightFiles):
    """The weights of both, and the new ones.

    Attributes:
        files: of the LLaVA.
        shapes: of all weights.
        new: the `[SEG]` projection, and for both embeddings the rows of new tokens.
    """

    sam: Path
    new: Mapping[str, torch.Tensor]

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every weight once, under its official name."""
        for name, tensor in super().tensors():
            if name in _EMBEDDINGS:
                # A vocabulary may also have been padded beyond the tokenizer's.
                tensor = torch.cat([tensor, self.new[name].to(tensor.dtype)])
                tensor = tensor[: self.shapes[name][0]].clone()
            yield name, tensor
        for name, tensor in read_weights(self.sam):
            yield _SAM + name, tensor
        for name, tensor in self.new.items():
            if name.startswith(_PROJECTION):
                yield name, tensor


def _new_weights(
    *, old_size: int, new_size: int, hidden: int, out_dim: int, std: float, seed: int
) -> dict[str, torch.Tensor]:
    """As published: new tokens drawn as LLaMA's first weights, the projection as by PyTorch."""
    count = max(0, new_size - old_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = {name: torch.randn(count, hidden) * std for name in _EMBEDDINGS}
        for index, layer in ((0, nn.Linear(hidden, hidden)), (2, nn.Linear(hidden, out_dim))):
            for name, parameter in layer.named_parameters():
                new[f"{_PROJECTION}{index}.{name}"] = parameter.detach()
    return new


def _with_new_tokens(folder: Path) -> LisaTokenizer:
    """The LLaVA's vocabulary with those of `[SEG]`, <im_start> and <im_end> that it lacks."""
    from sentencepiece import SentencePieceProcessor

    model = folder / "tokenizer.model"
    if not model.is_file():
        raise CheckpointError(f"{model} is missing; a LLaVA has the sentencepiece model of LLaMA")
    added = read_added_tokens(folder)
    size = SentencePieceProcessor(model_file=str(model)).vocab_size()
    for token in (SEG, IM_START, IM_END):
        added.setdefault(token, max(size - 1, *added.values(), -1) + 1)
    return LisaTokenizer(model, added, **read_settings(folder))


def _check_llava(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if any(name.startswith(_PROJECTION) for name in shapes):
        raise CheckpointError(
            f"{folder} is a LISA, whose SAM is trained already; leave `sam` out, which would "
            "overwrite it"
        )
    missing = [name for name in _EMBEDDINGS if name not in shapes]
    if not any(name.startswith("model.mm_projector.") for name in shapes):
        missing.append("model.mm_projector.*")
    if missing:
        raise CheckpointError(
            f"{folder} is no LLaVA: it has no {', '.join(missing)}; expected a merged checkpoint "
            "such as liuhaotian/llava-llama-2-13b-chat-lightning-preview, not delta weights"
        )


def _need_file(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; expected SAM's weights, such as sam_vit_h_4b8939.pth"
        )
    return path

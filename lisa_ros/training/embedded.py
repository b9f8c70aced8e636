"""The embedded model before training: LISA in small sizes, with a vocabulary of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig

from lisa_ros.model.checkpoint import official_name
from lisa_ros.model.config import ClipPreprocessing, LisaConfig, SamConfig
from lisa_ros.model.conversation import IM_END, IM_START, SEG
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import finish
from lisa_ros.model.tokenizer import LisaTokenizer


@dataclass(frozen=True)
class EmbeddedSizes:
    """Sizes of the embedded model; the defaults make 9.6 million weights, 19.3 MB in fp16."""

    vocabulary: int = 1800
    hidden: int = 256
    mlp: int = 512
    layers: int = 4
    heads: int = 4
    clip_image: int = 384
    clip_patch: int = 24
    clip_width: int = 192
    clip_layers: int = 4
    clip_heads: int = 6
    sam_image: int = 384
    sam_width: int = 192
    sam_layers: int = 4
    sam_heads: int = 6
    sam_window: int = 8
    sam_global: tuple[int, ...] = (1, 3)
    conv_stem: tuple[int, ...] = (32, 64, 128)
    prompt: int = 128
    decoder_mlp: int = 256


def embedded_config(sizes: EmbeddedSizes) -> LisaConfig:
    """The configuration of an embedded model.

    Unlike the published models it sees the whole picture (`clip_view: pad`), its mask decoder has
    a similarity prompt, and it tells how sure it is of its masks and of what is in view.
    """
    values: dict[str, Any] = {
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "vocab_size": sizes.vocabulary + 3,  # [SEG], <im_start>, <im_end>
        "max_position_embeddings": 1024,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "out_dim": sizes.prompt,
        "mm_vision_select_layer": -1,
        "clip_view": "pad",
        "clip_conv_stem": sizes.conv_stem,
        "min_object_score": 0.0,  # what is enough is seen after training
    }
    clip = CLIPVisionConfig(
        hidden_size=sizes.clip_width,
        intermediate_size=4 * sizes.clip_width,
        num_hidden_layers=sizes.clip_layers,
        num_attention_heads=sizes.clip_heads,
        image_size=sizes.clip_image,
        patch_size=sizes.clip_patch,
    )
    sam = SamConfig(
        image_size=sizes.sam_image,
        embed_dim=sizes.sam_width,
        depth=sizes.sam_layers,
        num_heads=sizes.sam_heads,
        mlp_dim=4 * sizes.sam_width,
        global_attn_indexes=sizes.sam_global,
        window_size=sizes.sam_window,
        prompt_embed_dim=sizes.prompt,
        decoder_mlp_dim=sizes.decoder_mlp,
        iou_head_hidden_dim=64,
        similarity_prompt=True,
        iou_sigmoid=True,
        object_score=True,
        conv_stem=sizes.conv_stem,
    )
    return LisaConfig.from_json(
        values,
        clip=clip,
        clip_preprocessing=ClipPreprocessing(sizes.clip_image, sizes.clip_image),
        sam=sam,
    )


def train_tokenizer(sentences: Iterable[str], folder: Path, vocabulary: int) -> LisaTokenizer:
    """A byte-pair vocabulary of the sentences, in the files of a LISA checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(
            part.strip() for sentence in sentences for part in sentence.split(SEG) if part.strip()
        ),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocabulary,
        model_type="bpe",
        character_coverage=1.0,
        normalization_rule_name="identity",  # as LLaMA's
        byte_fallback=True,  # what a user types beyond the vocabulary stays readable
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,  # repeatable
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    added = {SEG: vocabulary, IM_START: vocabulary + 1, IM_END: vocabulary + 2}
    (folder / "added_tokens.json").write_text(json.dumps(added, indent=2) + "\n")
    return LisaTokenizer.from_folder(folder)


def new_model(config: LisaConfig, tokenizer: LisaTokenizer, seed: int) -> Lisa:
    """A model with the usual initial weights, ready to train on the CPU."""
    torch.manual_seed(seed)
    model = Lisa(config, tokenizer)
    for module in model.language_model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    nn.init.trunc_normal_(model.visual_model.image_encoder.pos_embed, std=0.02)
    return finish(model, torch.device("cpu"))


def save_model(model: Lisa, folder: Path) -> None:
    """Write a model as a converted checkpoint in fp16; its tokenizer's files are there already."""
    weights = {
        official_name(name): value.half().contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    values = {"architectures": ["LISAForCausalLM"], **model.config.to_json()}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")


def num_weights(model: nn.Module) -> int:
    """Weights of a model, buffers included."""
    return sum(value.numel() for value in model.state_dict().values())

"""What the language model sees: CLIP's patch features, projected into its embedding space."""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from lisa_ros.model.config import LisaConfig
from lisa_ros.model.conv_stem import ConvStem
from lisa_ros.model.errors import CheckpointError


class ClipTower(nn.Module):
    """CLIP's image encoder up to the layer that the projector reads.

    The layers above `select_layer` never reach the language model, so they are not built.
    """

    def __init__(self, config: LisaConfig) -> None:
        super().__init__()
        sizes = config.clip.to_dict()
        sizes["num_hidden_layers"] = config.num_clip_layers
        self.keep_cls = config.select_feature == "cls_patch"
        self.vision_model = CLIPVisionModel(CLIPVisionConfig(**sizes))
        if config.clip_conv_stem:
            embeddings: Any = self.vision_model.embeddings
            embeddings.patch_embedding = ConvStem(
                config.clip_conv_stem, config.clip.hidden_size, cast(int, config.clip.patch_size)
            )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised pixels to (B, num_image_tokens, clip_hidden) features."""
        features = cast(torch.Tensor, self.vision_model(pixel_values).last_hidden_state)
        return features if self.keep_cls else features[:, 1:]


def build_projector(kind: str, clip_hidden: int, llm_hidden: int) -> nn.Module:
    """LLaVA's projector: `linear`, or `mlp{N}x_gelu` with N linear layers (LLaVA-1.5: 2)."""
    if kind == "linear":
        return nn.Linear(clip_hidden, llm_hidden)
    match = re.fullmatch(r"mlp(\d+)x_gelu", kind)
    if match is None:
        raise CheckpointError(f"mm_projector_type: expected linear or mlp{{N}}x_gelu, got {kind!r}")
    layers: list[nn.Module] = [nn.Linear(clip_hidden, llm_hidden)]
    for _ in range(1, int(match[1])):
        layers += [nn.GELU(), nn.Linear(llm_hidden, llm_hidden)]
    return nn.Sequential(*layers)

"""What of a LISA is trained, as published: LoRA in the language model, and four parts whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from lisa_ros.model.checkpoint import official_name
from lisa_ros.model.lisa import Lisa

LORA_LAYERS = ("q_proj", "v_proj")
# Parts that are trained whole.  Only models that aid themselves with a similarity prompt have one.
WHOLE_PARTS = (
    "language_model.lm_head.",
    "language_model.model.embed_tokens.",
    "text_hidden_fcs.",
    "visual_model.mask_decoder.",
    "visual_model.similarity_prompt.",
)


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (Hu et al., 2021) of each layer's query and value projection.

    Attributes:
        r: rank of the change.
        alpha: the change is scaled by `alpha / r`.
        dropout: share of the inputs that the change does not see in training.
    """

    r: int = 8
    alpha: int = 16
    dropout: float = 0.05


def make_trainable(
    model: Lisa, settings: LoraSettings, *, gradient_checkpointing: bool = True
) -> None:
    """Put adapters into the language model and freeze all but them and `WHOLE_PARTS`.

    Outputs stay what they were: a new adapter changes nothing.  What is trained is held in fp32,
    whatever the rest is held in, since steps smaller than 1/256 of a weight are lost in bf16.

    Args:
        gradient_checkpointing: compute the activations inside each layer of the language model
            again for its gradients, instead of keeping them.
    """
    from peft import LoraConfig, inject_adapter_in_model

    language_model: Any = model.language_model
    # peft asks for this before it looks at the layers.
    language_model.is_loaded_in_4bit = any(_is_quantised(m) for m in language_model.modules())
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(LORA_LAYERS),
        bias="none",
    )
    inject_adapter_in_model(config, language_model)
    for name, parameter in model.named_parameters():
        is_trained = ".lora_" in name or name.startswith(WHOLE_PARTS)
        parameter.requires_grad_(is_trained)
        if is_trained:
            # Copied always: of a checkpoint with tied embeddings the head has the same memory.
            parameter.data = parameter.data.to(torch.float32, copy=True)
    if gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # renamed in transformers 5.2x
            language_model.gradient_checkpointing_enable({"use_reentrant": False})
    model.use_cuda_graphs = False  # they would keep the weights of the moment


def merged_weights(model: Lisa, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """All weights under their official names with the adapters in place.

    A quantised layer gives the weights that it computes with, so that the merged model answers as
    the trained one did.
    """
    from peft.tuners.lora import LoraLayer
    from peft.utils.integrations import dequantize_module_weight

    adapted: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path.startswith(adapted) and adapted:
            continue
        prefix = f"{path}." if path else ""
        if isinstance(module, LoraLayer):
            adapted += (prefix,)
            layer: Any = module.get_base_layer()
            change = cast(Any, module).get_delta_weight("default")
            weight = dequantize_module_weight(layer).detach().float() + change.detach().float()
            yield official_name(prefix + "weight"), weight.to(dtype)
            if layer.bias is not None:
                yield official_name(prefix + "bias"), layer.bias.detach().to(dtype)
            continue
        for name, value in _own_state(module):
            if _is_quantised(module) and name == "weight":
                value = dequantize_module_weight(module)
            yield official_name(prefix + name), value.detach().to(dtype)


def _own_state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(recurse=False)
    for name, value in module.named_buffers(recurse=False):
        if name not in module._non_persistent_buffers_set:
            yield name, value


def _is_quantised(module: nn.Module) -> bool:
    return type(getattr(module, "weight", None)).__name__ == "Params4bit"

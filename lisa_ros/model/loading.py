"""Put a checkpoint's weights into the network: each straight to its device and precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lisa_ros.model.checkpoint import Checkpoint, check_names, open_checkpoint, own_name
from lisa_ros.model.config import LisaConfig, values_of
from lisa_ros.model.errors import OutOfMemoryError
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.precision import (
    Precision,
    available_bytes,
    parse_precision,
    put_quantised,
    quantisable_layers,
    quantise_layers,
    required_bytes,
    resolve_device,
)
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.model.weights import release_pages

# A small model, trained by this repository (`make tiny-model`); its README.md says what it knows.
EMBEDDED_MODEL = Path(__file__).with_name("embedded")


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
    return load_checkpoint(checkpoint, precision, target)


def load_checkpoint(checkpoint: Checkpoint, precision: Precision, target: torch.device) -> Lisa:
    """The model of an opened checkpoint; see `load`."""
    model = empty_model(checkpoint.config, checkpoint.tokenizer)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_names(checkpoint, expected)
    _check_memory(model, precision, target)
    put = weight_putter(model, precision, target)
    try:
        for name, tensor in checkpoint.tensors():
            own = own_name(name)
            if own not in expected:
                continue
            is_copied = put(own, tensor).data_ptr() != tensor.data_ptr()
            if is_copied and not checkpoint.is_tied(name):
                release_pages(tensor)
    except torch.OutOfMemoryError:
        raise OutOfMemoryError(_does_not_fit(model, precision, target)) from None
    return finish(model, target)


def empty_model(config: LisaConfig, tokenizer: LisaTokenizer) -> Lisa:
    """The network without memory for its weights."""
    with values_of("config.json of the model or of its vision tower"), torch.device("meta"):
        return Lisa(config, tokenizer).eval()


def weight_putter(
    model: Lisa, precision: Precision, device: torch.device
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """A function that puts one weight of `model`, by name, where and how it ends.

    It gives what the weight has become: the tensor itself where nothing had to change.
    """
    quantised: set[str] = set()
    if precision in (Precision.INT8, Precision.NF4):
        quantised = {f"{name}.weight" for name in quantisable_layers(model)}
        quantise_layers(model, precision, device)

    def put(name: str, tensor: torch.Tensor) -> torch.Tensor:
        module_name, _, leaf = name.rpartition(".")
        module = model.get_submodule(module_name)
        if name in quantised:
            put_quantised(module, tensor, precision, device)
            return cast(torch.Tensor, module.weight)
        # fp16 overflows in SAM's neck, which therefore stays in fp32 as published.
        in_neck = name.startswith("visual_model.image_encoder.neck.")
        dtype = torch.float32 if in_neck and precision is Precision.FP16 else precision.dtype
        tensor = tensor.to(device=device, dtype=dtype)
        if leaf in module._buffers:
            module.register_buffer(leaf, tensor)
        else:
            module.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
        return tensor

    return put


def finish(model: Lisa, device: torch.device) -> Lisa:
    """Compute the buffers that no checkpoint holds, once all weights are in place."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # events, graphs and new contexts belong to the current one
    llama = model.language_model.model
    llama.rotary_emb = LlamaRotaryEmbedding(model.config.llama).to(device)
    clip = model.vision_tower.vision_model.embeddings
    clip.register_buffer(
        "position_ids", torch.arange(clip.num_positions, device=device)[None], persistent=False
    )
    return model


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

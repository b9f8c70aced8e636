"""Precisions of a loaded model, and the memory they need."""

from __future__ import annotations

import sys
from enum import Enum

import torch
from torch import nn

from lisa_ros.model.errors import DeviceError
from lisa_ros.model.int8_linear import Int8Linear


class Precision(str, Enum):
    """How weights are held.

    In INT8 and NF4 the decoder layers of the language model are quantised, by bitsandbytes but for
    INT8 on a CPU; CLIP, SAM and all projections stay in 16 bits.
    """

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"
    NF4 = "nf4"

    @property
    def dtype(self) -> torch.dtype:
        """The precision of what is not quantised."""
        if self is Precision.FP32:
            return torch.float32
        return torch.float16 if self is Precision.FP16 else torch.bfloat16

    @property
    def linear_bytes(self) -> float:
        """Bytes a weight of the decoder layers takes, block scales included."""
        return {Precision.FP32: 4.0, Precision.INT8: 1.01, Precision.NF4: 0.52}.get(self, 2.0)


def parse_precision(value: str | Precision) -> Precision:
    """A precision from its name."""
    try:
        return Precision(value)
    except ValueError:
        raise DeviceError(
            f"precision: expected one of {', '.join(p.value for p in Precision)}, got {value!r}"
        ) from None


def resolve_device(name: str | torch.device | None) -> torch.device:
    """The device asked for, or the GPU if there is one, else the CPU.

    Raises:
        DeviceError: CUDA was asked for and is absent, or the name is unknown.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"device: expected cpu, cuda or cuda:N, got {str(name)!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected cpu, cuda or cuda:N, got {str(name)!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if count == 0:
            built = torch.version.cuda
            raise DeviceError(
                f"device: {name} was asked for, but torch {torch.__version__} sees no GPU "
                + ("(it was built without CUDA)" if built is None else "(is the driver installed?)")
                + "; use --device cpu, or mend the CUDA installation"
            )
        if (device.index or 0) >= count:
            raise DeviceError(f"device: {name} was asked for, this machine has {count} GPU(s)")
    return device


def required_bytes(model: nn.Module, precision: Precision) -> int:
    """Memory that the weights of a model (on any device, also meta) take in a precision."""
    total = 0.0
    quantised = {id(layer.weight) for layer in quantisable_layers(model).values()}
    for parameter in (*model.parameters(), *model.buffers()):
        size = precision.linear_bytes if id(parameter) in quantised else precision.dtype.itemsize
        total += parameter.numel() * size
    return int(total)


def available_bytes(device: torch.device) -> int:
    """Free memory of a device, with what torch keeps for reuse; of the host without swapping."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    import psutil

    return int(psutil.virtual_memory().available)


def quantisable_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers inside the language model's decoder layers, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if name.startswith("language_model.model.layers.") and isinstance(module, nn.Linear)
    }


def quantise_layers(model: nn.Module, precision: Precision, device: torch.device) -> None:
    """Replace the decoder's linear layers by quantised ones in a model that has no weights yet.

    The weights are quantised when they are put on a device (`put_quantised`).

    Raises:
        DeviceError: bitsandbytes is needed and not installed.
    """
    for name, layer in quantisable_layers(model).items():
        with torch.device("meta"):  # else billions of random numbers are drawn on the host
            new = _quantised_layer(layer, precision, device)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new)


def _quantised_layer(layer: nn.Linear, precision: Precision, device: torch.device) -> nn.Module:
    if precision is Precision.INT8 and device.type == "cpu":
        return Int8Linear(layer, precision.dtype)
    bnb, shape = _bitsandbytes(), (layer.in_features, layer.out_features)
    bias = layer.bias is not None
    new: nn.Module
    if precision is Precision.INT8:
        new = bnb.nn.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False)
    else:
        new = bnb.nn.Linear4bit(*shape, bias=bias, quant_type="nf4", compute_dtype=precision.dtype)
    return new


def put_quantised(
    layer: nn.Module, weight: torch.Tensor, precision: Precision, device: torch.device
) -> None:
    """Quantise one decoder weight into its layer on the device."""
    if isinstance(layer, Int8Linear):
        layer.quantise(weight)
        return
    bnb = _bitsandbytes()
    if precision is Precision.INT8:
        # By hand, since Int8Params itself converts on the host, which takes a minute for 7B.
        values, scales, _ = bnb.functional.int8_vectorwise_quant(weight.to(device).half())
        layer.weight = bnb.nn.Int8Params(
            values, requires_grad=False, has_fp16_weights=False, CB=values, SCB=scales
        )
        return
    parameter = bnb.nn.Params4bit(
        weight.to(precision.dtype), requires_grad=False, quant_type="nf4", compress_statistics=True
    )
    layer.weight = parameter.to(device)


def free_quantisation_tables() -> None:
    """Let go of what bitsandbytes keeps on the GPU for later models (one table, 1 kB)."""
    functional = sys.modules.get("bitsandbytes.functional")
    if functional is not None:
        functional.name2qmap.clear()


def _bitsandbytes():  # type: ignore[no-untyped-def]  # a module
    try:
        import bitsandbytes
    except ImportError:
        raise DeviceError(
            "int8 and nf4 need bitsandbytes: pip install 'bitsandbytes>=0.50'"
        ) from None
    return bitsandbytes

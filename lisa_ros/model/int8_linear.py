"""Linear layers with int8 weights for the CPU; bitsandbytes' are made for GPUs."""

from __future__ import annotations

import torch
from torch import nn

# Above this many rows the weights are unpacked once instead: torch's kernel is made for a few.
_MAX_ROWS = 64
_BLOCK = 32  # the kernel reads beyond the end of rows that are no whole number of its vectors


class Int8Linear(nn.Module):
    """Weights as int8 with one scale for each output; activations stay in 16 bits.

    Reading half the bytes is what makes a token faster, see docs/performance.md.

    Args:
        layer: gives the shape; its weights are not read.
        dtype: of inputs, outputs and scales.
    """

    scale: torch.Tensor

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        shape = (layer.out_features, layer.in_features)
        self._fits_kernel = not any(size % _BLOCK for size in shape)
        self.weight = nn.Parameter(torch.empty(shape, dtype=torch.int8), requires_grad=False)
        self.register_buffer(
            "scale", torch.empty(layer.out_features, dtype=dtype), persistent=False
        )
        self.bias = None
        if layer.bias is not None:
            self.bias = nn.Parameter(torch.empty_like(layer.bias, dtype=dtype), requires_grad=False)

    def quantise(self, weight: torch.Tensor) -> None:
        """Take over weights (out, in), rounded to 1/127 of the largest of each output."""
        scale = weight.float().abs().amax(dim=1) / 127
        scale = scale.clamp(min=torch.finfo(torch.float32).tiny).to(self.scale.dtype)
        values = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127)
        self.weight = nn.Parameter(values.to(torch.int8), requires_grad=False)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        rows = x.flatten(0, -2).contiguous()
        if self._fits_kernel and len(rows) <= _MAX_ROWS:
            out = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        else:
            out = rows @ self.weight.to(x.dtype).T * self.scale
        if self.bias is not None:
            out = out + self.bias
        return out.unflatten(0, x.shape[:-1])

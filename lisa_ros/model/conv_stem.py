"""A convolutional start of an image encoder, in place of its one strided convolution.

Not part of the published LISA: a small transformer that never saw millions of pictures learns
shapes far faster behind some convolutions (Xiao et al., Early Convolutions Help Transformers See
Better, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

_GROUPS = 8  # of a group norm


def patch_sizes(widths: Sequence[int]) -> tuple[int, int]:
    """The patches that a stem of these widths can make."""
    return 2 * 2 ** len(widths), 3 * 2 ** len(widths)


class ConvStem(nn.Sequential):
    """Halves the resolution with each width, and divides it by 2 or 3 at the end.

    Args:
        widths: channels of the stages; all but the first hold a residual block.
        channels: of the result.
        patch: pixels a side of what one position of the result stands for, one of
            `patch_sizes(widths)`.
    """

    def __init__(self, widths: Sequence[int], channels: int, patch: int) -> None:
        stages: list[nn.Module] = []
        before = 3
        for i, width in enumerate(widths):
            stages.append(nn.Conv2d(before, width, 3, stride=2, padding=1))
            if i > 0:  # norms at the first resolution would take as long as its convolution
                stages.append(nn.GroupNorm(_GROUPS, width))
            stages.append(nn.ReLU())
            if i > 0:
                stages.append(ResidualBlock(width))
            before = width
        last = patch // 2 ** len(widths)
        super().__init__(*stages, nn.Conv2d(before, channels, 3, stride=last, padding=3 - last))

    @property
    def weight(self) -> torch.Tensor:
        """The first convolution's; transformers' CLIP asks it for the precision."""
        first = self[0].weight
        assert isinstance(first, torch.Tensor)
        return first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, channels, S / patch, S / patch)."""
        # The layout that convolutions on CPUs are fastest with.
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, width, H, W) to the same shape."""
        change = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(x + change)

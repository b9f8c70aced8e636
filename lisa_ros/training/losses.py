"""The losses of LISA: words by cross entropy, masks by binary cross entropy and DICE.

Paper, section 3.2: L = 1.0 * CE + 2.0 * BCE + 0.5 * DICE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

IGNORE = -100  # a label that is not learned


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses; the defaults are the paper's.

    `similarity`, `quality` (SAM's IoU estimates) and `object_score` are for models with these aids
    (`SamConfig`); the published ones have none.
    `opening` is the weight of each of an answer's first two tokens among its others: they say
    whether something is there ("Sure," or "There", "There is" or "There are"), and one or two words
    in twenty are all that refusing is learned from.  For an answer with a mask it is
    `opening_found`: above `opening`, a model must be surer to refuse.
    """

    ce: float = 1.0
    bce: float = 2.0
    dice: float = 0.5
    similarity: float = 1.0
    quality: float = 1.0
    object_score: float = 2.0
    opening: float = 1.0
    opening_found: float = 1.0


@dataclass(frozen=True)
class Losses:
    """Weighted losses of one batch, scalars; `total` is what is minimised."""

    ce: torch.Tensor
    bce: torch.Tensor
    dice: torch.Tensor
    similarity: torch.Tensor | None = None
    quality: torch.Tensor | None = None
    object_score: torch.Tensor | None = None

    def named(self) -> dict[str, torch.Tensor]:
        """Those that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def total(self) -> torch.Tensor:
        return torch.stack(list(self.named().values())).sum()


def mask_losses(
    logits: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """BCE and DICE of groups of masks, each group of one size, as the published code weighs them.

    Args:
        logits: groups (n, H, W), n >= 0; one group an image, or one for all images of one size.
        targets: the same shapes, 0 or 1.

    Returns:
        Both losses as means over all masks of all groups; 0 where there is no mask.
    """
    total = sum(map(len, logits)) + 1e-8
    bce = [sigmoid_bce(x, y) for x, y in zip(logits, targets, strict=True)]
    dice = [sigmoid_dice(x, y) for x, y in zip(logits, targets, strict=True)]
    return torch.cat(bce).sum() / total, torch.cat(dice).sum() / total


def sigmoid_bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(n,) binary cross entropy of masks (n, H, W), mean over pixels."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
    return loss.flatten(1).mean(1)


def probability_bce(estimates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy of n probabilities, the mean; 0 of none.

    Unlike a squared error it tells 0.01 from 0.05: there lies what is not believed.
    """
    estimates = estimates.clamp(1e-6, 1 - 1e-6)
    # Written out, since autocast refuses torch's own.
    error = -(targets * estimates.log() + (1 - targets) * (1 - estimates).log())
    return error.sum() / max(1, len(error))


def sigmoid_dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(n,) DICE losses of masks (n, H, W).

    Sums are scaled by 1/1000 as published, which makes the smoothing of 1e-6 a little larger.
    """
    scale, smooth = 1000.0, 1e-6
    p = logits.float().sigmoid().flatten(1)
    t = targets.float().flatten(1)
    overlap = 2 * (p / scale * t).sum(1)
    size = (p / scale).sum(1) + (t / scale).sum(1)
    return 1 - (overlap + smooth) / (size + smooth)

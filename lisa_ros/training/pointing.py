"""The embedded model learns to point before it speaks.

An answer's first word says whether a thing is there: one word in twenty, and all that a small
language model would learn refusing from.  So the state that predicts it is also made to tell, among
the patches of the image and the beginning of the sequence, which patches show what is asked for, or
by the beginning that none does.  Nothing of this is left in the finished model.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lisa_ros.training.batch import Reading
from lisa_ros.training.scene_batch import SceneBatch


class Pointing(nn.Module):
    """The head that training alone needs.

    Args:
        hidden: width of the language model.
        patches: of CLIP's square, a side; the whole picture lies in it (`clip_view: pad`).
    """

    def __init__(self, hidden: int, patches: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self._patches = patches

    def forward(self, reading: Reading, scenes: SceneBatch) -> torch.Tensor:
        """Cross entropy of where the questions that want a mask point to."""
        asking = [k for k, instances in enumerate(scenes.asked) if instances is not None]
        hidden = reading.output.hidden_states
        if not asking:
            return hidden.new_zeros(())
        patches = hidden[:, reading.image_at : reading.image_at + self._patches**2]
        keys = self.key(torch.cat([hidden[:, :1], patches], dim=1))  # (rows, 1 + patches, hidden)
        keys = keys[[reading.rows[k] for k in asking]]
        queries = self.query(reading.answer_states[asking])
        logits = torch.einsum("nc,ntc->nt", queries, keys).float() * queries.shape[1] ** -0.5
        return F.cross_entropy(logits, self._targets(scenes, asking).to(logits.device))

    def _targets(self, scenes: SceneBatch, asking: list[int]) -> torch.Tensor:
        """Where each should point to, as probabilities (n, 1 + patches); first: nowhere."""
        masks = torch.stack(
            [
                torch.isin(
                    scenes.ids[scenes.image_index[k]],
                    torch.tensor(scenes.asked[k], dtype=torch.uint8),
                )
                for k in asking
            ]
        ).float()
        height, width = masks.shape[1:]
        length = max(height, width)  # the picture lies in the middle of CLIP's square
        top, left = (length - height) // 2, (length - width) // 2
        masks = F.pad(masks, (left, length - width - left, top, length - height - top))
        shares = F.adaptive_avg_pool2d(masks, self._patches).flatten(1)
        nowhere = (shares.sum(1, keepdim=True) == 0).float()
        targets = torch.cat([nowhere, shares], dim=1)
        return targets / targets.sum(1, keepdim=True)

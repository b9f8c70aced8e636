"""From conversations and masks to the tensors of one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lisa_ros.model.conversation import Turn, conversation_pieces
from lisa_ros.model.lisa import Lisa, LisaOutput
from lisa_ros.model.preprocessing import MaskGeometry, upscale_masks
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.training.losses import IGNORE, Losses, LossWeights, mask_losses, word_loss


@dataclass(frozen=True)
class Conversation:
    """Ids of a conversation with its answers, the image being -200, and what is learned of them.

    Attributes:
        ids: T ids.
        labels: T labels: the id itself inside answers and their `</s>`, `IGNORE` elsewhere.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @classmethod
    def encode(
        cls,
        tokenizer: LisaTokenizer,
        turns: Sequence[Turn],
        *,
        template: str = "llava_v1",
        use_im_start_end: bool = True,
        max_length: int | None = None,
    ) -> Conversation:
        """From questions and answers.

        Args:
            template: a key of `lisa_ros.model.conversation.CONVERSATIONS`.
            max_length: ids beyond it are cut off; the published training keeps 512 - 255.
        """

        def ids_of(rounds: list[Turn]) -> list[int]:
            pieces = conversation_pieces(template, rounds, use_im_start_end=use_im_start_end)
            return tokenizer.encode(pieces)

        ids = ids_of(list(turns))
        labels = [IGNORE] * len(ids)
        for i, turn in enumerate(turns):
            begin = len(ids_of([*turns[:i], Turn(turn.question)]))
            end = len(ids_of(list(turns[: i + 1])))
            labels[begin:end] = ids[begin:end]
        return cls(tuple(ids[:max_length]), tuple(labels[:max_length]))


@dataclass(frozen=True)
class Batch:
    """B images with N conversations about them.

    Attributes:
        sam_pixels: (B, 3, S, S), SAM's input.
        clip_pixels: (B, 3, C, C), CLIP's input.
        geometry: for each image, how SAM's square lies on it.
        conversations: N, those of one image in a row.
        image_index: N indices into the images, rising.
        masks: for each image (n, H, W), 0 or 1, in the order of the `[SEG]`s of its conversations.
    """

    sam_pixels: torch.Tensor
    clip_pixels: torch.Tensor
    geometry: Sequence[MaskGeometry]
    conversations: Sequence[Conversation]
    image_index: Sequence[int]
    masks: Sequence[torch.Tensor]


def read_batch(model: Lisa, batch: Batch) -> tuple[LisaOutput, torch.Tensor]:
    """The language model's output for all conversations, and its loss (unweighted)."""
    tokens = model.encode_clip(batch.clip_pixels)[list(batch.image_index)]
    output = model([c.ids for c in batch.conversations], tokens)
    # Labels move with their ids, behind the positions that the image takes.
    labels = np.full(output.logits.shape[:2], IGNORE, np.int64)
    shift = tokens.shape[1] - 1
    for row, conversation in zip(labels, batch.conversations, strict=True):
        row[shift : shift + len(conversation.labels)] = conversation.labels
    return output, word_loss(output.logits, torch.from_numpy(labels).to(output.logits.device))


def training_losses(model: Lisa, batch: Batch, weights: LossWeights | None = None) -> Losses:
    """The weighted losses of a batch.

    Raises:
        ValueError: an image has another number of masks than its conversations have `[SEG]`s.
    """
    weights = weights or LossWeights()
    output, ce = read_batch(model, batch)
    wanted = [0] * len(batch.geometry)
    for image, prompts in zip(batch.image_index, output.seg_embeddings, strict=True):
        wanted[image] += len(prompts)
    for i, (count, target) in enumerate(zip(wanted, batch.masks, strict=True)):
        if count != len(target):
            raise ValueError(
                f"image {i} of the batch: expected one mask for each [SEG] of its conversations "
                f"({count}), got {len(target)}"
            )
    embeddings = model.visual_model.image_encoder(batch.sam_pixels)
    image_of_mask = torch.from_numpy(np.repeat(np.arange(len(wanted)), wanted)).to(model.device)
    low_res_masks, _ = model.visual_model.decode(
        embeddings[image_of_mask], torch.cat(list(output.seg_embeddings))
    )
    logits, targets = _by_geometry(batch, low_res_masks.split(wanted))
    bce, dice = mask_losses(logits, targets)
    return Losses(weights.ce * ce, weights.bce * bce, weights.dice * dice)


def _by_geometry(
    batch: Batch, low_res_masks: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Logits and targets at the images' sizes, images of one size together in one group."""
    groups: dict[MaskGeometry, list[int]] = {}
    for i, geometry in enumerate(batch.geometry):
        groups.setdefault(geometry, []).append(i)
    logits = [
        upscale_masks(torch.cat([low_res_masks[i] for i in group]), geometry)
        for geometry, group in groups.items()
    ]
    targets = [torch.cat([batch.masks[i] for i in group]) for group in groups.values()]
    return logits, targets

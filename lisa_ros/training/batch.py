"""From conversations and masks to the tensors of one training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from lisa_ros.model.conversation import Turn, conversation_pieces
from lisa_ros.model.lisa import Lisa, LisaOutput
from lisa_ros.model.preprocessing import MaskGeometry, upscale_masks
from lisa_ros.model.tokenizer import IMAGE_TOKEN_INDEX, LisaTokenizer
from lisa_ros.training.losses import IGNORE, Losses, LossWeights, mask_losses, probability_bce

_OPENING = 2  # tokens of an answer that say whether something is there


@dataclass(frozen=True)
class Conversation:
    """Ids of a conversation with its answers, the image being -200, and what is learned of them.

    Attributes:
        ids: T ids.
        labels: T labels: the id itself inside answers and their `</s>`, `IGNORE` elsewhere.
        answer_at: where the first answer begins; T if it was cut off.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    answer_at: int

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
        begins = []
        for i, turn in enumerate(turns):
            begin = len(ids_of([*turns[:i], Turn(turn.question)]))
            end = len(ids_of(list(turns[: i + 1])))
            labels[begin:end] = ids[begin:end]
            begins.append(begin)
        ids, labels = ids[:max_length], labels[:max_length]
        return cls(tuple(ids), tuple(labels), min([*begins, len(ids)]))


@dataclass(frozen=True)
class Batch:
    """B images with N conversations about them.

    Attributes:
        sam_pixels: (B, 3, S, S), SAM's input.
        clip_pixels: (B, 3, C, C), CLIP's input.
        geometry: for each image, how SAM's square lies on it.
        conversations: N, those of one image in a row.
        image_index: N indices into the images, rising.
        masks: for each image (n, H, W), 0 or 1, in the order of the `[SEG]`s of its conversations,
            those of `absent` left out.
        absent: indices of the conversations whose `[SEG]`s stand for nothing that is there and have
            no masks; they are for models with object scores (`SamConfig.object_score`), which
            learn to doubt them.
    """

    sam_pixels: torch.Tensor
    clip_pixels: torch.Tensor
    geometry: Sequence[MaskGeometry]
    conversations: Sequence[Conversation]
    image_index: Sequence[int]
    masks: Sequence[torch.Tensor]
    absent: Sequence[int] = ()


@dataclass(frozen=True)
class Features:
    """What both encoders make of a batch's images.

    Attributes:
        image_tokens: (B, num_image_tokens, hidden) of CLIP, projected.
        sam_embeddings: (B, C, g, g).
    """

    image_tokens: torch.Tensor
    sam_embeddings: torch.Tensor


def encode_images(model: Lisa, batch: Batch) -> Features:
    """Run both encoders."""
    return Features(
        model.encode_clip(batch.clip_pixels), model.visual_model.image_encoder(batch.sam_pixels)
    )


@dataclass(frozen=True)
class Reading:
    """What the language model makes of a batch's N conversations.

    Attributes:
        output: a row for each image that is asked about.
        ce: the loss of the words, unweighted.
        rows: N indices into the rows of `output`.
        image_at: where the image's positions begin, in every row.
        answer_states: (N, hidden), the states that predict the first word of an answer.
    """

    output: LisaOutput
    ce: torch.Tensor
    rows: Sequence[int]
    image_at: int
    answer_states: torch.Tensor


def read_batch(
    model: Lisa, batch: Batch, image_tokens: torch.Tensor, weights: LossWeights
) -> Reading:
    """Read all conversations, a row an image.

    The conversations about an image share their beginning and the image, which are most of the
    positions; they are read once.
    """
    rows: list[list[int]] = []
    labels: list[list[int]] = []
    counts: list[list[float]] = []  # what each label counts
    branches: list[list[int]] = []
    image_of_row: list[int] = []
    answer_rows, answer_positions = [], []
    image_at = 0
    shift = image_tokens.shape[1] - 1  # labels move with their ids, behind the image's positions
    for image, conversation in zip(batch.image_index, batch.conversations, strict=True):
        image_at = conversation.ids.index(IMAGE_TOKEN_INDEX)
        start = image_at + 1
        if not image_of_row or image_of_row[-1] != image:
            image_of_row.append(image)
            rows.append(list(conversation.ids[:start]))
            labels.append(list(conversation.labels[:start]))
            counts.append([1.0] * start)
            branches.append([0] * start)
        answer_rows.append(len(rows) - 1)
        answer_positions.append(shift + len(rows[-1]) - start + conversation.answer_at - 1)
        own = conversation.ids[start:]
        rows[-1] += own
        labels[-1] += conversation.labels[start:]
        counts[-1] += _label_counts(conversation.labels[start:], model.tokenizer.seg_id, weights)
        branches[-1] += [branches[-1][-1] + 1] * len(own)
    output = model(rows, image_tokens[image_of_row], branches)
    at = [
        (row, shift + j, label)
        for row, of_row in enumerate(labels)
        for j, label in enumerate(of_row)
        if label != IGNORE
    ]
    count = [counts[row][j - shift] for row, j, _ in at]
    # A long question may leave no label within the longest length.
    table = torch.tensor(at, dtype=torch.int64, device=image_tokens.device).reshape(-1, 3)
    row, position, wanted = table.unbind(1)
    logits = output.lm_head(output.hidden_states[row, position - 1])
    ce = F.cross_entropy(logits.float(), wanted, reduction="none")
    return Reading(
        output,
        (ce * ce.new_tensor(count)).sum() / max(1, len(at)),
        answer_rows,
        image_at,
        output.hidden_states[answer_rows, answer_positions],
    )


def _label_counts(labels: Sequence[int], seg_id: int, weights: LossWeights) -> list[float]:
    """What each of a conversation's labels counts: an answer's opening more than the rest."""
    counts = [1.0] * len(labels)
    learned = [label != IGNORE for label in labels]
    for first in (j for j in range(len(labels)) if learned[j] and not (j and learned[j - 1])):
        end = learned.index(False, first) if False in learned[first:] else len(labels)
        gives_mask = seg_id in labels[first:end]
        opening = weights.opening_found if gives_mask else weights.opening
        counts[first : min(first + _OPENING, end)] = [opening] * min(_OPENING, end - first)
    return counts


def training_losses(
    model: Lisa,
    batch: Batch,
    weights: LossWeights | None = None,
    features: Features | None = None,
    reading: Reading | None = None,
    *,
    reaches_all: bool = False,
) -> Losses:
    """The weighted losses of a batch.

    Args:
        features, reading: of the batch, where they are known already.
        reaches_all: give the weights that make masks gradients of 0, instead of none, where no
            answer of the batch has a mask.

    Raises:
        ValueError: an image has another number of masks than its conversations have `[SEG]`s, those
            of `absent` ones aside.
    """
    weights = weights or LossWeights()
    features = features or encode_images(model, batch)
    reading = reading or read_batch(model, batch, features.image_tokens, weights)
    owner, image = _of_prompts(batch, model.tokenizer.seg_id)
    is_absent = np.isin(owner, np.array(batch.absent, np.int64))
    wanted = np.bincount(image[~is_absent], minlength=len(batch.geometry)).tolist()
    for i, (count, target) in enumerate(zip(wanted, batch.masks, strict=True)):
        if count != len(target):
            raise ValueError(
                f"image {i} of the batch: expected one mask for each [SEG] of its conversations "
                f"({count}), got {len(target)}"
            )
    sam, embeddings = model.visual_model, features.sam_embeddings
    prompts = torch.cat(list(reading.output.seg_embeddings))
    image_of_prompt, there, absent = (
        torch.from_numpy(indices).to(model.device)
        for indices in (image, np.flatnonzero(~is_absent), np.flatnonzero(is_absent))
    )
    of_prompts = embeddings[image_of_prompt]
    low_res_masks, predicted_iou, object_score = sam.decode(of_prompts, prompts)
    of_image, groups = low_res_masks[there].split(wanted), _by_geometry(batch)
    logits = [
        upscale_masks(torch.cat([of_image[i] for i in group]), geometry)
        for geometry, group in groups.items()
    ]
    targets = [torch.cat([batch.masks[i] for i in group]) for group in groups.values()]
    bce, dice = mask_losses(logits, targets)
    losses = Losses(weights.ce * reading.ce, weights.bce * bce, weights.dice * dice)
    if reaches_all and len(prompts) == 0:
        losses = replace(losses, bce=losses.bce + 0 * _some_mask(model, reading, embeddings))
    if model.config.sam.similarity_prompt:
        coarse = torch.cat([_in_cells(masks, embeddings.shape[-1]) for masks in batch.masks])
        bce, dice = mask_losses(
            [sam.similarity_prompt(of_prompts[there], prompts[there])], [coarse]
        )
        similarity = weights.bce * bce + weights.dice * dice
        losses = replace(losses, similarity=weights.similarity * similarity)
    if model.config.sam.iou_sigmoid and weights.quality:
        # A mask of nothing has an IoU of 0.
        true_iou = torch.cat([_iou(x, y) for x, y in zip(logits, targets, strict=True)])
        of_image = predicted_iou[there].split(wanted)
        estimates = [of_image[i] for group in groups.values() for i in group]
        error = probability_bce(
            torch.cat([*estimates, predicted_iou[absent]]),
            torch.cat([true_iou, true_iou.new_zeros(len(absent))]),
        )
        losses = replace(losses, quality=weights.quality * error)
    if model.config.sam.object_score and weights.object_score:
        error = probability_bce(object_score, model.put(~is_absent).float())
        losses = replace(losses, object_score=weights.object_score * error)
    return losses


def _some_mask(model: Lisa, reading: Reading, embeddings: torch.Tensor) -> torch.Tensor:
    """A number that depends on all that masks depend on."""
    prompt = model.seg_embedding(reading.output.hidden_states[:1, -1])
    low_res_masks, *_ = model.visual_model.decode(embeddings[:1], prompt)
    return low_res_masks.sum()


def _of_prompts(batch: Batch, seg_id: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of n `[SEG]`s of a batch, in their order, its conversation (n,) and image (n,)."""
    counts = [conversation.ids.count(seg_id) for conversation in batch.conversations]
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.array(batch.image_index, np.int64)[owner]


def _iou(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(n,) of masks (n, H, W)."""
    mask, target = logits.detach().flatten(1) > 0, targets.flatten(1) > 0
    return (mask & target).sum(1) / (mask | target).sum(1).clamp(min=1)


def _in_cells(masks: torch.Tensor, grid: int) -> torch.Tensor:
    """Masks (n, H, W) as shares (n, grid, grid) of the cells of SAM's square."""
    height, width = masks.shape[1:]
    length = max(height, width)
    square = F.pad(masks.float(), (0, length - width, 0, length - height))
    return F.adaptive_avg_pool2d(square, grid)


def _by_geometry(batch: Batch) -> dict[MaskGeometry, list[int]]:
    """Images of one size, whose masks can be compared together."""
    groups: dict[MaskGeometry, list[int]] = {}
    for i, geometry in enumerate(batch.geometry):
        groups.setdefault(geometry, []).append(i)
    return groups

"""The embedded model's first stage: image encoders that know things, before any words.

The published LISA starts from encoders that were trained on millions of pictures, CLIP's beside
their captions.  Here each patch of CLIP's tower, behind the projector, is drawn to the words of the
class and colour that it shows, so that the language model finds picture and words in one space;
SAM's encoder learns class and colour at each cell; and SAM learns, as SAM did, to give the mask of
whatever is under a point.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segment_anything.modeling import PromptEncoder
from torch import nn
from torch.nn import functional as F

from lisa_ros.model.lisa import Lisa
from lisa_ros.model.preprocessing import MaskGeometry, upscale_masks
from lisa_ros.training.batch import Batch, Features, encode_images
from lisa_ros.training.losses import mask_losses
from lisa_ros.training.scene_batch import SceneBatch, to_device

_POINTS = 1  # point prompts an image
_SHARPNESS = 16.0  # of a softmax over cosines


class DenseHeads(nn.Module):
    """What both encoders know of each patch and cell: heads that training alone needs.

    Args:
        model: whose words for classes and colours CLIP's patches are drawn to.
        class_names, colour_names: what patches and cells can show.
    """

    def __init__(
        self, model: Lisa, class_names: Sequence[str], colour_names: Sequence[str]
    ) -> None:
        super().__init__()
        self._num_classes = len(class_names) + 1
        names = [*class_names, *colour_names]
        ids = [model.tokenizer.encode([name])[1:] for name in names]  # without <s>
        self._words = [torch.tensor(of_name) for of_name in ids]
        self.background = nn.Parameter(torch.randn(1, model.config.llama.hidden_size) * 0.02)
        self.sam_head = nn.Linear(model.config.sam.prompt_embed_dim, len(names) + 1)

    def forward(
        self, model: Lisa, features: Features, scenes: SceneBatch
    ) -> dict[str, torch.Tensor]:
        """A named loss for each encoder."""
        tokens, embeddings = features.image_tokens, features.sam_embeddings
        ids = scenes.ids.to(tokens.device)
        in_clip = shown_by_cells(in_middle(ids), int(tokens.shape[1] ** 0.5))
        in_sam = shown_by_cells(at_top_left(ids), embeddings.shape[-1])
        cells = embeddings.flatten(2).transpose(1, 2)
        table = model.language_model.model.embed_tokens.weight
        return {
            "clip": self._dense_loss(self._likeness(tokens, table), in_clip, scenes),
            "sam": self._dense_loss(self.sam_head(cells), in_sam, scenes),
        }

    def _likeness(self, tokens: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Logits (B, N, 1 + names) of tokens (B, N, hidden), by the directions of the words."""
        names = torch.stack([table[ids].mean(0) for ids in self._words])
        names = F.normalize(torch.cat([self.background, names]), dim=-1)
        return _SHARPNESS * F.normalize(tokens.float(), dim=-1) @ names.T

    def _dense_loss(
        self, logits: torch.Tensor, ids: torch.Tensor, scenes: SceneBatch
    ) -> torch.Tensor:
        """Class everywhere, colour where it has a name; (B, N, outputs) against ids (B, N)."""
        device = logits.device
        classes = scenes.classes.to(device).gather(1, ids)
        colours = scenes.colours.to(device).gather(1, ids)
        of_class, of_colour = logits.float().split(
            [self._num_classes, logits.shape[-1] - self._num_classes], dim=-1
        )
        weight = _cell_weights(ids, scenes.classes.shape[1])
        loss = F.cross_entropy(of_class.mT, classes, reduction="none")
        loss = (weight * loss).sum() / weight.sum()
        known = colours > 0
        if known.any():
            target = torch.where(known, colours - 1, 0)
            of_colours = F.cross_entropy(of_colour.mT, target, reduction="none")
            weight = weight * known
            loss = loss + 0.5 * (weight * of_colours).sum() / weight.sum()
        return loss


class EncoderStage(nn.Module):
    """A model, of which the encoders learn.

    Args:
        class_names, colour_names: as of `DenseHeads`.
    """

    def __init__(
        self, model: Lisa, class_names: Sequence[str], colour_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = DenseHeads(model, class_names, colour_names)

    def forward(self, scenes: SceneBatch) -> dict[str, torch.Tensor]:
        """Named losses of a batch of scenes; its questions are not looked at."""
        batch = to_device(scenes, self.model.config, self.model.device, varied=True)
        features = encode_images(self.model, batch)
        bce, dice = self._point_losses(features.sam_embeddings, scenes.ids, batch)
        dense = self.heads(self.model, features, scenes)
        return {**dense, "bce": 2 * bce, "dice": 0.5 * dice}

    def _point_losses(
        self, embeddings: torch.Tensor, ids: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM's own task: points on objects, and the masks of these objects."""
        sam, geometry = self.model.visual_model, batch.geometry[0]
        ids = ids.to(embeddings.device)
        on_objects = (ids > 0).flatten(1).float() + 1e-9
        chosen = torch.multinomial(on_objects, _POINTS, replacement=True)  # (B, points)
        width = ids.shape[2]
        xy = torch.stack([chosen % width, chosen // width], dim=-1).float() + 0.5
        xy = xy * (geometry.resized[1] / width)
        prompts = point_prompts(sam.prompt_encoder, xy.flatten(0, 1), geometry)
        image = torch.arange(len(ids), device=ids.device).repeat_interleave(_POINTS)
        low_res_masks, *_ = sam.decode(embeddings[image], prompts)
        instances = ids.flatten(1).gather(1, chosen).flatten()
        targets = ids[image] == instances[:, None, None]
        return mask_losses([upscale_masks(low_res_masks, geometry)], [targets])


def _cell_weights(ids: torch.Tensor, instances: int) -> torch.Tensor:
    """What each of the cells (B, N) counts, by the instance that it shows.

    A thing counts as the root of its cells, so that small ones are learned as well; the background,
    which is most of a picture, a tenth of them.
    """
    cells = ids.new_zeros(len(ids), instances).scatter_add(1, ids, torch.ones_like(ids))
    weight = cells.clamp(min=1).float().rsqrt()
    weight[:, 0] = 0.05
    return weight.gather(1, ids)


def point_prompts(
    prompt_encoder: PromptEncoder, xy: torch.Tensor, geometry: MaskGeometry
) -> torch.Tensor:
    """SAM's embeddings (n, C) of points (n, 2) in pixels of its square input."""
    square = (geometry.square, geometry.square)
    position = prompt_encoder.pe_layer.forward_with_coords(xy[:, None], square)[:, 0]
    return position + prompt_encoder.point_embeddings[1].weight  # 1: a point on the object


def in_middle(ids: torch.Tensor) -> torch.Tensor:
    """Ids (B, H, W) in the middle of a square, as CLIP's view `pad` has them."""
    height, width = ids.shape[1:]
    length = max(height, width)
    top, left = (length - height) // 2, (length - width) // 2
    return F.pad(ids, (left, length - width - left, top, length - height - top))


def at_top_left(ids: torch.Tensor) -> torch.Tensor:
    """Ids (B, H, W) at the top left of a square, as SAM's input has them."""
    height, width = ids.shape[1:]
    length = max(height, width)
    return F.pad(ids, (0, length - width, 0, length - height))


def shown_by_cells(square: torch.Tensor, side: int) -> torch.Tensor:
    """What each cell of a grid shows, instances (B, side^2) of ids (B, S, S).

    The instance at its middle; but one that lies in the middle of no cell has the cell that shows
    most of it, or nothing would ever be learned of small things.
    """
    length = square.shape[-1]
    at = torch.arange(length, device=square.device) * side // length
    cell = at[:, None] * side + at
    middles = ((torch.arange(side, device=square.device) + 0.5) * (length / side)).long()
    shown = square[:, middles][:, :, middles].flatten(1).long()  # (B, side^2)
    for of_picture, ids in zip(shown, square.long(), strict=True):
        counts = torch.bincount((ids * side**2 + cell).flatten(), minlength=256 * side**2)
        counts = counts.view(256, side**2)
        lacking = counts.sum(1) > 0
        lacking[of_picture] = False
        instances = lacking.nonzero().flatten()
        of_picture[counts[instances].argmax(1)] = instances
    return shown

"""The embedded model's first stage: image encoders that know things, before any words.

The published LISA starts from encoders that were trained on millions of pictures.  Here CLIP's
tower learns class and colour at each patch, SAM's encoder the same at each cell, and SAM learns,
as SAM did, to give the mask of whatever is under a point.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from torch import nn
from torch.nn import functional as F

from lisa_ros.model.lisa import Lisa
from lisa_ros.model.preprocessing import MaskGeometry, upscale_masks
from lisa_ros.training.batch import Batch
from lisa_ros.training.losses import mask_losses
from lisa_ros.training.scene_batch import SceneBatch, to_device

_POINTS = 4  # point prompts an image


class EncoderStage(nn.Module):
    """A model with the heads that this stage alone needs.

    Args:
        num_classes, num_colours: without background and without "no name".
    """

    def __init__(self, model: Lisa, num_classes: int, num_colours: int) -> None:
        super().__init__()
        self.model = model
        self.num_classes = num_classes + 1
        outputs = num_classes + num_colours + 2
        self.clip_head = nn.Linear(model.config.clip.hidden_size, outputs)
        self.sam_head = nn.Linear(model.config.sam.prompt_embed_dim, outputs)

    def losses(self, scenes: SceneBatch) -> dict[str, torch.Tensor]:
        """Named losses of a batch of scenes; its questions are not looked at."""
        model = self.model
        batch = to_device(scenes, model.config, model.device, varied=True)
        patches = model.vision_tower(batch.clip_pixels)
        embeddings = model.visual_model.image_encoder(batch.sam_pixels)
        ids = scenes.ids.to(model.device)
        # One id for each patch or cell: that of its middle.
        side = int(patches.shape[1] ** 0.5)
        in_clip = _centred(ids, side)
        in_sam = _at_top_left(ids, embeddings.shape[-1])
        bce, dice = self._point_losses(embeddings, ids, batch)
        cells = embeddings.flatten(2).transpose(1, 2)
        return {
            "clip": self._dense_loss(self.clip_head(patches), in_clip, scenes),
            "sam": self._dense_loss(self.sam_head(cells), in_sam, scenes),
            "bce": 2 * bce,
            "dice": 0.5 * dice,
        }

    def _dense_loss(
        self, logits: torch.Tensor, ids: torch.Tensor, scenes: SceneBatch
    ) -> torch.Tensor:
        """Class everywhere, colour where it has a name; (B, N, outputs) against ids (B, N)."""
        device = logits.device
        classes = scenes.classes.to(device).gather(1, ids)
        colours = scenes.colours.to(device).gather(1, ids)
        of_class, of_colour = logits.float().split(
            [self.num_classes, logits.shape[-1] - self.num_classes], dim=-1
        )
        # Most of a picture is background: it counts a tenth.
        weight = torch.ones(self.num_classes, device=device)
        weight[0] = 0.1
        loss = F.cross_entropy(of_class.flatten(0, 1), classes.flatten(), weight=weight)
        if (colours > 0).any():
            target = torch.where(colours > 0, colours, -100)
            loss = loss + 0.5 * F.cross_entropy(
                of_colour.flatten(0, 1), target.flatten(), ignore_index=-100
            )
        return loss

    def _point_losses(
        self, embeddings: torch.Tensor, ids: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """SAM's own task: points on objects, and the masks of these objects."""
        sam, geometry = self.model.visual_model, batch.geometry[0]
        on_objects = (ids > 0).flatten(1).float() + 1e-9
        chosen = torch.multinomial(on_objects, _POINTS, replacement=True)  # (B, points)
        width = ids.shape[2]
        xy = torch.stack([chosen % width, chosen // width], dim=-1).float() + 0.5
        xy = xy * (geometry.resized[1] / width)
        prompts = point_prompts(sam.prompt_encoder, xy.flatten(0, 1), geometry)
        image = torch.arange(len(ids), device=ids.device).repeat_interleave(_POINTS)
        low_res_masks, _ = sam.decode(embeddings[image], prompts)
        instances = ids.flatten(1).gather(1, chosen).flatten()
        targets = ids[image] == instances[:, None, None]
        return mask_losses([upscale_masks(low_res_masks, geometry)], [targets])


def point_prompts(
    prompt_encoder: PromptEncoder, xy: torch.Tensor, geometry: MaskGeometry
) -> torch.Tensor:
    """SAM's embeddings (n, C) of points (n, 2) in pixels of its square input."""
    square = (geometry.square, geometry.square)
    position = prompt_encoder.pe_layer.forward_with_coords(xy[:, None], square)[:, 0]
    return position + prompt_encoder.point_embeddings[1].weight  # 1: a point on the object


def _centred(ids: torch.Tensor, side: int) -> torch.Tensor:
    """Ids (B, H, W) to (B, side^2) at the patches of a square with the picture in its middle."""
    height, width = ids.shape[1:]
    length = max(height, width)
    top, left = (length - height) // 2, (length - width) // 2
    square = F.pad(ids, (left, length - width - left, top, length - height - top))
    return _middles(square, side)


def _at_top_left(ids: torch.Tensor, side: int) -> torch.Tensor:
    height, width = ids.shape[1:]
    length = max(height, width)
    return _middles(F.pad(ids, (0, length - width, 0, length - height)), side)


def _middles(square: torch.Tensor, side: int) -> torch.Tensor:
    step = square.shape[-1] / side
    at = ((torch.arange(side, device=square.device) + 0.5) * step).long()
    return square[:, at][:, :, at].flatten(1).long()

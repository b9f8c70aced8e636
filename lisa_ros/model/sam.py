"""SAM as LISA uses it: an image encoder, and a mask decoder prompted by `[SEG]` embeddings.

The modules are those of the `segment-anything` package, so that its weights fit by name.  Three
things differ, each as in the published LISA: prompts are given as embeddings; the positional
encoding is computed in the weights' own precision; in fp16 the neck runs in fp32.  The image
encoder's attention is fused, which changes the result by rounding only.
"""

from __future__ import annotations

from functools import partial

import torch
from segment_anything import modeling
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.image_encoder import Attention
from segment_anything.modeling.mask_decoder import MLP
from torch import nn
from torch.nn import functional as F

from lisa_ros.model.config import SamConfig
from lisa_ros.model.conv_stem import ConvStem


class FusedAttention(Attention):
    """The image encoder's attention with relative positions, through one fused kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        batch, height, width, channels = x.shape
        heads = self.num_heads
        qkv = self.qkv(x).view(batch, height * width, 3, heads, channels // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, H*W, head_dim)
        # The bias of key (y, x) is rel_h[..., y] + rel_w[..., x], decomposed as in MViTv2.
        grid = q.unflatten(2, (height, width))
        rel_h = torch.einsum("bnhwc,hkc->bnhwk", grid, _relative(self.rel_pos_h, height))
        rel_w = torch.einsum("bnhwc,wkc->bnhwk", grid, _relative(self.rel_pos_w, width))
        if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):  # autocast: x may be float32
            out = self._attend_folded(q, k, v, rel_h, rel_w)
        else:
            out = self._attend_biased(q, k, v, rel_h, rel_w)
        return self.proj(out.transpose(1, 2).reshape(x.shape))

    def _attend_biased(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        rel_h: torch.Tensor,
        rel_w: torch.Tensor,
    ) -> torch.Tensor:
        """The bias as a mask, one head at a time where it is large: 67 MB instead of a gigabyte."""
        heads, positions = q.shape[1:3]
        # einsum leaves them permuted, and every sum of the two would need a copy.
        rel_h, rel_w = rel_h.contiguous(), rel_w.contiguous()  # (B, heads, H, W, H), (..., W)
        step = 1 if positions > 1024 else heads
        parts = []
        for first in range(0, heads, step):
            part = slice(first, first + step)
            bias = rel_h[:, part, ..., :, None] + rel_w[:, part, ..., None, :]
            mask = bias.view(len(q), -1, positions, positions)
            parts.append(
                F.scaled_dot_product_attention(
                    q[:, part], k[:, part], v[:, part], attn_mask=mask, scale=self.scale
                )
            )
        return torch.cat(parts, dim=1)

    def _attend_folded(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        rel_h: torch.Tensor,
        rel_w: torch.Tensor,
    ) -> torch.Tensor:
        """The bias as extra channels of q and k, so that FlashAttention, which takes no bias, fits.

        [q * scale, rel_h, rel_w] . [k, onehot(y), onehot(x)] = q . k * scale + bias; the
        (H*W)^2 bias matrix is never stored.
        """
        height, width, channels = rel_h.shape[-1], rel_w.shape[-1], q.shape[-1]
        end = channels + height + width
        # FlashAttention wants one head size for q, k and v, in multiples of eight.
        shape = (*q.shape[:3], -(-end // 8) * 8)
        query, key, value = q.new_zeros(shape), q.new_zeros(shape), q.new_zeros(shape)
        query[..., :channels] = q * self.scale
        grid = query.unflatten(2, (height, width))
        grid[..., channels : channels + height] = rel_h
        grid[..., channels + height : end] = rel_w
        key[..., :channels] = k
        grid = key.unflatten(2, (height, width))
        rows = torch.eye(height, dtype=q.dtype, device=q.device)
        columns = torch.eye(width, dtype=q.dtype, device=q.device)
        grid[..., channels : channels + height] = rows[:, None]
        grid[..., channels + height : end] = columns
        value[..., :channels] = v
        out = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return out[..., :channels]


def _relative(rel_pos: torch.Tensor, size: int) -> torch.Tensor:
    """(2 * size - 1, C) embeddings of distances as (size, size, C), [q, k] for distance q - k.

    segment-anything makes the indices on the host, which a CUDA graph cannot hold.
    """
    at = torch.arange(size, device=rel_pos.device)
    return rel_pos[at[:, None] - at[None, :] + size - 1]


class ImageEncoder(ImageEncoderViT):
    """SAM's ViT with fused attention; the neck may be of higher precision than the rest."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depth=config.depth,
            num_heads=config.num_heads,
            # They floor its product with the width, which may come out a hair too small.
            mlp_ratio=(config.mlp_dim + 0.5) / config.embed_dim,
            out_chans=config.prompt_embed_dim,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=config.window_size,
            global_attn_indexes=config.global_attn_indexes,
        )
        if config.conv_stem:
            self.patch_embed.proj = ConvStem(config.conv_stem, config.embed_dim, config.patch_size)
        for i, block in enumerate(self.blocks):
            side = config.grid_size if i in config.global_attn_indexes else config.window_size
            block.attn = FusedAttention(
                config.embed_dim, config.num_heads, use_rel_pos=True, input_size=(side, side)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised pixels to (B, prompt_embed_dim, S/16, S/16) embeddings."""
        x = self.patch_embed(x) + self.pos_embed  # (B, S/16, S/16, embed_dim)
        for block in self.blocks:
            x = block(x)
        neck_dtype = self.neck[0].weight.dtype
        return self.neck(x.permute(0, 3, 1, 2).to(neck_dtype)).to(x.dtype)


class MaskDecoder(modeling.MaskDecoder):
    """SAM's mask decoder for prompts on one image or on one image each; only the first mask.

    Of the four masks that SAM can give, LISA reads the first, so only that one is computed.
    """

    def __init__(self, config: SamConfig) -> None:
        width = config.prompt_embed_dim
        super().__init__(
            num_multimask_outputs=config.num_multimask_outputs,
            transformer=TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=width,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_num_heads,
            ),
            transformer_dim=width,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        )
        self.object_score_head = MLP(4 * width, 2 * width, 1, 3) if config.object_score else None

    def forward(
        self,
        image_embeddings: torch.Tensor,
        image_pe: torch.Tensor,
        prompts: torch.Tensor,
        dense_prompt_embeddings: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mask logits (n, 4g, 4g), IoU estimates (n,) and logits of object scores (n,), if any.

        Args:
            image_embeddings: (1 or n, C, g, g).
            image_pe: (1, C, g, g).
            prompts: (n, C).
            dense_prompt_embeddings: (1 or n, C, 1 or g, 1 or g).
        """
        count = len(prompts)
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        output_tokens = output_tokens.expand(count, -1, -1)
        tokens = torch.cat([output_tokens, prompts[:, None]], dim=1)
        image = (image_embeddings + dense_prompt_embeddings).expand(count, -1, -1, -1)
        states, image_states = self.transformer(image, image_pe.expand_as(image), tokens)
        grid = self.output_upscaling(image_states.transpose(1, 2).reshape(image.shape))
        weights = self.output_hypernetworks_mlps[0](states[:, 1])  # (n, C / 8)
        masks = torch.einsum("nc,nchw->nhw", weights, grid)  # grid: (n, C / 8, 4g, 4g)
        object_score = None
        if self.object_score_head is not None:
            seen = torch.cat([states[:, 0], states[:, 1], states[:, -1], prompts], dim=1)
            object_score = self.object_score_head(seen)[:, 0]
        return masks, self.iou_prediction_head(states[:, 0])[:, 0], object_score


class SimilarityPrompt(nn.Module):
    """Where an image looks like a prompt, as a dense prompt: an aid to small models.

    Not part of the published LISA; see `SamConfig.similarity_prompt`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Linear(1, channels, bias=False)

    def forward(self, image_embedding: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Logits (n, g, g) from (1 or n, C, g, g) and (n, C)."""
        key = self.key(image_embedding).expand(len(prompts), -1, -1, -1)
        scale = key.shape[1] ** -0.5
        return torch.einsum("nc,nchw->nhw", self.query(prompts) * scale, key)

    def dense_prompt(self, logits: torch.Tensor) -> torch.Tensor:
        """(n, g, g) to what is added to the image embedding, (n, C, g, g)."""
        return self.value(logits.sigmoid()[..., None]).permute(0, 3, 1, 2)


class Sam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under the names of SAM's weights."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        grid = (config.grid_size, config.grid_size)
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(
            embed_dim=config.prompt_embed_dim,
            image_embedding_size=grid,
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_chans,
        )
        self.mask_decoder = MaskDecoder(config)
        if config.similarity_prompt:
            self.similarity_prompt = SimilarityPrompt(config.prompt_embed_dim)
        self.config = config

    def dense_pe(self) -> torch.Tensor:
        """Positional encoding (1, prompt_embed_dim, g, g) of the image embedding.

        Computed in the precision of its buffer: the published bf16 models were trained with the
        coarse bf16 encoding, which `segment-anything` itself would refuse to compute.
        """
        layer = self.prompt_encoder.pe_layer
        matrix = layer.positional_encoding_gaussian_matrix
        height, width = self.prompt_encoder.image_embedding_size
        y = (torch.arange(height, dtype=matrix.dtype, device=matrix.device) + 0.5) / height
        x = (torch.arange(width, dtype=matrix.dtype, device=matrix.device) + 0.5) / width
        xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (g, g, 2)
        return layer._pe_encoding(xy).permute(2, 0, 1)[None]

    def decode(
        self,
        image_embedding: torch.Tensor,
        prompts: torch.Tensor,
        mask_prompts: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One mask for each prompt embedding.

        Args:
            image_embedding: (1, prompt_embed_dim, g, g) of the image encoder, or (n, ...) for
                prompts on one image each.
            prompts: (n, prompt_embed_dim), the projected `[SEG]` states; n may be 0.
            mask_prompts: (n, 4g, 4g) logits of masks to begin with, such as those of the frame
                before.  LISA never learns from them, so that SAM's own weights read them.

        Returns:
            Low-resolution mask logits (n, 4g, 4g); SAM's own IoU estimates (n,), which are float32
            and 0 to 1 with `SamConfig.iou_sigmoid`; and float32 probabilities (n,) that what the
            prompt asks for is in the image at all, NaN without `SamConfig.object_score`.
        """
        prompts = prompts.to(image_embedding.dtype)
        if len(prompts) == 0:  # segment-anything cannot reshape nothing
            side = 4 * image_embedding.shape[-1]
            return prompts.new_zeros(0, side, side), prompts.new_zeros(0), prompts.new_zeros(0)
        if mask_prompts is None:
            dense = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        else:
            dense = self.prompt_encoder.mask_downscaling(mask_prompts[:, None].to(prompts.dtype))
        if self.config.similarity_prompt:
            similarity = self.similarity_prompt(image_embedding, prompts)
            dense = dense + self.similarity_prompt.dense_prompt(similarity)
        masks, predicted_iou, object_logits = self.mask_decoder(
            image_embedding, self.dense_pe(), prompts, dense
        )
        if self.config.iou_sigmoid:
            predicted_iou = predicted_iou.float().sigmoid()
        if object_logits is None:
            object_score = torch.full_like(predicted_iou, torch.nan, dtype=torch.float32)
        else:
            object_score = object_logits.float().sigmoid()
        return masks, predicted_iou, object_score

"""A loop that does the work of the published inference code, on the modules of this package.

As `LISAForCausalLM.evaluate` of dvlab-research/LISA with its `use_cache=False`: each token encodes
the image with CLIP again, reads the whole sequence again and computes logits of all positions;
SAM's image encoder runs behind the last token, with the attention of `segment-anything` that
stores the whole attention matrix.  Where the two differ this loop does less than the published
code: its CLIP stops at the layer that is read, and attention in CLIP and LLaMA is fused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from implementations import Implementation, Question, Run
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block

from lisa_ros.model.conversation import Turn, apply_template, conversation_pieces
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.preprocessing import clip_input, sam_input, upscale_masks
from lisa_ros.model.timing import StageTimer


class PlainLoop(Implementation):
    """No cache of any kind, SAM last."""

    @torch.inference_mode()
    def answer(self, question: Question, follow: Sequence[int] | None = None) -> Run:
        model, timer = self.model, StageTimer(self.model.device)
        config, tokenizer = model.config, model.tokenizer
        started = time.perf_counter()
        with timer.stage("preprocess"):
            sam_pixels, geometry = sam_input(question.image, config.sam.image_size)
            clip_pixels = clip_input(question.image, config.clip_preprocessing, config.clip_view)
            sam_pixels = sam_pixels[None].to(model.device, model.dtype)
            clip_pixels = clip_pixels[None].to(model.device, model.dtype)
        turn = Turn(apply_template(question.instruction, question.template))
        ids = tokenizer.encode(
            conversation_pieces(
                config.conversation, [turn], use_im_start_end=config.use_im_start_end
            )
        )
        prompt_length = len(ids)
        choices: list[int] = []
        token_ms: list[float] = []
        states: list[torch.Tensor] = []  # generate() keeps those of every step
        while len(choices) < question.max_new_tokens:
            token_started = time.perf_counter()
            with timer.stage("clip"):
                image_tokens = model.mm_projector(model.vision_tower(clip_pixels))
            with timer.stage("decode" if choices else "prefill"):
                sequences = model.embed([ids], image_tokens)
                hidden = model.language_model.model(
                    inputs_embeds=sequences.embeddings,
                    attention_mask=sequences.attention_mask,
                    position_ids=sequences.position_ids,
                    use_cache=False,
                ).last_hidden_state  # (1, T, hidden)
                states.append(hidden)
                logits = model.language_model.lm_head(hidden).float()
                choices.append(int(logits[0, -1].argmax()))
            ids.append(choices[-1] if follow is None else follow[len(ids)])
            if len(choices) > 1:
                token_ms.append(1000 * (time.perf_counter() - token_started))
            if ids[-1] == tokenizer.eos_id:
                break
        with timer.stage("mask_decoder"):
            prompts = model.seg_embedding(states[-1][0])  # projected at all positions, as published
            # The state that predicts [SEG] stands one position before it.
            shift = config.num_image_tokens - 2
            chosen = [j + shift for j, i in enumerate(ids) if j and i == tokenizer.seg_id]
        with timer.stage("sam_encoder"), _published_sam(model):
            sam_embedding = model.visual_model.image_encoder(sam_pixels)
        masks: list[np.ndarray] = []
        first_mask_ms = None
        if chosen:
            with timer.stage("mask_decoder"):
                low_res_masks, *_ = model.visual_model.decode(sam_embedding, prompts[chosen])
            with timer.stage("upscale"):
                masks = list((upscale_masks(low_res_masks, geometry) > 0).cpu().numpy())
            first_mask_ms = 1000 * (time.perf_counter() - started)
        assert len(ids) == prompt_length + len(choices)
        return Run(ids, choices, masks, timer.milliseconds(), token_ms, first_mask_ms)


@contextmanager
def _published_sam(model: Lisa) -> Iterator[None]:
    """Give SAM's image encoder the forward passes of `segment-anything` itself for a while."""
    encoder = model.visual_model.image_encoder
    replaced: list[torch.nn.Module] = [encoder]
    encoder.forward = partial(_encode, encoder)
    for block in encoder.blocks:
        block.forward = partial(Block.forward, block)
        block.attn.forward = partial(Attention.forward, block.attn)
        replaced += [block, block.attn]
    try:
        yield
    finally:
        for module in replaced:
            del module.forward


def _encode(encoder: ImageEncoderViT, x: torch.Tensor) -> torch.Tensor:
    """`ImageEncoderViT.forward`, with the neck in its own precision (fp32 for fp16 models)."""
    x = encoder.patch_embed(x) + encoder.pos_embed
    for block in encoder.blocks:
        x = block(x)
    neck_dtype = encoder.neck[0].weight.dtype
    return encoder.neck(x.permute(0, 3, 1, 2).to(neck_dtype)).to(x.dtype)

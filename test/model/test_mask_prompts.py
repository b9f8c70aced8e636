"""Masks as prompts: SAM's own, which LISA does not use and follow mode is compared with."""

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer

from lisa_ros.model.config import SamConfig
from lisa_ros.model.sam import Sam

SIZES = SamConfig(
    image_size=64,
    embed_dim=32,
    depth=1,
    num_heads=2,
    mlp_dim=64,
    global_attn_indexes=(0,),
    prompt_embed_dim=32,
    decoder_mlp_dim=64,
)


def test_masks_prompt_as_in_segment_anything():
    torch.manual_seed(0)
    sam = Sam(SIZES).eval()
    theirs = MaskDecoder(
        transformer_dim=32,
        transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8),
    )
    theirs.load_state_dict(sam.mask_decoder.state_dict())
    image, prompts, masks = torch.randn(1, 32, 4, 4), torch.randn(3, 32), torch.randn(3, 16, 16)
    with torch.no_grad():
        low_res, predicted_iou, _ = sam.decode(image, prompts, masks)
        _, dense = sam.prompt_encoder(points=None, boxes=None, masks=masks[:, None])
        want, want_iou = theirs(
            image_embeddings=image,
            image_pe=sam.dense_pe(),
            sparse_prompt_embeddings=prompts[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        without, *_ = sam.decode(image, prompts)
    assert torch.allclose(low_res, want[:, 0], atol=1e-5)
    assert torch.allclose(predicted_iou, want_iou[:, 0], atol=1e-5)
    assert not torch.allclose(low_res, without, atol=1e-2)

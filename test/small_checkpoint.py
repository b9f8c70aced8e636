"""Random checkpoints in the official layout, of any size, built without lisa_ros.

Names and shapes come from `transformers` and `segment_anything` alone.
"""

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Sizes:
    hidden: int = 48
    intermediate: int = 112
    layers: int = 3
    heads: int = 6
    kv_heads: int = 2
    added_tokens: tuple[str, ...] = ("<im_patch>", "<im_start>", "<im_end>", "[SEG]")
    base_vocabulary: int = 640
    max_positions: int = 768
    clip_hidden: int = 40
    clip_layers: int = 4
    clip_image: int = 336
    projector: str = "mlp2x_gelu"
    sam_image: int = 256
    sam_hidden: int = 36
    sam_layers: int = 3
    sam_heads: int = 3
    sam_global: tuple[int, ...] = (0, 2)
    sam_window: int = 7
    out_dim: int = 64

    @property
    def vocabulary(self) -> int:
        return self.base_vocabulary + len(self.added_tokens)


OTHER_SIZES = Sizes()
# About 320 MB in fp32, nearly all of it in LLaMA.
BIG_SIZES = Sizes(hidden=1024, intermediate=2816, layers=6, heads=8, kv_heads=8)


def write_checkpoint(
    root: Path, sizes: Sizes, tokenizer: Path, dtype: torch.dtype = torch.float32
) -> tuple[Path, Path]:
    """Write `root/lisa` and `root/clip`; gives both."""
    torch.manual_seed(0)
    lisa, clip = root / "lisa", root / "clip"
    lisa.mkdir(parents=True)
    clip.mkdir()
    weights = {name: tensor.to(dtype) for name, tensor in lisa_weights(sizes).items()}
    torch.save(weights, lisa / "pytorch_model.bin")
    shutil.copyfile(tokenizer, lisa / "tokenizer.model")
    added = {name: sizes.base_vocabulary + i for i, name in enumerate(sizes.added_tokens)}
    write_json(lisa / "added_tokens.json", added)
    write_json(lisa / "config.json", lisa_config(sizes))

    config = CLIPVisionConfig(
        hidden_size=sizes.clip_hidden,
        intermediate_size=96,
        num_hidden_layers=sizes.clip_layers,
        num_attention_heads=4,
        image_size=sizes.clip_image,
        patch_size=14,
    )
    tower = CLIPVisionModel(config).state_dict()
    prefix = "" if any(name.startswith("vision_model.") for name in tower) else "vision_model."
    tower = {prefix + name: tensor.to(dtype) for name, tensor in tower.items()}
    torch.save(tower, clip / "pytorch_model.bin")
    write_json(clip / "config.json", {"model_type": "clip", "vision_config": config.to_dict()})
    write_json(
        clip / "preprocessor_config.json",
        {"size": {"shortest_edge": sizes.clip_image}, "crop_size": sizes.clip_image},
    )
    return lisa, clip


def lisa_config(sizes: Sizes) -> dict:
    return {
        "architectures": ["LISAForCausalLM"],
        "model_type": "llava",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.max_positions,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "mm_projector_type": sizes.projector,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": True,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "out_dim": sizes.out_dim,
    }


def llama_config(values: dict) -> LlamaConfig:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
    names += ("num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    names += ("rms_norm_eps", "hidden_act")
    return LlamaConfig(**{name: values[name] for name in names}, tie_word_embeddings=False)


def lisa_weights(sizes: Sizes) -> dict[str, torch.Tensor]:
    """Random weights under the names of the official layout."""
    llama = LlamaForCausalLM(llama_config(lisa_config(sizes)))
    fcs = nn.Sequential(
        nn.Linear(sizes.hidden, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, sizes.out_dim)
    )
    projector: nn.Module = nn.Linear(sizes.clip_hidden, sizes.hidden)
    if sizes.projector == "mlp2x_gelu":
        projector = nn.Sequential(projector, nn.GELU(), nn.Linear(sizes.hidden, sizes.hidden))
    parts = {
        "": llama,
        "model.mm_projector.": projector,
        "model.text_hidden_fcs.0.": fcs,
        "model.visual_model.": plain_sam(sizes),
    }
    weights = {p + n: t for p, module in parts.items() for n, t in module.state_dict().items()}
    for name, tensor in weights.items():
        # Freshly made, these are zero or tiny, and a mistake in them would not show.
        if "rel_pos" in name or name.endswith("image_encoder.pos_embed"):
            tensor.normal_(std=0.3)
        elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
            tensor.normal_()
        elif ".layers." in name and name.endswith("_proj.weight") and "visual" not in name:
            tensor.normal_(std=0.7 * tensor.shape[1] ** -0.5)
    return weights


def plain_sam(sizes: Sizes) -> nn.ModuleDict:
    """SAM's modules as `segment_anything` has them."""
    grid = sizes.sam_image // 16
    encoder = ImageEncoderViT(
        img_size=sizes.sam_image,
        patch_size=16,
        embed_dim=sizes.sam_hidden,
        depth=sizes.sam_layers,
        num_heads=sizes.sam_heads,
        mlp_ratio=3,
        out_chans=sizes.out_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sizes.sam_window,
        global_attn_indexes=sizes.sam_global,
    )
    decoder = MaskDecoder(
        transformer_dim=sizes.out_dim,
        transformer=TwoWayTransformer(
            depth=2, embedding_dim=sizes.out_dim, mlp_dim=96, num_heads=8
        ),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=80,
    )
    prompts = PromptEncoder(sizes.out_dim, (grid, grid), (sizes.sam_image,) * 2, 16)
    return nn.ModuleDict(
        {"image_encoder": encoder, "prompt_encoder": prompts, "mask_decoder": decoder}
    ).eval()


def write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")

"""Models of named sizes with random weights: for benchmarks, and for tests on a GPU.

Speed and memory do not depend on what the weights are, so the published shapes can be measured
without their gigabytes of files.  A greedy answer of random weights would repeat one token for
ever and hold no `[SEG]`; the language model's head is therefore set so that every token has one
successor, and the answer is a few words, `[SEG]`, more words, and at last the end of text.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import CLIPVisionConfig

from lisa_ros.model.config import ClipPreprocessing, LisaConfig, SamConfig
from lisa_ros.model.conversation import Turn, conversation_pieces
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import empty_model, finish, weight_putter
from lisa_ros.model.precision import (
    Precision,
    parse_precision,
    resolve_device,
)
from lisa_ros.model.tokenizer import LisaTokenizer

# hidden size, MLP size, layers, heads, vocabulary, context, epsilon of the norms
_LLAMA: dict[str, tuple[int, int, int, int, int, int, float]] = {
    "7b": (4096, 11008, 32, 32, 32004, 2048, 1e-6),  # LISA-7B-v1
    "13b": (5120, 13824, 40, 40, 32003, 4096, 1e-5),  # LISA-13B-llama2-v1
    "medium": (512, 1376, 8, 8, 32003, 2048, 1e-5),
    "tiny": (64, 172, 2, 4, 32003, 2048, 1e-5),
}
_CLIP_L14: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "hidden_act": "quick_gelu",
}
_CLIP_TINY: dict[str, Any] = {
    **_CLIP_L14,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
_SAM_VIT_B = SamConfig(
    embed_dim=768, depth=12, num_heads=12, mlp_dim=3072, global_attn_indexes=(2, 5, 8, 11)
)
_SAM_TINY = SamConfig(embed_dim=32, depth=2, num_heads=2, mlp_dim=128, global_attn_indexes=(1,))

SIZES = tuple(_LLAMA)


def named_config(size: str) -> LisaConfig:
    """The configuration of a named size.

    Args:
        size: `7b` and `13b` are the published shapes (CLIP ViT-L/14, SAM ViT-H); `medium` is LLaMA
            with hidden size 512 and 8 layers, CLIP ViT-L/14 and SAM ViT-B; `tiny` is for tests.
    """
    if size not in _LLAMA:
        raise ValueError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    hidden, intermediate, layers, heads, vocabulary, context, epsilon = _LLAMA[size]
    values: dict[str, Any] = {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "rms_norm_eps": epsilon,
    }
    return LisaConfig.from_json(
        values,
        clip=CLIPVisionConfig(**(_CLIP_TINY if size == "tiny" else _CLIP_L14)),
        clip_preprocessing=ClipPreprocessing(),
        sam={"medium": _SAM_VIT_B, "tiny": _SAM_TINY}.get(size, SamConfig()),
    )


def random_model(
    config: LisaConfig,
    tokenizer: LisaTokenizer,
    *,
    precision: str | Precision = Precision.FP32,
    device: str | torch.device | None = None,
    seg_at: int = 4,
    answer_length: int | None = None,
    seed: int = 0,
) -> Lisa:
    """A model whose weights are drawn on the device and in the precision they end in.

    Weights are scaled so that activations stay of order one, also in fp16 and at 40 layers.  Norms
    and biases are drawn too: ones and zeros would hide a step that forgets them.

    Args:
        tokenizer: may have fewer tokens than the language model; greedy answers hold only tokens
            that it knows.
        seg_at: how many words stand before `[SEG]` in a greedy answer.
        answer_length: tokens of a greedy answer, `[SEG]` and `</s>` included; by default as many
            as the tokenizer has different words.

    Raises:
        CheckpointError: the tokenizer has more tokens than the language model.
        DeviceError: the device or precision is not available here.
    """
    if tokenizer.vocab_size > config.llama.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size} tokens but the language model only "
            f"{config.llama.vocab_size}"
        )
    chain = _answer_chain(config, tokenizer, seg_at, answer_length)
    target, precision = resolve_device(device), parse_precision(precision)
    model = empty_model(config, tokenizer)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    put = weight_putter(model, precision, target)
    generator = torch.Generator(target).manual_seed(seed)
    for name, shape in shapes.items():
        tensor = torch.empty(shape, dtype=precision.dtype, device=target)
        mean, std = _distribution(name, shape, config.llama.num_hidden_layers)
        tensor.normal_(mean, std, generator=generator)
        put(name, tensor)
    embeddings = model.language_model.model.embed_tokens.weight
    head = model.language_model.lm_head.weight
    # The state behind a token is mostly its embedding, which the successor's row looks for.
    head[chain[1:]] = embeddings[chain[:-1]] / math.sqrt(config.llama.hidden_size)
    return finish(model, target)


def _answer_chain(
    config: LisaConfig, tokenizer: LisaTokenizer, seg_at: int, answer_length: int | None
) -> list[int]:
    """The last token of every prompt, and the different tokens that follow one another."""
    turn = conversation_pieces(
        config.conversation, [Turn("?")], use_im_start_end=config.use_im_start_end
    )
    last = tokenizer.encode(turn)[-1]
    pieces = tokenizer.sentencepiece
    words = [
        i
        for i in range(pieces.vocab_size())
        if i not in (last, *tokenizer.added_tokens.values())
        and not (pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_byte(i))
    ]
    longest = len(words) + 2
    length = longest if answer_length is None else answer_length
    if not 0 <= seg_at <= length - 2 or length > longest:
        raise ValueError(
            f"expected seg_at + 2 <= answer_length <= {longest} with this tokenizer, got "
            f"seg_at {seg_at} and answer_length {length}"
        )
    answer = [*words[:seg_at], tokenizer.seg_id, *words[seg_at : length - 2], tokenizer.eos_id]
    return [last, *answer]


def _distribution(name: str, shape: tuple[int, ...], llm_layers: int) -> tuple[float, float]:
    """Mean and standard deviation of a weight."""
    if len(shape) == 1:
        return (1.0 if name.endswith(".weight") else 0.0), 0.02  # a norm's scale; a bias
    if name.endswith(("positional_encoding_gaussian_matrix", "embed_tokens.weight")):
        return 0.0, 1.0
    # Linear and convolution weights by what they sum over; a table of positions has a leading 1.
    fan_in = math.prod(shape[1:]) if shape[0] > 1 else shape[-1]
    std = fan_in**-0.5
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        std *= (2 * llm_layers) ** -0.5  # so that the sum over all layers stays of order one
    if name.endswith("lm_head.weight"):
        std *= 0.01  # tokens that are not in the answer
    return 0.0, std

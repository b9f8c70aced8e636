"""What `model_latency.py` computes from its measurements."""

from __future__ import annotations

import statistics
from typing import Any

from implementations import Run
from measure import percentiles

from lisa_ros.model import Lisa
from lisa_ros.model.loading import empty_model
from lisa_ros.model.precision import Precision, quantisable_layers, required_bytes

# Rounding in 16 bits tips close choices and pixels near a mask's edge; fp32 has no such excuse.
MIN_TOKEN_AGREEMENT = {Precision.FP32: 1.0}
MAX_FLIPPED_PIXELS = {Precision.FP32: 0.001}


def sizes(model: Lisa, precision: Precision) -> dict[str, int]:
    """What the model holds, and what a decode step must read of it."""
    # Of a model without weights: quantised weights are packed and no longer tell their number.
    empty = empty_model(model.config, model.tokenizer)
    llama = model.config.llama
    head_dim = getattr(llama, "head_dim", None) or llama.hidden_size // llama.num_attention_heads
    layers = sum(layer.weight.numel() for layer in quantisable_layers(empty).values())
    head = empty.language_model.lm_head.weight.numel() * precision.dtype.itemsize
    return {
        "parameters": sum(parameter.numel() for parameter in empty.parameters()),
        "weight_bytes": required_bytes(empty, precision),
        # All of the language model but its embeddings.
        "weight_bytes_per_token": int(layers * precision.linear_bytes) + head,
        "kv_bytes_per_token": 2
        * llama.num_key_value_heads
        * head_dim
        * llama.num_hidden_layers
        * precision.dtype.itemsize,
    }


def summary(
    timings: list[dict[str, Any]], weight_bytes_per_token: int, *, on_cuda: bool, bandwidth: float
) -> dict[str, Any]:
    """One column of the table."""
    runs: list[Run] = [timing["run"] for timing in timings]
    stages = {
        name: percentiles([run.stages_ms[name] for run in runs]) for name in runs[0].stages_ms
    }
    token = percentiles([value for run in runs for value in run.token_ms])
    bytes_per_s = weight_bytes_per_token * 1000 / token["p50"] if token else None
    without_sam = [
        # On CUDA the encoder runs beside the rest, so that it cannot be taken off the total.
        sum(ms for name, ms in run.stages_ms.items() if name != "sam_encoder")
        if on_cuda
        else timing["wall_ms"] - run.stages_ms["sam_encoder"]
        for timing, run in zip(timings, runs, strict=True)
    ]
    cpu = statistics.median(timing["cpu_s"] for timing in timings)
    sam_cpu = statistics.median(timing["sam_cpu_s"] for timing in timings)
    return {
        "stages_ms": stages,
        "token_ms": token,
        "tokens_per_s": 1000 / token["p50"] if token else None,
        "decode_bytes_per_s": bytes_per_s,
        "decode_bandwidth_share": bytes_per_s / bandwidth if bytes_per_s else None,
        "first_mask_ms": percentiles([r.first_mask_ms for r in runs if r.first_mask_ms]),
        "whole_answer_ms": percentiles([timing["wall_ms"] for timing in timings]),
        "without_sam_encoder_ms": percentiles(without_sam),
        "cpu_s": {
            "whole_answer": cpu,
            "sam_encoder": sam_cpu,
            "without_sam_encoder": cpu - sam_cpu,
        },
    }


def agreement(reference: Run, other: Run) -> dict[str, Any]:
    """How far the tokens and masks of two implementations are the same."""
    same = [a == b for a, b in zip(reference.choices, other.choices, strict=True)]
    flipped = [float((a != b).mean()) for a, b in zip(reference.masks, other.masks, strict=True)]
    return {
        "tokens": sum(same) / len(same),
        "masks": len(flipped),
        "flipped_pixels": max(flipped, default=None),
    }


def failures(name: str, agreement: dict[str, Any], precision: Precision) -> list[str]:
    """What of an agreement is not good enough, in words."""
    found = []
    least = MIN_TOKEN_AGREEMENT.get(precision, 0.9)
    if agreement["tokens"] < least:
        found.append(
            f"{precision.value}: {name} says only {agreement['tokens']:.0%} of the cached "
            f"answer's tokens, expected at least {least:.0%}"
        )
    most = MAX_FLIPPED_PIXELS.get(precision, 0.05)
    if agreement["masks"] and not agreement["flipped_pixels"] <= most:
        found.append(
            f"{precision.value}: {agreement['flipped_pixels']:.2%} of a mask's pixels differ from "
            f"{name}'s, expected at most {most:.1%}"
        )
    return found


def ratios(ours: dict[str, Any], plain: dict[str, Any]) -> dict[str, float]:
    """Ours over plain: below 1 is faster."""
    return {
        "cpu_without_sam_encoder": ours["cpu_s"]["without_sam_encoder"]
        / plain["cpu_s"]["without_sam_encoder"],
        "cpu_whole_answer": ours["cpu_s"]["whole_answer"] / plain["cpu_s"]["whole_answer"],
        "cpu_share_of_sam_encoder": ours["cpu_s"]["sam_encoder"] / ours["cpu_s"]["whole_answer"],
        "wall_without_sam_encoder": ours["without_sam_encoder_ms"]["p50"]
        / plain["without_sam_encoder_ms"]["p50"],
        "wall_whole_answer": ours["whole_answer_ms"]["p50"] / plain["whole_answer_ms"]["p50"],
        "wall_share_of_sam_encoder": ours["stages_ms"]["sam_encoder"]["p50"]
        / ours["whole_answer_ms"]["p50"],
    }

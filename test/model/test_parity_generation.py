"""Greedy answers against the published `evaluate()`."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from golden_set import assert_masks_match, unpack_masks

from lisa_ros.model.generation import EndEvent, MaskEvent, TokenEvent, force_masks, generate
from lisa_ros.model.preprocessing import upscale_masks


def masks_of(events, features) -> torch.Tensor:
    low_res = [event.low_res_mask for event in events if isinstance(event, MaskEvent)]
    size = features.geometry.square // 4
    stacked = torch.stack(low_res) if low_res else torch.zeros(0, size, size)
    return upscale_masks(stacked, features.geometry)


def answer_of(golden, case) -> tuple[list, list[torch.Tensor]]:
    """Events of the greedy answer, and the logits of each step; computed once for each case."""
    cache = golden.__dict__.setdefault("answers", {})
    if case["key"] not in cache:
        steps = []
        hook = golden.model.language_model.lm_head.register_forward_hook(
            lambda module, args, output: steps.append(output.reshape(-1))
        )
        prompt, features = golden.prompt_ids(case["instruction"]), golden.features(case["image"])
        limit = case["max_new_tokens"]
        events = list(generate(golden.model, features, [prompt], max_new_tokens=limit))
        hook.remove()
        cache[case["key"]] = events, steps
    return cache[case["key"]]


def test_ids(golden, generated):
    want = golden.group("generate", generated["key"])
    prompt = golden.prompt_ids(generated["instruction"])
    assert prompt == want["input_ids"].tolist()
    events, _ = answer_of(golden, generated)
    new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
    assert prompt + new_ids == want["output_ids"].tolist()
    ended = new_ids[-1] == golden.model.tokenizer.eos_id
    assert events[-1] == EndEvent(0, "end_of_text" if ended else "length")
    assert ended is not generated["key"].endswith("_trunc")


def test_logits_of_the_last_step(golden, generated):
    want = golden.group("generate", generated["key"])["last_step_logits"]
    _, steps = answer_of(golden, generated)
    np.testing.assert_allclose(steps[-1].numpy(), want, atol=1e-4, rtol=0)


def test_masks(golden, generated):
    want = golden.group("generate", generated["key"])
    events, _ = answer_of(golden, generated)
    embeddings = [event.embedding for event in events if isinstance(event, MaskEvent)]
    assert len(embeddings) == generated["n_seg"]
    for got, reference in zip(embeddings, want["sparse_embeddings"][:, 0], strict=True):
        np.testing.assert_allclose(got.numpy(), reference, atol=1e-4, rtol=0)
    assert_masks_match(masks_of(events, golden.features(generated["image"])), want)


def test_words(golden, generated):
    events, _ = answer_of(golden, generated)
    text = "".join(event.text for event in events if isinstance(event, TokenEvent))
    assert text.replace("  ", " ").strip() == generated["new_text"]


def test_mask_comes_with_its_seg_token(golden):
    """Not at the end of the answer: right behind the token."""
    case = max(golden.cases("generate"), key=lambda c: c["n_seg"])
    events, _ = answer_of(golden, case)
    seg = golden.model.tokenizer.seg_id
    for before, event in pairwise(events):
        was_seg = isinstance(before, TokenEvent) and before.token_id == seg
        assert isinstance(event, MaskEvent) is was_seg


def test_mask_only_is_the_teacher_forced_protocol(golden):
    case = next(c for c in golden.cases("teacher_forced") if c["answer"].startswith("[SEG]"))
    want = golden.group("teacher_forced", case["key"])
    features = golden.features(case["image"])
    events = list(force_masks(golden.model, features, [golden.prompt_ids(case["instruction"])]))
    (mask,) = [event for event in events if isinstance(event, MaskEvent)]
    np.testing.assert_allclose(mask.embedding.numpy(), want["seg_embeddings"][0], atol=1e-4, rtol=0)
    assert events[-1] == EndEvent(0, "forced")
    if case["n_seg"] == 1:
        assert_masks_match(masks_of(events, features), want)


def test_mask_only_equals_a_forced_forward_for_every_question(golden):
    """Also where the model would have said something else."""
    case = next(c for c in golden.cases("generate") if c["n_seg"] == 0)
    prompt, features = golden.prompt_ids(case["instruction"]), golden.features(case["image"])
    seg = golden.model.tokenizer.seg_id
    with torch.inference_mode():
        (want,) = golden.model([[*prompt, seg]], features.image_tokens).seg_embeddings
    events = list(force_masks(golden.model, features, [prompt]))
    (mask,) = [event for event in events if isinstance(event, MaskEvent)]
    torch.testing.assert_close(mask.embedding, want[0], atol=1e-5, rtol=0)
    assert 0 <= float(mask.seg_probability) < 0.5


@pytest.fixture(scope="module")
def bf16_models():
    return {}


@pytest.fixture
def bf16(golden, bf16_models):
    if golden.name not in bf16_models:
        bf16_models[golden.name] = golden.load(precision="bf16")
    return bf16_models[golden.name]


def test_bf16_answer_is_near(golden, bf16):
    case, want = golden.case("gen0"), golden.group("bf16", "gen0")
    features = bf16.encode_image(golden.image(case["image"]))
    assert features.sam_embedding.dtype == torch.bfloat16
    prompt = golden.prompt_ids(case["instruction"])
    events = list(generate(bf16, features, [prompt], max_new_tokens=64))
    new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
    assert prompt + new_ids == want["output_ids"].tolist()
    masks = masks_of(events, features)
    assert masks.dtype == torch.float32
    binary, got = unpack_masks(want), (masks > 0).numpy()
    assert (got & binary).sum() > 0.97 * (got | binary).sum()


def test_bf16_positional_encoding_is_computed_in_bf16(golden, bf16):
    pe = bf16.visual_model.dense_pe()[0]
    assert pe.dtype == torch.bfloat16
    want = golden.arrays("bf16")["dense_pe_bf16"]
    got = pe[:, ::4, ::4].float().numpy()
    fine = golden.arrays("vision")["dense_pe"]
    assert np.abs(got - want).mean() < 0.05 * np.abs(fine - want).mean()

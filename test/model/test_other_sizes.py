"""A checkpoint whose every size differs: GQA, CLIP-336 with an MLP projector, a small SAM.

Held against an independent plain loop without a cache (`plain_lisa.py`).
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionModel

from lisa_ros.model import load
from lisa_ros.model.config import SamConfig
from lisa_ros.model.generation import MaskEvent, TokenEvent, force_masks, generate
from lisa_ros.model.sam import Sam

LIMIT = 6


@pytest.fixture
def own_copy(other_sizes, tmp_path) -> tuple[Path, Path]:
    lisa, clip = other_sizes
    return Path(shutil.copytree(lisa, tmp_path / "lisa")), Path(clip)


@pytest.fixture(scope="module")
def prompts(other_answers):
    return [prompt for prompt, _ in other_answers]


@pytest.fixture(scope="module")
def image(picture):
    return picture(90, 160)


@pytest.fixture(scope="module")
def features(other_model, image):
    return other_model.encode_image(image)


@pytest.fixture(scope="module")
def plain_answers(other_plain, image, prompts):
    return [other_plain.answer(prompt, image, LIMIT) for prompt in prompts]


def test_sizes_are_read_and_not_assumed(other_model):
    config = other_model.config
    assert other_model.tokenizer.seg_id == 643
    assert config.num_image_tokens == 576
    assert config.llama.num_key_value_heads == 2
    assert config.llama.rms_norm_eps == 1e-6
    sam = config.sam
    assert (sam.image_size, sam.patch_size, sam.embed_dim, sam.depth) == (256, 16, 36, 3)
    assert (sam.num_heads, sam.mlp_dim, sam.window_size) == (3, 108, 7)
    assert sam.global_attn_indexes == (0, 2)
    assert (sam.prompt_embed_dim, sam.decoder_mlp_dim, sam.iou_head_hidden_dim) == (64, 96, 80)


def test_image_tokens(other_model, features, prompts):
    states = other_model.embed([prompts[1]], features.image_tokens)
    assert states.embeddings.shape == (1, len(prompts[1]) + 575, 48)
    assert features.image_tokens.shape == (1, 576, 48)


def test_states(other_model, features, other_plain, image, prompts):
    with torch.inference_mode():
        got = other_model([prompts[0]], features.image_tokens).hidden_states[0]
    torch.testing.assert_close(got, other_plain.states(prompts[0], image), atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", range(3))
def test_answer_equals_the_plain_loop(other_model, features, plain_answers, prompts, case):
    want = plain_answers[case]
    events = list(generate(other_model, features, [prompts[case]], max_new_tokens=LIMIT))
    new_ids = [event.token_id for event in events if isinstance(event, TokenEvent)]
    assert prompts[case] + new_ids == want.ids
    masks = [event for event in events if isinstance(event, MaskEvent)]
    assert len(masks) == len(want.seg_embeddings)
    for event, embedding, low_res in zip(
        masks, want.seg_embeddings, want.low_res_masks, strict=True
    ):
        torch.testing.assert_close(event.embedding, embedding, atol=1e-4, rtol=0)
        torch.testing.assert_close(event.low_res_mask, low_res, atol=2e-3, rtol=1e-4)


def test_plain_loop_says_what_it_was_taught(plain_answers, other_answers):
    """[SEG] first, in the middle, twice, and not at all; else the test above would show little."""
    assert [answer.ids for answer in plain_answers] == [p + a for p, a in other_answers]
    assert [len(answer.seg_embeddings) for answer in plain_answers] == [2, 1, 0]


def test_teacher_forced_seg_states_equal_the_plain_loop(other_model, features, plain_answers):
    with torch.inference_mode():
        output = other_model([answer.ids for answer in plain_answers], features.image_tokens)
    for got, want in zip(output.seg_embeddings, plain_answers, strict=True):
        torch.testing.assert_close(got, want.seg_embeddings, atol=1e-4, rtol=0)


def test_mask_only_equals_the_plain_loop(other_model, features, other_plain, image, prompts):
    events = list(force_masks(other_model, features, prompts))
    masks = [event for event in events if isinstance(event, MaskEvent)]
    for event, prompt in zip(masks, prompts, strict=True):
        with torch.inference_mode():
            want = other_plain.fcs(other_plain.states(prompt, image)[-1])
        torch.testing.assert_close(event.embedding, want, atol=1e-4, rtol=0)


def test_masks_have_the_size_of_this_sam(other_model, features):
    low_res, predicted_iou, object_score = other_model.decode_masks(features, torch.zeros(2, 64))
    assert low_res.shape == (2, 64, 64)
    assert predicted_iou.shape == (2,)
    assert object_score.isnan().all()  # the published models give none


def test_sam_whose_mlp_is_no_round_multiple_of_its_width():
    """segment-anything floors width * (mlp / width), which may be one too small: 28 and 61."""
    for width, mlp in ((28, 61), (152, 405), (304, 810)):
        config = SamConfig(image_size=64, embed_dim=width, num_heads=4, mlp_dim=mlp, depth=1)
        block = Sam(replace(config, global_attn_indexes=(0,))).image_encoder.blocks[0]
        assert block.mlp.lin1.out_features == mlp


@pytest.mark.parametrize("layer", [0, 1, -5, -1])
def test_any_layer_of_clip(own_copy, layer):
    lisa, clip = own_copy
    config = json.loads((lisa / "config.json").read_text())
    (lisa / "config.json").write_text(json.dumps({**config, "mm_vision_select_layer": layer}))
    model = load(lisa, vision_tower=clip, device="cpu")
    pixels = torch.randn(1, 3, 336, 336)
    theirs = CLIPVisionModel.from_pretrained(clip)
    with torch.no_grad():
        want = theirs(pixels, output_hidden_states=True).hidden_states[layer][:, 1:]
        assert torch.equal(model.vision_tower(pixels), want)


def test_a_tokenizer_without_a_beginning(own_copy):
    lisa, clip = own_copy
    plain = load(lisa, vision_tower=clip, device="cpu").tokenizer.encode(["the cup"])
    (lisa / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    without = load(lisa, vision_tower=clip, device="cpu").tokenizer.encode(["the cup"])
    assert plain == [1, *without]

"""The network in fp32 against the numbers of the published code (see golden/README.md)."""

import numpy as np
import pytest
import torch
from golden_set import assert_low_res_masks_match, assert_masks_match

from lisa_ros.model.preprocessing import clip_input, upscale_masks


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def close(got: torch.Tensor, want: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(got.float().numpy(), want, atol=atol, rtol=0)


def test_clip_features(golden, image_index):
    model, want = golden.model, golden.group("vision", f"img{image_index}")
    pixels = clip_input(golden.image(image_index), model.config.clip_preprocessing, "crop")
    close(model.vision_tower(pixels[None])[0], want["clip_features"], 2e-5)
    close(model.encode_clip(pixels[None])[0], want["projected"], 2e-5)


def test_image_features(golden, image_index):
    features, want = golden.features(image_index), golden.group("vision", f"img{image_index}")
    close(features.image_tokens[0], want["projected"], 2e-5)
    embedding = features.wait_for_sam()[0]
    if "sam_embedding_sub4" in want:
        close(embedding[:, ::4, ::4], want["sam_embedding_sub4"], 2e-3)
    got = embedding.double()
    mean, std, absolute = want["sam_embedding_stats"]
    assert got.mean().item() == pytest.approx(mean, abs=1e-5)
    assert got.std().item() == pytest.approx(std, rel=1e-3)
    assert got.abs().sum().item() == pytest.approx(absolute, rel=1e-3)


def test_dense_positional_encoding(golden):
    pe = golden.model.visual_model.dense_pe()[0]
    close(pe[:, ::4, ::4], golden.arrays("vision")["dense_pe"], 1e-6)


def test_teacher_forced_language(golden, teacher_forced):
    want = golden.group("teacher_forced", teacher_forced["key"])
    tokens = golden.features(teacher_forced["image"]).image_tokens
    output = golden.model([want["input_ids"].tolist()], tokens)
    assert output.logits.shape[1] == len(want["input_ids"]) + tokens.shape[1] - 1
    close(output.hidden_states[0][want["logits_pos"]], want["last_hidden"], 1e-4)
    close(output.logits[0][want["logits_pos"]], want["logits"], 1e-4)
    close(output.seg_embeddings[0], want["seg_embeddings"], 1e-4)
    close(output.seg_embeddings[0][:, None], want["sparse_embeddings"], 1e-4)


def test_teacher_forced_masks(golden, teacher_forced):
    want = golden.group("teacher_forced", teacher_forced["key"])
    features = golden.features(teacher_forced["image"])
    (embeddings,) = golden.model([want["input_ids"].tolist()], features.image_tokens).seg_embeddings
    low_res, predicted_iou, _ = golden.model.decode_masks(features, embeddings)
    assert_low_res_masks_match(low_res, want)
    close(predicted_iou[:, None], want["iou_pred"], 1e-3)
    assert_masks_match(upscale_masks(low_res, features.geometry), want)


def test_masks_of_golden_embeddings(golden, teacher_forced):
    """The mask decoder alone, whatever the language model does."""
    want = golden.group("teacher_forced", teacher_forced["key"])
    features = golden.features(teacher_forced["image"])
    embeddings = torch.from_numpy(want["seg_embeddings"])
    low_res, *_ = golden.model.decode_masks(features, embeddings)
    assert_masks_match(upscale_masks(low_res, features.geometry), want)


def test_conversations_of_unequal_length_in_one_pass(golden):
    """Right-padded, about one image, as in the published evaluation."""
    want = golden.arrays("multi_conversation")
    kept = want["attention_mask"].astype(bool)
    conversations = [ids[keep].tolist() for ids, keep in zip(want["input_ids"], kept, strict=True)]
    assert len({len(ids) for ids in conversations}) > 1
    features = golden.features(int(want["image_index"][0]))
    output = golden.model(conversations, features.image_tokens)
    embeddings = torch.cat(output.seg_embeddings)
    close(embeddings[:, None], want["sparse_embeddings"], 1e-4)
    low_res, *_ = golden.model.decode_masks(features, embeddings)
    assert_low_res_masks_match(low_res, want)
    pred = golden.group("multi_conversation", "pred")
    assert_masks_match(upscale_masks(low_res, features.geometry), pred)


def test_conversation_without_seg_gives_no_embedding(golden):
    case = next(c for c in golden.cases("teacher_forced") if c["n_seg"] == 0)
    ids = golden.group("teacher_forced", case["key"])["input_ids"].tolist()
    output = golden.model([ids], golden.features(case["image"]).image_tokens)
    assert output.seg_embeddings[0].shape == (0, golden.model.config.out_dim)

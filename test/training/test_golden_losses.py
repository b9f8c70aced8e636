"""Losses, labels and gradients of the published training code, batch by batch."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from golden_training import golden_batch

from lisa_ros.model.checkpoint import official_name
from lisa_ros.model.conversation import Turn
from lisa_ros.training.batch import Batch, Conversation, training_losses
from lisa_ros.training.losses import (
    IGNORE,
    LossWeights,
    mask_losses,
    sigmoid_bce,
    sigmoid_dice,
)

BATCHES = ("batch0", "batch1", "batch2")


@pytest.mark.parametrize("name", BATCHES)
def test_ids_and_labels(first_golden, name):
    arrays = first_golden.arrays("train")
    ids, labels = arrays[f"{name}/input_ids"], arrays[f"{name}/labels"]
    for k, conversation in enumerate(golden_batch(first_golden, name).conversations):
        length = len(conversation.ids)
        assert list(conversation.ids) == ids[k, :length].tolist()
        assert (ids[k, length:] == 0).all()
        assert list(conversation.labels) == labels[k, :length].tolist()
        assert (labels[k, length:] == -100).all()


@pytest.mark.parametrize("template", ["llava_v1", "llava_llama_2"])
def test_answers_and_their_ends_are_learned(first_golden, template):
    """Of both templates, in each round; nothing of the questions."""
    tokenizer = first_golden.model.tokenizer
    rounds = [Turn("Where is the cup?", "It is [SEG]."), Turn("Why?", "So.")]
    conversation = Conversation.encode(tokenizer, rounds, template=template)
    pairs = zip(conversation.ids, conversation.labels, strict=True)
    runs = [
        [token for token, _ in run]
        for is_learned, run in groupby(pairs, lambda pair: pair[0] == pair[1])
        if is_learned
    ]
    assert [run[-1] for run in runs] == [tokenizer.eos_id] * 2
    assert [tokenizer.decode(run[:-1]).strip() for run in runs] == ["It is [SEG] .", "So."]
    assert conversation.ids[conversation.answer_at] == runs[0][0]


@pytest.mark.parametrize("name", BATCHES)
def test_losses_and_gradients(first_golden, name):
    arrays = first_golden.arrays("train")
    # A copy of its own: gradients must not stay on the model that other tests share.
    model = first_golden.load(precision="fp32").requires_grad_(True)
    losses = training_losses(model, golden_batch(first_golden, name))
    for key, value in (
        ("ce_loss", losses.ce),
        ("mask_bce_loss", losses.bce),
        ("mask_dice_loss", losses.dice),
        ("loss", losses.total),
    ):
        assert value.item() == pytest.approx(arrays[f"{name}/{key}"].item(), rel=1e-4), key
    losses.total.backward()
    gradients = {official_name(own): parameter.grad for own, parameter in model.named_parameters()}
    for published, norm in zip(
        arrays[f"{name}/grad_names"], arrays[f"{name}/grad_norms"], strict=True
    ):
        got = gradients[str(published)]
        got_norm = 0.0 if got is None else got.double().norm().item()
        assert got_norm == pytest.approx(norm, rel=2e-3, abs=1e-6), published
    np.testing.assert_allclose(
        model.text_hidden_fcs[2].weight.grad[::8, ::8].numpy(),
        arrays[f"{name}/grad_text_hidden_fcs_0_2_weight_sub"],
        rtol=1e-2,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        model.language_model.lm_head.weight.grad[model.tokenizer.seg_id].numpy(),
        arrays[f"{name}/grad_lm_head_seg_row"],
        rtol=1e-2,
        atol=1e-6,
    )


def test_the_openings_of_answers_can_count_more(first_golden):
    batch = golden_batch(first_golden, "batch0")
    seg_id = first_golden.model.tokenizer.seg_id

    def ce_sum(conversations, **weights: float) -> float:
        with torch.no_grad():
            changed = replace(batch, conversations=conversations)
            ce = training_losses(first_golden.model, changed, LossWeights(**weights)).ce.item()
        return ce * sum(label != IGNORE for c in conversations for label in c.labels)

    def openings(gives_mask: bool):
        """The batch with nothing else to learn than the first two words of some answers."""
        for conversation in batch.conversations:
            labels = list(conversation.labels)
            runs = [list(run) for _, run in groupby(labels, lambda label: label != IGNORE)]
            kept: list[int] = []
            for run in runs:
                is_answer = run[0] != IGNORE and (seg_id in run) == gives_mask
                kept += [label if is_answer and k < 2 else IGNORE for k, label in enumerate(run)]
            yield replace(conversation, labels=tuple(kept))

    refusing, finding = (ce_sum(list(openings(found))) for found in (False, True))
    assert refusing > 0
    assert finding > 0
    expected = ce_sum(batch.conversations) + 4 * refusing + 6 * finding
    got = ce_sum(batch.conversations, opening=5.0, opening_found=7.0)
    assert got == pytest.approx(expected, rel=1e-5)


def test_mask_losses_alone(first_golden):
    arrays = first_golden.arrays("metrics")
    logits = torch.from_numpy(arrays["loss_inputs"])
    targets = torch.from_numpy(arrays["loss_targets"])
    bce, dice = mask_losses([logits], [targets])
    assert dice.item() == pytest.approx(arrays["dice_loss_num4"].item(), rel=1e-5)
    assert bce.item() == pytest.approx(arrays["bce_loss_num4"].item(), rel=1e-5)
    empty = sigmoid_dice(logits[:1], torch.zeros_like(targets[:1]))
    assert empty.item() == pytest.approx(arrays["dice_loss_empty_target"].item(), rel=1e-4)
    assert sigmoid_bce(logits[:0], targets[:0]).shape == (0,)


def test_a_mask_too_few_is_named(first_golden):
    batch = golden_batch(first_golden, "batch2")
    batch = Batch(**{**vars(batch), "masks": [batch.masks[0][:1]]})
    with pytest.raises(ValueError, match=r"image 0.*3.*got 1"):
        training_losses(first_golden.model, batch)

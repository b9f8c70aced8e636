"""What is trained of a LISA: golden losses and gradients, checkpointing, and QLoRA."""

from contextlib import nullcontext

import pytest
import torch
from golden_set import GoldenSet
from golden_training import golden_batch

from lisa_ros.model import Lisa
from lisa_ros.model.checkpoint import official_name
from lisa_ros.training.batch import Batch, Features, encode_images, training_losses
from lisa_ros.training.loop import bf16_attention
from lisa_ros.training.lora import LoraSettings, make_trainable

WHOLE = {"lm_head", "embed_tokens", "text_hidden_fcs", "mask_decoder"}


def prepared(golden: GoldenSet, precision: str, **choices) -> Lisa:
    model = golden.load(precision=precision)
    torch.manual_seed(0)  # of the adapters
    make_trainable(model, LoraSettings(dropout=0.0), **choices)
    return model.train()


@pytest.fixture(scope="module")
def batch(first_golden) -> Batch:
    """Two pictures, one of them with words alone."""
    return golden_batch(first_golden, "batch1")


@pytest.fixture(scope="module")
def features(first_golden, batch) -> Features:
    with torch.no_grad():
        return encode_images(first_golden.model, batch)


def losses_and_gradients(
    model: Lisa, batch: Batch, features: Features, *, bf16: bool = False
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    model.zero_grad()
    with bf16_attention("cpu") if bf16 else nullcontext():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = training_losses(model, batch, features=features)
        losses.total.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in losses.named().items()}, gradients


def test_a_new_adapter_changes_nothing(first_golden, batch, features):
    arrays = first_golden.arrays("train")
    model = prepared(first_golden, "fp32")
    calls = []
    model.language_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    losses, gradients = losses_and_gradients(model, batch, features)
    assert len(calls) == 2  # once for the losses, and once more for their gradients
    for key, name in (("ce_loss", "ce"), ("mask_bce_loss", "bce"), ("mask_dice_loss", "dice")):
        assert losses[name] == pytest.approx(arrays[f"batch1/{key}"].item(), rel=1e-4)
    by_name = {official_name(own): gradient for own, gradient in gradients.items()}
    names, norms = arrays["batch1/grad_names"], arrays["batch1/grad_norms"]
    assert {part for part in WHOLE for name in names if part in str(name)} == WHOLE
    for name, norm in zip(names, norms, strict=True):
        gradient = by_name.get(str(name), torch.zeros(()))
        assert gradient.double().norm().item() == pytest.approx(norm, rel=2e-3, abs=1e-6), name

    kept, gradients_of_kept = losses_and_gradients(
        prepared(first_golden, "fp32", gradient_checkpointing=False), batch, features
    )
    assert kept == losses
    assert gradients_of_kept.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_of_kept[name], gradient, rtol=1e-4, atol=1e-7)


def test_what_is_trained(first_golden):
    model = prepared(first_golden, "bf16")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    lora = {name for name in trained if ".lora_" in name}
    layers = "language_model.model.layers"
    assert lora == {
        f"{layers}.{i}.self_attn.{projection}.lora_{part}.default.weight"
        for i in range(2)
        for projection in ("q_proj", "v_proj")
        for part in "AB"
    }
    others = [set(name.split(".")) & WHOLE for name in trained.keys() - lora]
    assert all(others)
    assert set().union(*others) == WHOLE
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert not any(part in name for name in frozen for part in WHOLE)
    # Small steps would be lost in bf16.
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.dtype for name, p in model.named_parameters() if name in frozen} == {torch.bfloat16}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_head_that_was_tied_is_trained_by_itself(first_golden, precision):
    model = first_golden.load(precision=precision)
    head, embeddings = model.language_model.lm_head, model.language_model.model.embed_tokens
    head.weight.data = embeddings.weight.data  # as of a checkpoint with tied embeddings
    make_trainable(model, LoraSettings())
    assert head.weight.data_ptr() != embeddings.weight.data_ptr()
    assert torch.equal(head.weight, embeddings.weight)


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_a_step_in_fewer_bits(first_golden, batch, features, precision):
    if precision == "nf4":
        pytest.importorskip("bitsandbytes")
    arrays = first_golden.arrays("train")
    model = prepared(first_golden, precision)
    losses, gradients = losses_and_gradients(model, batch, features, bf16=True)
    assert sum(losses.values()) == pytest.approx(arrays["batch1/loss"].item(), rel=0.02)
    q_proj = model.language_model.model.layers[0].self_attn.q_proj
    quantised = precision == "nf4"
    assert (q_proj.base_layer.weight.dtype == torch.uint8) == quantised
    norms = {name: gradient.norm().item() for name, gradient in gradients.items()}
    assert all(norm > 0 for name, norm in norms.items() if ".lora_B." in name)
    head = model.language_model.lm_head.weight
    assert head.dtype == torch.float32
    assert norms["language_model.lm_head.weight"] > 0

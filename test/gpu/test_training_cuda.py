"""Training on CUDA: the published losses, and steps in bf16 and on a language model in 4 bits."""

import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("peft", reason="peft is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytest.importorskip("tensorboard", reason="tensorboard is not installed")

from accelerate.state import AcceleratorState, PartialState
from golden_training import golden_batch
from small_training import write_start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lisa_ros.training.batch import training_losses
from lisa_ros.training.finetune import train
from lisa_ros.training.mixture_batches import to_device

pytestmark = pytest.mark.usefixtures("exact_float32")


@pytest.mark.parametrize("name", ["batch0", "batch1", "batch2"])
def test_losses_as_the_published_code(first_golden, name):
    arrays = first_golden.arrays("train")
    model = first_golden.load(device="cuda", precision="fp32").requires_grad_(True)
    losses = training_losses(model, to_device(golden_batch(first_golden, name), model.device))
    for key, value in (("ce", losses.ce), ("mask_bce", losses.bce), ("mask_dice", losses.dice)):
        assert value.item() == pytest.approx(arrays[f"{name}/{key}_loss"].item(), rel=1e-3), key
    losses.total.backward()
    gradient = model.text_hidden_fcs[2].weight.grad[::8, ::8].cpu()
    want = torch.from_numpy(arrays[f"{name}/grad_text_hidden_fcs_0_2_weight_sub"])
    assert (gradient - want).norm() < 0.01 * want.norm()


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_a_training_runs_and_is_scored(first_golden, tmp_path, precision, record, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU")  # which all other tests set
    for state in (PartialState, AcceleratorState):
        monkeypatch.setattr(state, "_shared_state", {})
    if precision == "nf4":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    start = write_start(tmp_path, first_golden.lisa / "tokenizer.model")
    torch.cuda.reset_peak_memory_stats()
    run = train(replace(start, precision=precision))
    peak = torch.cuda.max_memory_allocated()
    assert peak > 1 << 20  # it was the GPU that trained
    record("peak memory, MiB", round(peak / 2**20))
    board = EventAccumulator(str(run)).Reload()
    for name in ("loss/ce", "loss/bce", "loss/dice", "validation/score"):
        values = [event.value for event in board.Scalars(name)]
        assert values
        assert all(map(math.isfinite, values)), name
    assert (run / "best.safetensors").is_file()

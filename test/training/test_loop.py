"""The training loop: what is repeated, what is resumed, what stops it."""

from itertools import count, islice
from pathlib import Path

import pytest
import torch
from torch import nn

from lisa_ros.training.loop import Loop, LoopSettings, NotFiniteError


def batches(first: int):
    """Batch k holds the number k, and noise that only its number decides."""
    for k in count(first):
        yield torch.randn(4, 3, generator=torch.Generator().manual_seed(k)), k


class Sum(nn.Sequential):
    """Learns to add."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.seen = seen

    def forward(self, batch) -> dict[str, torch.Tensor]:
        x, number = batch
        self.seen.append(number)
        return {"square": ((super().forward(x) - x.sum(1, keepdim=True)) ** 2).mean()}


class Weights(nn.Module):
    """Two weights, and any loss of them."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.slow, self.fast = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.loss = loss

    def forward(self, batch) -> dict[str, torch.Tensor]:
        return {"any": self.loss(self, batch)}


def make_loop(folder: Path, seen: list[int], **settings) -> tuple[nn.Module, Loop]:
    torch.manual_seed(1)
    module = Sum(seen)
    values = {"steps": 12, "warmup_steps": 3, "accumulation": 2, **settings}
    return module, Loop(module, folder, LoopSettings(**values))


def test_stop_and_go_on_is_going_through(tmp_path):
    whole, loop = make_loop(tmp_path / "whole", [])
    loop.run(batches)
    seen: list[int] = []
    _, first = make_loop(tmp_path / "parts", seen)
    with pytest.raises(StopIteration):
        first.run(lambda start: islice(batches(start), 10))  # the power fails in the sixth step
    first.save()
    torch.manual_seed(99)  # another process
    parts, second = make_loop(tmp_path / "parts", seen)
    assert second.step == 5
    second.run(batches)
    assert seen == list(range(24))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_takes_no_batch(tmp_path):
    _, loop = make_loop(tmp_path, [])
    loop.run(batches)
    seen: list[int] = []
    _, again = make_loop(tmp_path, seen)
    again.run(batches)
    assert seen == []


def test_it_learns_by_the_schedule(tmp_path):
    seen: list[int] = []
    module, loop = make_loop(tmp_path, seen, steps=300, learning_rate=0.02, accumulation=1)
    before = [p.clone() for p in module.parameters()]
    loop.run(batches)
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    module.eval()
    assert module(next(batches(1000)))["square"] < 1.0


def test_a_loss_that_is_not_finite_names_the_batch(tmp_path):
    loop = Loop(Weights(lambda w, batch: w.fast / batch), tmp_path, LoopSettings(steps=5))
    with pytest.raises(NotFiniteError, match=r"step 2.*batch 0"):
        loop.run(lambda start: iter([1, 2, 0, 3, 4]))


def test_rates_by_name(tmp_path):
    module = Weights(lambda w, batch: w.slow + w.fast)
    loop = Loop(
        module,
        tmp_path,
        LoopSettings(steps=1, warmup_steps=0, learning_rate=0.1),
        rate=lambda name: 0.1 if name.startswith("slow") else 1.0,
    )
    loop.run(lambda start: iter([0]))
    assert module.fast.item() == pytest.approx(0.9, abs=1e-4)
    assert module.slow.item() == pytest.approx(0.99, abs=1e-4)

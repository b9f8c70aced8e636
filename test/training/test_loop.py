"""The training loop: what is repeated, what is resumed, what stops it."""

import math
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lisa_ros.training.loop import Loop, LoopSettings, NotFiniteError, ResumeError, SaveError


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


def test_a_weight_that_learns_only_after_going_on(tmp_path):
    """As the mask decoder, where no answer had a mask before the stop."""

    def loop(folder: str) -> tuple[Weights, Loop]:
        module = Weights(lambda w, k: (w.slow * k + (w.fast * k if k > 3 else 0)).sum())
        for name in ("slow", "fast"):  # torch cannot take up a training of nothing but numbers
            setattr(module, name, nn.Parameter(torch.ones(2)))
        settings = LoopSettings(steps=6, warmup_steps=0, learning_rate=0.1)
        return module, Loop(module, tmp_path / folder, settings)

    whole, through = loop("whole")
    through.run(lambda start: iter(range(1, 7)))
    _, first = loop("parts")
    with pytest.raises(StopIteration):
        first.run(lambda start: iter([1, 2]))
    first.save()
    parts, second = loop("parts")
    second.run(lambda start: iter(range(3, 7)))
    assert torch.equal(parts.slow, whole.slow)
    assert torch.equal(parts.fast, whole.fast)


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
    with pytest.raises(NotFiniteError, match=r"step 2.*batch 0; look at these files, or begin"):
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


class Numbers(Dataset):
    """Batch k, also for a DataLoader."""

    def __getitem__(self, k: int):
        return next(batches(k))


def test_a_loader_draws_nothing_from_the_training(tmp_path):
    def loaded(first: int, last: int = 24):
        return DataLoader(Numbers(), batch_size=None, sampler=range(first, last))

    whole, loop = make_loop(tmp_path / "whole", [])
    loop.run(loaded)
    _, first = make_loop(tmp_path / "parts", [], save_interval=0.0)
    with pytest.raises(StopIteration):
        first.run(lambda start: loaded(start, 10))
    torch.manual_seed(99)
    parts, second = make_loop(tmp_path / "parts", [])
    assert second.step == 5
    second.run(loaded)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_best_weights_are_kept_and_scoring_changes_nothing(tmp_path):
    plain, loop = make_loop(tmp_path / "plain", [], steps=8)
    loop.run(batches)
    weights, scores = [], iter([0.1, 0.7, 0.7, math.nan])
    scored, loop = make_loop(tmp_path / "scored", [], steps=8, score_interval=2)

    def score() -> float:
        assert not scored.training
        torch.randn(3)
        weights.append({name: tensor.clone() for name, tensor in scored.state_dict().items()})
        return next(scores)

    loop.run(batches, score=score)
    assert loop.best == 0.7
    best = load_file(loop.best_weights)
    assert best.keys() == weights[1].keys()
    assert all(torch.equal(best[name], weights[1][name]) for name in best)
    for a, b in zip(plain.parameters(), scored.parameters(), strict=True):
        assert torch.equal(a, b)
    _, again = make_loop(tmp_path / "scored", [], steps=8)
    assert again.best == 0.7


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path):
    _, loop = make_loop(tmp_path, [], steps=2)
    loop.run(batches)
    before = loop.checkpoint.read_bytes()
    full = loop.checkpoint.with_suffix(".tmp")
    full.symlink_to("/dev/full")  # every byte that is written there meets a full disk
    with pytest.raises(SaveError, match=r"last.pt cannot be written at step 2 .*the one from"):
        loop.save()
    assert loop.checkpoint.read_bytes() == before
    assert list(tmp_path.glob("*.tmp")) == []
    _, again = make_loop(tmp_path, [], steps=2)
    assert again.step == 2


def test_a_full_disk_is_told_in_words(tmp_path, monkeypatch):
    _, loop = make_loop(tmp_path, [], steps=2)

    def fail(*arguments):
        raise RuntimeError("enforce fail at inline_container.cc:672 . unexpected pos 64")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(SaveError, match=r"at step 0 \(enforce fail"):
        loop.save()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=4096))
    with pytest.raises(SaveError, match=r"last.pt .* at step 0 \(no space left on the disk\)"):
        loop.save()


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    # The root's slope at 0 is infinite, and its value is not.
    loop = Loop(Weights(lambda w, batch: (w.fast - batch).sqrt()), tmp_path, LoopSettings(steps=5))
    told = r"step 0: a gradient is inf.*batches are 1.*; look at"
    with pytest.raises(NotFiniteError, match=told):
        loop.run(lambda start: iter([1, 1]))


@dataclass(frozen=True)
class Files:
    value: int
    paths: tuple[Path, ...]


def test_all_files_of_a_step_are_named(tmp_path):
    batches = [Files(k, tuple(Path(f"{k}{'x' * 300}{i}.jpg") for i in range(3))) for k in (0, 1)]
    loss = Loop(Weights(lambda w, b: w.fast / b.value), tmp_path, LoopSettings(steps=1))
    with pytest.raises(NotFiniteError) as caught:
        loss.run(lambda start: iter(batches))
    assert ", ".join(map(str, batches[0].paths)) in str(caught.value)
    settings = LoopSettings(steps=1, accumulation=2)
    gradient = Loop(Weights(lambda w, b: (w.fast - b.value).sqrt()), tmp_path, settings)
    with pytest.raises(NotFiniteError) as caught:
        gradient.run(lambda start: iter(batches))
    assert all(str(path) in str(caught.value) for batch in batches for path in batch.paths)


def test_frozen_weights_are_not_saved(tmp_path):
    module = Weights(lambda w, batch: w.slow + w.fast)
    module.slow.requires_grad_(False)
    module.register_buffer("table", torch.zeros(2))
    loop = Loop(module, tmp_path, LoopSettings(steps=1, warmup_steps=0))
    loop.run(lambda start: iter([0]))
    assert torch.load(loop.checkpoint, weights_only=True)["module"].keys() == {"fast", "table"}
    assert module.slow == 1.0
    assert module.fast != 1.0


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    make_loop(tmp_path, [])[1].save()
    with pytest.raises(ResumeError, match=r"last.pt is of another training: it lacks 2 .* fast"):
        Loop(Weights(lambda w, batch: w.fast), tmp_path, LoopSettings(steps=1))

"""The one training loop: optimiser, schedule, checkpoints to the step, TensorBoard, progress."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

BatchType = TypeVar("BatchType")


@dataclass(frozen=True)
class LoopSettings:
    """How weights follow the gradients; the defaults are the published ones.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: after the warm-up; from there it falls linearly to 0.
        accumulation: batches whose gradients make one step.
        max_gradient_norm: longer gradients are shortened to it.
        bf16: compute matrix products in bf16.
        save_interval: seconds between two checkpoints.
    """

    steps: int
    learning_rate: float = 3e-4
    warmup_steps: int = 100
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    accumulation: int = 1
    max_gradient_norm: float = 1.0
    bf16: bool = False
    save_interval: float = 300.0
    seed: int = 0


class NotFiniteError(RuntimeError):
    """A loss is NaN or infinite; the message names the batch."""


class Loop:
    """Trains the parameters of a module that want gradients, and resumes where it stopped.

    Args:
        module: all that is trained, and all that a checkpoint holds; called with a batch it gives
            the named, weighted losses, whose sum is minimised.
        folder: gets `last.pt` and TensorBoard's files; training goes on from a `last.pt` there.
        rate: factor of the learning rate of a parameter, by its name.
    """

    def __init__(
        self,
        module: nn.Module,
        folder: Path,
        settings: LoopSettings,
        *,
        rate: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        self.step = 0
        self._module, self._folder, self._settings = module, folder, settings
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(rate(name), []).append(parameter)
        self._parameters = [p for group in groups.values() for p in group]
        self._optimizer = torch.optim.AdamW(
            [{"params": group, "lr": settings.learning_rate * r} for r, group in groups.items()],
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._factor)
        seed_everything(settings.seed)
        if self.checkpoint.is_file():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser, schedule and random state after the last save."""
        return self._folder / "last.pt"

    def run(self, batches: Callable[[int], Iterable[BatchType]], label: str = "training") -> None:
        """Train to the last step.

        Args:
            batches: gives the batches from a number on, so that resuming repeats none; each step
                takes `accumulation` of them.

        Raises:
            NotFiniteError: a loss is not finite; the last checkpoint is from before it.
        """
        from torch.utils.tensorboard import SummaryWriter

        settings = self._settings
        if self.step >= settings.steps:
            return
        self._module.train()
        saved = time.monotonic()
        columns = (
            TextColumn(label),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
        )
        source = iter(batches(self.step * settings.accumulation))
        with SummaryWriter(self._folder) as board, Progress(*columns) as progress:
            task = progress.add_task(label, total=settings.steps, losses="")
            while self.step < settings.steps:
                values = self._one_step(source)
                if self.step % 20 == 0 or self.step == settings.steps:
                    means = {name: value.item() for name, value in values.items()}
                    for name, mean in means.items():
                        board.add_scalar(f"loss/{name}", mean, self.step)
                    text = " ".join(f"{name} {mean:.3f}" for name, mean in means.items())
                    progress.update(task, completed=self.step, losses=text)
                if time.monotonic() - saved > settings.save_interval:
                    self.save()
                    saved = time.monotonic()
        self.save()
        self._module.eval()

    def _one_step(self, source: Any) -> dict[str, torch.Tensor]:
        settings = self._settings
        sums: dict[str, torch.Tensor] = {}
        device = self._parameters[0].device.type
        for _ in range(settings.accumulation):
            batch = next(source)
            with bf16_products(device) if settings.bf16 else nullcontext():
                losses: Mapping[str, torch.Tensor] = self._module(batch)
            total = torch.stack(list(losses.values())).sum()
            if not math.isfinite(total.item()):
                named = {name: value.item() for name, value in losses.items()}
                raise NotFiniteError(f"step {self.step}: losses {named} of batch {batch!r:.500}")
            (total / settings.accumulation).backward()
            for name, value in losses.items():
                value = value.detach() / settings.accumulation
                sums[name] = sums[name] + value if name in sums else value
        nn.utils.clip_grad_norm_(self._parameters, settings.max_gradient_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        self.step += 1
        return sums

    def _factor(self, step: int) -> float:
        settings = self._settings
        if step < settings.warmup_steps:
            return (step + 1) / (settings.warmup_steps + 1)
        return max(0.0, (settings.steps - step) / max(1, settings.steps - settings.warmup_steps))

    def save(self) -> None:
        """Write `last.pt`; an interruption leaves the one before it whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "module": self._module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        self.step = state["step"]
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])


def bf16_is_fast(device: torch.device) -> bool:
    """Whether a device computes matrix products in bf16 several times faster than in fp32."""
    if device.type != "cpu":
        return device.type == "cuda"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def bf16_products(device: str) -> Iterator[None]:
    """Matrix products in bf16, all else as it is."""
    with torch.autocast(device, torch.bfloat16):
        if device != "cpu":
            yield
            return
        # On CPUs the fused attention's bf16 gradients take 2 to 6 times as long as plain products.
        reduced = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(reduced)


def seed_everything(seed: int) -> None:
    """Make a run repeatable, as far as the device's kernels are."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)

"""The one training loop: optimiser, schedule, checkpoints to the step, one process or many."""

from __future__ import annotations

import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast, gather_object
from safetensors.torch import save
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.nn.attention import SDPBackend, sdpa_kernel

from lisa_ros.model.errors import LisaError
from lisa_ros.training.config import ConfigError
from lisa_ros.training.progress import Report

BatchType = TypeVar("BatchType")

BEST_NAME = "best.safetensors"  # the weights of the highest score
# Whole tensors on the host, whatever the processes share among them; nothing of frozen ones.
_STATE = StateDictOptions(
    full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False
)

# The same batch would come again: the data's order is the training's.
_NOT_FINITE = "look at these files, or begin a new run with a lower learning_rate"
_FULL = 1 << 20  # bytes left on a disk that is full


@dataclass(frozen=True)
class LoopSettings:
    """How weights follow the gradients; the defaults are the published ones.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: after the warm-up; from there it falls linearly to 0.
        accumulation: batches of a process whose gradients make one step.
        max_gradient_norm: longer gradients are shortened to it.
        bf16: compute matrix products in bf16.
        save_interval: seconds between two checkpoints.
        score_interval: steps between two scores, if the run has any.
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
    score_interval: int = 500
    seed: int = 0


class NotFiniteError(LisaError):
    """A loss or a gradient is NaN or infinite; the message names the batch or the batches."""


class SaveError(LisaError):
    """A checkpoint cannot be written; the one before it is whole."""


class ResumeError(LisaError):
    """A checkpoint is of another training, or of another number of processes."""


class Loop:
    """Trains the parameters of a module that want gradients, and resumes where it stopped.

    Started by `accelerate launch` or `torchrun`, each process takes its own batches and all follow
    the mean of their gradients.

    Args:
        module: called with a batch it gives the named, weighted losses, whose sum is minimised.  A
            checkpoint holds what is trained of it, and its buffers.
        folder: gets `last.pt`, `best.safetensors` and TensorBoard's files; training goes on from a
            `last.pt` there.
        rate: factor of the learning rate of a parameter, by its name.

    Attributes:
        step: optimiser steps that are done.
        best: highest score so far.
        seconds: time that the steps have taken, in all runs together.
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
        self.best = -math.inf
        self.seconds = 0.0
        self._folder, self._settings = folder, settings
        self._accelerator = make_accelerator()
        self._device = next(module.parameters()).device
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(rate(name), []).append(parameter)
        self._optimizer = torch.optim.AdamW(
            [{"params": group, "lr": settings.learning_rate * r} for r, group in groups.items()],
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self._module: nn.Module
        self._module, _ = self._accelerator.prepare(module, self._optimizer)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._factor)
        seed_everything(settings.seed + self._accelerator.process_index)
        if self.checkpoint.is_file():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser, schedule and random state after the last save."""
        return self._folder / "last.pt"

    @property
    def best_weights(self) -> Path:
        """The trained weights that had the highest score."""
        return self._folder / BEST_NAME

    def run(
        self,
        batches: Callable[[int], Iterable[BatchType]],
        label: str = "training",
        *,
        score: Callable[[], float] | None = None,
    ) -> None:
        """Train to the last step.

        Args:
            batches: gives this process's batches from a number on, so that resuming repeats none;
                each step takes `accumulation` of them.
            score: how good the weights are, the same in all processes; called every
                `score_interval` steps and at the end, and the weights with the highest are kept.

        Raises:
            NotFiniteError: a loss is not finite; the last checkpoint is from before it.
            SaveError: a checkpoint cannot be written.
        """
        settings = self._settings
        if self.step >= settings.steps:
            return
        self._module.train()
        saved = time.monotonic()
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed, also on resuming
            source = iter(batches(self.step * settings.accumulation))
        main = self._accelerator.is_main_process
        with Report(self._folder, label, self.step, settings.steps, silent=not main) as report:
            while self.step < settings.steps:
                started = time.monotonic()
                rate = float(self._schedule.get_last_lr()[0])
                losses = self._one_step(source)
                self.seconds += time.monotonic() - started
                report.losses(self.step, losses, rate)
                is_last = self.step == settings.steps
                if score is not None and (self.step % settings.score_interval == 0 or is_last):
                    report.score(self.step, self._keep_best(score), self.best)
                    self.save()
                    saved = time.monotonic()
                elif is_last or self._is_due(saved):
                    self.save()
                    saved = time.monotonic()
        self._module.eval()

    def _one_step(self, source: Iterator[Any]) -> dict[str, float]:
        """One optimiser step; gives the mean losses over its batches in all processes."""
        settings = self._settings
        sums: dict[str, torch.Tensor] = {}
        origins: list[Any] = []  # not whole batches: the pictures of a step would fill the memory
        for k in range(settings.accumulation):
            batch = next(source)
            origins.append(getattr(batch, "paths", batch))
            with ExitStack() as stack:
                if k + 1 < settings.accumulation:  # the processes meet once a step
                    stack.enter_context(self._accelerator.no_sync(self._module))
                if settings.bf16:  # for gradient checkpoints as well, which compute again
                    stack.enter_context(bf16_attention(self._device.type))
                with torch.autocast(self._device.type, torch.bfloat16, enabled=settings.bf16):
                    losses: Mapping[str, torch.Tensor] = self._module(batch)
                total = torch.stack(list(losses.values())).sum()
                if not math.isfinite(total.item()):
                    named = {name: value.item() for name, value in losses.items()}
                    raise NotFiniteError(
                        f"step {self.step}: losses {named} of batch {_told(origins[-1])}; "
                        + _NOT_FINITE
                    )
                (total / settings.accumulation).backward()
            for name, value in losses.items():
                value = value.detach() / settings.accumulation
                sums[name] = sums[name] + value if name in sums else value
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = self._accelerator.clip_grad_norm_(parameters, settings.max_gradient_norm)
        if not math.isfinite(norm.item()):
            raise NotFiniteError(
                f"step {self.step}: a gradient is {norm.item()}; its batches are "
                + "; ".join([*map(_told, origins), _NOT_FINITE])
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()
        self.step += 1
        means = self._accelerator.reduce(torch.stack(list(sums.values())), "mean")
        return dict(zip(sums, means.tolist(), strict=True))

    def _factor(self, step: int) -> float:
        settings = self._settings
        if step < settings.warmup_steps:
            return (step + 1) / (settings.warmup_steps + 1)
        return max(0.0, (settings.steps - step) / max(1, settings.steps - settings.warmup_steps))

    def _is_due(self, saved: float) -> bool:
        """Whether it is time for a checkpoint, by the clock of the main process."""
        due = time.monotonic() - saved > self._settings.save_interval
        return bool(broadcast(torch.tensor(float(due), device=self._device)).item())

    def _keep_best(self, score: Callable[[], float]) -> float:
        """Ask for a score, keep the weights if it is the highest, and give it."""
        self._module.eval()
        devices = [self._device] if self._device.type == "cuda" else []
        # Training goes on as if there had been no question.
        with torch.random.fork_rng(devices), self._in_one_piece():
            value = score()
        self._module.train()
        if value > self.best:
            self.best = value
            weights = self._weights()
            if self._accelerator.is_main_process:
                # safetensors writes what it is given, views of larger tensors not.
                data = save({name: tensor.contiguous() for name, tensor in weights.items()})
                self._write(self.best_weights, lambda file: file.write(data))
        return value

    @contextmanager
    def _in_one_piece(self) -> Iterator[None]:
        """All weights of a sharded module in every process.

        Otherwise each use of a part is a meeting of all processes, and they would wait for each
        other for ever: some score more pictures than others.
        """
        if not isinstance(self._module, FSDPModule):
            yield
            return
        _, *parts = (part for part in self._module.modules() if isinstance(part, FSDPModule))
        try:
            self._module.unshard()
            for part in parts:
                part.set_reshard_after_forward(False, recurse=False)
                part.unshard()
            yield
        finally:
            for part in parts:
                again = self._accelerator.state.fsdp_plugin.reshard_after_forward
                part.set_reshard_after_forward(again, recurse=False)
            # Shards all parts, and forgets their uses, which the next step would take for its own.
            self._module.reset_iter_state()

    def save(self) -> None:
        """Write `last.pt`; an interruption or a full disk leaves the one before it whole."""
        state = {
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "module": self._weights(),
            "optimizer": get_optimizer_state_dict(self._module, self._optimizer, options=_STATE),
            "schedule": self._schedule.state_dict(),
            "random": gather_object([self._random_state()]),
        }
        if self._accelerator.is_main_process:
            self._write(self.checkpoint, lambda file: torch.save(state, file))
        self._accelerator.wait_for_everyone()

    def _write(self, path: Path, write: Callable[[Any], object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        try:
            with unfinished.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except (OSError, RuntimeError) as error:
            # torch tells of a full disk by the second, in words about its own lines.
            is_full = shutil.disk_usage(path.parent).free < _FULL
            reason = "no space left on the disk" if is_full else error
            unfinished.unlink(missing_ok=True)
            raise SaveError(
                f"{path} cannot be written at step {self.step} ({reason}); the one from before is "
                "whole. Make room and start again with the same command: training goes on from it"
            ) from error

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        processes = self._accelerator.num_processes
        if len(state["random"]) != processes:
            raise ResumeError(
                f"{self.checkpoint} was written by {len(state['random'])} processes and "
                f"{processes} came; resume with as many, so that each goes on where it was"
            )
        missing = sorted(self._trained() - set(state["module"]))
        if missing:
            raise ResumeError(
                f"{self.checkpoint} is of another training: it lacks {len(missing)} weights, such "
                f"as {missing[0]}; give a folder of its own to this one"
            )
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        set_model_state_dict(self._module, state["module"], options=_STATE)
        set_optimizer_state_dict(self._module, self._optimizer, state["optimizer"], options=_STATE)
        # torch begins a state for each weight, also for those that had no gradient yet.
        module = self._accelerator.unwrap_model(self._module)
        for name, weight in module.named_parameters():
            if name not in state["optimizer"]["state"]:
                self._optimizer.state.pop(weight, None)
        self._schedule.load_state_dict(state["schedule"])
        own = state["random"][self._accelerator.process_index]
        torch.set_rng_state(own["host"])
        if self._device.type == "cuda" and own["device"] is not None:
            torch.cuda.set_rng_state(own["device"], self._device)

    def _trained(self) -> set[str]:
        module = self._accelerator.unwrap_model(self._module)
        return {name for name, parameter in module.named_parameters() if parameter.requires_grad}

    def _weights(self) -> dict[str, torch.Tensor]:
        """What is trained, and the buffers, on the host; of a shared model in one process only."""
        module = self._accelerator.unwrap_model(self._module)
        kept = self._trained() | {name for name, _ in module.named_buffers()}
        state = get_model_state_dict(self._module, options=_STATE)
        # A quantised layer has entries that are neither parameters nor buffers.
        return {name: cast(torch.Tensor, value) for name, value in state.items() if name in kept}

    def _random_state(self) -> dict[str, torch.Tensor | None]:
        is_cuda = self._device.type == "cuda"
        return {
            "host": torch.get_rng_state(),
            "device": torch.cuda.get_rng_state(self._device) if is_cuda else None,
        }


def _told(origin: Any) -> str:
    """All files of a batch, or how a batch begins that is of no files."""
    if isinstance(origin, tuple) and all(isinstance(path, Path) for path in origin):
        return ", ".join(map(str, origin))
    return f"{origin!r:.500}"


def make_accelerator() -> Accelerator:
    """This process among those that train together; alone if it was started alone."""
    # A batch of words alone leaves the mask decoder without gradients.
    data_parallel = DistributedDataParallelKwargs(
        find_unused_parameters=True, broadcast_buffers=False
    )
    accelerator = Accelerator(
        device_placement=False, mixed_precision="no", kwargs_handlers=[data_parallel]
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > accelerator.num_processes:
        raise ConfigError(
            f"expected {started} processes that train together (WORLD_SIZE), got "
            f"{accelerator.num_processes}: without a GPU accelerate takes each as alone; set "
            "ACCELERATE_USE_CPU=true"
        )
    return accelerator


def bf16_is_fast(device: torch.device) -> bool:
    """Whether a device computes matrix products in bf16 several times faster than in fp32."""
    if device.type != "cpu":
        return device.type == "cuda"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def bf16_products(device: str) -> Iterator[None]:
    """Matrix products in bf16, all else as it is."""
    with bf16_attention(device), torch.autocast(device, torch.bfloat16):
        yield


@contextmanager
def bf16_attention(device: str) -> Iterator[None]:
    """The fastest attention in bf16.

    On CPUs the fused attention's bf16 gradients take 2 to 6 times as long as plain products.
    """
    if device != "cpu":
        yield
        return
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

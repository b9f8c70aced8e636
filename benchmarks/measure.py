"""What the benchmarks share: clocks, peak memory, copy bandwidth, and what machine this is."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

MIB = 2**20


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile, and of how many values."""
    if not values:
        return None
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50": float(p50), "p95": float(p95), "count": len(values)}


def synchronize(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class CpuClock:
    """Seconds of processor time, of all threads, that the calls of one module take."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._started = 0.0
        self._hooks = (
            module.register_forward_pre_hook(self._start),
            module.register_forward_hook(self._stop),
        )

    def close(self) -> None:
        """Take the hooks off the module."""
        for hook in self._hooks:
            hook.remove()

    def _start(self, *_: Any) -> None:
        self._started = time.process_time()

    def _stop(self, *_: Any) -> None:
        self.seconds += time.process_time() - self._started


@dataclass
class Memory:
    """Bytes in use before, and at most during, what was measured."""

    before: int = 0
    peak: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Memory]:
    """Peak memory of the body: allocations of torch on CUDA, else resident pages of the process."""
    memory = Memory()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        memory.before = torch.cuda.memory_allocated(device)
        yield memory
        synchronize(device)
        memory.peak = torch.cuda.max_memory_allocated(device)
        return
    _return_free_pages()
    process = psutil.Process()
    memory.before = memory.peak = process.memory_info().rss
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            memory.peak = max(memory.peak, process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield memory
    finally:
        done.set()
        sampler.join()
    memory.peak = max(memory.peak, process.memory_info().rss)


def _return_free_pages() -> None:
    """Let the C library give back what is free, so that it does not hide what is used next."""
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read plus written, of a copy inside the device's memory."""
    size = 1024 * MIB if device.type == "cuda" else 256 * MIB  # far beyond any cache
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copies = 5  # in a row, so that waiting for the device does not count

    def copy() -> None:
        for _ in range(copies):
            target.copy_(source)

    seconds = timed(copy, device, repeats=11, warm_up=2)
    return 2 * size * copies / statistics.median(seconds)


def timed(
    function: Callable[[], object], device: torch.device, *, repeats: int, warm_up: int
) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for i in range(warm_up + repeats):
        synchronize(device)
        started = time.perf_counter()
        function()
        synchronize(device)
        if i >= warm_up:
            seconds.append(time.perf_counter() - started)
    return seconds


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Hardware and versions that a figure depends on."""
    packages = ("torch", "transformers", "segment-anything", "bitsandbytes", "numpy", "pillow")
    machine: dict[str, Any] = {
        "device": str(device),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "host_memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine["gpu"] = properties.name
        machine["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        machine["cuda"] = torch.version.cuda
    return machine


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

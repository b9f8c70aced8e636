"""Stage times of one answer, on the host or on CUDA streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageTimer:
    """Adds up milliseconds by stage name.

    On CUDA a stage is timed with events on the current stream, so that measuring does not make
    the host wait; `milliseconds` waits for the last of them.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._host: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of the with statement as `name`."""
        if self._cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
        else:
            started = time.perf_counter()
            yield
            elapsed = 1000 * (time.perf_counter() - started)
            self._host[name] = self._host.get(name, 0.0) + elapsed

    def milliseconds(self) -> dict[str, float]:
        """Stage name to milliseconds, in the order in which stages were first met."""
        for name, start, end in self._events:
            end.synchronize()
            self._host[name] = self._host.get(name, 0.0) + start.elapsed_time(end)
        self._events.clear()
        return dict(self._host)

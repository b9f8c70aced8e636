"""Replay a function's CUDA kernels without the host: one launch instead of hundreds.

At batch 1 the host takes longer to launch the kernels of a transformer layer than the GPU to run
them.  A captured graph has the same kernels on the same numbers, so results do not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

_WARM_UP_RUNS = 2  # cuBLAS and cuDNN choose their kernels in the first runs, outside the graph

Function = Callable[..., tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[torch.Tensor, ...]
    outputs: tuple[torch.Tensor, ...]


class GraphedFunction:
    """A function of tensors, captured at its first call for each shape of its inputs.

    Args:
        function: takes and gives tensors on one CUDA device; works on their values and shapes
            only, and never waits for the GPU.
    """

    def __init__(self, function: Function) -> None:
        self._function = function
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The function's outputs; their memory is reused by the next call of this shape."""
        key = tuple(tensor.shape for tensor in inputs)
        captured = self._captured.get(key)
        if captured is None:
            captured = self._captured[key] = self._capture(inputs)
        for target, source in zip(captured.inputs, inputs, strict=True):
            target.copy_(source)
        captured.graph.replay()
        return captured.outputs

    def _capture(self, inputs: tuple[torch.Tensor, ...]) -> _Captured:
        own = tuple(tensor.clone() for tensor in inputs)
        device = own[0].device
        stream = _capture_stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                self._function(*own)
        torch.cuda.synchronize(device)
        # cuBLAS keeps one workspace a stream, which all graphs captured there would write into,
        # those that run beside one another too.  So each takes its own, from its own memory.
        torch._C._cuda_clearCublasWorkspaces()
        graph = torch.cuda.CUDAGraph()
        # Other threads (image conversion, a timer) may use CUDA meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = self._function(*own)
        torch._C._cuda_clearCublasWorkspaces()
        return _Captured(graph, own, outputs)


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """One for each device: torch's own belongs to the device of the first capture."""
    return torch.cuda.Stream(device)

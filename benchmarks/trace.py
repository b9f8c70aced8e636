"""Where the time of one answer goes: torch's profiler over one question, by part and by operator.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/trace.py --out trace.json.gz --json shares.json
    python benchmarks/trace.py --model xinlai/LISA-7B-v1 --device cuda --out trace.json.gz

The trace opens in ui.perfetto.dev or chrome://tracing.  Parts that run beside each other (on CUDA
SAM's encoder has its own stream) count in full, so that shares may add up to more than the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import describe_machine, synchronize
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from lisa_ros.perception import Segmenter

ROWS = 12


@contextmanager
def named(parts: dict[str, nn.Module]) -> Iterator[None]:
    """Each call of a module as a range of the trace."""
    hooks = []
    for name, module in parts.items():
        ranges: list[Any] = []

        def begin(*_: Any, name: str = name, ranges: list[Any] = ranges) -> None:
            ranges.append(record_function(name).__enter__())

        def end(*_: Any, ranges: list[Any] = ranges) -> None:
            ranges.pop().__exit__(None, None, None)

        hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16", "int8", "nf4"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="the trace (.json or .json.gz)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the shares")
    options = parser.parse_args()
    device = torch.device(options.device)
    segmenter = Segmenter.from_pretrained(
        options.model, device=options.device, precision=options.precision
    )
    model = segmenter.model
    model.use_cuda_graphs = False  # inside a graph no part can be told from another
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)

    def answer() -> int:
        segmenter.set_image(picture)
        return len(segmenter.answer("the mug", max_new_tokens=32).answer_ids)

    for _ in range(3):
        answer()
    parts = {
        "SAM encoder": model.visual_model.image_encoder,
        "CLIP": model.vision_tower,
        "language model": model.language_model.model,
        "language model's head": model.language_model.lm_head,
        "mask decoder": model.visual_model.mask_decoder,
    }
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with named(parts), profile(activities=activities) as profiler, record_function("answer"):
        tokens = answer()
        synchronize(device)
    # On a GPU there is a row for each kernel as well, which the operators' rows count already.
    events = [e for e in profiler.key_averages() if e.device_type == DeviceType.CPU]
    times = {event.key: event for event in events}
    whole = _microseconds(times["answer"], device)
    shares = {name: _microseconds(times[name], device) / whole for name in parts if name in times}
    shares["all else"] = 1 - sum(shares.values())
    own = sorted(events, key=lambda event: -_own_microseconds(event, device))
    operators = {
        event.key: {"share": _own_microseconds(event, device) / whole, "calls": event.count}
        for event in own
        if event.key not in (*parts, "answer")
    }
    result = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(device),
        "model": options.model or "lisa-tiny",
        "tokens": tokens,
        "milliseconds_while_profiled": whole / 1e3,
        "parts": shares,
        "operators": dict(list(operators.items())[:ROWS]),
    }
    print_tables(result)
    if options.out is not None:
        profiler.export_chrome_trace(str(options.out))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _microseconds(event: Any, device: torch.device) -> float:
    return float(event.device_time_total if device.type == "cuda" else event.cpu_time_total)


def _own_microseconds(event: Any, device: torch.device) -> float:
    if device.type == "cuda":
        return float(event.self_device_time_total)
    return float(event.self_cpu_time_total)


def print_tables(result: dict[str, Any]) -> None:
    """Shares of the whole answer."""
    console = Console()
    by_part = Table(title=f"{result['model']}: an answer of {result['tokens']} tokens, by part")
    by_part.add_column("part")
    by_part.add_column("share", justify="right")
    for name, share in result["parts"].items():
        by_part.add_row(name, f"{share:.0%}")
    console.print(by_part)
    by_operator = Table(title="by operator, its own time")
    for column in ("operator", "share", "calls"):
        by_operator.add_column(column)
    for name, row in result["operators"].items():
        by_operator.add_row(name, f"{row['share']:.0%}", str(row["calls"]))
    console.print(by_operator)


if __name__ == "__main__":
    sys.exit(main())

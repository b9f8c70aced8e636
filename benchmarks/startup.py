"""How long until a robot can be asked: imports, weights, first answer, each in a fresh process.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/startup.py --json startup.json
    python benchmarks/startup.py --model xinlai/LISA-7B-v1 --device cuda --precision bf16

    imports        from the start of Python to `lisa_ros.perception` with torch
    weights        `Segmenter.from_pretrained`: files to weights on the device
    warm up        what the node does before it is ready (CUDA graphs; nothing on a CPU)
    first answer   the first question; the second one, on another picture, shows what was cold

The files are in the page cache from the second process on; the first is reported alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from measure import describe_machine
from rich.console import Console
from rich.table import Table

CHILD = """
import json, sys, time
started, model, device, precision = json.loads(sys.argv[1])
import numpy as np
from lisa_ros.perception import Segmenter
marks = [time.time()]
segmenter = Segmenter.from_pretrained(model, device=device, precision=precision)
marks.append(time.time())
segmenter.warm_up()
marks.append(time.time())
rng = np.random.default_rng(0)
for _ in range(2):
    segmenter.set_image(rng.integers(0, 256, (480, 640, 3), np.uint8))
    segmenter.answer("the mug")
    marks.append(time.time())
print(json.dumps([b - a for a, b in zip([started, *marks], marks)]))
"""
STAGES = ("imports", "weights", "warm up", "first answer", "second answer")


def start(model: str | None, device: str, precision: str | None) -> dict[str, float]:
    """Seconds of each stage in a new process."""
    arguments = json.dumps([time.time(), model, device, precision])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(zip(STAGES, json.loads(done.stdout.splitlines()[-1]), strict=True))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16", "int8", "nf4"))
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    choice = (options.model, options.device, options.precision)
    first = start(*choice)
    later = [start(*choice) for _ in range(options.repeats)]
    medians = {name: statistics.median(run[name] for run in later) for name in STAGES}
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(torch.device(options.device)),
        "model": options.model or "lisa-tiny",
        "precision": options.precision,
        "repeats": options.repeats,
        "first_process_s": first,
        "later_processes_median_s": medians,
        "ready_s": sum(medians[name] for name in STAGES[:3]),
    }
    table = Table(title=f"{result['model']} on {options.device}: seconds")
    for column in ("", "first process", f"median of {options.repeats} more"):
        table.add_column(column)
    for name in STAGES:
        table.add_row(name, f"{first[name]:.2f}", f"{medians[name]:.2f}")
    console = Console()
    console.print(table)
    console.print(f"ready to be asked after {result['ready_s']:.2f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

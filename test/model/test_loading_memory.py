"""Host memory while a checkpoint loads: at most 1.3 times the checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_checkpoint import BIG_SIZES, write_checkpoint

SCRIPT = """
import json, os, sys
import torch
from lisa_ros.model import load

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

small, *folders = json.loads(sys.argv[1])
load(small[0], vision_tower=small[1], device="cpu", precision="bf16")  # imports and warms up
for lisa, clip, precision in folders:
    reading, writing = os.pipe()
    if os.fork() == 0:  # each load in a process of its own, with a peak of its own
        before = peak()
        model = load(lisa, vision_tower=clip, device="cpu", precision=precision)
        assert model.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        for tensor in model.parameters():
            tensor.sum()  # brings what is only mapped into memory
        os.write(writing, str(peak() - before).encode())
        os._exit(0)
    os.close(writing)
    print(os.read(reading, 100).decode())
    os.wait()
"""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory, first_golden) -> dict[str, float]:
    """Peak over the checkpoint's size, by layout and precision."""
    root = tmp_path_factory.mktemp("big")
    tokenizer = first_golden.lisa / "tokenizer.model"
    full, clip = write_checkpoint(root / "full", BIG_SIZES, tokenizer)
    half, _ = write_checkpoint(root / "half", BIG_SIZES, tokenizer, torch.bfloat16)
    safe, _ = write_checkpoint(root / "safe", BIG_SIZES, tokenizer)
    save_file(torch.load(safe / "pytorch_model.bin", weights_only=True), safe / "model.safetensors")
    (safe / "pytorch_model.bin").unlink()
    cases = {
        "bin fp32": (full, "fp32"),
        "bin bf16": (half, "bf16"),
        "safetensors fp32": (safe, "fp32"),
        "bin fp32 as bf16": (full, "bf16"),
        "safetensors fp32 as bf16": (safe, "bf16"),
    }
    folders = [[str(first_golden.lisa), str(first_golden.clip)]]
    folders += [[str(lisa), str(clip), precision] for lisa, precision in cases.values()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(folders)],
        cwd=Path(__file__).parents[2],
        # A forked process has none of its parent's OpenMP threads, and would wait for them.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    sizes = [
        sum(file.stat().st_size for file in lisa.glob("*model.[bs]*")) for lisa, _ in cases.values()
    ]
    assert min(sizes) > 100_000_000
    lines = done.stdout.split()
    return {name: int(line) / size for name, line, size in zip(cases, lines, sizes, strict=True)}


@pytest.mark.parametrize(
    "case",
    [
        "bin fp32",
        "bin bf16",
        "safetensors fp32",
        "bin fp32 as bf16",
        "safetensors fp32 as bf16",
    ],
)
def test_peak(peaks, case):
    assert 0.4 < peaks[case] < 1.3, f"{peaks[case]:.2f} times the checkpoint"

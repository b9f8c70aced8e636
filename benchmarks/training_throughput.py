"""How fast `lisa train` trains, and what its one row for all conversations of a picture brings.

    source .venv/bin/activate
    python benchmarks/training_throughput.py --json training.json                  # the small model
    python benchmarks/training_throughput.py --size 7b --device cuda --precision bf16 --json 7b.json

A step is what a process does for one micro-batch: losses and gradients of LoRA, embeddings, head,
`[SEG]` projection and mask decoder, clipping and AdamW.  Pictures, masks and, for a named size,
weights are random.  `one row` is this package; `a row each` does what the published code does: each
conversation gets its own copy of the picture, in CLIP and in the language model.  Both are timed in
turn in one run, and their losses must agree.

    tokens/s       positions through the language model, those of the pictures included
    questions/s    conversations, which is what a training consists of
    utilisation    matrix products and convolutions (counted by torch's FLOP counter, gradients
                   included) per second, against a large matrix product timed in the same run
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import describe_machine, peak_memory, synchronize, timed
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from lisa_ros.data.dialogues import Dialogue
from lisa_ros.data.mixture import Item
from lisa_ros.data.samples import Sample
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import EMBEDDED_MODEL, load
from lisa_ros.model.random_weights import SIZES, named_config, random_model
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.training.batch import Batch, Features, encode_images, training_losses
from lisa_ros.training.loop import bf16_products
from lisa_ros.training.lora import LoraSettings, make_trainable
from lisa_ros.training.mixture_batches import make_batch, to_device

QUESTIONS = ("the mug on the left", "something to drink from", "what would hold my coffee warm")
HEIGHT, WIDTH = 480, 640
MIB = 2**20


@dataclass(frozen=True)
class Way:
    """A way to read a batch: what the language model reads, and how often CLIP runs."""

    name: str
    rows: Callable[[Batch], Batch]
    pictures: Callable[[Lisa, Batch], Features]


def encode_for_each(model: Lisa, batch: Batch) -> Features:
    """CLIP for each conversation, SAM for each picture, as the published code."""
    pictures = len(QUESTIONS)
    tokens = model.encode_clip(batch.clip_pixels)
    embeddings = model.visual_model.image_encoder(batch.sam_pixels[::pictures])
    return Features(tokens, embeddings.repeat_interleave(pictures, dim=0))


def separate(batch: Batch) -> Batch:
    """Each conversation with a picture of its own."""
    index = torch.tensor(batch.image_index)
    return replace(
        batch,
        sam_pixels=batch.sam_pixels[index],
        clip_pixels=batch.clip_pixels[index],
        geometry=[batch.geometry[i] for i in batch.image_index],
        image_index=list(range(len(batch.image_index))),
        masks=[mask[None] for masks in batch.masks for mask in masks],
    )


WAYS = (
    Way("one row", lambda batch: batch, encode_images),
    Way("a row each", separate, encode_for_each),
)


def random_batch(model: Lisa, pictures: int) -> Batch:
    """Pictures of noise with blocks as masks, three questions about each."""
    rng = np.random.default_rng(0)
    items = []
    for k in range(pictures):
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        dialogues = []
        for question in QUESTIONS:
            mask = np.zeros((HEIGHT, WIDTH), bool)
            y, x = rng.integers(0, HEIGHT - 100), rng.integers(0, WIDTH - 100)
            mask[y : y + 100, x : x + 100] = True
            dialogues.append(
                Dialogue(
                    ((f"{question} Please output segmentation mask.", "It is [SEG]."),), (mask,)
                )
            )
        sample = Sample(Path(f"{k}.jpg"), image)
        items.append(Item("reason_seg", "random", k, sample, tuple(dialogues)))
    return to_device(make_batch(items, model.tokenizer, model.config).batch, model.device)


def positions(model: Lisa, batch: Batch) -> int:
    """What the language model reads, without padding."""
    own = sum(len(c.ids) - 1 for c in batch.conversations)
    start = batch.conversations[0].ids.index(-200)
    shared = (len(batch.conversations) - len(batch.geometry)) * start
    return own - shared + len(batch.geometry) * model.config.num_image_tokens


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device, repeats=7, warm_up=2))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, help="random weights (default: the small model)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pictures", type=int, default=2, metavar="N", help="in a micro-batch")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="timed, of either way")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.size is None:
        model = load(EMBEDDED_MODEL, device=device, precision=options.precision)
    else:
        tokenizer = LisaTokenizer.from_folder(EMBEDDED_MODEL)
        model = random_model(
            named_config(options.size), tokenizer, precision=options.precision, device=device
        )
    # Without dropout, so that both ways can be compared.
    make_trainable(
        model, LoraSettings(dropout=0.0), gradient_checkpointing=options.size is not None
    )
    model.train()
    batch = random_batch(model, options.pictures)
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(device),
        "model": options.size or "lisa-tiny",
        "precision": options.precision,
        "pictures": options.pictures,
        "questions_a_picture": len(QUESTIONS),
    }
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    result["peak_tflops"] = peak_flops(device, dtype) / 1e12
    result["ways"] = compare(model, batch, options.steps, options.precision)
    one, each = (result["ways"][way.name] for way in WAYS)
    result["times_faster"] = each["seconds"] / one["seconds"]
    for row in (one, each):
        row["utilisation"] = row["tflop"] / row["seconds"] / result["peak_tflops"]
    print_table(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if abs(one["loss"] - each["loss"]) > (1e-3 if options.precision == "fp32" else 0.05):
        print(f"the losses differ: {one['loss']} and {each['loss']}", file=sys.stderr)
        return 1
    return 0


def compare(model: Lisa, batch: Batch, steps: int, precision: str) -> dict[str, dict[str, float]]:
    """Figures of each way, timed in turn."""
    trained = [p for p in model.parameters() if p.requires_grad]
    # A rate of 0: the work is the same, and so are the weights of all steps.
    optimizer = torch.optim.AdamW(trained, lr=0.0)

    def step(way: Way, rows: Batch) -> float:
        with bf16_products(model.device.type) if precision == "bf16" else nullcontext():
            losses = training_losses(model, rows, features=way.pictures(model, rows))
        total = losses.total
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total.item()

    rows = {way.name: way.rows(batch) for way in WAYS}
    figures: dict[str, dict[str, float]] = {}
    for way in WAYS:
        loss = step(way, rows[way.name])
        with FlopCounterMode(display=False) as counter:
            step(way, rows[way.name])
        with peak_memory(model.device) as memory:
            step(way, rows[way.name])
        figures[way.name] = {
            "loss": loss,
            "tflop": counter.get_total_flops() / 1e12,
            "peak_memory_mib": memory.peak / MIB,
        }
    seconds: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for _ in range(steps):
        for way in WAYS:
            synchronize(model.device)
            started = time.perf_counter()
            step(way, rows[way.name])
            synchronize(model.device)
            seconds[way.name].append(time.perf_counter() - started)
    for name, row in figures.items():
        median = statistics.median(seconds[name])
        row["seconds"] = median
        row["pictures_a_second"] = len(batch.geometry) / median
        row["questions_a_second"] = len(batch.conversations) / median
        row["tokens_a_second"] = positions(model, rows[name]) / median
    return figures


def print_table(result: dict[str, Any]) -> None:
    """The figures, a column for each way."""
    table = Table(title=f"{result['model']}, {result['precision']}, {result['machine']['device']}")
    table.add_column("")
    for name in result["ways"]:
        table.add_column(name, justify="right")
    for key in next(iter(result["ways"].values())):
        table.add_row(key, *(f"{row[key]:.4g}" for row in result["ways"].values()))
    console = Console()
    console.print(table)
    console.print(f"one row is {result['times_faster']:.2f} times faster")


if __name__ == "__main__":
    sys.exit(main())

"""Time and memory of an answer, stage by stage, for any model, device and precision.

From a plain checkout, without ROS:

    export PYTHONPATH=$PWD
    python benchmarks/model_latency.py --size medium --compare
    python benchmarks/model_latency.py --size 7b --precision bf16 int8 nf4 --compare --json 7b.json
    python benchmarks/model_latency.py --model xinlai/LISA-7B-v1

A named size has random weights: what they are changes neither time nor memory.  All answers have
exactly `--new-tokens` tokens; the end of text does not end them.  `--compare` also runs a loop that
does the work of the published code, on the same weights, and fails unless tokens and masks agree.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from implementations import Cached, Implementation, Question, Run, WithoutGraphs
from latency_results import agreement, failures, ratios, sizes, summary
from latency_tables import print_result
from measure import (
    CpuClock,
    copy_bandwidth,
    describe_machine,
    peak_memory,
    percentiles,
    synchronize,
)
from PIL import Image
from plain_loop import PlainLoop

from lisa_ros.model import DeviceError, Lisa, LisaError, OutOfMemoryError, load
from lisa_ros.model.precision import Precision, parse_precision, resolve_device
from lisa_ros.model.random_weights import SIZES, named_config, random_model
from lisa_ros.model.tokenizer import LisaTokenizer

# The columns of the table, in the order in which they run; ratios are to the last.
PLAIN = "plain"
NO_GRAPHS = "no graphs"
IMPLEMENTATIONS: dict[str, Callable[[Lisa], Implementation]] = {
    "cached": Cached,
    NO_GRAPHS: WithoutGraphs,
    PLAIN: PlainLoop,
}
ROOT = Path(__file__).resolve().parents[1]
MEMORY_TOKENS = (16, 256)


def main() -> int:
    args = _parse_arguments()
    device = resolve_device(args.device)
    default = Precision.BF16 if device.type == "cuda" else Precision.FP32
    report: dict[str, Any] = {
        "benchmark": "model_latency",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": {name: _plain(value) for name, value in vars(args).items()},
        "machine": describe_machine(device),
        "copy_bandwidth_bytes_per_s": copy_bandwidth(device),
        "results": [],
    }
    _free_memory(device)
    for name in args.precision or [default.value]:
        precision = parse_precision(name)
        try:
            result = measure_precision(args, device, precision, report)
        except (DeviceError, OutOfMemoryError, torch.OutOfMemoryError) as error:
            # bitsandbytes is optional, and not every size fits everywhere.
            result = {"precision": precision.value, "unavailable": str(error)}
        report["results"].append(result)
        compare_with_first(result, report["results"][0])
        print_result(result, report)
        _free_memory(device)
        if args.json:  # after each precision, so that an interrupted run keeps what it has
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [failure for result in report["results"] for failure in result.get("failures", ())]
    for failure in failed:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failed else 0


def compare_with_first(result: dict[str, Any], first: dict[str, Any]) -> None:
    """Add the ratios to the published behaviour in the first precision that was asked for."""
    plain = first.get("columns", {}).get(PLAIN)
    if plain is not None and result is not first:
        result["ratio_to_plain_in"] = {
            first["precision"]: {
                name: ratios(column, plain)
                for name, column in result.get("columns", {}).items()
                if name != PLAIN
            }
        }


def _plain(value: Any) -> Any:
    """An argument for JSON; a path inside the repository without where that lies."""
    if not isinstance(value, Path):
        return value
    return str(value.relative_to(ROOT) if value.is_relative_to(ROOT) else value)


def _free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def measure_precision(
    args: argparse.Namespace, device: torch.device, precision: Precision, report: dict[str, Any]
) -> dict[str, Any]:
    """Everything about one model in one precision."""
    started = time.perf_counter()
    model = _build_model(args, device, precision)
    synchronize(device)
    load_seconds = time.perf_counter() - started
    model.tokenizer.eos_id = -1  # no token: answers have a fixed length
    template = args.template or model.config.default_template
    question = Question(_image(args), args.instruction, template, args.new_tokens)

    cached = Cached(model)
    reference = cached.answer(question)  # also the first warm-up
    prompt_tokens = len(reference.token_ids) - len(reference.choices)
    result: dict[str, Any] = {
        "precision": precision.value,
        "load_s": load_seconds,
        **sizes(model, precision),
        "image_size": [question.image.shape[1], question.image.shape[0]],
        "prompt_tokens": prompt_tokens,
        "prompt_positions": prompt_tokens + model.config.num_image_tokens - 1,
        "new_tokens": len(reference.choices),
        "masks": len(reference.masks),
        "mask_area": [float(mask.mean()) for mask in reference.masks],
        "columns": {},
        "agreement_with_cached": {},
        "ratio_to_plain": {},
        "failures": [],
    }
    columns = result["columns"]
    for name in IMPLEMENTATIONS:
        if name == PLAIN and not args.compare:
            continue
        if name == NO_GRAPHS and device.type != "cuda":
            continue
        implementation = IMPLEMENTATIONS[name](model)
        repeats = args.compare_repeats if name == PLAIN else args.repeats
        _warm_up(implementation, question, 1 if name == PLAIN else args.warm_up)
        timings, run = _measure(implementation, question, repeats, reference)
        columns[name] = summary(
            timings,
            result["weight_bytes_per_token"],
            on_cuda=device.type == "cuda",
            bandwidth=report["copy_bandwidth_bytes_per_s"],
        )
        agreed = agreement(reference, run)
        result["agreement_with_cached"][name] = agreed
        result["failures"] += failures(name, agreed, precision)
    if PLAIN in columns:
        result["ratio_to_plain"] = {
            name: ratios(column, columns[PLAIN])
            for name, column in columns.items()
            if name != PLAIN
        }
    result["other_questions"] = _other_questions(cached, question, args.repeats)
    result["memory"] = _memory(cached, question, result["kv_bytes_per_token"])
    return result


def _warm_up(implementation: Implementation, question: Question, count: int) -> None:
    short = Question(question.image, question.instruction, question.template, 2)
    for _ in range(count):
        implementation.answer(short)


def _measure(
    implementation: Implementation, question: Question, repeats: int, reference: Run
) -> tuple[list[dict[str, Any]], Run]:
    """Whole answers with their wall and processor times, and the last of them."""
    model, timings = implementation.model, []
    for _ in range(repeats):
        gc.collect()
        synchronize(model.device)
        sam_clock = CpuClock(model.visual_model.image_encoder)
        wall, cpu = time.perf_counter(), time.process_time()
        run = implementation.answer(question, reference.token_ids)
        synchronize(model.device)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        sam_clock.close()
        timings.append(
            {"wall_ms": 1000 * wall, "cpu_s": cpu, "sam_cpu_s": sam_clock.seconds, "run": run}
        )
    return timings, run


def _other_questions(cached: Cached, question: Question, repeats: int) -> dict[str, Any]:
    """Whole answers of the other kinds, in milliseconds."""
    times: dict[str, list[float]] = {"mask_only": [], "second_question": []}
    for i in range(repeats + 1):
        started = time.perf_counter()
        cached.segmenter.set_image(question.image)
        cached.ask(question, mask_only=True)
        if i:  # the first warms up
            times["mask_only"].append(1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        cached.ask(question)
        if i:
            times["second_question"].append(1000 * (time.perf_counter() - started))
    return {name: percentiles(values) for name, values in times.items()}


def _memory(cached: Cached, question: Question, kv_bytes_per_token: int) -> dict[str, Any]:
    """Peak memory of encoding the image, and of short and long answers about it."""
    device = cached.model.device
    with peak_memory(device) as encoding:
        cached.segmenter.set_image(question.image)
    peaks, lengths = {}, {}
    for count in MEMORY_TOKENS:
        asked = Question(question.image, question.instruction, question.template, count)
        cached.ask(asked)  # so that what is allocated once and kept does not count
        gc.collect()
        with peak_memory(device) as answering:
            run = cached.ask(asked)
        lengths[count] = len(run.choices)
        peaks[count] = {
            "answer_above_weights": answering.peak - answering.before,
            "whole": max(encoding.peak, answering.peak),
        }
    short, long = MEMORY_TOKENS
    growth = peaks[long]["answer_above_weights"] - peaks[short]["answer_above_weights"]
    kv = (lengths[long] - lengths[short]) * kv_bytes_per_token
    return {
        "what": "allocated on the GPU" if device.type == "cuda" else "resident in the process",
        "image_encoding_peak": encoding.peak,
        "answers": peaks,
        "growth": growth,
        "growth_of_kv_cache": kv,
        "growth_beyond_kv_cache": growth - kv,
    }


def _build_model(args: argparse.Namespace, device: torch.device, precision: Precision) -> Lisa:
    if args.model:
        return load(
            args.model,
            precision=precision,
            device=device,
            vision_tower=args.vision_tower,
            sam_config=args.sam_config,
            conversation=args.conversation,
        )
    config = named_config(args.size).with_defaults(conversation=args.conversation)
    tokenizer = LisaTokenizer.from_folder(args.tokenizer)
    return random_model(config, tokenizer, precision=precision, device=device)


def _image(args: argparse.Namespace) -> np.ndarray:
    """The given picture, or a random one: smooth colours and hard edges."""
    if args.image:
        return np.asarray(Image.open(args.image).convert("RGB"))
    width, height = args.image_size
    cells = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(picture)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (200, 30, 30)
    return pixels


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="DIR_OR_ID", help="a checkpoint")
    source.add_argument("--size", choices=SIZES, help="random weights of this size")
    parser.add_argument("--vision-tower", metavar="DIR_OR_ID", help="CLIP of the checkpoint")
    parser.add_argument("--sam-config", metavar="FILE", help="SAM's sizes")
    parser.add_argument("--conversation", metavar="NAME", help="conversation template")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        default=ROOT / "test" / "golden" / "lisa-tiny",
        help="vocabulary for random weights",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:N; by default the GPU if there is one")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=[precision.value for precision in Precision],
        help="one or more; by default bf16 on a GPU, else fp32",
    )
    parser.add_argument("--image", type=Path, help="a picture; by default a random one")
    parser.add_argument("--image-size", type=int, nargs=2, default=(1280, 720), metavar=("W", "H"))
    parser.add_argument("--instruction", default="change the TV channel")
    parser.add_argument("--template", help="instruction template, by default the model's")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, help="by default 20 on a GPU, else 3")
    parser.add_argument("--warm-up", type=int, help="by default 3 on a GPU, else 1")
    parser.add_argument("--compare", action="store_true", help="also run the plain loop")
    parser.add_argument("--compare-repeats", type=int, help="by default 5 on a GPU, else 1")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here")
    args = parser.parse_args()
    on_cuda = resolve_device(args.device).type == "cuda"
    args.repeats = args.repeats or (20 if on_cuda else 3)
    args.warm_up = args.warm_up or (3 if on_cuda else 1)
    args.compare_repeats = args.compare_repeats or (5 if on_cuda else 1)
    if args.new_tokens < 3:
        parser.error("--new-tokens: expected 3 or more, the first two tokens are not timed")
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LisaError as error:
        sys.exit(f"error: {error}")

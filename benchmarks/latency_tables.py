"""The tables that `model_latency.py` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_MILLISECONDS = (
    ("whole_answer_ms", "whole answer"),
    ("without_sam_encoder_ms", "without SAM's encoder"),
    ("first_mask_ms", "first mask"),
    ("token_ms", "one token"),
)


def print_result(result: dict[str, Any], report: dict[str, Any]) -> None:
    """One precision: stages and whole answers, other questions, memory, ratios."""
    console = Console()
    if "unavailable" in result:
        words = f"{result['precision']}: unavailable here: {result['unavailable']}"
        console.print(words, markup=False)
        return
    arguments, machine = report["arguments"], report["machine"]
    model = arguments["model"] or f"{arguments['size']} (random weights)"
    width, height = result["image_size"]
    console.print()
    console.rule(f"{model}, {result['precision']}, {machine.get('gpu') or machine['processor']}")
    console.print(
        f"{result['parameters'] / 1e9:.2f} G parameter elements, weights "
        f"{_mib(result['weight_bytes'])}; image {width}x{height}; prompt "
        f"{result['prompt_positions']} positions, {result['new_tokens']} new tokens, "
        f"{result['masks']} mask(s); {machine['threads']} thread(s), torch "
        f"{machine['packages']['torch']}, transformers {machine['packages']['transformers']}",
        highlight=False,
    )
    if not result["masks"]:
        console.print("The answer holds no \\[SEG]: no mask was timed; try another --instruction.")
    _print_times(console, result)
    _print_rates(console, result, report)
    _print_memory(console, result)
    _print_comparison(console, result)


def _print_times(console: Console, result: dict[str, Any]) -> None:
    columns = result["columns"]
    table = Table(title="milliseconds", title_justify="left")
    table.add_column("stage")
    for name in columns:
        table.add_column(f"{name} p50", justify="right")
        table.add_column("p95", justify="right")
    stages = dict.fromkeys(stage for column in columns.values() for stage in column["stages_ms"])
    for stage in stages:
        cells = [column["stages_ms"].get(stage) for column in columns.values()]
        table.add_row(stage, *_cells(cells))
    table.add_section()
    for key, title in _MILLISECONDS:
        table.add_row(title, *_cells([column[key] for column in columns.values()]))
    empty: list[None] = [None] * (len(columns) - 1)
    table.add_row("mask-only answer", *_cells([result["other_questions"]["mask_only"], *empty]))
    table.add_row(
        "second question, same image",
        *_cells([result["other_questions"]["second_question"], *empty]),
    )
    console.print(table)


def _print_rates(console: Console, result: dict[str, Any], report: dict[str, Any]) -> None:
    bandwidth = report["copy_bandwidth_bytes_per_s"]
    table = Table(
        title=f"decode: {_mib(result['weight_bytes_per_token'])} of weights a token; copies move "
        f"{bandwidth / 1e9:.1f} GB/s here (read + written)",
        title_justify="left",
    )
    for title in ("", "tokens/s", "GB/s", "of the bandwidth limit", "processor s", "of it SAM"):
        table.add_column(title, justify="right" if title else "left")
    for name, column in result["columns"].items():
        cpu = column["cpu_s"]
        share = column["decode_bandwidth_share"]
        table.add_row(
            name,
            f"{column['tokens_per_s']:.1f}" if share else "",
            f"{column['decode_bytes_per_s'] / 1e9:.2f}" if share else "",
            f"{share:.0%}" if share else "",
            f"{cpu['whole_answer']:.2f}",
            f"{cpu['sam_encoder']:.2f}",
        )
    console.print(table)


def _print_memory(console: Console, result: dict[str, Any]) -> None:
    memory = result["memory"]
    table = Table(title=f"peak memory, {memory['what']}", title_justify="left")
    for title in ("new tokens", "answer, above what was in use", "whole"):
        table.add_column(title, justify="right")
    for count, peak in memory["answers"].items():
        table.add_row(str(count), _mib(peak["answer_above_weights"]), _mib(peak["whole"]))
    console.print(table)
    console.print(
        f"growth {_mib(memory['growth'])}, of it KV cache {_mib(memory['growth_of_kv_cache'])}, "
        f"other {_mib(memory['growth_beyond_kv_cache'])}",
        highlight=False,
    )


def _print_comparison(console: Console, result: dict[str, Any]) -> None:
    titled = [(f"{name} / plain", name, r) for name, r in result["ratio_to_plain"].items()]
    for precision, of_columns in result.get("ratio_to_plain_in", {}).items():
        titled += [(f"{name} / plain in {precision}", name, r) for name, r in of_columns.items()]
    for title, name, ratio in titled:
        table = Table(title=title, title_justify="left")
        for heading in ("", "processor time", "wall time"):
            table.add_column(heading, justify="right" if heading else "left")
        for what, key in (
            ("everything but SAM's encoder", "without_sam_encoder"),
            ("whole answer", "whole_answer"),
        ):
            table.add_row(what, *(_ratio(ratio[f"{clock}_{key}"]) for clock in ("cpu", "wall")))
        shares = (f"{ratio[f'{clock}_share_of_sam_encoder']:.0%}" for clock in ("cpu", "wall"))
        table.add_row(f"SAM's encoder, share of {name}", *shares)
        console.print(table)
    for name, agreed in result["agreement_with_cached"].items():
        if name != "cached":
            flipped = agreed["flipped_pixels"]
            console.print(
                f"{name} against cached: {agreed['tokens']:.1%} of the tokens agree; mask pixels "
                "that differ: " + ("no mask" if flipped is None else f"{flipped:.4%}"),
                highlight=False,
            )
    for failure in result["failures"]:
        console.print(f"FAILED: {failure}", style="bold red", markup=False)


def _cells(values: list[dict[str, float] | None]) -> list[str]:
    cells = []
    for value in values:
        cells += ["", ""] if value is None else [f"{value['p50']:.1f}", f"{value['p95']:.1f}"]
    return cells


def _ratio(value: float) -> str:
    return f"{value:.4f} (1/{1 / value:.1f})"


def _mib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if abs(count) >= 2**30 else f"{count / 2**20:.1f} MiB"

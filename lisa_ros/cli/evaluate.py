"""`lisa evaluate DATA`: how good a model is, as a table and a page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lisa_ros.cli.full_disk import named_if_full
from lisa_ros.cli.model_options import add_model_options, positive

if TYPE_CHECKING:
    from rich.console import Console

    from lisa_ros.evaluation.cases import CaseSource
    from lisa_ros.evaluation.protocol import Protocol
    from lisa_ros.evaluation.records import RecordFolder, Shard
    from lisa_ros.evaluation.scores import Scores
    from lisa_ros.perception import Segmenter

_DESCRIPTION = """\
Ask a model questions whose answers are known, and report how good it is: report.html, report.json.

DATA is one of
  reason_seg/val  reason_seg/test               ReasonSeg
  refcoco/val  refcoco+/testA  refcocog/test    referring expressions (refCOCOg as UMD split it)
  grefcoco/val                                  the same, also of several objects or of none
  own  own/SPLIT                                your own pictures in ReasonSeg's format
  scenes  scenes/held_out                       simulated scenes, by kind of question

Protocols:
  forced     as published: the answer "[SEG]." is put into the model's mouth
  generate   as on a robot: the model answers freely and may refuse

A killed run goes on with the same command.  Several processes share the work, each with its own
--shard and the same --out, or started by `accelerate launch` or `torchrun`; the last one to finish
writes the report.
"""

_EXAMPLE = """\
example:
  lisa evaluate reason_seg/val --data dataset --model xinlai/LISA-7B-v1 --out val
  lisa evaluate scenes --render 100 --protocol generate --out scenes
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `evaluate` to the commands of `lisa`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on data with known answers",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="DATA", help="what to evaluate on; see above")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="folder that holds reason_seg/ and refer_seg/ as published (default: dataset); for "
        "own and scenes, the folder of the pictures or scenes itself",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="gets what is finished, and reports"
    )
    parser.add_argument(
        "--protocol",
        choices=("forced", "generate"),
        default="forced",
        help="see above (default: %(default)s)",
    )
    add_model_options(parser)
    parser.add_argument(
        "--template",
        choices=("raw", "mask", "explain", "phrase"),
        help="the question that instructions are put into, with --protocol generate (default: the "
        "published ones, mask for sentences and phrase for phrases)",
    )
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=positive,
        default=512,
        help="longest answer in tokens, with --protocol generate (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=8,
        help="questions that are asked at once, about a picture or several (default: %(default)s)",
    )
    parser.add_argument(
        "--render",
        metavar="N",
        type=positive,
        help="render N simulated scenes into --data (default: OUT/scenes) first",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="do only every N-th picture from number I (0 to N-1) on"
    )
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad sample, do not leave it out"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate what is missing; report once nothing is."""
    with named_if_full(options.out):
        return _evaluate(options)


def _evaluate(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lisa_ros.evaluation.protocol import Protocol
    from lisa_ros.evaluation.provenance import model_hashes
    from lisa_ros.evaluation.records import RecordFolder
    from lisa_ros.evaluation.report import write_report
    from lisa_ros.perception import Segmenter

    console = Console(stderr=True)
    protocol = Protocol(options.protocol, options.template, options.max_new_tokens)
    shard, device = _share(options)
    with console.status("opening the data"):
        source = _open(options, shard)
    folder = RecordFolder(options.out, shard)
    parts = {"vision_tower": options.vision_tower, "sam_config": options.sam_config}
    with console.status("loading the model"):
        segmenter = Segmenter.from_pretrained(
            options.model,
            precision=options.precision,
            device=device,
            conversation=options.conversation,
            **parts,
        )
        files = model_hashes(options.model, **parts)
    run_values = _run_values(segmenter, files, source, protocol)
    folder.claim(run_values)
    _work(options, segmenter, source, protocol, folder, console)

    records = folder.read()
    if len(records) < len(source):
        print(
            f"{len(records)} of {len(source)} pictures are done; the report is written by the "
            "shard that finishes last, or by this command without --shard"
        )
        return 0
    with console.status("writing the report"):
        # A report travels: of a folder only the name.
        model = Path(segmenter.model_id)
        model_id = model.resolve().name if model.is_dir() else segmenter.model_id
        scores = write_report(options.out, source, records, run_values, model_id)
    bad = sum(record.error is not None for record in records.values())
    _print_scores(scores, bad)
    print(f"report: {options.out / 'report.html'}")
    return 0


def _share(options: argparse.Namespace) -> tuple[Shard, str | None]:
    """This process's shard and device, by the options or by the launcher's environment."""
    from lisa_ros.evaluation.cases import EvaluationError
    from lisa_ros.evaluation.records import Shard
    from lisa_ros.model.precision import resolve_device

    if options.shard is not None:
        try:
            index, count = map(int, options.shard.split("/"))
        except ValueError:
            raise EvaluationError(
                f"--shard: expected I/N such as 0/4, got {options.shard}"
            ) from None
        return Shard(index, count), options.device
    try:  # what torchrun and accelerate set
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        index = int(os.environ["RANK"]) if processes > 1 else 0
    except (KeyError, ValueError):
        size, rank = (os.environ.get(name, "nothing") for name in ("WORLD_SIZE", "RANK"))
        raise EvaluationError(
            "expected whole numbers in WORLD_SIZE (of processes) and RANK (this one), got "
            f"{size} and {rank}; set both as torchrun does, unset both, or name a --shard"
        ) from None
    if processes <= 1:
        return Shard(), options.device
    device = options.device
    if device is None and resolve_device(None).type == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return Shard(index, processes), device


def _open(options: argparse.Namespace, shard: Shard) -> CaseSource:
    from lisa_ros.evaluation.cases import EvaluationError
    from lisa_ros.evaluation.sources import open_source

    if options.render is not None and shard.count > 1:
        raise EvaluationError(
            "several processes cannot render one folder of scenes; render it by a call without "
            "--shard, then share the work with --data and without --render"
        )
    folder = options.data
    if folder is None:
        folder = options.out / "scenes" if options.render is not None else Path("dataset")
    return open_source(options.name, folder, render=options.render)


def _run_values(
    segmenter: Segmenter, files: dict[str, str], source: CaseSource, protocol: Protocol
) -> dict[str, Any]:
    """What must stay the same for an evaluation to go on."""
    from lisa_ros import __version__

    return {
        "lisa_ros": __version__,
        "data": {"name": source.name, "pictures": len(source)},
        "protocol": protocol.values(),
        "model": {
            "precision": segmenter.precision,
            "conversation": segmenter.model.config.conversation,
            "files": files,
        },
    }


def _work(
    options: argparse.Namespace,
    segmenter: Segmenter,
    source: CaseSource,
    protocol: Protocol,
    folder: RecordFolder,
    console: Console,
) -> None:
    """Do what is missing, with a progress bar."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from lisa_ros.evaluation.run import check_finished, evaluate
    from lisa_ros.evaluation.scores import Scores

    scores, bad = Scores(), 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    note = TextColumn("{task.fields[note]}")
    # Of several processes on one screen the first shows the way.
    hidden = folder.shard.index > 0 and options.shard is None
    with Progress(*columns, *times, note, console=console, disable=hidden) as progress:
        total = len(folder.shard.indices(len(source)))
        task = progress.add_task(source.name, total=total, note="checking what is there")
        for record in check_finished(source, folder, strict=options.strict):
            for result in record.results:
                scores.add(result)
            progress.advance(task)
        segmenter.warm_up(options.max_new_tokens)
        for record in evaluate(
            segmenter,
            source,
            protocol,
            folder,
            batch_size=options.batch_size,
            strict=options.strict,
        ):
            for result in record.results:
                scores.add(result)
            if record.error is not None:
                bad += 1
                progress.console.print(f"left out: {record.error}", markup=False, style="yellow")
            note_text = f"gIoU {100 * scores.masks.giou:.1f} %" + (f", {bad} bad" if bad else "")
            progress.update(task, advance=1, note=note_text)


def _print_scores(scores: Scores, bad: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from lisa_ros.evaluation.report import percent

    table = Table("percent", "questions", "gIoU", "cIoU", "N-acc", "T-acc")
    for name, row in (("overall", scores), *sorted(scores.by_group.items())):
        shares = (row.masks.giou, row.masks.ciou, row.refusal_rate, row.target_accuracy)
        table.add_row(name, str(row.masks.count), *map(percent, shares))
    Console().print(table)
    if bad:
        print(f"{bad} bad samples were left out; the report names them")

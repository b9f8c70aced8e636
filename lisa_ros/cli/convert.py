"""`lisa convert SRC DST`: one folder of safetensors that holds everything."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa_ros.cli.full_disk import named_if_full
from lisa_ros.cli.model_options import add_part_options

_DESCRIPTION = """\
Write a LISA checkpoint as one folder that holds CLIP and all sizes as well.  It loads faster, needs
no network and no pickle, and its weights keep the precision they are stored in.
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `convert` to the commands of `lisa`."""
    parser = commands.add_parser(
        "convert",
        help="write a checkpoint as one folder of safetensors",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="checkpoint folder or hub id")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to write, new")
    add_part_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert with a progress bar."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from lisa_ros.model.conversion import convert

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    mend = f"make room, remove {options.destination} and start again"
    full_disk = named_if_full(options.destination, mend)
    with full_disk, Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("converting")
        folder = convert(
            options.source,
            options.destination,
            vision_tower=options.vision_tower,
            sam_config=options.sam_config,
            conversation=options.conversation,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(f"wrote {folder}; use it with: lisa segment IMAGE INSTRUCTION --model {folder}")
    return 0

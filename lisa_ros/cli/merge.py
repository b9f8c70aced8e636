"""`lisa merge RUN DST`: what was trained becomes a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa_ros.cli.full_disk import named_if_full

_DESCRIPTION = """\
Write the best weights of a training as a whole checkpoint, in the layout of the published merged
models: this package and the published code read it.
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `merge` to the commands of `lisa`."""
    parser = commands.add_parser(
        "merge",
        help="make a checkpoint of what was trained",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("training", metavar="RUN", type=Path, help="folder of a training")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to write, new")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Merge with a progress bar."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from lisa_ros.training.merge import merge

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    mend = f"make room, remove {options.destination} and start again"
    full_disk = named_if_full(options.destination, mend)
    with full_disk, Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task("merging")
        folder = merge(
            options.training,
            options.destination,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(f"wrote {folder}; use it with: lisa segment IMAGE INSTRUCTION --model {folder}")
    return 0

"""`lisa data check DIR` and `lisa data record BAG DIR`: data for training and evaluation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lisa_ros.cli.full_disk import named_if_full

if TYPE_CHECKING:
    from rich.table import Table

    from lisa_ros.data.bag import RecordedQuestion
    from lisa_ros.data.check import Report

_CHECK = """\
Say which data sets a folder holds, open every file of theirs, name the broken ones, and draw a few
samples of each on one sheet.  The exit code is 1 if anything is broken.
"""

_RECORD = """\
Turn what a robot was asked into samples for training, in ReasonSeg's format: pictures, instructions
and masks out of a bag with /lisa/answer and the camera's images.

Every question is laid out in the review folder: 3.jpg is the picture of question 3, overlay_3.jpg
has the answer's mask.  No mask is taken unseen: say y or n to each in the terminal, or look at the
overlays and name the right ones with --accept.  Where a mask is wrong or missing, draw it: open the
review folder in labelme, draw polygons on 3.jpg (label `ignore` for what counts neither way), save,
and give the folder with --drawn.
"""

_RECORD_EXAMPLE = """\
example:
  ros2 bag record -s mcap -o kitchen /camera/camera/color/image_raw /lisa/answer
  lisa data record kitchen dataset/reason_seg/Kitchen/train
  lisa data record kitchen dataset/reason_seg/Kitchen/train --accept 1,4,5 --drawn kitchen_review
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `data` to the commands of `lisa`."""
    parser = commands.add_parser("data", help="check data sets, or record samples of your own")
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    check = tasks.add_parser(
        "check",
        help="what a data folder holds, what is broken, and how it looks",
        description=_CHECK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="holds ade20k, coco, refer_seg, reason_seg, ..., or is in ReasonSeg's format itself",
    )
    check.add_argument(
        "--quick", action="store_true", help="read the annotations, but only a few pictures"
    )
    check.add_argument(
        "--sheet",
        metavar="PNG",
        type=Path,
        default=Path("contact_sheet.png"),
        help="where the samples are drawn (default: %(default)s)",
    )
    check.set_defaults(run=run_check)
    record = tasks.add_parser(
        "record",
        help="samples from a robot's bag, with masks that a person accepted or drew",
        description=_RECORD,
        epilog=_RECORD_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    record.add_argument("bag", metavar="BAG", type=Path, help="MCAP file, or folder of rosbag2")
    record.add_argument("folder", metavar="DIR", type=Path, help="gets x.jpg and x.json")
    record.add_argument(
        "--accept", metavar="N,N", type=_numbers, help="questions whose mask is right as it is"
    )
    record.add_argument(
        "--drawn", metavar="FOLDER", type=Path, help="labelme's files 1.json, 2.json, ..."
    )
    record.add_argument(
        "--review", metavar="FOLDER", type=Path, help="for pictures to look at (BAG_review)"
    )
    record.add_argument(
        "--image-topic", metavar="TOPIC", help="of the camera, where the bag has several"
    )
    record.set_defaults(run=run_record)


def run_check(options: argparse.Namespace) -> int:
    """Check with a progress bar; then a table, and every problem on a line."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    from lisa_ros.data.check import check_data_set, find_data_sets
    from lisa_ros.data.contact_sheet import draw_sheet

    _check_sheet(options.sheet, options.folder)  # before hours of reading
    found, absent = find_data_sets(options.folder)
    reports = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    errors = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as progress:
        for one in found:
            task = progress.add_task(one.name, total=None)

            def update(done: int, total: int, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=total)

            reports.append(check_data_set(one, quick=options.quick, progress=update))
            progress.remove_task(task)
    Console().print(_table(reports, quick=options.quick))
    if absent:
        print(f"not there: {', '.join(absent)}")
    for report in reports:
        _print_problems(report)
    with named_if_full(options.sheet):
        draw_sheet({report.name: report.tiles for report in reports}).save(options.sheet)
    print(f"samples are drawn in {options.sheet}")
    return 1 if any(report.problems for report in reports) else 0


def _check_sheet(path: Path, folder: Path) -> None:
    """The sheet can be written, and not beside pictures that are checked, as one more of them."""
    from lisa_ros.data.reason_seg import PICTURE_SUFFIXES
    from lisa_ros.data.samples import DataError

    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(
            f"--sheet: expected a name that ends in {' or '.join(PICTURE_SUFFIXES)}, got {path}"
        )
    if not path.absolute().parent.is_dir():
        raise DataError(f"--sheet: expected a folder that is there, got {path}; make it first")
    folder, path = folder.resolve(), path.resolve()
    if path.is_relative_to(folder) and any(
        # The sheet of an earlier check has no annotation, a sample has.
        other.suffix.lower() in PICTURE_SUFFIXES
        and (other != path or other.with_suffix(".json").is_file())
        for other in path.parent.iterdir()
    ):
        raise DataError(
            f"--sheet: expected a place that is not among pictures of {folder}, got {path}, which "
            f"the next check would take for one; name another, such as {folder.parent / path.name}"
        )


def _table(reports: list[Report], *, quick: bool) -> Table:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("data set", no_wrap=True)
    for title in ("samples", "broken", "nothing\nto ask", "unmarked", ""):
        table.add_column(title, justify="right" if title else "left")
    for report in reports:
        count = "-" if report.samples is None else f"{report.samples:,}"
        note = ""
        if report.expected is not None and report.samples not in (None, report.expected):
            note = f"release: {report.expected}"
        read = not quick and report.samples is not None
        table.add_row(
            report.name,
            count,
            str(len(report.problems)) if read or report.problems else "not read",
            str(report.mute) if read else "",
            str(report.unmarked) if read else "",
            note,
        )
    return table


def _print_problems(report: Report) -> None:
    problems = report.problems
    if len(problems) > 3 and len(problems) == report.samples:
        # A whole folder is missing: 100,000 lines would hide what else there is.
        print(f"{report.name}: none of {report.samples} samples can be read, for example:")
        problems = problems[:3]
    for problem in problems:
        print(f"{report.name}: {problem}")


def run_record(options: argparse.Namespace) -> int:
    """Lay out every question; record those whose mask a person accepted or drew."""
    from lisa_ros.data.bag import read_questions
    from lisa_ros.data.record import find_stem, read_drawn, write_review

    drawn = {} if options.drawn is None else read_drawn(options.drawn)
    accepted = options.accept or set()
    choose = options.accept is None and options.drawn is None and sys.stdin.isatty()
    bag = options.bag.resolve()  # `.` has no name
    name = bag.name.removesuffix(".mcap").removesuffix(".db3")
    review = options.review or bag.parent / f"{name}_review"
    missing = accepted | drawn.keys()
    recorded = failed = 0
    for question in read_questions(bag, options.image_topic):
        number = question.number
        print(f"{number}: {question.status}, {question.instruction!r}")
        wanted = number in missing
        missing -= {number}
        if question.problem:
            print(f"   left out: {question.problem}")
            failed += wanted
            continue
        with named_if_full(review):
            files = write_review(review, question)
        print(f"   {files.overlay or files.picture}")
        stem, is_there = find_stem(options.folder, f"{name}_{number:04d}", question)
        if is_there:
            print(f"   {stem}.json is there already and stays; remove it to record it anew")
            continue
        if choose and question.mask is not None:
            answer = _ask("   is the mask right? [y]es, [n]o, [q]uit asking: ")
            choose = answer != "q"
            wanted = answer == "y"
        if wanted:
            with named_if_full(options.folder):
                done = _record(options.folder, stem, question, drawn.get(number))
            recorded += done
            failed += not done
    print(f"recorded {recorded} samples in {options.folder}")
    if missing:
        print(f"the bag has no question {', '.join(map(str, sorted(missing)))}", file=sys.stderr)
    if not recorded:
        print(
            f"look at the overlays in {review}, then name the right ones with --accept 1,3 or draw "
            f"(labelme {review}) and give the folder with --drawn"
        )
    return 1 if failed or missing else 0


def _record(
    folder: Path, stem: str, question: RecordedQuestion, drawn: dict[str, Any] | None
) -> bool:
    """Write one sample, and say how it went."""
    from lisa_ros.data.record import POOR_FIT, accepted_shapes, drawn_shapes, write_sample
    from lisa_ros.data.samples import DataError

    try:
        if drawn is None:
            shapes, fit = accepted_shapes(question)
        else:
            shapes, fit = drawn_shapes(question, drawn), 1.0
        path = write_sample(folder, stem, question, shapes)
    except DataError as error:
        print(f"   not recorded: {error}")
        return False
    print(f"   wrote {path}")
    if fit < POOR_FIT:
        print(
            f"   its outlines fit the mask with an IoU of {fit:.2f} only, for ReasonSeg knows no "
            "holes; look at it in labelme"
        )
    return True


def _ask(question: str) -> str:
    """y, n or q; the end of the input is q."""
    while True:
        try:
            answer = input(question).strip().lower()[:1]
        except EOFError:
            return "q"
        if answer in ("y", "n", "q"):
            return answer


def _numbers(text: str) -> set[int]:
    try:
        return {int(part) for part in text.split(",")}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,4,5, got {text!r}") from None

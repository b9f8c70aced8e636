"""What a data folder holds, whether all of it can be read, and a few samples to look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_ros.data.contact_sheet import draw_tile
from lisa_ros.data.label_map import LabelMapSet
from lisa_ros.data.reason_seg import PICTURE_SUFFIXES, open_reason_seg
from lisa_ros.data.referring import SPLIT_BY, open_referring
from lisa_ros.data.samples import BadSampleError, DataError, DataSet
from lisa_ros.data.semantic import open_semantic
from lisa_ros.data.vqa import PICTURES, open_vqa

REASON_SEG_COUNTS = {"train": 239, "val": 200, "test": 779}  # of the release
_SEMANTIC_FOLDERS = {
    "ade20k": "ade20k",
    "cocostuff": "cocostuff",
    "pascal_part": "vlpart/pascal_part",
    "paco_lvis": "vlpart/paco",
    "mapillary": "mapillary",
}
_REFERRING_SPLITS = {
    "refclef": ("train", "val", "testA", "testB", "testC"),
    "refcoco": ("train", "val", "testA", "testB"),
    "refcoco+": ("train", "val", "testA", "testB"),
    "refcocog": ("train", "val", "test"),
    "grefcoco": ("train", "val", "testA", "testB"),
}
_TILES = 4  # samples of a data set on the sheet


@dataclass(frozen=True)
class Found:
    """A data set that is there, not yet opened.

    Attributes:
        expected: how many samples its release has, where that is checked.
    """

    name: str
    open: Callable[[], DataSet]
    expected: int | None = None


@dataclass
class Report:
    """What was found out about a data set.

    Attributes:
        samples: how many it has; None if it cannot be opened.
        mute: how many of those that were read have nothing to ask about.
        unmarked: how many ask for something that is marked nowhere in the picture.
        problems: what cannot be read, each with file, reason and mend.
        tiles: a few samples, drawn.
    """

    name: str
    expected: int | None
    samples: int | None = None
    mute: int = 0
    unmarked: int = 0
    problems: list[str] = field(default_factory=list)
    tiles: list[Image.Image] = field(default_factory=list)


def find_data_sets(folder: str | Path) -> tuple[list[Found], list[str]]:
    """The data sets below a folder, and the names of those that are not there.

    A folder that is in ReasonSeg's format itself is taken as one data set, with nothing missing.

    Raises:
        DataError: there is no such folder, or nothing in it is known.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one that holds data sets")
    reason_seg = folder / "reason_seg/ReasonSeg"
    known = {
        **{f"sem_seg/{name}": folder / part for name, part in _SEMANTIC_FOLDERS.items()},
        **{f"refer_seg/{name}": folder / "refer_seg" / name for name in SPLIT_BY},
        **{f"vqa/{name}": folder / "llava_dataset" / f"{name}.json" for name in PICTURES},
        **{f"reason_seg/ReasonSeg/{split}": reason_seg / split for split in REASON_SEG_COUNTS},
    }
    there = {name for name, path in known.items() if path.exists()}
    found = list(_open_later(folder, there))
    if not found:
        found, known = list(_reasoning(folder)), {}
    if not found:
        raise DataError(
            f"{folder} holds no known data set; expected folders such as ade20k, refer_seg, "
            "llava_dataset/*.json or reason_seg/ReasonSeg, or pictures with JSON files"
        )
    return found, [name for name in known if name not in there]


def check_data_set(
    found: Found, *, quick: bool = False, progress: Callable[[int, int], None]
) -> Report:
    """Open a data set, read every sample of it, and draw a few.

    Args:
        quick: read the annotations, and of the pictures only those that are drawn.
        progress: called with how many samples were read, of how many.
    """
    report = Report(found.name, found.expected)
    try:
        data_set = found.open()
    except DataError as error:
        report.problems.append(str(error))
        return report
    report.samples = len(data_set)
    if not quick:
        _read_all(data_set, report, progress)
    _draw_some(data_set, report)
    return report


def _open_later(folder: Path, there: set[str]) -> Iterator[Found]:
    for name in _SEMANTIC_FOLDERS:
        if f"sem_seg/{name}" in there:
            yield Found(f"sem_seg/{name}", partial(open_semantic, folder, name))
    for name, splits in _REFERRING_SPLITS.items():
        for split in splits if f"refer_seg/{name}" in there else ():
            yield Found(
                f"refer_seg/{name}/{split}",
                partial(open_referring, folder / "refer_seg", name, split),
            )
    for name in PICTURES:
        if f"vqa/{name}" in there:
            yield Found(f"vqa/{name}", partial(open_vqa, folder, name))
    if (folder / "reason_seg").is_dir():
        for data in sorted((folder / "reason_seg").iterdir()):
            yield from _reasoning(data)


def _reasoning(folder: Path) -> Iterator[Found]:
    """The splits of a folder in ReasonSeg's format; the usual ones also without annotations."""
    if not folder.is_dir():
        return
    counts = REASON_SEG_COUNTS if folder.name == "ReasonSeg" else {}
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    for split in dict.fromkeys(("", *REASON_SEG_COUNTS, *folders)):  # the usual ones come first
        if not (folder / split).is_dir():
            continue
        # Of other names there may be other pictures: the sheet of this check, or a robot's review.
        is_split = split in REASON_SEG_COUNTS and _pictures(folder / split)
        if is_split or _has_annotated_pictures(folder / split):
            name = "/".join(filter(None, ("reason_seg", folder.name, split)))
            yield Found(name, partial(open_reason_seg, folder, [split]), counts.get(split))


def _has_annotated_pictures(folder: Path) -> bool:
    return any(path.with_suffix(".json").is_file() for path in _pictures(folder))


def _pictures(folder: Path) -> list[Path]:
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]


def _read_all(data_set: DataSet, report: Report, progress: Callable[[int, int], None]) -> None:
    """Read every sample, several at a time: decoding pictures leaves Python's lock."""

    def read(index: int) -> str | tuple[bool, bool]:
        """The problem, or whether the sample is mute, and whether something is unmarked."""
        # The masks of a label map come from one file, so that three show as much as all of them,
        # and Mapillary's 22 megapixels times forty classes would fill the memory.
        rng = np.random.default_rng(0) if isinstance(data_set, LabelMapSet) else None
        try:
            sample = data_set.read(index, rng)
        except BadSampleError as error:
            return str(error)
        is_unmarked = any(not (target.mask == 1).any() for target in sample.targets)
        return not (sample.targets or sample.turns), is_unmarked

    total = len(data_set)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for done, result in enumerate(pool.map(read, range(total)), start=1):
                if isinstance(result, str):
                    report.problems.append(result)
                else:
                    is_mute, is_unmarked = result
                    report.mute += is_mute
                    report.unmarked += is_unmarked
                progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for 100,000 pictures
            raise


def _draw_some(data_set: DataSet, report: Report) -> None:
    """A few samples that can be read and asked about, the same ones each time."""
    rng = np.random.default_rng(0)
    for index in rng.permutation(len(data_set))[: 5 * _TILES]:
        if len(report.tiles) == _TILES:
            return
        try:
            sample = data_set.read(int(index), rng)
        except BadSampleError as error:
            if str(error) not in report.problems:
                report.problems.append(str(error))
            continue
        if sample.targets or sample.turns:
            report.tiles.append(draw_tile(sample))

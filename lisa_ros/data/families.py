"""The published families of training data, opened by the names of their sub-sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lisa_ros.data.reason_seg import open_reason_seg
from lisa_ros.data.referring import open_referring
from lisa_ros.data.samples import DataError, DataSet
from lisa_ros.data.semantic import open_semantic
from lisa_ros.data.vqa import open_vqa

PUBLISHED_SUB_SETS = {
    "sem_seg": ("ade20k", "cocostuff", "pascal_part", "paco_lvis", "mapillary"),
    "refer_seg": ("refclef", "refcoco", "refcoco+", "refcocog"),
    "vqa": ("llava_instruct_150k",),
    "reason_seg": ("ReasonSeg|train",),
}


def open_family(folder: str | Path, family: str, names: Sequence[str]) -> tuple[DataSet, ...]:
    """The sub-sets of a family for training, in the published layout of a data folder.

    Args:
        folder: holds `ade20k`, `coco`, `refer_seg`, `llava_dataset`, `reason_seg` and so on.
        family: a key of `PUBLISHED_SUB_SETS`.
        names: as there; of the family `reason_seg` any folder in `reason_seg/`, with its splits
            after a `|`.

    Raises:
        DataError: a family or name is unknown, or a folder or file is missing or broken.
    """
    folder = Path(folder)
    if family == "sem_seg":
        return tuple(open_semantic(folder, name) for name in names)
    if family == "refer_seg":
        return tuple(open_referring(folder / "refer_seg", name, "train") for name in names)
    if family == "vqa":
        return tuple(open_vqa(folder, name) for name in names)
    if family == "reason_seg":
        parts = [name.partition("|") for name in names]
        return tuple(open_reason_seg(folder / "reason_seg" / own, s) for own, _, s in parts)
    raise DataError(f"no family {family!r}; there are {', '.join(PUBLISHED_SUB_SETS)}")

"""Records of files in COCO's format by their ids; a bad one spoils no other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from lisa_ros.data.samples import BadSampleError

Record = dict[str, Any]
Value = TypeVar("Value")

logger = logging.getLogger(__name__)


def by_id(
    records: Any, file: Path, kind: str, key: str = "id"
) -> tuple[dict[int | str, list[Record]], list[str]]:
    """Records of a file by their id, and what is wrong with those that have none.

    Of equal copies one counts, which is told; several of one id are those that differ.

    Args:
        kind: what a record is, for messages.

    Raises:
        TypeError: these are no records.
    """
    found: dict[int | str, list[Record]] = {}
    problems = []
    copies = []
    for number, record in enumerate(records, start=1):
        identifier = record.get(key) if isinstance(record, dict) else None
        if not isinstance(identifier, (int, str)):
            problems.append(f"{file}: {kind} number {number} has no `{key}`; mend or remove it")
            continue
        same = found.setdefault(identifier, [])
        if record in same:
            copies.append(identifier)
        else:
            same.append(record)
    if copies:
        logger.warning(
            "%s: %d records are copies of others and count once, the first of them is %s %s",
            *(file, len(copies), kind, copies[0]),
        )
    return found, problems


def only(values: Sequence[Value], where: str) -> Value:
    """The value of an id.

    Raises:
        BadSampleError: there are several, of which nobody knows the right one.
    """
    if len(values) > 1:
        raise BadSampleError(f"{where} is there {len(values)} times and differs; keep one of them")
    return values[0]


def picture_file(
    records: Sequence[Record], folder: Path, where: str
) -> tuple[Path, tuple[int, int]]:
    """A picture's file and size (H, W).

    Raises:
        BadSampleError: its records differ, or a value is missing.
    """
    record = only(records, where)
    name, height, width = (record.get(key) for key in ("file_name", "height", "width"))
    if not isinstance(name, str) or not isinstance(height, int) or not isinstance(width, int):
        raise BadSampleError(
            f"{where} needs a `file_name`, `height` and `width`, got {name!r}, {height!r} and "
            f"{width!r}; mend or remove it"
        )
    return folder / name, (height, width)

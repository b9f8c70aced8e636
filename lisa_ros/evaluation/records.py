"""Finished pictures on disk, line by line, so that an evaluation can be taken up again and shared.

The folder holds `run.json`, which says what is evaluated, and a JSONL file of each shard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lisa_ros.evaluation.cases import EvaluationError
from lisa_ros.evaluation.scores import Result


@dataclass(frozen=True)
class Shard:
    """The part of the pictures that one process does: every `count`-th from `index` on."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise EvaluationError(
                f"shard: expected I/N with I from 0 to N-1, got {self.index}/{self.count}"
            )

    @property
    def file_name(self) -> str:
        """The file of this shard's lines."""
        if self.count == 1:
            return "pictures.jsonl"
        return f"pictures-{self.index}-of-{self.count}.jsonl"

    def indices(self, total: int) -> range:
        """The numbers of this shard's pictures."""
        return range(self.index, total, self.count)


@dataclass(frozen=True)
class Record:
    """One picture that is done, or that could not be done.

    Attributes:
        index: its number in the source.
        picture: its name.
        sha256: of its pixels, questions and true masks.
        results: one for each question.
        milliseconds: by stage.
        hardware: what it ran on.
        error: why it could not be done; the other values are empty then.
    """

    index: int
    picture: str = ""
    sha256: str = ""
    results: tuple[Result, ...] = ()
    milliseconds: Mapping[str, float] | None = None
    hardware: str = ""
    error: str | None = None

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Record:
        """The record of a line.

        Raises:
            ValueError, TypeError, KeyError: the line is none that `to_line` wrote.
        """
        values = json.loads(line)
        results = [Result(**{**r, "groups": tuple(r["groups"])}) for r in values.pop("results")]
        return cls(**values, results=tuple(results))


class RecordFolder:
    """The folder of one evaluation.

    Several processes may use it at once, each with its own shard: no file has two writers.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.folder = folder
        self.shard = shard
        self._own = folder / shard.file_name

    def claim(self, run: Mapping[str, Any]) -> None:
        """Say what is evaluated here, or check that it is what was evaluated here before.

        Raises:
            EvaluationError: it differs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "run.json"
        if not path.is_file():
            unfinished = self.folder / f"run.{os.getpid()}.tmp"
            try:
                unfinished.write_text(json.dumps(run, indent=2) + "\n")
                unfinished.replace(path)  # of several shards that begin at once, all write the same
            finally:
                unfinished.unlink(missing_ok=True)
        known = json.loads(path.read_text())
        differing = [
            f"{key}: there {there}, now {now}" for key, there, now in _differences(known, run)
        ]
        if differing:
            raise EvaluationError(
                f"{self.folder} holds an evaluation of something else ({'; '.join(differing)}); "
                "name another folder, or remove this one to begin anew"
            )

    def read(self) -> dict[int, Record]:
        """All records of all shards by number; a picture that was tried again counts as it ended.

        Raises:
            EvaluationError: a file holds what no evaluation wrote.
        """
        records: dict[int, Record] = {}
        for path in sorted(self.folder.glob("pictures*.jsonl")):
            for record in _read(path):
                before = records.get(record.index)
                if before is None or before.error is not None:
                    records[record.index] = record
        return dict(sorted(records.items()))

    @contextmanager
    def writer(self) -> Iterator[Callable[[Record], None]]:
        """A function that adds a record to this shard's file; it is on disk once that returns."""
        _cut_last_line(self._own)
        with self._own.open("a", encoding="ascii") as file:

            def write(record: Record) -> None:
                file.write(record.to_line())
                file.flush()

            yield write


def _read(path: Path) -> list[Record]:
    records = []
    lines = path.read_text(encoding="ascii").split("\n")
    for number, line in enumerate(lines[:-1], start=1):  # the last is empty, or was cut off
        try:
            records.append(Record.from_line(line))
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(
                f"{path}, line {number}: no record of an evaluation ({error}); remove the line, "
                "and the picture will be done again"
            ) from None
    return records


def _cut_last_line(path: Path) -> None:
    """Remove a last line that was not finished when the process was killed."""
    if path.is_file():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _differences(
    there: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Keys, joined by dots, whose values differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*there, *(k for k in now if k not in there)]:
        a, b = there.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((prefix + key, a, b))
    return found

"""What every data set gives: a picture, and what can be asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

IGNORE = 255  # pixels of a mask that count neither way


class DataError(Exception):
    """A data set or one of its files cannot be used; the message names file, reason and mend."""


class BadSampleError(DataError):
    """One sample cannot be used; the others can."""


@dataclass(frozen=True)
class Target:
    """Something to segment.

    Attributes:
        text: a class name, a referring phrase, or a whole sentence that asks for it.
        is_sentence: whether `text` is a sentence ("long" in ReasonSeg's scores).
        mask: uint8 (H, W) of 0, 1 and `IGNORE`.
        explanation: why it is the answer, in words; empty where the data set has none.
    """

    text: str
    is_sentence: bool
    mask: np.ndarray
    explanation: str = ""


@dataclass(frozen=True)
class Sample:
    """One picture of a data set.

    Attributes:
        path: the picture's file.
        image: RGB uint8 (H, W, 3).
        targets: what can be asked for.
        turns: a conversation about the picture in words, (question, answer) each; without targets.
    """

    path: Path
    image: np.ndarray
    targets: tuple[Target, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()


class DataSet(Protocol):
    """A sub-set of a family, opened."""

    @property
    def name(self) -> str:
        """As in a configuration, for example `refer_seg/refcocog/val`."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One sample.

        Args:
            rng: draws up to three targets, as the published training does; None gives all.

        Raises:
            BadSampleError: its files are missing, broken, or do not fit each other.
        """

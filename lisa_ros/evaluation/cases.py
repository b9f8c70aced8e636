"""What is asked in an evaluation: pictures, with questions whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lisa_ros.model.errors import LisaError


class EvaluationError(LisaError):
    """An evaluation cannot be begun or taken up again; the message names reason and mend."""


@dataclass(frozen=True)
class Case:
    """One question with its truth.

    Attributes:
        groups: names of groups that are also scored alone.
        instruction: the user's words.
        target: (H, W) of 0, 1 and 255 (ignored).
        names: words that must all be in the answer, those that name its objects; may be none.
        is_phrase: whether the words are a bare phrase ("the red cup"), not a sentence.
    """

    groups: tuple[str, ...]
    instruction: str
    target: np.ndarray
    names: tuple[str, ...] = ()
    is_phrase: bool = False

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing to find."""
        return not (self.target == 1).any()


@dataclass(frozen=True)
class Picture:
    """A picture with what is asked about it.

    Attributes:
        name: says in reports and errors which one it is.
        image: RGB uint8 (H, W, 3).
    """

    name: str
    image: np.ndarray
    cases: tuple[Case, ...]


class CaseSource(Protocol):
    """Pictures with questions, by number; the same number always gives the same."""

    @property
    def name(self) -> str:
        """As on the command line, for example `reason_seg/val`."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Picture:
        """One picture with all its questions.

        Raises:
            BadSampleError: its files are missing, broken, or do not fit each other.
        """

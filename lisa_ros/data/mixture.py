"""The published mixture of data: families at fixed rates, evenly drawn sub-sets, random samples."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lisa_ros.data.dialogues import (
    DIALOGUES,
    EXPLANATORY,
    Dialogue,
    MakeDialogues,
    reasoning_dialogues,
)
from lisa_ros.data.samples import BadSampleError, DataError, DataSet, Sample

PUBLISHED_RATES = {"sem_seg": 9.0, "refer_seg": 3.0, "vqa": 3.0, "reason_seg": 1.0}
MOST_ATTEMPTS = 100  # samples without use in a row, after which the family must be broken

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One sample of a mixture and what is said about it.

    Attributes:
        data_set: its name.
        index: of the sample in it.
    """

    family: str
    data_set: str
    index: int
    sample: Sample
    dialogues: tuple[Dialogue, ...]


class Mixture:
    """An endless sequence of samples; item k of a seed is the same whenever it is asked for.

    A family is drawn by its rate, a sub-set of it evenly, and a sample of that at random, as
    published.  In place of a sample that cannot be used another one of the same family is drawn.

    Attributes:
        bad: reason by data set and index, of the samples that could not be used; one that was met
            again counts once.
    """

    def __init__(
        self,
        families: Mapping[str, Sequence[DataSet]],
        *,
        seed: int,
        rates: Mapping[str, float] = PUBLISHED_RATES,
        explanatory: float | None = EXPLANATORY,
        strict: bool = False,
    ) -> None:
        """
        Args:
            families: the sub-sets of each family.
            seed: 0 or more.
            rates: of the families; only their ratios count, and those of absent families do not.
            explanatory: see `reasoning_dialogues`.
            strict: raise at the first bad sample.

        Raises:
            DataError: a family is unknown, empty or without a rate.
        """
        for family, data_sets in families.items():
            if family not in DIALOGUES:
                raise DataError(f"no family {family!r}; there are {', '.join(DIALOGUES)}")
            if not data_sets or not all(len(data_set) for data_set in data_sets):
                raise DataError(f"the family {family} has no samples; leave it out or add data")
            if not rates.get(family, 0) > 0:
                raise DataError(
                    f"the family {family} needs a rate above 0, got {rates.get(family)}"
                )
        if not families:
            raise DataError("a mixture needs data of at least one family")
        self.bad: dict[tuple[str, int], str] = {}
        self._families = dict(families)
        shares = np.array([rates[family] for family in families], dtype=np.float64)
        self._shares = shares / shares.sum()
        self._seed = seed
        self._strict = strict
        self._dialogues: dict[str, MakeDialogues] = {
            **DIALOGUES,
            "reason_seg": functools.partial(reasoning_dialogues, explanatory=explanatory),
        }

    def item(self, number: int, check: Callable[[Item], object] = lambda item: None) -> Item:
        """Item `number` of the sequence.

        Args:
            check: raises BadSampleError where an item cannot be learned.

        Raises:
            BadSampleError: a sample cannot be used, and the mixture is strict.
            DataError: a family gives no usable sample in many attempts.
        """
        family = str(self._rng(number).choice(list(self._families), p=self._shares))
        for attempt in range(1, MOST_ATTEMPTS + 1):
            # Each attempt draws anew, so that what a failed one drew does not matter.
            item = self._attempt(family, self._rng(number, attempt), check)
            if item is not None:
                return item
        names = {data_set.name for data_set in self._families[family]}
        reasons = [reason for (name, _), reason in self.bad.items() if name in names]
        raise DataError(
            f"{MOST_ATTEMPTS} samples of the family {family} in a row could not be used; "
            f"the last of them: {reasons[-1] if reasons else 'nothing to ask about'}"
        )

    def _attempt(
        self, family: str, rng: np.random.Generator, check: Callable[[Item], object]
    ) -> Item | None:
        """A sample of the family, or None where it is broken or gives nothing to ask about."""
        data_sets = self._families[family]
        data_set = data_sets[int(rng.integers(len(data_sets)))]
        index = int(rng.integers(len(data_set)))
        key = data_set.name, index
        try:
            sample = data_set.read(index, rng)
            dialogues = self._dialogues[family](sample, rng)
            item = Item(family, data_set.name, index, sample, dialogues)
            check(item)
        except BadSampleError as error:
            if self._strict:
                raise
            # It is read again each time: another draw of it may be good.
            if key not in self.bad:
                self.bad[key] = str(error)
                logger.warning("Left out sample %d of %s: %s", index, data_set.name, error)
            return None
        return item if dialogues else None

    def _rng(self, number: int, attempt: int = 0) -> np.random.Generator:
        return np.random.default_rng([self._seed, number, attempt])

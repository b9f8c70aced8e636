"""Pickle files from the web, of which only plain data is taken: loading runs no code of theirs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from lisa_ros.data.samples import DataError

# A pickle names what it calls; these do nothing but hold values.  Lists, dicts, texts and numbers
# need no names.
_PLAIN = frozenset({"complex", "frozenset", "set"})


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no plain data")


def read_plain_pickle(path: Path) -> Any:
    """Lists, tuples, sets, dicts, texts and numbers of a pickle file, Python 2's included.

    Raises:
        DataError: the file is missing, broken, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected a pickle file") from None
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle may raise nearly anything
        raise DataError(
            f"{path} cannot be loaded: {error}; take the data set's original file"
        ) from None

"""What the user is told when a disk is full: Python itself often names no file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GO_ON = "make room and start again with the same command"


@contextmanager
def named_if_full(written: Path, mend: str = GO_ON) -> Iterator[None]:
    """A full disk is told with the file, or else with what is being written.

    Raises:
        OSError: the disk is full; the message names file and mend.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"{error.filename or written} cannot be written: no space left on the disk; {mend}"
        ) from error

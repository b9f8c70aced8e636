"""`lisa`: the entry point, and how errors reach the user."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from lisa_ros import __version__
from lisa_ros.cli import convert, data, evaluate, merge, segment, train

EXIT_ERROR = 1  # bad input, said in words; argparse itself exits with 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one `lisa` command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`lisa ... | head`); nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:
        if not _is_expected(error):
            raise
        print(f"lisa: error: {error}", file=sys.stderr)
        return EXIT_ERROR


def _is_expected(error: Exception) -> bool:
    # Imported only now: torch takes seconds, and `lisa --help` must not wait for it.
    from lisa_ros.data.images import ImageReadError
    from lisa_ros.data.samples import DataError
    from lisa_ros.model.errors import LisaError

    return isinstance(error, (LisaError, ImageReadError, DataError, OSError))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lisa",
        description="Reasoning segmentation: ask in plain words, get masks and a reason.",
    )
    parser.add_argument("--version", action="version", version=f"lisa_ros {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    segment.add_command(commands)
    convert.add_command(commands)
    data.add_command(commands)
    evaluate.add_command(commands)
    train.add_command(commands)
    merge.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What commands share: the options that say which model to open and how, and their numbers."""

from __future__ import annotations

import argparse


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, where its parts are, `--precision` and `--device`."""
    parser.add_argument(
        "--model",
        metavar="DIR_OR_ID",
        help="checkpoint folder or hub id (default: the small model of this package)",
    )
    add_part_options(parser)
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16", "int8", "nf4"),
        help="how the weights are held (default: bf16 on a GPU, else fp32)",
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: a GPU if any)")


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Add `--vision-tower`, `--sam-config` and `--conversation`."""
    parser.add_argument(
        "--vision-tower",
        metavar="DIR_OR_ID",
        help="CLIP, instead of the one that the checkpoint names",
    )
    parser.add_argument(
        "--sam-config",
        metavar="FILE",
        help="JSON with SAM's sizes, where the weights do not tell them",
    )
    parser.add_argument(
        "--conversation",
        metavar="NAME",
        help="conversation template: llava_v1 or llava_llama_2 (default: the checkpoint's)",
    )


def positive(text: str) -> int:
    """A whole number of 1 or more, for `type`.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return value

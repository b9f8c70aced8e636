"""The options that say where a model's parts are, shared by all commands that open one."""

from __future__ import annotations

import argparse


def add_model_options(parser: argparse.ArgumentParser) -> None:
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

"""`lisa train CONFIG`: fine-tune a model on data sets or on one's own pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from lisa_ros.cli.full_disk import named_if_full

_DESCRIPTION = """\
Train a LISA on data as published: LoRA in the language model; its head and embeddings, the [SEG]
projection and SAM's mask decoder whole.  All choices stand in CONFIG (config/train.yaml explains
them).  A stopped training goes on with the same command.  On several GPUs:

  accelerate launch --config_file config/accelerate/ddp.yaml -m lisa_ros.cli.main train CONFIG
"""

_EXAMPLE = """\
example:
  lisa train kitchen.yaml && lisa merge runs/kitchen kitchen-lisa
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `train` to the commands of `lisa`."""
    parser = commands.add_parser(
        "train",
        help="fine-tune a model",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", type=Path, help="YAML file")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad sample, do not leave it out"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train to the end."""
    from lisa_ros.training.config import read_train_config

    config = read_train_config(options.config)  # before the seconds that the rest takes to load
    from torch import distributed

    from lisa_ros.training.finetune import train

    with named_if_full(Path(config.run)):
        train(config, source_file=options.config, strict=options.strict)
    if distributed.is_initialized():
        # Its threads must end before the process does, or that can end in an abort.
        distributed.destroy_process_group()
    return 0

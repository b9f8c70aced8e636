"""Two processes on one CPU (DDP and FSDP2 over gloo) against one that reads the batches of both."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from small_training import write_start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lisa_ros.data.families import open_family
from lisa_ros.data.mixture import Mixture
from lisa_ros.training.config import TrainConfig, write_train_config
from lisa_ros.training.finetune import train
from lisa_ros.training.loop import ResumeError

PROCESSES = 2
ACCELERATE = Path(__file__).parents[2] / "config/accelerate"
SEED = 9  # see the first test


@pytest.fixture(scope="module")
def config(tmp_path_factory, first_golden) -> TrainConfig:
    """What two processes do, in three steps of two batches each."""
    root = tmp_path_factory.mktemp("processes")
    config = write_start(root, first_golden.lisa / "tokenizer.model")
    # Dropout is drawn by each process for itself.
    # The one picture of the validation is scored by one of them, after each step.
    return replace(
        config,
        lora_dropout=0.0,
        epochs=3,
        steps_per_epoch=1,
        warmup_steps=0,
        seed=SEED,
        validation="reason_seg/test",
    )


def test_a_batch_of_words_meets_one_with_masks(config):
    families = {
        family: open_family(config.data, family, names) for family, names in config.families.items()
    }
    mixture = Mixture(families, seed=config.seed, rates=config.rates)
    # Batch k is read by process k % 2.  In each step one process ends with words alone, having had
    # masks before, and the other one ends with masks.
    has_masks = [any(d.masks for d in mixture.item(k).dialogues) for k in range(8)]
    assert has_masks == [True, True, False, True, True, True, True, False]


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> dict[str, Path]:
    """Folders: of one process that reads all, and of two, with a model each or one in parts."""
    root = tmp_path_factory.mktemp("runs")
    whole = replace(config, accumulation=PROCESSES * config.accumulation, run=str(root / "one"))
    train(whole)
    parallel = replace(config, run=str(root / "ddp"))
    sharded = replace(config, run=str(root / "fsdp"), save_interval=0.0)
    write_train_config(parallel, root / "ddp.yaml")
    # In the second of its steps one process has words alone.
    words = replace(sharded, run=str(root / "words"), accumulation=1, epochs=2, validation=None)
    write_train_config(sharded, root / "fsdp.yaml")
    write_train_config(words, root / "words.yaml")
    command = f"-m torch.distributed.run --standalone --nproc-per-node {PROCESSES}"
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [
            *(sys.executable, *command.split(), script),
            *(root / name for name in ("ddp.yaml", "fsdp.yaml", "words.yaml")),
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("is trained") == 3
    assert "on 2 processes" in done.stdout
    return {name: root / name for name in ("one", "ddp", "fsdp")}


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_train_as_one_that_reads_the_batches_of_both(runs, config, way):
    """The sharded training was stopped after its second step, and went on."""
    wanted, got = (EventAccumulator(str(runs[name])).Reload() for name in ("one", way))
    for name in ("loss/ce", "loss/bce", "loss/dice"):
        values, expected = (
            {event.step: event.value for event in board.Scalars(name)} for board in (got, wanted)
        )
        assert values.keys() == set(range(1, config.steps + 1))
        assert values == pytest.approx(expected, rel=1e-3), name
    scores = [board.Scalars("validation/score")[-1].value for board in (got, wanted)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    if way == "ddp":
        assert len(list(runs[way].glob("events*"))) == 1  # one of the processes writes
    states = [torch.load(runs[name] / "last.pt", weights_only=True) for name in (way, "one")]
    assert len(states[0]["random"]) == PROCESSES
    weights = [state["module"] for state in states]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[1].items():
        # Adam makes a whole step of a gradient that is nothing but rounding.
        off = (weights[0][name] - tensor).abs() > 1e-5
        assert off.float().mean() < 0.01, name


def test_as_many_processes_must_go_on(runs, config):
    with pytest.raises(ResumeError, match=r"written by 2 processes and 1 came"):
        train(replace(config, run=str(runs["ddp"])))


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_accelerate_knows_what_its_files_say(name):
    config = load_config_from_file(str(ACCELERATE / f"{name}.yaml"))
    options = {option for a in launch_command_parser()._actions for option in a.option_strings}
    assert {f"--{key}" for key in config.fsdp_config} <= options
    assert config.mixed_precision == "no"

"""The configuration of a training: what is read, what is refused, and the example."""

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from lisa_ros.training.config import (
    ConfigError,
    TrainConfig,
    read_train_config,
    write_train_config,
)
from lisa_ros.training.loop import LoopSettings
from lisa_ros.training.lora import LoraSettings
from lisa_ros.training.losses import LossWeights

EXAMPLE = Path(__file__).parents[2] / "config/train.yaml"


def read(tmp_path: Path, **values) -> TrainConfig:
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({"model": "m", "run": "r", **values}))
    return read_train_config(path)


def test_the_example_holds_every_default_and_explains_it():
    config = read_train_config(EXAMPLE)
    assert config == TrainConfig(config.model, config.run)
    lines = EXAMPLE.read_text().splitlines()
    keys = [line.partition(":")[0] for line in lines if re.match(r"\w+:", line)]
    assert sorted(keys) == sorted(f.name for f in fields(TrainConfig))
    clear_by_itself = {"warmup_steps", "epochs", "steps_per_epoch"}
    for line in lines:
        if re.match(r"\w+:", line) and line.partition(":")[0] not in clear_by_itself:
            assert " # " in line, line


def test_the_defaults_are_the_published_ones():
    config = TrainConfig("m", "r")
    assert (config.micro_batch, config.accumulation, config.steps) == (2, 10, 10 * 500)
    assert config.rates == {"sem_seg": 9, "refer_seg": 3, "vqa": 3, "reason_seg": 1}
    loop = LoopSettings(steps=1)
    for name in ("learning_rate", "warmup_steps", "betas", "weight_decay", "max_gradient_norm"):
        assert getattr(config, name) == getattr(loop, name), name
    lora = LoraSettings(config.lora_r, config.lora_alpha, config.lora_dropout)
    assert lora == LoraSettings() == LoraSettings(8, 16, 0.05)
    assert LossWeights(config.ce_weight, config.bce_weight, config.dice_weight) == LossWeights()


def test_what_is_written_is_read_again(tmp_path):
    config = TrainConfig("m", "r", families={"vqa": ["llava_instruct_150k"]}, sam="sam.pth")
    write_train_config(config, tmp_path / "config.yaml")
    assert read_train_config(tmp_path / "config.yaml") == config


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_train_config(TrainConfig("m", "r"), path)
    write = Path.write_text

    def stop(path, text, **choices):
        write(path, text[: len(text) // 2], **choices)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        write_train_config(TrainConfig("other", "r"), path)
    assert read_train_config(path) == TrainConfig("m", "r")


def test_numbers_as_people_write_them(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("model: m\nrun: r\nlearning_rate: 3e-4\nweight_decay: 1\nbetas: [0.8, 0]\n")
    config = read_train_config(path)
    assert (config.learning_rate, config.weight_decay, config.betas) == (3e-4, 1.0, (0.8, 0.0))
    assert isinstance(config.weight_decay, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "unknown learning_rat; known are .*learning_rate"),
        ({"epochs": "many"}, "epochs: expected a whole number, got a text 'many'"),
        ({"epochs": 2.5}, "epochs: expected a whole number, got a number 2.5"),
        ({"epochs": True}, "epochs: expected a whole number, got true or false True"),
        ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number, got a text 'fast'"),
        ({"learning_rate": -1.0}, "learning_rate: expected 0 or more, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected 0 or more, got nan"),
        ({"precision": "int8"}, "precision: expected one of bf16, fp32, nf4, got 'int8'"),
        ({"betas": [0.9]}, "betas: expected a list of 2 numbers, got a list"),
        ({"betas": [0.9, 1.5]}, r"betas: expected two numbers from 0 to below 1, got \[0.9, 1.5\]"),
        ({"families": ["vqa"]}, "families: expected keys with values, got a list"),
        ({"families": {"vqa": "all"}}, "families.vqa: expected a list, got a text 'all'"),
        ({"families": {"vqa": [1]}}, r"families.vqa\[0\]: expected a text, got a whole number 1"),
        (
            {"families": {"reason_seg": ["ReasonSeg|train", "Own|train", "ReasonSeg|train"]}},
            r"families.reason_seg: ReasonSeg\|train is there twice; name it once",
        ),
        ({"rates": {"vqa": None}}, "rates.vqa: expected a number, got nothing"),
        ({"rates": {"vqa": math.inf}}, "rates.vqa: expected a finite number from 0 on, got inf"),
        ({"rates": {"vqa": -1}}, "rates.vqa: expected a finite number from 0 on, got -1"),
        ({"rates": {"vqa": 1, "typo_seg": 5}}, "rates: no family 'typo_seg'; there are sem_seg, "),
        ({"lora_dropout": 5}, "lora_dropout: expected a share from 0 to 1, got 5"),
        ({"explanatory": -1}, "explanatory: .* or null to use no explanations, got -1"),
        ({"sam": 3}, "sam: expected a text, got a whole number 3"),
        ({"run": None}, "run: expected a text, got nothing"),
        (
            {"epochs": 2, "steps_per_epoch": 50},
            r"warmup_steps: expected fewer than the 100 steps in all \(.*\), got 100",
        ),
        ({"max_gradient_norm": 0}, "max_gradient_norm: expected a number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, values, message):
    with pytest.raises(ConfigError, match=rf"train\.yaml: {message}"):
        read(tmp_path, **values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected keys and values, got nothing"),
        ("- a", "expected keys and values, got a list"),
        ("model: [", "is not valid YAML"),
        ("model: m", "run must be given"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    path = tmp_path / "train.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"train.yaml.*{message}"):
        read_train_config(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file .*expected a"):
        read_train_config(tmp_path / "none.yaml")

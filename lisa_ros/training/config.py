"""All choices of a training, read from a YAML file; config/train.yaml explains each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from lisa_ros.data.families import PUBLISHED_SUB_SETS
from lisa_ros.data.mixture import PUBLISHED_RATES
from lisa_ros.model.errors import LisaError

_LEAST = {
    0: (
        *("ce_weight", "bce_weight", "dice_weight"),
        *("learning_rate", "weight_decay", "warmup_steps", "workers", "save_interval", "seed"),
    ),
    1: ("lora_r", "lora_alpha", "epochs", "steps_per_epoch", "micro_batch", "accumulation"),
}


class ConfigError(LisaError):
    """A configuration cannot be used; the message names key, expected and got."""


@dataclass(frozen=True)
class TrainConfig:
    """The choices; the defaults are the published ones.

    Attributes:
        model: hub id or folder of the LISA to start from, or of a LLaVA if `sam` is given.
        run: folder of this training: its checkpoints and its numbers.
        sam: file of SAM's weights, for a start from a LLaVA.
        vision_tower, sam_config, conversation: as in `lisa_ros.model.load`.
        precision: of what is not trained: `bf16`, `fp32`, or `nf4` in the language model's layers.
            Products are computed in bf16, but in fp32 with `fp32`.
        data: folder that holds the data sets in the published layout.
        families: the sub-sets of each family to train on.
        rates: how often each family is drawn; only their ratios count.
        explanatory: share of explained samples that are answered in words alone; None, published as
            -1, to use no explanations.
        validation: what the score is measured on, as `lisa evaluate` names it; None for no score.
        validation_data: its folder, if it is not in `data`.
        lora_r, lora_alpha, lora_dropout: see `LoraSettings`.
        gradient_checkpointing: compute activations again instead of keeping them.
        ce_weight, bce_weight, dice_weight: of the losses.
        learning_rate, betas, weight_decay, warmup_steps, max_gradient_norm: see `LoopSettings`.
        epochs, steps_per_epoch: optimiser steps are their product; each epoch ends with a score.
        micro_batch: pictures that are read at once, in each process.
        accumulation: micro-batches of a process that make one step.
        feature_cache: folder that keeps what the frozen encoders make of each picture; None: they
            run each time.
        workers: processes that read data, for each process that trains.
        save_interval: seconds between two checkpoints.
        seed: of data, dropout and new weights.
    """

    model: str
    run: str
    sam: str | None = None
    vision_tower: str | None = None
    sam_config: str | None = None
    conversation: str | None = None
    precision: Literal["bf16", "fp32", "nf4"] = "bf16"
    data: str = "dataset"
    families: dict[str, list[str]] = field(
        default_factory=lambda: {family: list(s) for family, s in PUBLISHED_SUB_SETS.items()}
    )
    rates: dict[str, float] = field(default_factory=lambda: dict(PUBLISHED_RATES))
    explanatory: float | None = 0.1
    validation: str | None = "reason_seg/val"
    validation_data: str | None = None
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    gradient_checkpointing: bool = True
    ce_weight: float = 1.0
    bce_weight: float = 2.0
    dice_weight: float = 0.5
    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup_steps: int = 100
    max_gradient_norm: float = 1.0
    epochs: int = 10
    steps_per_epoch: int = 500
    micro_batch: int = 2
    accumulation: int = 10
    feature_cache: str | None = None
    workers: int = 4
    save_interval: float = 1800.0
    seed: int = 0

    def __post_init__(self) -> None:
        for least, names in _LEAST.items():
            for name in names:
                value = getattr(self, name)
                if not value >= least:
                    raise ConfigError(f"{name}: expected {least} or more, got {value}")
        for name in ("explanatory", "lora_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                hint = ", or null to use no explanations" if name == "explanatory" else ""
                raise ConfigError(f"{name}: expected a share from 0 to 1{hint}, got {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(
                f"betas: expected two numbers from 0 to below 1, got {list(self.betas)}"
            )
        for family, sub_sets in self.families.items():
            for name in sub_sets:
                if sub_sets.count(name) > 1:
                    raise ConfigError(f"families.{family}: {name} is there twice; name it once")
        for family, rate in self.rates.items():
            if family not in PUBLISHED_RATES:
                raise ConfigError(
                    f"rates: no family {family!r}; there are {', '.join(PUBLISHED_RATES)}"
                )
            if not 0 <= rate < math.inf:
                raise ConfigError(f"rates.{family}: expected a finite number from 0 on, got {rate}")
        if self.warmup_steps >= self.steps:
            raise ConfigError(
                f"warmup_steps: expected fewer than the {self.steps} steps in all (epochs x "
                f"steps_per_epoch), got {self.warmup_steps}: learning_rate would never be reached"
            )
        if not self.max_gradient_norm > 0:
            raise ConfigError(
                f"max_gradient_norm: expected a number above 0, got {self.max_gradient_norm}"
            )

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch


def read_train_config(path: Path) -> TrainConfig:
    """A configuration from its file.

    Raises:
        ConfigError: the file cannot be read or is no YAML, or a key is unknown, absent or of the
            wrong type.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; expected a YAML file as config/train.yaml is"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected keys and values, got {_kind(values)}")
    known = {f.name for f in fields(TrainConfig)}
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ConfigError(
            f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    missing = [name for name in ("model", "run") if name not in values]
    if missing:
        raise ConfigError(f"{path}: {' and '.join(missing)} must be given")
    hints = get_type_hints(TrainConfig)
    try:
        return TrainConfig(**{k: _checked(k, hints[k], value) for k, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_train_config(config: TrainConfig, path: Path) -> None:
    """Write all choices at once, so that `read_train_config` gives them again."""
    values = {**asdict(config), "betas": list(config.betas)}
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    unfinished.replace(path)


def refuse_other_choices(
    folder: Path, before: Mapping[str, Any], choices: Mapping[str, Any]
) -> None:
    """Raise ConfigError where a folder holds a training with other choices."""
    changes = [
        f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in choices.items()
        if before.get(name) != value
    ]
    if changes:
        raise ConfigError(
            f"{folder} holds a training with other choices: {'; '.join(changes)}. Undo the change "
            "to go on with it, or name another folder for a new one"
        )


def _checked(name: str, hint: Any, value: Any) -> Any:
    """The value as its field has it: numbers as float, lists as tuples where the field says so."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):  # what may be None
        return None if value is None else _checked(name, arguments[0], value)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{name}: expected one of {', '.join(arguments)}, got {value!r}")
        return value
    if origin is dict and isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {key: _checked(f"{name}.{key}", arguments[1], v) for key, v in value.items()}
    if origin is list and isinstance(value, list):
        return [_checked(f"{name}[{i}]", arguments[0], v) for i, v in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_checked(f"{name}[{i}]", arguments[0], v) for i, v in enumerate(value))
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 takes 3e-4 for a word
        except (TypeError, ValueError):
            pass
    elif origin is None and type(value) is hint:
        return value
    raise ConfigError(f"{name}: expected {_expected(hint)}, got {_kind(value)} {value!r}")


_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "keys with values",
    list: "a list",
    type(None): "nothing",
}


def _expected(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {len(get_args(hint))} numbers"
    return _NAMES[get_origin(hint) or hint]


def _kind(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)

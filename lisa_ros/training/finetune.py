"""`lisa train`: a LISA, or a LLaVA that becomes one, trained on a mixture of data as published."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.fsdp import FSDPModule

from lisa_ros.data.families import open_family
from lisa_ros.data.mixture import Mixture
from lisa_ros.data.samples import BadSampleError, DataError, DataSet
from lisa_ros.evaluation.cases import CaseSource, EvaluationError
from lisa_ros.evaluation.metrics import MaskMetrics
from lisa_ros.evaluation.protocol import Protocol
from lisa_ros.evaluation.published import SAW_VAL
from lisa_ros.evaluation.run import ask_each
from lisa_ros.evaluation.sources import open_source
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import load_checkpoint
from lisa_ros.model.precision import Precision
from lisa_ros.perception import Segmenter
from lisa_ros.training.batch import training_losses
from lisa_ros.training.config import (
    ConfigError,
    TrainConfig,
    read_train_config,
    refuse_other_choices,
    write_train_config,
)
from lisa_ros.training.feature_cache import FeatureCache
from lisa_ros.training.loop import (
    BEST_NAME,
    Loop,
    LoopSettings,
    bf16_is_fast,
    bf16_products,
    make_accelerator,
    seed_everything,
)
from lisa_ros.training.lora import LoraSettings, make_trainable
from lisa_ros.training.losses import LossWeights
from lisa_ros.training.mixture_batches import (
    FileBatch,
    MixtureBatches,
    share_of_batches,
    to_device,
)
from lisa_ros.training.start import Start, open_start

CONFIG_NAME = "config.yaml"
_DATA_NAME = "data.json"  # samples of each data set
# What may change when a training goes on: it decides how fast results come, not what they are.
_FREE = ("workers", "save_interval", "feature_cache")

logger = logging.getLogger(__name__)


class Finetune(nn.Module):
    """LISA's losses of a batch from the host, wherever the model is.

    Args:
        is_sharded: processes that share one model wait for each other's gradients, so that all must
            have them for the same weights.
    """

    def __init__(
        self,
        model: Lisa,
        weights: LossWeights | None = None,
        cache: FeatureCache | None = None,
        *,
        is_sharded: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self._weights, self._cache, self._is_sharded = weights, cache, is_sharded

    def forward(self, batch: FileBatch) -> dict[str, torch.Tensor]:
        """Named, weighted losses."""
        on_device = to_device(batch.batch, self.model.device)
        features = None
        if self._cache is not None:
            features = self._cache.features(self.model, on_device, batch.paths)
        return training_losses(
            self.model, on_device, self._weights, features, reaches_all=self._is_sharded
        ).named()


def train(
    config: TrainConfig,
    *,
    source_file: Path | None = None,
    strict: bool = False,
    say: Callable[[str], object] = print,
) -> Path:
    """Train, or go on with a training, as its configuration says; gives its folder.

    Started by `accelerate launch` or `torchrun`, all processes train together.

    Args:
        source_file: that the configuration was read from, which is never written over.
        strict: stop at the first bad sample, instead of taking another one.
        say: told what begins, by one of the processes.

    Raises:
        ConfigError: the folder holds a training with other choices, or `source_file` where its own
            configuration belongs.
        LisaError, DataError: model or data cannot be used, or a loss is not finite.
    """
    accelerator = make_accelerator()
    if not accelerator.is_main_process:
        say = _silent
    is_sharded = accelerator.distributed_type == DistributedType.FSDP
    if is_sharded and config.validation is not None and not hasattr(FSDPModule, "reset_iter_state"):
        raise ConfigError(
            "validation: to score a sharded model (FSDP) torch must have "
            f"FSDPModule.reset_iter_state, got torch {torch.__version__}; set it to null"
        )
    if config.precision == "nf4" and accelerator.device.type != "cuda":
        raise ConfigError("precision: nf4 trains on a GPU only, got a CPU; set it to bf16")
    if config.precision == "bf16" and not bf16_is_fast(accelerator.device):
        say("this processor does not compute in bf16: `precision: fp32` is several times as fast")
    config = _with_whole_paths(config)
    folder = Path(config.run)
    if accelerator.is_main_process:
        _claim(folder, config, source_file)
    seed_everything(config.seed)
    start = start_of(config)
    mixture, data_sets = _open_data(config, strict)
    source: CaseSource | None = None
    if config.validation is not None:
        try:
            source = open_source(config.validation, Path(config.validation_data or config.data))
        except (DataError, EvaluationError) as error:
            raise ConfigError(
                f"validation {config.validation}: {error}. In a training `validation_data` is the "
                "folder, and `validation: null` scores nothing"
            ) from error
    if accelerator.is_main_process:
        _claim_data(folder, data_sets, source)
    for data_set in data_sets:
        say(f"{data_set.name}: {len(data_set)} samples")
    model = trainable_model(start, config, accelerator.device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"training {trained / 1e6:.1f} million weights on {accelerator.num_processes} processes")
    # The data show what is there: by them a model would forget to rate masks of what is not.
    weights = LossWeights(
        config.ce_weight, config.bce_weight, config.dice_weight, quality=0.0, object_score=0.0
    )
    cache = None
    if config.feature_cache is not None:
        cache = FeatureCache(Path(config.feature_cache), model, config.precision)
    finetune = Finetune(model, weights, cache, is_sharded=is_sharded)
    loop = Loop(finetune, folder, _loop_settings(config))
    batches = MixtureBatches(mixture, config.micro_batch, model.tokenizer, model.config)
    left_out: set[tuple[str, int]] = set()

    def share(first: int) -> Iterator[FileBatch]:
        return share_of_batches(
            batches,
            first,
            config.steps * config.accumulation,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            workers=config.workers,
            left_out=left_out,
        )

    score: Callable[[], float] | None = None
    if source is not None:
        say(f"{source.name}: {len(source)} pictures to score with")
        if source.name == "reason_seg/val" and config.sam is None:
            say(SAW_VAL + " The weights that score best may be those that were trained least.")
        score = partial(giou, model, source, config.precision, strict=strict)
    loop.run(share, folder.name, score=score)
    if bad := set(gather_object(list(left_out))):  # of all processes
        say(f"{len(bad)} bad samples were left out; the warnings name them")
    say(f"{folder} is trained; make a checkpoint of it with: lisa merge {folder} DST")
    return folder


def start_of(config: TrainConfig) -> Start:
    """What the training starts from."""
    return open_start(
        config.model,
        sam=config.sam,
        vision_tower=config.vision_tower,
        sam_config=config.sam_config,
        conversation=config.conversation,
        seed=config.seed,
    )


def trainable_model(start: Start, config: TrainConfig, device: torch.device) -> Lisa:
    """The model of a start with new adapters, as the training begins."""
    model = load_checkpoint(start.checkpoint, Precision(config.precision), device)
    lora = LoraSettings(config.lora_r, config.lora_alpha, config.lora_dropout)
    make_trainable(model, lora, gradient_checkpointing=config.gradient_checkpointing)
    return model


@torch.no_grad()
def giou(model: Lisa, source: CaseSource, precision: str, *, strict: bool = False) -> float:
    """gIoU by the published protocol; the processes share the pictures and get the same number.

    Args:
        model: in evaluation mode.
        precision: as in `TrainConfig`.
        strict: raise at the first bad sample, instead of leaving it out.

    Raises:
        EvaluationError: no sample gave a question, so that there is no score.
    """
    accelerator = make_accelerator()
    segmenter = Segmenter(model, model_id="training", precision=precision)
    metrics = MaskMetrics()
    own_part = range(accelerator.process_index, len(source), accelerator.num_processes)
    with nullcontext() if precision == "fp32" else bf16_products(model.device.type):
        for _, done in ask_each(segmenter, source, own_part, Protocol("forced"), batch_size=8):
            if not isinstance(done, BadSampleError):
                for result in done.results:
                    metrics.add_overlap(result.intersection, result.union)
            elif strict:
                raise done
            else:
                logger.warning("Left out of the validation: %s", done)
    own = torch.tensor([metrics.iou_sum, metrics.count], dtype=torch.float64, device=model.device)
    iou_sum, count = accelerator.reduce(own, "sum").tolist()
    if not count:
        # A score of 0 would make the first weights the best for ever.
        raise EvaluationError(
            f"the validation {source.name}: none of {len(source)} samples gave a question; mend "
            "what the warnings name and start again with the same command"
        )
    return MaskMetrics(iou_sum=iou_sum, count=int(count)).giou


def _open_data(config: TrainConfig, strict: bool) -> tuple[Mixture, list[DataSet]]:
    families = {
        family: open_family(config.data, family, names) for family, names in config.families.items()
    }
    mixture = Mixture(
        families,
        seed=config.seed,
        rates=config.rates,
        explanatory=config.explanatory,
        strict=strict,
    )
    return mixture, [data_set for data_sets in families.values() for data_set in data_sets]


def _loop_settings(config: TrainConfig) -> LoopSettings:
    return LoopSettings(
        steps=config.steps,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        betas=config.betas,
        accumulation=config.accumulation,
        max_gradient_norm=config.max_gradient_norm,
        bf16=config.precision != "fp32",
        save_interval=config.save_interval,
        score_interval=config.steps_per_epoch,
        seed=config.seed,
    )


def _with_whole_paths(config: TrainConfig) -> TrainConfig:
    """Files and folders named from the root, so that `lisa merge` finds them from anywhere."""
    new = ("run", "feature_cache")  # need not be there yet
    names = (*new, "model", "sam", "vision_tower", "sam_config", "data", "validation_data")
    found: dict[str, Any] = {
        name: str(path.resolve())
        for name in names
        if (value := getattr(config, name)) is not None
        and ((path := Path(value).expanduser()).exists() or name in new)
    }
    return replace(config, **found)


def _claim(folder: Path, config: TrainConfig, source_file: Path | None) -> None:
    """Keep the configuration in the folder, or compare it with that of what was trained there."""
    path = folder / CONFIG_NAME
    if not (folder / "last.pt").is_file():
        if (folder / BEST_NAME).is_file():
            # `lisa merge` would take it for the best of the new training.
            raise ConfigError(
                f"{folder} holds the weights of a training ({BEST_NAME}), but not the last.pt to "
                "go on from; `lisa merge` them or move them away, or name another folder (run)"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if source_file is None or not path.exists() or not path.samefile(source_file):
            write_train_config(config, path)
        elif read_train_config(path) != config:  # else it is what was written here
            raise ConfigError(
                f"{path} is where the training keeps all its choices, and would be written over; "
                "move it elsewhere, or name another folder (run)"
            )
        return
    names = [f.name for f in fields(TrainConfig) if f.name not in (*_FREE, "run")]
    before, now = (
        {name: getattr(choices, name) for name in names}
        for choices in (read_train_config(path), config)
    )
    refuse_other_choices(folder, before, now)


def _claim_data(folder: Path, data_sets: list[DataSet], source: CaseSource | None) -> None:
    """Keep how many samples there are, or compare it.

    Another number is another order of them, or another score to be the best.
    """
    path = folder / _DATA_NAME
    counts = {data_set.name: len(data_set) for data_set in data_sets}
    if source is not None:
        counts[f"validation {source.name}"] = len(source)
    if not (folder / "last.pt").is_file() or not path.is_file():
        path.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changes = [
        f"{name} had {before.get(name, 0)} samples and has {count}"
        for name, count in counts.items()
        if before.get(name) != count
    ]
    if changes:
        raise ConfigError(
            f"{folder} holds a training on other data: {'; '.join(changes)}. Put the data back as "
            "they were to go on with it, or name another folder (run) for a new one"
        )


def _silent(text: str) -> None:
    pass

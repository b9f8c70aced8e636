"""Train the embedded model from nothing: `make tiny-model`.

Render scenes, make a vocabulary, train the encoders, then everything together.  Each step is
skipped where its result is there, and training goes on from its last checkpoint, so an interrupted
run is started again with the same command.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from lisa_ros.evaluation.generated import Case, score_answers
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.perception import Segmenter
from lisa_ros.sim.catalog import CLASS_NAMES, COLOURS
from lisa_ros.sim.corpus import corpus
from lisa_ros.sim.instructions import SEG
from lisa_ros.training.batch import training_losses
from lisa_ros.training.embedded import (
    EmbeddedSizes,
    embedded_config,
    new_model,
    save_model,
    train_tokenizer,
)
from lisa_ros.training.encoders import EncoderStage
from lisa_ros.training.loop import Loop, LoopSettings
from lisa_ros.training.scene_batch import SceneBatch, make_scene_batch, to_device
from lisa_ros.training.scene_set import Example, SceneSet, SceneSettings, render_scenes

# Seeds of test scenes start here; training scenes count up from 0.
TEST_SEED = 1_000_000_000


@dataclass(frozen=True)
class Recipe:
    """All choices of the embedded model's training.

    Attributes:
        scenes: training scenes.
        test_scenes: of each of two test sets, one with the meshes and words of training, one with
            held-out ones.
        sentences: questions whose words make the vocabulary.
        images: scenes a batch.
        questions: about each scene of a batch.
        encoder_steps, steps: optimiser steps of the two stages.
        encoder_rate: factor of the learning rate of both encoders in the second stage.
    """

    sizes: EmbeddedSizes = field(default_factory=EmbeddedSizes)
    settings: SceneSettings = field(default_factory=SceneSettings)
    scenes: int = 80_000
    test_scenes: int = 250
    sentences: int = 200_000
    images: int = 64
    questions: int = 3
    encoder_steps: int = 6_000
    steps: int = 20_000
    learning_rate: float = 8e-4
    encoder_rate: float = 0.25
    seed: int = 0


class SceneBatches(Dataset[SceneBatch]):
    """Batch number k of a run, the same whenever it is asked for."""

    def __init__(self, folder: Path, recipe: Recipe, tokenizer_folder: Path, stage: int) -> None:
        self._scenes = SceneSet(folder)
        self._recipe, self._stage = recipe, stage
        self._config = embedded_config(recipe.sizes)
        self._tokenizer_folder = tokenizer_folder
        self._tokenizer: LisaTokenizer | None = None  # sentencepiece does not travel to processes

    def __len__(self) -> int:
        return max(self._recipe.encoder_steps, self._recipe.steps)

    def __getitem__(self, number: int) -> SceneBatch:
        if self._tokenizer is None:
            self._tokenizer = LisaTokenizer.from_folder(self._tokenizer_folder)
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, self._stage, number])
        chosen = rng.choice(len(self._scenes), min(recipe.images, len(self._scenes)), replace=False)
        return make_scene_batch(
            [self._scenes[int(k)] for k in chosen],
            self._tokenizer,
            self._config,
            rng,
            questions=recipe.questions if self._stage == 2 else 0,
            class_names=CLASS_NAMES,
            colour_names=tuple(COLOURS),
        )


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    workers: int,
    say: Callable[[str], object] = print,
) -> Path:
    """Run the recipe in `folder` and return the folder of the finished checkpoint."""
    model_folder = folder / "model"
    scenes = folder / "scenes"
    started = time.monotonic()
    for done in render_scenes(scenes, recipe.settings, count=recipe.scenes, workers=workers):
        say(f"scenes: {done} of {recipe.scenes}")
    if not (model_folder / "tokenizer.model").is_file():
        train_tokenizer(
            corpus(recipe.sentences, recipe.seed), model_folder, recipe.sizes.vocabulary
        )
    tokenizer = LisaTokenizer.from_folder(model_folder)
    model = new_model(embedded_config(recipe.sizes), tokenizer, recipe.seed).to(device)

    def batches(stage: int, steps: int) -> Callable[[int], Iterable[SceneBatch]]:
        dataset = SceneBatches(scenes, recipe, model_folder, stage)
        return lambda first: DataLoader(
            dataset,
            batch_size=None,
            sampler=range(first, steps),
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )

    settings = LoopSettings(
        steps=recipe.encoder_steps,
        learning_rate=recipe.learning_rate,
        weight_decay=0.02,
        warmup_steps=min(300, recipe.encoder_steps // 10),
        autocast=device.type == "cuda",
        seed=recipe.seed,
    )
    stage = EncoderStage(model, len(CLASS_NAMES), len(COLOURS)).to(device)
    encoders = Loop(stage, stage.losses, folder / "encoders", settings)
    encoders.run(batches(1, recipe.encoder_steps), "encoders")

    settings = replace(settings, steps=recipe.steps, warmup_steps=min(300, recipe.steps // 10))
    loop = Loop(
        model,
        partial(_losses, model),
        folder / "everything",
        settings,
        rate=lambda name: recipe.encoder_rate if _is_encoder(name) else 1.0,
    )
    loop.run(batches(2, recipe.steps), "everything")
    save_model(model, model_folder)
    card: dict[str, Any] = {
        "recipe": asdict(recipe),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "hours_of_last_call": round((time.monotonic() - started) / 3600, 2),
    }
    segmenter = Segmenter.from_pretrained(model_folder, device=str(device))
    for name, held_out in (("seen", False), ("held_out", True)):
        card[name] = _score(segmenter, recipe, folder / f"test-{name}", held_out, workers)
        say(f"{name}: {card[name]}")
    (model_folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return model_folder


def _losses(model: Lisa, scenes: SceneBatch) -> dict[str, torch.Tensor]:
    batch = to_device(scenes, model.config, model.device, varied=True)
    return training_losses(model, batch).named()


def _is_encoder(name: str) -> bool:
    return name.startswith(("vision_tower.", "visual_model.image_encoder."))


def _score(
    segmenter: Segmenter, recipe: Recipe, folder: Path, held_out: bool, workers: int
) -> dict[str, Any]:
    """Free answers about scenes that training never saw, with its words or with held-out ones."""
    settings = replace(recipe.settings, held_out=held_out)
    first_seed = TEST_SEED + held_out * recipe.test_scenes
    for _ in render_scenes(
        folder, settings, count=recipe.test_scenes, first_seed=first_seed, workers=workers
    ):
        pass
    return score_answers(segmenter, scene_cases(SceneSet(folder)), template="mask").as_dict()


def scene_cases(scenes: Iterable[Example]) -> Iterator[tuple[np.ndarray, list[Case]]]:
    """Pictures with what is asked about them; an answer should begin as the true one does."""
    for example in scenes:
        cases = [
            Case(
                question.kind,
                question.instruction,
                np.isin(example.ids, question.targets) if question.wants_mask else None,
                name=question.answer.split(SEG)[0].strip(),
            )
            for question in example.questions
        ]
        yield example.rgb, cases


def main() -> None:
    """The command."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="gets scenes, checkpoints and the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    for name in ("scenes", "images", "questions", "encoder_steps", "steps", "seed"):
        default = getattr(recipe, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N")
    arguments = vars(parser.parse_args())
    folder, device, workers = (arguments.pop(name) for name in ("folder", "device", "workers"))
    console = Console()
    chosen = replace(recipe, **arguments)
    result = train(chosen, folder, device=torch.device(device), workers=workers, say=console.print)
    console.print(f"{result} is ready")


if __name__ == "__main__":
    main()

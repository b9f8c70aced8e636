"""Train the embedded model from nothing: `make tiny-model`.

Render scenes, make a vocabulary, train the encoders, then everything together.  Each step is
skipped where its result is there, and training goes on from its last checkpoint, so an interrupted
run is started again with the same command.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lisa_ros.evaluation.generated import Case, score_answers
from lisa_ros.model.conversation import clean_explanation
from lisa_ros.model.errors import CheckpointError, LisaError
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import load
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.perception import Segmenter
from lisa_ros.sim.catalog import CLASS_NAMES, COLOURS
from lisa_ros.sim.corpus import corpus
from lisa_ros.sim.instructions import SEG, Question
from lisa_ros.training.batch import encode_images, read_batch, training_losses
from lisa_ros.training.calibration import calibrate
from lisa_ros.training.config import refuse_other_choices
from lisa_ros.training.embedded import (
    EmbeddedSizes,
    embedded_config,
    new_model,
    save_model,
    train_tokenizer,
)
from lisa_ros.training.encoders import DenseHeads, EncoderStage
from lisa_ros.training.loop import Loop, LoopSettings, bf16_is_fast
from lisa_ros.training.losses import LossWeights
from lisa_ros.training.pointing import Pointing
from lisa_ros.training.scene_batch import SceneBatch, crowd, make_scene_batch, to_device
from lisa_ros.training.scene_set import Example, SceneSet, SceneSettings, render_scenes

# Test sets of the card: what is other than in ordinary scenes with training's meshes and words.
TEST_SETS: dict[str, dict[str, Any]] = {
    "seen": {},
    "held_out_words": {"held_out_words": True},
    "held_out_meshes": {"held_out_meshes": True},
    "held_out": {"held_out_meshes": True, "held_out_words": True},
    "close_ups": {"close_ups": 1.0},
}
# Seeds of test scenes start here, those of calibration there; training scenes count up from 0.
TEST_SEED = 1_000_000_000
_CALIBRATION_SEED = 2_000_000_000
_LAYERS = 3  # scenes whose things are laid over a picture that the encoders learn from
_STAGES = ("encoders", "everything")  # folders of their checkpoints
_DENSE = 0.3  # weight of what each patch and cell shows, where encoders learn beside the words


@dataclass(frozen=True)
class Recipe:
    """All choices of the embedded model's training.

    Attributes:
        scenes: training scenes.
        test_scenes, test_questions: of each of `TEST_SETS`.
        calibration_scenes: with as many questions each; the share that they settle is as sure as
            they are many.
        sentences: questions whose words make the vocabulary.
        images: scenes a batch.
        questions: about each scene of a batch.
        encoder_steps, steps: optimiser steps of the two stages.
        encoder_rate: factor of the learning rate of both encoders in the second stage; with 0 they
            stay as they are, as LISA's do. Their convolutions stay always: they cost most.
        opening, opening_found: weights of an answer's first two tokens, which refuse or find.
        false_refusals: share of the questions for what is there that the finished model may refuse;
            on fresh scenes it says how sure of a mask the model must be.
        start: folder of an embedded model of these sizes to go on from: its vocabulary and weights.
    """

    sizes: EmbeddedSizes = field(default_factory=EmbeddedSizes)
    settings: SceneSettings = field(default_factory=lambda: SceneSettings(close_ups=0.4))
    scenes: int = 16_000
    test_scenes: int = 100
    test_questions: int = 10
    calibration_scenes: int = 1_000
    sentences: int = 200_000
    images: int = 8
    questions: int = 6
    encoder_steps: int = 7_000
    steps: int = 14_000
    learning_rate: float = 8e-4
    encoder_rate: float = 0.0
    opening: float = 4.0
    opening_found: float = 80.0
    false_refusals: float = 0.05
    seed: int = 0
    start: str | None = None


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
        recipe, is_first = self._recipe, self._stage == 1
        rng = np.random.default_rng([recipe.seed, self._stage, number])
        images = recipe.images * (1 + _LAYERS if is_first else 1)
        chosen = rng.choice(len(self._scenes), images, replace=images > len(self._scenes))
        scenes = make_scene_batch(
            [self._scenes[int(k)] for k in chosen],
            self._tokenizer,
            self._config,
            rng,
            questions=0 if is_first else recipe.questions,
            class_names=CLASS_NAMES,
            colour_names=tuple(COLOURS),
        )
        return crowd(scenes, rng, layers=_LAYERS) if is_first else scenes


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    workers: int,
    say: Callable[[str], object] = print,
) -> Path:
    """Run the recipe in `folder` and return the folder of the finished checkpoint."""
    _claim(folder, recipe)
    model_folder = folder / "model"
    scenes = folder / "scenes"
    for done in render_scenes(scenes, recipe.settings, count=recipe.scenes, workers=workers):
        say(f"scenes: {done} of {recipe.scenes}")
    tokenizer = _vocabulary(recipe, model_folder)
    model = new_model(embedded_config(recipe.sizes), tokenizer, recipe.seed)
    if recipe.start is not None:
        start_from(model, recipe.start)
    model.to(device)

    # On the CPU they would only take time from the training.
    loaders = workers if device.type == "cuda" else 0

    def batches(stage: int, steps: int) -> Callable[[int], Iterable[SceneBatch]]:
        dataset = SceneBatches(scenes, recipe, model_folder, stage)
        return lambda first: DataLoader(
            dataset,
            batch_size=None,
            sampler=range(first, steps),
            num_workers=loaders,
            multiprocessing_context="spawn" if loaders else None,
        )

    settings = LoopSettings(
        steps=recipe.encoder_steps,
        learning_rate=recipe.learning_rate,
        weight_decay=0.02,
        warmup_steps=min(300, recipe.encoder_steps // 10),
        bf16=bf16_is_fast(device),
        seed=recipe.seed,
    )
    model.language_model.requires_grad_(False)  # what a word means stays, pictures come to it
    stage = EncoderStage(model, CLASS_NAMES, tuple(COLOURS)).to(device)
    encoders = Loop(stage, folder / _STAGES[0], settings)
    encoders.run(batches(1, recipe.encoder_steps), "encoders")

    model.requires_grad_(True)
    for name, weight in model.named_parameters():
        if _of_encoder(name):
            weight.requires_grad_(recipe.encoder_rate > 0 and "patch_embed" not in name)
    settings = replace(settings, steps=recipe.steps, warmup_steps=min(300, recipe.steps // 10))
    everything = Loop(
        WordsAndMasks(
            model,
            LossWeights(opening=recipe.opening, opening_found=recipe.opening_found),
            stage.heads if recipe.encoder_rate else None,
        ),
        folder / _STAGES[1],
        settings,
        rate=lambda name: recipe.encoder_rate if _of_encoder(name) else 1.0,
    )
    everything.run(batches(2, recipe.steps), "everything")
    say("learning which of its masks to believe")
    model.eval()
    unseen = _fresh_scenes(
        recipe, folder / "calibration", recipe.calibration_scenes, _CALIBRATION_SEED, workers
    )
    calibrate(
        Segmenter(model, model_id="lisa-tiny", precision="fp32"),
        scene_cases(unseen),
        false_refusals=recipe.false_refusals,
        template="mask",
    )
    save_model(model, model_folder)
    say("answering about scenes that it has not seen")
    card = {
        "recipe": asdict(recipe),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "hours": round((encoders.seconds + everything.seconds) / 3600, 2),
        **_scores(recipe, folder, device, workers),
    }
    (model_folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    for name in TEST_SETS:
        say(f"{name}: gIoU {card[name]['giou']}")
    return model_folder


def _claim(folder: Path, recipe: Recipe) -> None:
    """Keep the recipe in the folder, or compare it with that of what was begun there."""
    path, values = folder / "recipe.json", json.loads(json.dumps(asdict(recipe)))
    is_begun = any((folder / stage / "last.pt").is_file() for stage in _STAGES)
    if is_begun and path.is_file():
        refuse_other_choices(folder, json.loads(path.read_text()), values)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


def start_from(model: Lisa, folder: str | Path) -> None:
    """Take over the weights of an embedded model.

    Raises:
        CheckpointError: it is another in what no shape of a weight shows.
    """
    start = load(folder, device="cpu", precision="fp32")
    wanted, got = (
        f"patches of {c.clip.patch_size} and {c.sam.patch_size} pixels, iou_sigmoid "
        f"{c.sam.iou_sigmoid}, object_score {c.sam.object_score}"
        for c in (model.config, start.config)
    )
    if got != wanted:
        raise CheckpointError(
            f"{folder} is of other sizes than the recipe: expected {wanted}, got {got}; start from "
            "a model of this recipe, or change EmbeddedSizes"
        )
    model.load_state_dict(start.state_dict())


def _vocabulary(recipe: Recipe, folder: Path) -> LisaTokenizer:
    """The words of the model in a folder, made or taken over where it has none."""
    if not (folder / "tokenizer.model").is_file():
        if recipe.start is None:
            sentences = corpus(recipe.sentences, recipe.seed)
            return train_tokenizer(sentences, folder, recipe.sizes.vocabulary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("added_tokens.json", "tokenizer.model"):
            shutil.copy(Path(recipe.start) / name, folder)
    return LisaTokenizer.from_folder(folder)


def _scores(recipe: Recipe, folder: Path, device: torch.device, workers: int) -> dict[str, Any]:
    """What the finished model answers about each of the test sets."""
    segmenter = Segmenter.from_pretrained(folder / "model", device=str(device))
    scores: dict[str, Any] = {}
    for name, other in TEST_SETS.items():
        # The same pictures with held-out words as without.
        place = 2 if "close_ups" in other else int("held_out_meshes" in other)
        scenes = _fresh_scenes(
            recipe,
            folder / f"test-{name}",
            recipe.test_scenes,
            TEST_SEED + place * recipe.test_scenes,
            workers,
            **other,
        )
        scores[name] = score_answers(segmenter, scene_cases(scenes), template="mask").as_dict()
        if name == "seen":  # how much of the score the words are worth
            of_others = score_answers(segmenter, cases_of_others(scenes), template="mask")
            scores["giou_with_another_question"] = of_others.as_dict()["giou"]
    return scores


class WordsAndMasks(nn.Module):
    """A model with LISA's losses, which also learns to point.

    Args:
        heads: with them the encoders go on learning what each patch and cell shows.
    """

    def __init__(self, model: Lisa, weights: LossWeights, heads: DenseHeads | None = None) -> None:
        super().__init__()
        self.model, self._weights, self.heads = model, weights, heads
        side = math.isqrt(model.config.num_image_tokens)
        self.pointing = Pointing(model.config.llama.hidden_size, side)

    def forward(self, scenes: SceneBatch) -> dict[str, torch.Tensor]:
        """Named losses of a batch of scenes."""
        batch = to_device(scenes, self.model.config, self.model.device, varied=True)
        features = encode_images(self.model, batch)
        reading = read_batch(self.model, batch, features.image_tokens, self._weights)
        losses = training_losses(self.model, batch, self._weights, features, reading).named()
        losses["pointing"] = self.pointing(reading, scenes)
        if self.heads is not None:
            dense = self.heads(self.model, features, scenes)
            losses |= {name: _DENSE * loss for name, loss in dense.items()}
        return losses


def _of_encoder(name: str) -> bool:
    return "vision_tower." in name or "image_encoder." in name


def _fresh_scenes(
    recipe: Recipe,
    folder: Path,
    count: int,
    first_seed: int,
    workers: int,
    **other: Any,
) -> SceneSet:
    """Scenes that training never saw.

    Args:
        other: settings in which they are not ordinary scenes with training's meshes and words.
    """
    ordinary = replace(recipe.settings, questions=recipe.test_questions, close_ups=0.0)
    settings = replace(ordinary, **other)
    for _ in render_scenes(folder, settings, count=count, first_seed=first_seed, workers=workers):
        pass
    return SceneSet(folder)


def scene_cases(scenes: Iterable[Example]) -> Iterator[tuple[np.ndarray, list[Case]]]:
    """Pictures with what is asked about them; an answer should begin as the true one does.

    Each case is of the groups of its question's kind and of its place: in the centre square, which
    is all that the published models see of a picture, or outside.
    """
    for example in scenes:
        yield example.rgb, [_case(example, q) for q in example.questions if q.wants_mask]


def cases_of_others(scenes: Sequence[Example]) -> Iterator[tuple[np.ndarray, list[Case]]]:
    """The same pictures and masks, asked for with the questions about the next picture."""
    following = [scenes[(i + 1) % len(scenes)] for i in range(len(scenes))]
    for (rgb, cases), (_, others) in zip(scene_cases(scenes), scene_cases(following), strict=True):
        present = [case for case in cases if case.target.any()]
        yield (
            rgb,
            [
                replace(case, instruction=other.instruction, names=())
                for case, other in zip(present, others, strict=False)
            ],
        )


def _case(example: Example, question: Question) -> Case:
    mask = np.isin(example.ids, question.targets)
    if not question.targets:
        return Case((question.kind,), question.instruction, mask)
    height, width = mask.shape
    centres = [np.nonzero(example.ids == target)[1].mean() for target in question.targets]
    is_central = all(abs(centre - width / 2) < height / 2 for centre in centres)
    place = "centre square" if is_central else "outside the centre square"
    return Case((question.kind, place), question.instruction, mask, _names(question.answer))


def _names(answer: str) -> tuple[str, ...]:
    """What follows each `[SEG]` of a true answer: `the mug`."""
    parts = (clean_explanation(part) for part in answer.split(SEG)[1:])
    return tuple(part.rstrip(".,").removesuffix(" and").rstrip(",") for part in parts)


def main() -> None:
    """The command."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="gets scenes, checkpoints and the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--start", metavar="FOLDER", help="an embedded model to go on from")
    names = ("scenes", "images", "questions", "encoder_steps", "steps", "encoder_rate", "seed")
    for name in names:
        default = getattr(recipe, name)
        kind = type(default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, metavar="N")
    arguments = vars(parser.parse_args())
    folder, device, workers = (arguments.pop(name) for name in ("folder", "device", "workers"))
    console = Console()
    chosen = replace(recipe, **arguments)
    try:
        result = train(
            chosen, folder, device=torch.device(device), workers=workers, say=console.print
        )
    except LisaError as error:
        sys.exit(f"error: {error}")
    console.print(f"{result} is ready")


if __name__ == "__main__":
    main()

"""Simulated scenes as questions to evaluate on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lisa_ros.data.samples import DataError
from lisa_ros.evaluation.cases import EvaluationError, Picture
from lisa_ros.training.scene_set import Example, SceneSet, SceneSettings, render_scenes
from lisa_ros.training.tiny_model import TEST_SEED, scene_cases

_QUESTIONS = 10  # about each scene


def open_scenes(name: str, folder: Path, render: int | None) -> SceneCases:
    """The scenes of a folder.

    Args:
        name: `scenes`, or `scenes/held_out` for meshes and words that training never uses.
        render: scenes that the folder gets first, as far as it lacks them, from seeds that training
            never uses.

    Raises:
        DataError: the folder holds no scenes.
        EvaluationError: it holds scenes of other settings.
    """
    is_held_out = name.endswith("held_out")
    if render is not None:
        settings = SceneSettings(
            questions=_QUESTIONS, held_out_meshes=is_held_out, held_out_words=is_held_out
        )
        try:
            for _ in render_scenes(folder, settings, count=render, first_seed=TEST_SEED):
                pass
        except ValueError as error:
            raise EvaluationError(str(error)) from None
    try:
        scenes = SceneSet(folder)
    except FileNotFoundError as error:
        raise DataError(f"{error}; --render N puts N scenes there") from None
    settings = scenes.settings
    if (settings.held_out_meshes, settings.held_out_words) != (is_held_out, is_held_out):
        raise EvaluationError(
            f"{folder}: expected scenes {_told(is_held_out, is_held_out)} for {name}, got scenes "
            f"{_told(settings.held_out_meshes, settings.held_out_words)}; name the folder that "
            "`--render` made for it"
        )
    return SceneCases(name, scenes)


def _told(meshes: bool, words: bool) -> str:
    kinds = ("training's", "held-out")
    return f"of {kinds[meshes]} meshes and {kinds[words]} words"


class SceneCases:
    """Scenes with their questions, which are of the groups of their kind and the object's place."""

    def __init__(self, name: str, scenes: Sequence[Example]) -> None:
        self.name = name
        self._scenes = scenes

    def __len__(self) -> int:
        return len(self._scenes)

    def read(self, index: int) -> Picture:
        """One scene with its questions that want a mask; see `CaseSource`."""
        ((image, cases),) = scene_cases([self._scenes[index]])
        return Picture(f"scene {index}", image, tuple(cases))

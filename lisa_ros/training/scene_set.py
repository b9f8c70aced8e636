"""Scenes of the simulated camera on disk, with questions and answers, for the embedded model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from lisa_ros.sim.instructions import Question, ask
from lisa_ros.sim.renderer import Renderer
from lisa_ros.sim.scene import sample_scene
from lisa_ros.sim.view import visible_objects

_SHARD = 250  # scenes a file
_SETTINGS = "settings.json"
# 2: refusals have a wrong answer; 3: with two things where several are asked for; 4: nothing is
# asked on which two people may disagree about a colour, a neighbour or another name.
_FORMAT = 4


@dataclass(frozen=True)
class SceneSettings:
    """What is rendered.

    Attributes:
        width, height: size of the pictures.
        questions: about each scene, as many as it allows.
        held_out_meshes, held_out_words: those that are kept for testing, instead of those for
            training.
        close_ups: share of the scenes that are seen from so near that one object fills much of the
            picture.
    """

    width: int = 384
    height: int = 288
    questions: int = 16
    held_out_meshes: bool = False
    held_out_words: bool = False
    close_ups: float = 0.0

    @property
    def min_pixels(self) -> int:
        """Fewest pixels of an object that is asked for: about 10 x 10 of a 384 x 288 picture."""
        return self.width * self.height // 1100


@dataclass(frozen=True)
class Example:
    """One scene.

    Attributes:
        rgb: uint8 (H, W, 3).
        ids: uint8 (H, W), the instance at each pixel, 0 for the background.
        classes, colours: names by instance number; a colour may be None.
        questions: with their answers.
    """

    rgb: np.ndarray
    ids: np.ndarray
    classes: dict[int, str]
    colours: dict[int, str | None]
    questions: tuple[Question, ...]


def render_example(renderer: Renderer, seed: int, settings: SceneSettings) -> Example:
    """The scene of a seed and its questions."""
    is_close_up = bool(np.random.default_rng([seed, 2]).random() < settings.close_ups)
    scene = sample_scene(seed, held_out_meshes=settings.held_out_meshes, close_up=is_close_up)
    frame = renderer.render(scene)
    view = visible_objects(frame.ids, frame.depth, scene.objects, settings.min_pixels)
    questions = ask(
        *view,
        np.random.default_rng([seed, 1]),
        count=settings.questions,
        image_size=(settings.height, settings.width),
        held_out=settings.held_out_words,
    )
    return Example(
        frame.rgb,
        frame.ids,
        {item.instance: item.class_name for item in scene.objects},
        {item.instance: item.colour for item in scene.objects},
        tuple(questions),
    )


def render_scenes(
    folder: Path, settings: SceneSettings, *, count: int, first_seed: int = 0, workers: int = 1
) -> Iterator[int]:
    """Render what is missing of `count` scenes; yields the number of them that are there.

    An interrupted call is taken up again at the file that was not finished.  Scenes that an earlier
    call rendered beyond `count` stay; a file of fewer scenes than it should have is made anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / _SETTINGS
    wanted = {**asdict(settings), "first_seed": first_seed, "format": _FORMAT}
    if known.is_file() and json.loads(known.read_text()) != wanted:
        raise ValueError(
            f"{folder} holds scenes of other settings, or of an earlier version of this package; "
            "remove it or name another"
        )
    known.write_text(json.dumps(wanted))
    wanted_of = {start: min(_SHARD, count - start) for start in range(0, count, _SHARD)}
    there = {start: min(_count(folder, start), wanted_of[start]) for start in wanted_of}
    starts = [start for start in wanted_of if there[start] < wanted_of[start]]
    yield sum(there.values())
    work = partial(_render_shard, folder, settings, first_seed)
    # Not forked: an OpenGL context does not survive it.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        rendered = pool.map(work, starts, [wanted_of[start] for start in starts])
        for start, number in zip(starts, rendered, strict=True):
            there[start] = number
            yield sum(there.values())


def _render_shard(
    folder: Path, settings: SceneSettings, first_seed: int, start: int, count: int
) -> int:
    rgb = np.empty((count, settings.height, settings.width, 3), np.uint8)
    ids = np.empty(rgb.shape[:3], np.uint8)
    words = []
    with Renderer(settings.width, settings.height) as renderer:
        for i in range(count):
            example = render_example(renderer, first_seed + start + i, settings)
            rgb[i], ids[i] = example.rgb, example.ids
            words.append(
                {
                    "classes": example.classes,
                    "colours": example.colours,
                    "questions": [asdict(question) for question in example.questions],
                }
            )
    # By a rename each: a smaller file of before may be in use, and stays whole if this is stopped.
    unfinished = _words(folder, start).with_suffix(".tmp")
    for name, array in (("rgb", rgb), ("ids", ids)):
        with unfinished.open("wb") as file:
            np.save(file, array)
        unfinished.replace(folder / f"{name}-{start:07d}.npy")
    unfinished.write_text(json.dumps(words))
    unfinished.replace(_words(folder, start))  # last: says that the shard is whole
    return count


def _words(folder: Path, start: int) -> Path:
    return folder / f"words-{start:07d}.json"


def _count(folder: Path, start: int) -> int:
    """How many scenes a shard has; 0 if it is not finished."""
    path = _words(folder, start)
    return len(json.loads(path.read_text())) if path.is_file() else 0


class SceneSet(Sequence[Example]):
    """Rendered scenes; pictures stay on disk until they are asked for.

    Attributes:
        settings: with which they were rendered.
    """

    def __init__(self, folder: Path) -> None:
        self._shards = []
        for path in sorted(folder.glob("words-*.json")):
            start = path.stem.removeprefix("words-")
            self._shards.append(
                (
                    np.load(folder / f"rgb-{start}.npy", mmap_mode="r"),
                    np.load(folder / f"ids-{start}.npy", mmap_mode="r"),
                    json.loads(path.read_text()),
                )
            )
        if not self._shards:
            raise FileNotFoundError(f"{folder} holds no scenes; expected what render_scenes writes")
        values = json.loads((folder / _SETTINGS).read_text())
        known = {f.name for f in fields(SceneSettings)}  # an older version may have had fewer
        self.settings = SceneSettings(**{k: v for k, v in values.items() if k in known})
        self._index = [(s, i) for s, shard in enumerate(self._shards) for i in range(len(shard[2]))]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]  # no slices
        shard, i = self._index[index]
        rgb, ids, words = self._shards[shard]
        return Example(
            rgb[i],
            ids[i],
            {int(k): v for k, v in words[i]["classes"].items()},
            {int(k): v for k, v in words[i]["colours"].items()},
            tuple(
                Question(**{**question, "targets": tuple(question["targets"])})
                for question in words[i]["questions"]
            ),
        )

"""How fast the small model of this package answers, and whether it finds real things.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/embedded_model.py --json embedded.json \
        [--photographs /usr/share/doc/opencv-doc/examples/data]

Times: questions about simulated scenes at 640x480, each on a new picture (both encoders run), in
the model's default way of answering: words, reason and mask.  "Second question": another one about
the same picture, and once more after the language model had to forget the picture.  "Batches":
questions about one picture each, as an evaluation asks them, one by one and 8 at once.

Composites: things cut out of real photographs, none of which training has seen, on real
backgrounds, asked for by name in training's phrasings.  The mug comes from scikit-image, an apple
and an orange from Debian's package opencv-doc where its folder is given; backgrounds from
scikit-image.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measure import describe_machine, percentiles
from rich.console import Console

from lisa_ros.evaluation.generated import Case, score_answers
from lisa_ros.perception import Segmenter
from lisa_ros.sim.renderer import Renderer
from lisa_ros.training.scene_set import SceneSettings, render_example

SEED = 2_000_000_000  # neither training's nor the card's scenes
SIZE = (288, 384)
_OF_SECOND = ("prefill", "decode", "total")
BACKGROUNDS = ("brick", "grass", "gravel")
WORDS = (
    "bring me the {}",
    "where is the {}?",
    "Can you segment the {} in this image?",
    "please point at the {}",
)

# Drawn by hand, in pictures of 400 pixels height.
_TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_MUG = """176 105 185 58 222 30 285 20 345 28 390 55 407 100 398 165 380 222 345 256 300 264 258 258
    255 288 232 307 203 302 197 275 215 237 198 205 182 155"""
_APPLE = """110 50 150 45 185 42 225 45 280 50 320 75 350 115 360 170 358 230 340 300 310 355 280
    380 245 388 215 380 190 374 150 385 115 375 85 340 55 290 38 230 33 160 40 110 65 70"""
OUTLINES = {
    "mug": np.array(_MUG.split(), int).reshape(-1, 2),
    "apple": np.array(_APPLE.split(), int).reshape(-1, 2),
    "orange": np.stack([194 + 165 * np.cos(_TURN), 213 + 172 * np.sin(_TURN)], axis=1),
}


def questions_about_scenes(count: int) -> list[tuple[np.ndarray, str, str]]:
    """Pictures with two questions each."""
    found: list[tuple[np.ndarray, str, str]] = []
    seed = SEED
    with Renderer(640, 480) as renderer:
        while len(found) < count:
            example = render_example(renderer, seed, SceneSettings(640, 480, questions=6))
            first, *others = [q.instruction for q in example.questions if q.wants_mask]
            found += [(example.rgb, first, second) for second in others[:1]]
            seed += 1
    return found


def answer_times(
    segmenter: Segmenter, asked: list[tuple[np.ndarray, str, str]]
) -> dict[str, list[dict[str, float]]]:
    """Stage times in milliseconds of the first question, the second one, and that once more."""
    times: dict[str, list[dict[str, float]]] = {"first": [], "second": [], "forgotten": []}
    for rgb, first, second in asked:
        segmenter.set_image(rgb)
        times["first"].append(dict(segmenter.answer(first).timings_ms))
        times["second"].append(dict(segmenter.answer(second).timings_ms))
        segmenter._require_image().features.beginning = None
        times["forgotten"].append(dict(segmenter.answer(second).timings_ms))
    return {name: values[2:] for name, values in times.items()}  # two to warm up


def batch_times(segmenter: Segmenter, asked: list[tuple[np.ndarray, str, str]]) -> dict[str, Any]:
    """Milliseconds a question, of questions about one picture each."""
    result = {}
    for size in (1, 8):
        took = []
        for start in range(0, len(asked) - size + 1, size):
            chunk = asked[start : start + size]
            words, images = [first for _, first, _ in chunk], [rgb for rgb, _, _ in chunk]
            started = time.perf_counter()
            segmenter.answer_batch(words, images=images, template="mask")
            took.append((time.perf_counter() - started) * 1e3 / size)
        result[f"{size} at once"] = percentiles(took)
    return result


def cut_outs(photographs: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, RGB picture and bool mask of real things."""
    from skimage import data

    yield ("mug", *_cut(data.coffee(), OUTLINES["mug"]))
    if photographs is not None:
        for name in ("apple", "orange"):
            yield (name, *_cut(_read(photographs / f"{name}.jpg"), OUTLINES[name]))


def _read(path: Path) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].copy()


def _cut(picture: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop to an outline (n, 2) of a picture that is 400 pixels high."""
    points = np.rint(outline * (picture.shape[0] / 400)).astype(np.int32)
    mask = cv2.fillPoly(np.zeros(picture.shape[:2], np.uint8), [points], 1) > 0
    (x, y), (right, bottom) = points.min(axis=0), points.max(axis=0)
    part = np.s_[y:bottom, x:right]
    return picture[part], mask[part]


def composites(
    things: list[tuple[str, np.ndarray, np.ndarray]], count: int
) -> Iterator[tuple[np.ndarray, list[Case]]]:
    """Things on real backgrounds, one to three a picture, each asked for, and one that is not."""
    from skimage import data

    rng = np.random.default_rng(0)
    backgrounds = [getattr(data, name)() for name in BACKGROUNDS]
    for _ in range(count):
        background = backgrounds[rng.integers(len(backgrounds))]
        tint = rng.uniform(0.6, 1.0, 3)
        canvas = cv2.resize(background, SIZE[::-1])[..., None] * tint
        picture, ids = canvas.astype(np.uint8), np.zeros(SIZE, np.uint8)
        chosen = [things[k] for k in rng.permutation(len(things))[: rng.integers(1, 4)]]
        for i, (_, rgb, mask) in enumerate(chosen, 1):
            height = int(rng.uniform(0.25, 0.4) * SIZE[0])
            width = max(8, height * rgb.shape[1] // rgb.shape[0])
            x = int(rng.uniform((i - 1) * SIZE[1] / 3, max(1, i * SIZE[1] / 3 - width)))
            x = min(x, SIZE[1] - width)
            y = int(rng.uniform(0.2, 0.95) * (SIZE[0] - height))
            place = np.s_[y : y + height, x : x + width]
            shape = cv2.resize(mask.astype(np.uint8), (width, height)) > 0
            small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
            picture[place][shape], ids[place][shape] = small[shape], i
        cases = [
            Case((name,), WORDS[rng.integers(len(WORDS))].format(name), ids == i)
            for i, (name, _, _) in enumerate(chosen, 1)
        ]
        absent = Case(("absent",), WORDS[rng.integers(len(WORDS))].format("teapot"), ids > 200)
        yield picture, [*cases, absent]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--pictures", type=int, default=40, metavar="N")
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="data of opencv-doc")
    parser.add_argument("--save", type=Path, metavar="DIR", help="some composites as pictures")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu")
    asked = questions_about_scenes(options.pictures + 2)
    times = answer_times(segmenter, asked)
    stages = {
        name: percentiles([t[name] for t in times["first"] if name in t])
        for name in sorted({name for t in times["first"] for name in t})
    }
    things = list(cut_outs(options.photographs))
    pictures = list(composites(things, 60))
    scores = score_answers(segmenter, pictures, template="mask").as_dict()
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "milliseconds": stages,
        "second_question": {
            name: {stage: percentiles([t[stage] for t in times[key]]) for stage in _OF_SECOND}
            for name, key in (("as it is", "second"), ("picture forgotten", "forgotten"))
        },
        "batches": batch_times(segmenter, asked),
        "composites": {"things": [name for name, _, _ in things], **scores},
    }
    Console().print_json(json.dumps(result))
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        for k, (picture, cases) in enumerate(pictures[:9]):
            segmenter.set_image(picture)
            mask = segmenter.answer(cases[0].instruction, template="mask").mask
            shown = picture if mask is None else np.where(mask[..., None], 255 - picture, picture)
            cv2.imwrite(str(options.save / f"{k}-{cases[0].groups[0]}.png"), shown[..., ::-1])
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

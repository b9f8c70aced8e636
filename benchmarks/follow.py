"""How well follow mode follows, on sequences of the simulated camera in motion.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/follow.py --json follow.json

An object is asked for in the first frame.  Then each frame is answered twice: by follow mode
(`lisa_ros.perception.follow`, with the node's default limits) and by asking again.  Three kinds:

    alone        the camera swings about a scene; no other object is of the target's class
    duplicates   the same, with another object of its class
    leaves       the camera pans until most objects are out of view, and back, to either side

Where the first answer was wrong there is nothing to follow: such sequences are counted and left
out.

    IoU                 with the true mask, frames in which the object is in view
    wrong object        frames whose mask lies mostly on another object, share of all frames
    lost rightly        of the frames without the object, how many said LOST (or found nothing)
    lost wrongly        of the frames with it, how many did
    asked               questions that following asked, share of all frames
    IoU over time       mean IoU of each frame after the first, null where no object was in view

The 80 frames of a sequence are one period of the camera: it swings or pans there and back once.

With `--mask-prompt STEPS` objects are followed a second time, SAM being given the mask of the frame
before as well as the `[SEG]` embedding.  LISA never learns from such masks and the small model's
weights for them are as they began, so these weights alone are trained before, for that many frames
of other sequences of the swinging camera.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from measure import describe_machine, percentiles
from rich.console import Console
from rich.progress import Progress

from lisa_ros.evaluation.metrics import overlap
from lisa_ros.model.preprocessing import upscale_masks
from lisa_ros.perception import SegmentedObject, Segmenter
from lisa_ros.perception.follow import Follower
from lisa_ros.sim.instructions import Question, ask
from lisa_ros.sim.renderer import Frame, Renderer
from lisa_ros.sim.scene import sample_scene
from lisa_ros.sim.sensor import Sensor
from lisa_ros.sim.view import visible_objects
from lisa_ros.training.losses import mask_losses

SEED = 3_000_000_000
WIDTH, HEIGHT = 384, 288
MIN_PIXELS = WIDTH * HEIGHT // 1100
RATE = 5.0  # frames a second
PERIOD = 16.0  # seconds of a swing or pan there and back
PAN = 250  # pixels to either side
KINDS_OF_SEQUENCES = ("alone", "duplicates", "leaves")
FOLLOW, MASK_PROMPT = "follow", "follow, mask prompt"
TRAINING_SEED = 4_000_000_000
KINDS = ("class", "synonym", "colour", "need")  # of questions: what does not depend on the view


@dataclass
class Tally:
    """What one way of answering gave, over all frames."""

    ious: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by frame
    in_view: int = 0
    out_of_view: int = 0
    wrong_object: int = 0
    lost_rightly: int = 0
    lost_wrongly: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def add(self, frame: int, item: SegmentedObject | None, ids: np.ndarray, target: int) -> None:
        """The frame of this index."""
        true = ids == target
        visible = int(true.sum()) >= MIN_PIXELS
        self.in_view += visible
        self.out_of_view += not visible
        if item is None:
            self.lost_wrongly += visible
            self.lost_rightly += not visible
        if visible:
            mask = np.zeros_like(true) if item is None else item.mask
            both, either = overlap(mask, true.astype(np.uint8))
            self.ious[frame].append(both / either)
        if item is not None:
            under = np.bincount(ids[item.mask], minlength=256)
            other = np.delete(under, [0, target])
            self.wrong_object += bool(other.max() > under[target])

    def as_dict(self, length: int) -> dict[str, Any]:
        """Means and shares of sequences of so many frames."""
        frames = self.in_view + self.out_of_view
        ious = [iou for of_frame in self.ious.values() for iou in of_frame]
        over_time = [_mean(self.ious[k]) if k in self.ious else None for k in range(1, length + 1)]
        return {
            "in_view": self.in_view,
            "out_of_view": self.out_of_view,
            "iou": _mean(ious),
            "wrong_object": round(self.wrong_object / frames, 4),
            "lost_rightly": round(self.lost_rightly / max(1, self.out_of_view), 4),
            "lost_wrongly": round(self.lost_wrongly / max(1, self.in_view), 4),
            "milliseconds": percentiles(self.milliseconds),
            "iou_over_time": over_time,
        }


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)


class SwingingCamera:
    """A camera that swings about the scene."""

    def __init__(self, swing: float) -> None:
        self._sensor = Sensor(WIDTH, HEIGHT, motion_angle=swing, motion_period=PERIOD)

    def frame(self, seed: int, seconds: float) -> Frame:
        """What it sees of the scene of a seed."""
        return self._sensor.frame(seed, seconds)


class PanningCamera:
    """A camera that turns aside: a moving window in a wide picture."""

    def __init__(self) -> None:
        self._renderer = Renderer(WIDTH + 2 * PAN, HEIGHT)
        self._frame: Frame | None = None

    def frame(self, seed: int, seconds: float) -> Frame:
        """What it sees of the scene of a seed; its camera is that of the wide picture."""
        if self._frame is None or self._frame.scene.seed != seed:
            self._frame = self._renderer.render(sample_scene(seed))
        x = PAN + round(PAN * math.sin(2 * math.pi * seconds / PERIOD))
        wide, window = self._frame, np.s_[:, x : x + WIDTH]
        return replace(
            wide, rgb=wide.rgb[window].copy(), depth=wide.depth[window], ids=wide.ids[window]
        )


def first_question(frame: Frame, kind: str) -> Question | None:
    """A question about one object in the first frame, with another of its class as `kind` says."""
    view = visible_objects(frame.ids, frame.depth, frame.scene.objects, MIN_PIXELS)
    rng = np.random.default_rng([frame.scene.seed, 1])
    classes = {item.instance: item.class_name for item in frame.scene.objects}
    for question in ask(*view, rng, count=20, image_size=(HEIGHT, WIDTH)):
        if question.kind not in KINDS or len(question.targets) != 1:
            continue
        like = [name for name in classes.values() if name == classes[question.targets[0]]]
        if (len(like) > 1) == (kind == "duplicates"):
            return question
    return None


def run_sequence(
    segmenter: Segmenter,
    camera: SwingingCamera | PanningCamera,
    seed: int,
    kind: str,
    frames: int,
    tallies: Mapping[str, Tally],
    ways: Sequence[str],
) -> dict[str, int] | None:
    """Follow one object in each way; gives the questions each took, or None if it began wrongly."""
    frame = camera.frame(seed, 0.0)
    question = first_question(frame, kind)
    if question is None:
        raise NoQuestionError
    [target] = question.targets
    asked = dict.fromkeys(ways, 0)

    def ask(way: str | None = None) -> SegmentedObject | None:
        if way is not None:
            asked[way] += 1
        answer = segmenter.answer(question.instruction, template="mask")
        return next((item for item in answer.objects if item.area), None)

    segmenter.set_image(frame.rgb)
    item = ask()
    both, either = (0, 1) if item is None else overlap(item.mask, np.uint8(frame.ids == target))
    if item is None or both / either < 0.5:
        return None
    decoders = {FOLLOW: segmenter, MASK_PROMPT: MaskPrompted(segmenter, item)}
    followers = {way: Follower(cast(Segmenter, decoders[way]), item, 0.0) for way in ways}

    def timed(way: str, find: Callable[[], SegmentedObject | None]) -> None:
        started = time.perf_counter()
        segmenter.set_image(frame.rgb)
        found = find()
        tallies[way].milliseconds.append((time.perf_counter() - started) * 1e3)
        tallies[way].add(k, found, frame.ids, target)

    for k in range(1, frames + 1):
        frame = camera.frame(seed, k / RATE)
        for way in ways:
            timed(way, partial(_step, followers[way], partial(ask, way), k / RATE))
        timed("ask again", ask)
    return asked


def _step(
    follower: Follower, ask: Callable[[], SegmentedObject | None], now: float
) -> SegmentedObject | None:
    return follower.step(ask, now).object


class NoQuestionError(Exception):
    """A scene has no object to ask for."""


class MaskPrompted:
    """A segmenter that decodes with the last mask that it gave, for `Follower`."""

    def __init__(self, segmenter: Segmenter, first: SegmentedObject) -> None:
        self._segmenter, self._mask = segmenter, first.low_res_mask
        self.pooled_features = segmenter.pooled_features

    def decode(self, embedding: np.ndarray) -> SegmentedObject:
        """The object of an embedding, near where the last one was."""
        item = self._segmenter.decode(embedding, mask_prompt=self._mask)
        if item.area:
            self._mask = item.low_res_mask
        return item


def learn_mask_prompts(segmenter: Segmenter, swing: float, steps: int) -> None:
    """Train SAM's layers for mask prompts alone, on what a frame's mask says of the next frame."""
    model = segmenter.model
    model.requires_grad_(False)
    layers = model.visual_model.prompt_encoder.mask_downscaling.requires_grad_(True)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    camera, rng = SwingingCamera(swing), np.random.default_rng(0)
    seed, done = TRAINING_SEED, 0
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("mask prompts", total=steps)
        while done < steps:
            seed += 1
            at = rng.uniform(0, PERIOD)
            frame = camera.frame(seed, at)
            question = first_question(frame, str(rng.choice(("alone", "duplicates"))))
            if question is None:
                continue
            segmenter.set_image(frame.rgb)
            item = segmenter.answer(question.instruction, mask_only=True).objects[0]
            if item.area == 0:
                continue
            frame = camera.frame(seed, at + 1 / RATE)
            target = torch.from_numpy(frame.ids == question.targets[0])[None].float()
            with torch.inference_mode():
                features = model.encode_image(frame.rgb)
            low_res, *_ = model.visual_model.decode(
                features.sam_embedding.clone(),
                torch.from_numpy(item.embedding)[None],
                item.low_res_mask[None].clone(),  # it comes from inference mode
            )
            bce, dice = mask_losses([upscale_masks(low_res, features.geometry)], [target])
            optimizer.zero_grad()
            (2 * bce + 0.5 * dice).backward()
            optimizer.step()
            schedule.step()
            done += 1
            progress.advance(task)
    model.requires_grad_(False)


def run_kind(segmenter: Segmenter, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Sequences of one kind, until there are enough that began with a right answer."""
    camera = PanningCamera() if kind == "leaves" else SwingingCamera(math.radians(options.swing))
    tallies: dict[str, Tally] = defaultdict(Tally)
    ways = (FOLLOW, MASK_PROMPT) if options.mask_prompt else (FOLLOW,)
    asked: list[dict[str, int]] = []
    wrong, seed = 0, SEED + 10_000 * options.part
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(kind, total=options.sequences)
        while len(asked) < options.sequences and wrong < 5 * options.sequences:
            seed += 1
            try:
                count = run_sequence(segmenter, camera, seed, kind, options.frames, tallies, ways)
            except NoQuestionError:
                continue
            if count is None:
                wrong += 1
            else:
                asked.append(count)
                progress.advance(task)
    result: dict[str, Any] = {
        "sequences": len(asked),
        "first_answer_wrong": wrong,
        "frames": len(asked) * options.frames,
    }
    if asked:
        result |= {name: tally.as_dict(options.frames) for name, tally in tallies.items()}
        for way in ways:
            share = sum(count[way] for count in asked) / (len(asked) * options.frames)
            result[way]["asked"] = round(share, 4)
            result[way]["iou_ratio"] = round(result[way]["iou"] / result["ask again"]["iou"], 4)
    return result


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--sequences", type=int, default=20, metavar="N", help="of each kind")
    parser.add_argument("--part", type=int, default=0, metavar="K", help="others for each part")
    parser.add_argument("--frames", type=int, default=80, metavar="N")
    parser.add_argument("--swing", type=float, default=50.0, metavar="DEG", help="to either side")
    parser.add_argument(
        "--mask-prompt",
        type=int,
        default=0,
        metavar="STEPS",
        help="also follow with the last mask as a prompt, after training for it (default: do not)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu")
    if options.mask_prompt:
        learn_mask_prompts(segmenter, math.radians(options.swing), options.mask_prompt)
    result = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(torch.device("cpu")),
        "part": options.part,
        "mask_prompt_steps": options.mask_prompt,
        **{kind: run_kind(segmenter, kind, options) for kind in KINDS_OF_SEQUENCES},
    }
    Console().print_json(json.dumps(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

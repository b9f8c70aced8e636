"""How well follow mode follows, on sequences of the simulated camera in motion.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/follow.py --json follow.json

A camera swings about a scene; an object is asked for in the first frame.  Then each frame is
answered twice: by follow mode (`lisa_ros.perception.follow`, with the node's default limits) and by
asking again.  Where the first answer was wrong there is nothing to follow: such sequences are
counted and left out.

    IoU                 with the true mask, frames in which the object is in view
    wrong object        frames whose mask lies mostly on another object, share of all frames
    lost rightly        of the frames without the object, how many said LOST
    lost wrongly        of the frames with it, how many did
    asked               questions that follow mode asked, share of all frames
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import describe_machine, percentiles
from rich.console import Console
from rich.progress import track

from lisa_ros.evaluation.metrics import overlap
from lisa_ros.perception import SegmentedObject, Segmenter
from lisa_ros.perception.follow import Follower
from lisa_ros.sim.instructions import Question, ask
from lisa_ros.sim.sensor import Sensor
from lisa_ros.sim.view import visible_objects

SEED = 3_000_000_000
WIDTH, HEIGHT = 384, 288
MIN_PIXELS = WIDTH * HEIGHT // 1100
RATE = 5.0  # frames a second
KINDS = ("class", "synonym", "colour", "need")  # what does not depend on the view


@dataclass
class Tally:
    """What one way of answering gave, over all frames."""

    ious: list[float] = field(default_factory=list)
    in_view: int = 0
    out_of_view: int = 0
    wrong_object: int = 0
    lost_rightly: int = 0
    lost_wrongly: int = 0
    milliseconds: list[float] = field(default_factory=list)

    def add(self, item: SegmentedObject | None, ids: np.ndarray, target: int) -> None:
        """One frame."""
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
            self.ious.append(both / either)
        if item is not None:
            under = np.bincount(ids[item.mask], minlength=256)
            other = np.delete(under, [0, target])
            self.wrong_object += bool(other.max() > under[target])

    def as_dict(self) -> dict[str, Any]:
        """Means and shares."""
        frames = self.in_view + self.out_of_view
        return {
            "iou": round(float(np.mean(self.ious)), 4),
            "wrong_object": round(self.wrong_object / frames, 4),
            "lost_rightly": round(self.lost_rightly / max(1, self.out_of_view), 4),
            "lost_wrongly": round(self.lost_wrongly / max(1, self.in_view), 4),
            "milliseconds": percentiles(self.milliseconds),
        }


def first_question(sensor: Sensor, seed: int) -> tuple[Question, bool] | None:
    """A question about one object in the first frame, and whether the scene has others like it."""
    frame = sensor.frame(seed, 0.0)
    view = visible_objects(frame.ids, frame.depth, frame.scene.objects, MIN_PIXELS)
    rng = np.random.default_rng([seed, 1])
    for question in ask(*view, rng, count=20, image_size=(HEIGHT, WIDTH)):
        if question.kind in KINDS and len(question.targets) == 1:
            classes = {item.instance: item.class_name for item in frame.scene.objects}
            like = [name for name in classes.values() if name == classes[question.targets[0]]]
            return question, len(like) > 1
    return None


def run_sequence(
    segmenter: Segmenter, sensor: Sensor, seed: int, frames: int, tallies: dict[str, Tally]
) -> dict[str, Any] | None:
    """Follow one object; None where there was nothing to follow."""
    chosen = first_question(sensor, seed)
    if chosen is None:
        return None
    question, has_duplicates = chosen
    [target] = question.targets
    asked = 0

    def ask_now() -> SegmentedObject | None:
        nonlocal asked
        asked += 1
        answer = segmenter.answer(question.instruction, template="mask")
        return next((item for item in answer.objects if item.area), None)

    frame = sensor.frame(seed, 0.0)
    segmenter.set_image(frame.rgb)
    item = ask_now()
    both, either = (0, 1) if item is None else overlap(item.mask, np.uint8(frame.ids == target))
    if item is None or both / either < 0.5:
        return {"followed": False}
    asked = 0
    follower = Follower(segmenter, item, 0.0)
    for k in range(1, frames + 1):
        frame = sensor.frame(seed, k / RATE)
        started = time.perf_counter()
        segmenter.set_image(frame.rgb)
        step = follower.step(ask_now, k / RATE)
        between = time.perf_counter()
        tallies["follow"].add(step.object, frame.ids, target)
        count = asked
        again = time.perf_counter()
        segmenter.set_image(frame.rgb)
        tallies["ask again"].add(ask_now(), frame.ids, target)
        tallies["ask again"].milliseconds.append((time.perf_counter() - again) * 1e3)
        tallies["follow"].milliseconds.append((between - started) * 1e3)
        asked = count
    return {"followed": True, "has_duplicates": has_duplicates, "asked": asked}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the one of the package)")
    parser.add_argument("--sequences", type=int, default=40, metavar="N")
    parser.add_argument("--frames", type=int, default=40, metavar="N")
    parser.add_argument("--swing", type=float, default=50.0, metavar="DEG", help="to either side")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu")
    tallies: dict[str, Tally] = defaultdict(Tally)
    with Sensor(
        WIDTH, HEIGHT, motion_angle=math.radians(options.swing), motion_period=16.0
    ) as sensor:
        sequences = [
            run_sequence(segmenter, sensor, SEED + k, options.frames, tallies)
            for k in track(range(options.sequences), console=Console(stderr=True))
        ]
    asked = [s for s in sequences if s is not None]
    followed = [s for s in asked if s["followed"]]
    result = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(torch.device("cpu")),
        "sequences": len(followed),
        "first_answer_wrong": len(asked) - len(followed),
        "with_duplicates": sum(s["has_duplicates"] for s in followed),
        "frames": len(followed) * options.frames,
        "asked": round(
            sum(s["asked"] for s in followed) / max(1, len(followed) * options.frames), 4
        ),
        **{name: tally.as_dict() for name, tally in tallies.items()},
    }
    if followed:
        ratio = result["follow"]["iou"] / result["ask again"]["iou"]
        result["iou_ratio"] = round(ratio, 4)
    Console().print_json(json.dumps(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

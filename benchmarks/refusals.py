"""How much of what is not there the small model can refuse, by how sure it must be of a mask.

    source .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/refusals.py --json refusals.json

A model with object scores shows what scores at least `min_object_score` (`LisaConfig`).  Free
answers about scenes that neither training nor the card has seen, with training's words or meshes or
with held-out ones: for each share of the questions for what is there that may be left without a
mask, the score that this takes, the share of the questions for what is not there that it refuses,
and the gIoU that is left.

    auc         probability that a question for what is there is rated above one for what is not
    in words    refused by the model's words alone, which no rating can undo
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lisa_ros.evaluation.cases import Case
from lisa_ros.evaluation.metrics import overlap
from lisa_ros.perception import Answer, Segmenter
from lisa_ros.sim.renderer import Renderer
from lisa_ros.training.scene_set import SceneSettings, render_example
from lisa_ros.training.tiny_model import TEST_SETS, scene_cases

SEED = 1_500_000_000  # neither training's, nor the card's, nor calibration's scenes
FALSE_REFUSALS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08)


@dataclass(frozen=True)
class Rated:
    """A question with what was found.

    Attributes:
        masks: those with pixels, (n, H, W).
        ratings: (n,) of them.
        target: (H, W), empty for what is not there.
    """

    masks: np.ndarray
    ratings: np.ndarray
    target: np.ndarray

    @property
    def best(self) -> float:
        """The highest rating, below any where there is no mask."""
        return float(self.ratings.max(initial=-1.0))

    def iou(self, least: float) -> float:
        """Of the masks that are rated so high, united, with the target."""
        mask = self.masks[self.ratings >= least].any(axis=0)
        both, either = overlap(mask, self.target.astype(np.uint8))
        return both / either


def rated(case: Case, answer: Answer) -> Rated:
    """A question and its answer."""
    found = [item for item in answer.objects if item.area]
    masks = np.array([item.mask for item in found]).reshape(-1, *case.target.shape)
    ratings = np.array([item.scores.object_score for item in found])
    return Rated(masks, ratings, case.target)


def trade_off(questions: list[Rated]) -> dict[str, Any]:
    """What each share of false refusals buys."""
    present = [q for q in questions if q.target.any()]
    best = np.sort([q.best for q in present])
    best_absent = np.array([q.best for q in questions if not q.target.any()])
    above = best[:, None] > best_absent
    same = best[:, None] == best_absent
    rows = []
    for share in FALSE_REFUSALS:
        least = best[int(share * len(best))]
        rows.append(
            {
                "falsely_refused": round(float((best < least).mean()), 4),
                "least_rating": round(float(least), 4),
                "refused": round(float((best_absent < least).mean()), 4),
                "giou": round(float(np.mean([q.iou(least) for q in present])), 4),
            }
        )
    return {
        "present": len(best),
        "absent": len(best_absent),
        "auc": round(float((above + 0.5 * same).mean()), 4),
        "refused_in_words": round(float((best_absent < 0).mean()), 4),
        "falsely_refused_in_words": round(float((best < 0).mean()), 4),
        "trade_off": rows,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a model with object scores (default: the package's)")
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="of each set")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    segmenter = Segmenter.from_pretrained(options.model, device="cpu")
    model = segmenter.model
    if model.config.min_object_score is None:
        parser.error("the model has no min_object_score: it never says that something is not there")
    model.config = replace(model.config, min_object_score=0.0)
    result: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(torch.device("cpu")),
        "model": segmenter.model_id,
    }
    table = Table("set", "auc", "falsely refused", "rating", "refused", "gIoU")
    with Progress(console=Console(stderr=True)) as progress:
        for name, other in TEST_SETS.items():
            settings = SceneSettings(questions=10, **other)
            questions: list[Rated] = []
            with Renderer(settings.width, settings.height) as renderer:
                for k in progress.track(range(options.scenes), description=name):
                    example = render_example(
                        renderer, SEED + k + settings.held_out_meshes * 10_000, settings
                    )
                    for rgb, cases in scene_cases([example]):
                        segmenter.set_image(rgb)
                        asked = [case.instruction for case in cases]
                        answers = segmenter.answer_batch(asked, template="mask") if asked else []
                        questions += map(rated, cases, answers)
            result[name] = trade_off(questions)
            for row in result[name]["trade_off"]:
                numbers = [f"{row[k]:.3f}" for k in row]
                table.add_row(name, f"{result[name]['auc']:.3f}", *numbers)
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

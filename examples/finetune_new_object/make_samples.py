"""Samples of an object that the small model never saw, as a robot's camera would record them.

    python examples/finetune_new_object/make_samples.py dataset

writes three folders in ReasonSeg's format, as `lisa data record` does from a bag:

    dataset/reason_seg/Cone/train    40 pictures with a traffic cone, and words that ask for it
    dataset/reason_seg/Cone/val      40 others, with other words
    dataset/reason_seg/Table/train   things that the model knows, so that it does not forget them
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lisa_ros.data.bag import RecordedQuestion
from lisa_ros.data.record import mask_to_shapes, write_sample
from lisa_ros.sim.catalog import add_object
from lisa_ros.sim.pack import MeshPart, PackedMesh
from lisa_ros.sim.renderer import Renderer
from lisa_ros.sim.scene import sample_scene
from lisa_ros.training.scene_set import SceneSettings, render_example

SIZE = 640, 480
SEEDS = {"Cone/train": 2_000_000_000, "Cone/val": 2_100_000_000, "Table/train": 2_200_000_000}
LEAST_PIXELS = 200  # of a cone that is asked for
KINDS = ("class", "synonym", "need", "colour", "size", "spatial", "several", "relation")

# (words, whether they are a sentence)
TRAIN_WORDS = (
    ("traffic cone", False),
    ("cone", False),
    ("road cone", False),
    ("orange and white cone", False),
    ("pylon with a white stripe", False),
    ("Where is the traffic cone?", True),
    ("Find the cone.", True),
    ("Give me the orange cone, please.", True),
    ("What do I put on the road to keep cars away?", True),
    ("Something that marks a place where people work on the road.", True),
)
VAL_WORDS = (
    ("the traffic cone", False),
    ("the pylon", False),
    ("Show me the cone.", True),
    ("What warns drivers of a hole in the road?", True),
)


def traffic_cone() -> PackedMesh:
    """18 cm high, orange with a white band, on a square foot."""
    orange, white = (0.95, 0.35, 0.05), (0.93, 0.93, 0.93)
    foot, top = 0.012, 0.18

    def radius(z: float) -> float:
        return 0.045 + (0.008 - 0.045) * (z - foot) / (top - foot)

    def band(low: float, high: float, colour: tuple[float, float, float]) -> MeshPart:
        return frustum(radius(low), radius(high), low, high, colour, sides=24)

    parts = [
        frustum(0.085, 0.08, 0.0, foot, orange, sides=4),
        band(foot, 0.07, orange),
        band(0.07, 0.12, white),
        band(0.12, top, orange),
    ]
    return PackedMesh("traffic_cone", "traffic cone", held_out=False, parts=tuple(parts))


def frustum(
    low_radius: float,
    high_radius: float,
    low: float,
    high: float,
    colour: tuple[float, float, float],
    *,
    sides: int,
) -> MeshPart:
    """A cone without its tip, closed above."""
    angle = np.arange(sides) * 2 * np.pi / sides
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides)], axis=1)
    lower = circle * low_radius + [0, 0, low]
    upper = circle * high_radius + [0, 0, high]
    # The lid has vertices of its own: faces share them where the surface is smooth.
    vertices = np.concatenate([lower, upper, upper, [[0, 0, high]]])
    i = np.arange(sides)
    j = (i + 1) % sides
    triangles = [[i, j, sides + j], [i, sides + j, sides + i]]
    triangles += [[2 * sides + i, 2 * sides + j, np.full(sides, 3 * sides)]]
    return MeshPart(
        vertices=vertices.astype(np.float32),
        triangles=np.concatenate([np.stack(t, axis=1) for t in triangles]).astype(np.uint16),
        uv=None,
        texture=None,
        colour=colour,
        alpha=1.0,
        shininess=0.2,
        tint=False,
        share=0.25,
    )


def record(
    folder: Path, number: int, rgb: np.ndarray, mask: np.ndarray, words: tuple[str, bool]
) -> None:
    """Write one sample with the mask's true outlines."""
    text, is_sentence = words
    mask = mask.astype(np.uint8)
    question = RecordedQuestion(number, text, is_sentence, "FOUND", rgb, mask)
    shapes, _ = mask_to_shapes(mask)
    write_sample(folder, f"{number:04d}", question, shapes)


def record_cones(renderer: Renderer, folder: Path, seed: int, count: int) -> None:
    """Pictures with a cone among other things."""
    words = TRAIN_WORDS if folder.name == "train" else VAL_WORDS
    written = 0
    while written < count:
        scene = sample_scene(seed, num_objects=(3, 7), also=["traffic_cone"])
        seed += 1
        cones = [o.instance for o in scene.objects if o.class_name == "traffic cone"]
        frame = renderer.render(scene)
        mask = np.isin(frame.ids, cones)
        if np.count_nonzero(mask) < LEAST_PIXELS:
            continue
        record(folder, written, frame.rgb, mask, words[written % len(words)])
        written += 1


def record_known(renderer: Renderer, folder: Path, seed: int, count: int) -> None:
    """Pictures of known things, each with one question whose answer is in the picture."""
    settings = SceneSettings(*SIZE, questions=8)
    written = 0
    while written < count:
        example = render_example(renderer, seed, settings)
        seed += 1
        for question in example.questions:
            if question.kind in KINDS and question.targets:
                mask = np.isin(example.ids, question.targets)
                record(folder, written, example.rgb, mask, (question.instruction, True))
                written += 1
                break


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="data folder, gets reason_seg/Cone and /Table")
    parser.add_argument(
        "--cones", type=int, default=40, help="pictures to train on, and to test on"
    )
    parser.add_argument("--known", type=int, default=400, help="pictures of known things")
    arguments = parser.parse_args()
    folder = arguments.dataset / "reason_seg"
    add_object(traffic_cone())
    with Renderer(*SIZE) as renderer:
        for name in ("Cone/train", "Cone/val"):
            record_cones(renderer, folder / name, SEEDS[name], arguments.cones)
        record_known(renderer, folder / "Table/train", SEEDS["Table/train"], arguments.known)


if __name__ == "__main__":
    main()

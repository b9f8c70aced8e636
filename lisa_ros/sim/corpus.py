"""Text without pictures: pseudo-scenes, and the sentences that people and model say about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lisa_ros.sim.colours import COLOURS
from lisa_ros.sim.grammar import pick
from lisa_ros.sim.instructions import ask
from lisa_ros.sim.view import View, VisibleObject
from lisa_ros.sim.vocabulary import CLASS_FACTS

IMAGE_SIZE = (256, 256)


def pseudo_view(
    rng: np.random.Generator,
    *,
    classes: Sequence[str] = tuple(CLASS_FACTS),
    most_objects: int = 10,
    image_size: tuple[int, int] = IMAGE_SIZE,
) -> View:
    """Objects at random places, as a frame might show them.

    Args:
        rng: the source of chance.
        classes: the classes to draw from.
        most_objects: largest number of objects; the smallest is 2.
        image_size: height and width in pixels.
    """
    height, width = image_size
    view = View([], [])
    for instance in range(1, int(rng.integers(2, most_objects + 1)) + 1):
        # A fifth of the objects repeat a class, as in a scene with duplicates.
        repeat = view.visible and rng.random() < 0.2
        name = pick(rng, view.visible).class_name if repeat else pick(rng, classes)
        half = rng.uniform(0.03, 0.09, 2) * width
        x = float(rng.uniform(half[0], width - half[0]))
        y = float(rng.uniform(0.3 * height, height - half[1]))
        box = (int(x - half[0]), int(y - half[1]), int(x + half[0]), int(y + half[1]))
        unclear = rng.random() < 0.04
        (view.unclear if unclear else view.visible).append(
            VisibleObject(
                instance=instance,
                class_name=name,
                colour=pick(rng, COLOURS) if rng.random() < 0.7 else None,
                pixels=8 if unclear else int(2.5 * half[0] * half[1]),
                box_xyxy=box,
                centre_xy=(x, y),
                distance=float(1.6 - 0.9 * y / height + rng.normal(0, 0.02)),
                size_m=float(rng.uniform(2.0, 4.0) * half.max() / width),
            )
        )
    for group in view:
        group.sort(key=lambda item: item.centre_xy[0])
    return view


def corpus(n: int, seed: int, *, questions_per_scene: int = 6) -> Iterator[str]:
    """Sentences for a tokenizer: instructions, answers and explanations of `n` questions.

    Only training phrasings; the words `[SEG]` stand where an answer has them.
    """
    rng = np.random.default_rng(seed)
    made = 0
    while made < n:
        view = pseudo_view(rng)
        for question in ask(
            *view, rng, count=min(questions_per_scene, n - made), image_size=IMAGE_SIZE
        ):
            made += 1
            yield question.instruction
            yield question.answer
            if question.explanation:
                yield question.explanation

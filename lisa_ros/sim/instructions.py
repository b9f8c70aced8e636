"""Instructions for a rendered scene, each with the one right answer.

The rules that a reader, a model or a test can rely on:

* A name, a colour or a need means all objects in view that it fits (1 to 3), in the singular as
  in the plural; the answer names them from left to right, each behind its `[SEG]`.
* The opening of an answer follows from the instruction: "Sure, [SEG] the mug." to a request,
  "It is [SEG] the mug." to a question, "Take [SEG] the mug." to a need, "There are two: [SEG] the
  red mug and [SEG] the white mug." to all of them where there are several, "There is no mug
  here." where there is none.
* An object is called `the mug`; among several mugs `the red mug`; where the colour does not tell
  `the left mug` (see `descriptions.describe`).
* Nothing is asked that two people would answer differently: see `relations` for the margins,
  `needs` for debatable objects, `vocabulary` for close colours and look-alikes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lisa_ros.sim.absent_questions import ask_absent, ask_absent_need
from lisa_ros.sim.present_questions import (
    Maker,
    ask_class,
    ask_colour,
    ask_need,
    ask_relation,
    ask_several,
    ask_size,
    ask_spatial,
    ask_synonym,
)
from lisa_ros.sim.question import KINDS, SEG, Question
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.text_questions import ask_text
from lisa_ros.sim.view import VisibleObject

__all__ = ["KINDS", "SEG", "Question", "ask"]

# Shares of all questions. The refusals are 28 % of what wants a mask.
_TEXT_SHARE = 0.12
_ABSENT_SHARE = 0.25
_ABSENT: tuple[tuple[Maker, float], ...] = ((ask_absent, 0.6), (ask_absent_need, 0.4))
_PRESENT: tuple[tuple[Maker, float], ...] = (
    (ask_class, 0.15),
    (ask_synonym, 0.11),
    (ask_colour, 0.13),
    (ask_size, 0.10),
    (ask_spatial, 0.13),
    (ask_relation, 0.13),
    (ask_need, 0.23),
    (ask_several, 0.12),
)
_TEXT: tuple[tuple[Maker, float], ...] = ((ask_text, 1.0),)
_TRIES = 6  # a kind that the scene does not allow is drawn anew


def ask(
    visible: Sequence[VisibleObject],
    unclear: Sequence[VisibleObject],
    rng: np.random.Generator,
    *,
    count: int,
    image_size: tuple[int, int],
    held_out: bool = False,
) -> list[Question]:
    """Different questions about one view, of mixed kinds.

    Args:
        visible: the objects that may be asked for, from `view.visible_objects`.
        unclear: those that may not, from the same place.
        rng: the only source of chance: equal states give equal questions.
        count: how many; a view of very few objects may yield fewer.
        image_size: height and width of the picture in pixels.
        held_out: use only words that are kept for testing.
    """
    layout = Layout(visible, unclear, image_size)
    questions: list[Question] = []
    heard: set[str] = set()
    for _ in range(count):
        draw = rng.random()
        if draw < _TEXT_SHARE:
            makers = _TEXT
        elif draw < _TEXT_SHARE + _ABSENT_SHARE:
            makers = _ABSENT
        else:
            makers = _PRESENT
        question = _first_of(makers, layout, rng, held_out, heard)
        if question is not None:
            questions.append(question)
            heard.add(question.instruction.lower())
    return questions


def _first_of(
    makers: Sequence[tuple[Maker, float]],
    layout: Layout,
    rng: np.random.Generator,
    held_out: bool,
    heard: set[str],
) -> Question | None:
    for _ in range(_TRIES):
        question = _drawn(makers, rng)(layout, rng, held_out)
        if question is not None and question.instruction.lower() not in heard:
            return question
    return None


def _drawn(makers: Sequence[tuple[Maker, float]], rng: np.random.Generator) -> Maker:
    left = rng.random() * sum(share for _, share in makers)
    for maker, share in makers:
        left -= share
        if left < 0:
            return maker
    return makers[-1][0]

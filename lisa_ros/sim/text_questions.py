"""Questions that words answer: what is there, in which order, how many, of which colour.

They teach the model to look at the picture before it speaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lisa_ros.sim import phrasings, relations
from lisa_ros.sim.absent_questions import absent_classes
from lisa_ros.sim.descriptions import (
    caption_parts,
    describe,
    i_see,
    in_clear_order,
    indefinite,
    place,
    there_is_no,
)
from lisa_ros.sim.grammar import NUMBERS, Phrases, as_sentence, listing, pick
from lisa_ros.sim.question import Question
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.view import VisibleObject
from lisa_ros.sim.vocabulary import facts_of
from lisa_ros.sim.wording import any_object, finish


def _text(
    words: str, answer: str, rng: np.random.Generator, held_out: bool, explanation: str = ""
) -> Question:
    instruction = finish(words, rng, held_out)
    return Question("text", instruction, (), answer, explanation, False, held_out)


def ask_text(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """One of the questions below."""
    draw = rng.random()
    if draw < 0.28:
        return _ask_caption_in_order(layout, rng, held_out)
    if draw < 0.48:
        return _ask_caption(layout, rng, held_out)
    if draw < 0.6:
        return _ask_how_many(layout, rng, held_out)
    if draw < 0.76:
        return _ask_is_there(layout, rng, held_out)
    if draw < 0.9:
        return _ask_colour_of(layout, rng, held_out)
    return _ask_name(layout, rng, held_out)


def _ask_caption(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question:
    answer = f"I see {listing(caption_parts(layout.visible))}." if layout.visible else i_see(layout)
    return _text(phrasings.CAPTION.draw(rng, held_out), answer, rng, held_out)


def _ask_caption_in_order(
    layout: Layout, rng: np.random.Generator, held_out: bool
) -> Question | None:
    """`From left to right: a red mug, a banana and two books.`"""
    if len(layout.visible) < 2:
        return None
    draw = rng.random()
    items: Sequence[VisibleObject] = layout.visible
    phrases: Phrases
    is_clear = in_clear_order(items, layout)
    if draw < 0.55:
        phrases, opening = phrasings.CAPTION_LEFT_RIGHT, "From left to right"
    elif draw < 0.7:
        phrases, opening, items = phrasings.CAPTION_RIGHT_LEFT, "From right to left", items[::-1]
    else:
        items = sorted(items, key=lambda item: (item.distance, item.instance))
        phrases, opening = phrasings.CAPTION_NEAR_FAR, "From near to far"
        is_clear = all(layout.deeper(far, near) == 1 for near, far in itertools.pairwise(items))
    if not is_clear:
        return None
    answer = f"{opening}: {listing(caption_parts(items))}."
    return _text(phrases.draw(rng, held_out), answer, rng, held_out)


def _ask_how_many(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    if rng.random() < 0.2:
        count = len(layout.visible)
        if layout.unclear or not 0 < count < len(NUMBERS):
            return None
        answer = "There is one object." if count == 1 else f"There are {NUMBERS[count]} objects."
        return _text(phrasings.HOW_MANY_OBJECTS.draw(rng, held_out), answer, rng, held_out)
    absent = absent_classes(layout)
    if layout.visible and rng.random() < 0.75:
        name = pick(rng, layout.visible).class_name
    elif absent:
        name = pick(rng, absent)
    else:
        return None
    items = layout.of_class(name)
    if items is None or len(items) >= len(NUMBERS):
        return None
    noun = facts_of(name).noun
    words = phrasings.HOW_MANY.draw(rng, held_out).format(n=noun.plural)
    if len(items) == 1:
        answer = f"There is one {noun.counted}."
    else:
        answer = f"There are {NUMBERS[len(items)]} {noun.plural}."
    return _text(words, answer, rng, held_out)


def _ask_is_there(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    absent = absent_classes(layout)
    if absent and rng.random() < 0.5:
        facts = facts_of(pick(rng, absent))
        answer, explanation = f"No, {there_is_no(facts)[0].lower()}{there_is_no(facts)[1:]}", ""
    elif layout.visible:
        item = pick(rng, layout.visible)
        items = layout.of_class(item.class_name)
        if not items:
            return None
        facts = facts_of(item.class_name)
        if len(items) == 1:
            answer = f"Yes, there {facts.noun.be} {indefinite(item)}."
            explanation = place(item, layout) or ""
        else:
            answer = f"Yes, there are {NUMBERS[min(len(items), 10)]} {facts.noun.plural}."
            explanation = ""
    else:
        return None
    noun = facts.noun
    words = phrasings.IS_THERE.draw(rng, held_out).format(be=noun.be, x=noun.a())
    return _text(words, answer, rng, held_out, explanation)


def _ask_colour_of(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    coloured = [item for item in layout.visible if item.colour is not None]
    if not coloured:
        return None
    item = pick(rng, coloured)
    peers = layout.of_class(item.class_name)
    if peers is None or len(peers) > 1:
        return None
    noun = facts_of(item.class_name).noun
    words = phrasings.WHAT_COLOUR.draw(rng, held_out).format(be=noun.be, x=f"the {noun.text}")
    return _text(words, f"The {noun.text} {noun.be} {item.colour}.", rng, held_out)


_PLACES = (
    (phrasings.LEFTMOST, relations.leftmost),
    (phrasings.RIGHTMOST, relations.rightmost),
    (phrasings.NEAREST, relations.nearest),
    (phrasings.FARTHEST, relations.farthest),
)


def _ask_name(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`What is the name of the object left of the banana?`"""
    slots: dict[str, str] = {}
    target: VisibleObject | None
    if rng.random() < 0.5 or len(layout.visible) < 2:
        phrases, choose = pick(rng, _PLACES)
        target = choose(layout, layout.everything)
    else:
        anchor = pick(rng, layout.visible)
        name = describe(anchor, layout)
        if name is None:
            return None
        right = rng.random() < 0.5
        phrases = phrasings.JUST_RIGHT_OF if right else phrasings.JUST_LEFT_OF
        slots["a"] = name
        target = layout.beside(anchor, right)
    if target is None:
        return None
    x = any_object(phrases, rng, False, pick(rng, ("object", "thing")), **slots)
    words = phrasings.NAME_OF.draw(rng, held_out).format(x=x)
    noun = facts_of(target.class_name).noun
    return _text(words, as_sentence(f"{noun.it_is} {indefinite(target)}"), rng, held_out)

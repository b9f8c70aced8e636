"""Requests for what is not in view; the right answer is a refusal without `[SEG]`.

A class counts as absent only if no object of it shows a single pixel, and no look-alike of it is
in view; a colour only if every object of the class has one colour that is not close to it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lisa_ros.sim import phrasings
from lisa_ros.sim.colours import COLOUR_WORDS, COLOURS
from lisa_ros.sim.descriptions import describe, i_see, opening_words, there_is_no
from lisa_ros.sim.grammar import Phrases, listing, pick
from lisa_ros.sim.needs import NEEDS, Need
from lisa_ros.sim.present_questions import absent_colours
from lisa_ros.sim.question import SEG, Question
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.vocabulary import CLASS_FACTS, ClassFacts, facts_of
from lisa_ros.sim.wording import (
    HeldOut,
    Instruction,
    any_object,
    definite,
    held_out_parts,
    instruction_for,
    need_instruction,
    noun_of,
)

_BY_PLACE: tuple[Phrases, ...] = (
    phrasings.LEFTMOST,
    phrasings.RIGHTMOST,
    phrasings.NEAREST,
    phrasings.FARTHEST,
    phrasings.BIGGEST,
    phrasings.SMALLEST,
    phrasings.LEFT_ONE,
    phrasings.RIGHT_ONE,
)
_BESIDE: tuple[Phrases, ...] = (
    phrasings.LEFT_OF,
    phrasings.RIGHT_OF,
    phrasings.JUST_LEFT_OF,
    phrasings.JUST_RIGHT_OF,
    phrasings.NEXT_TO,
    phrasings.BEHIND,
    phrasings.IN_FRONT_OF,
)


def _refusal(
    kind: str,
    instruction: Instruction,
    answer: str,
    explanation: str,
    held_out: bool,
    name: str = "thing",
) -> Question:
    """A question whose right answer is a refusal; `name` is of what is asked for."""
    wrong = f"{opening_words(instruction.opening, instruction.be)} {SEG}."
    if instruction.opening == "several":  # else the second thing would never be doubted
        wrong = wrong.replace(f"{SEG}.", f"{SEG} the left {name} and {SEG} the right {name}.")
    return Question(kind, instruction.text, (), answer, explanation, True, held_out, wrong)


def absent_classes(layout: Layout) -> list[str]:
    """The classes that are certainly not in view."""
    present = {item.class_name for item in layout.everything}
    return [
        name
        for name, facts in CLASS_FACTS.items()
        if name not in present and not present.intersection(facts.look_alikes)
    ]


def ask_absent(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """A class, a colour of a class, or a neighbour that is not in view."""
    question = _ask_absent_colour(layout, rng, held_out) if rng.random() < 0.4 else None
    return question or _ask_absent_class(layout, rng, held_out)


def _ask_absent_class(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    absent = absent_classes(layout)
    if not absent:
        return None
    facts = facts_of(pick(rng, absent))
    instruction = _instruction_for_absent(facts, layout, rng, held_out)
    refusal, seen = there_is_no(facts), i_see(layout)
    return _refusal("absent", instruction, refusal, seen, held_out, facts.noun.text)


def _instruction_for_absent(
    facts: ClassFacts, layout: Layout, rng: np.random.Generator, held_out: bool
) -> Instruction:
    """All the ways in which objects in view are asked for, for one that is not."""
    draw = rng.random()
    parts = held_out_parts(rng, held_out)
    if draw < 0.4:
        noun = noun_of(facts, rng, synonym=False)
        return instruction_for(definite(noun, rng), noun.be, rng, HeldOut(frame=held_out))
    if draw < 0.65:
        noun = noun_of(facts, rng, True, parts.name)
        instruction = instruction_for(definite(noun, rng), noun.be, rng, parts)
        return replace(instruction, be=facts.noun.be)
    noun = facts.noun
    if draw < 0.75:
        words = definite(noun, rng, pick(rng, COLOURS))
        return instruction_for(words, noun.be, rng, HeldOut(frame=held_out))
    if draw < 0.82:
        words = phrasings.ALL_OF.draw(rng, parts.name).format(n=noun.plural)
        return replace(instruction_for(words, "are", rng, parts), opening="several")
    if draw < 0.9:
        words = any_object(pick(rng, _BY_PLACE), rng, parts.name, noun.text)
        return instruction_for(words, noun.be, rng, parts)
    anchor = describe(pick(rng, layout.visible), layout) if layout.visible else None
    if anchor and draw < 0.95:
        words = any_object(pick(rng, _BESIDE), rng, parts.name, noun.text, a=anchor)
        return instruction_for(words, noun.be, rng, parts)
    words = any_object(pick(rng, _BESIDE), rng, parts.name, a=f"the {noun.text}")
    return instruction_for(words, "is", rng, parts)


def _ask_absent_colour(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`The blue mug`, where there are only mugs of other colours."""
    names = sorted({item.class_name for item in layout.visible if item.colour is not None})
    peers = layout.of_class(pick(rng, names)) if names else None
    if not peers:
        return None
    present = [str(peer.colour) for peer in peers if peer.colour is not None]
    absent = absent_colours(present, COLOURS)
    if len(present) < len(peers) or not absent:
        return None
    facts = facts_of(peers[0].class_name)
    colour = pick(rng, absent)
    noun = noun_of(facts, rng, rng.random() < 0.2)
    words = definite(noun, rng, pick(rng, COLOUR_WORDS.get(colour, (colour,))))
    instruction = instruction_for(words, noun.be, rng, HeldOut(frame=held_out))
    instruction = replace(instruction, be=facts.noun.be)
    different = list(dict.fromkeys(present))
    plain = facts.noun
    if len(peers) == 1 and not (plain.plural_only or plain.mass):
        explanation = f"The only {plain.text} is {present[0]}."
    elif len(peers) == 1:
        explanation = f"The {plain.text} here {plain.be} {present[0]}."
    else:
        explanation = f"The {plain.plural} here are {listing(different)}."
    return _refusal("absent", instruction, there_is_no(facts, colour), explanation, held_out)


def unmet_needs(layout: Layout) -> list[Need]:
    """The needs that certainly nothing in view serves."""
    present = {item.class_name for item in layout.everything}
    return [need for need in NEEDS if not (need.serves & present or need.debatable & present)]


def ask_absent_need(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`I am thirsty`, where there is nothing to drink."""
    needs = unmet_needs(layout)
    if not needs:
        return None
    need = pick(rng, needs)
    instruction = need_instruction(need, rng, held_out)
    return _refusal("absent_need", instruction, need.refusal, i_see(layout), held_out)

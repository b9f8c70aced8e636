"""Questions for objects that are in view.

One rule for names: a class, a colour or a need means ALL objects in view that it fits, from left
to right, be it said in the singular or in the plural.  A question is only asked where they are
certain: no unclear object may fit as well, and there are at most `MOST_TARGETS` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lisa_ros.sim import phrasings, relations
from lisa_ros.sim.colours import COLOUR_WORDS, colours_are_close
from lisa_ros.sim.descriptions import about, answer_with, describe, is_told_by_colour
from lisa_ros.sim.grammar import NUMBERS, Phrases, capitalised, listing, pick
from lisa_ros.sim.needs import NEEDS, Need
from lisa_ros.sim.question import Question
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.view import VisibleObject
from lisa_ros.sim.vocabulary import ClassFacts, facts_of
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

Maker = Callable[[Layout, np.random.Generator, bool], "Question | None"]

_ANCHOR_TRIES = 12  # of a relation, for most pairs of objects have no clear one
_SUPERLATIVE_TRIES = 4
_SYNONYM_SHARE = 0.2  # of the names in questions about colour, place and number


def _question(
    kind: str,
    instruction: Instruction,
    targets: Sequence[VisibleObject],
    layout: Layout,
    explanation: str,
    held_out: bool,
) -> Question | None:
    answer = answer_with(targets, layout, instruction.opening)
    if answer is None:
        return None
    instances = tuple(target.instance for target in targets)
    return Question(kind, instruction.text, instances, answer, explanation, True, held_out)


def ask_class(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`Bring me the mug.`"""
    return _by_name("class", layout, rng, held_out, HeldOut(frame=held_out))


def ask_synonym(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`Where is my cup?`"""
    return _by_name("synonym", layout, rng, held_out, held_out_parts(rng, held_out))


def _by_name(
    kind: str, layout: Layout, rng: np.random.Generator, held_out: bool, parts: HeldOut
) -> Question | None:
    if not layout.visible:
        return None
    item = pick(rng, layout.visible)
    targets = layout.of_class(item.class_name)
    facts = facts_of(item.class_name)
    if not targets or (kind == "synonym" and layout.shows_any_of(facts.look_alikes)):
        return None
    noun = noun_of(facts, rng, kind == "synonym", parts.name)
    instruction = instruction_for(definite(noun, rng), noun.be, rng, parts)
    return _question(kind, instruction, targets, layout, about(targets, layout, rng), held_out)


def _as_synonym(facts: ClassFacts, layout: Layout, rng: np.random.Generator) -> bool:
    """Whether to say another name, which must not fit a look-alike in view: a marker is a pen."""
    return rng.random() < _SYNONYM_SHARE and not layout.shows_any_of(facts.look_alikes)


def ask_several(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`Show me all mugs.`, of which there are at least two."""
    names = [item.class_name for item in layout.visible]
    repeated = sorted({name for name in names if names.count(name) > 1})
    targets = layout.of_class(pick(rng, repeated)) if repeated else None
    if not targets:
        return None
    facts = facts_of(targets[0].class_name)
    parts = held_out_parts(rng, held_out)
    noun = noun_of(facts, rng, _as_synonym(facts, layout, rng))
    name = phrasings.ALL_OF.draw(rng, parts.name).format(n=noun.plural)
    instruction = instruction_for(name, "are", rng, parts)
    number = NUMBERS[min(len(targets), 10)]
    explanation = f"I see {number} {facts.noun.plural}."
    return _question("several", instruction, targets, layout, explanation, held_out)


def ask_colour(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`The red mug`, or `the red thing` where every colour in view is known."""
    coloured = [item for item in layout.visible if item.colour is not None]
    if not coloured:
        return None
    item = pick(rng, coloured)
    colour = str(item.colour)
    all_known = not layout.unclear and len(coloured) == len(layout.visible)
    if all_known and rng.random() < 0.25:
        peers: list[VisibleObject] | None = layout.visible
        noun = None
    else:
        peers = layout.of_class(item.class_name)
        facts = facts_of(item.class_name)
        noun = noun_of(facts, rng, _as_synonym(facts, layout, rng))
    if not peers:
        return None
    targets = [peer for peer in peers if peer.colour == colour]
    others = [peer for peer in peers if peer.colour != colour]
    if not is_told_by_colour(item, others):
        return None
    word = pick(rng, COLOUR_WORDS.get(colour, (colour,)))
    if noun is None:
        name, be = f"the {word} {pick(rng, ('object', 'thing', 'one', 'item'))}", "is"
    else:
        name, be = definite(noun, rng, word), noun.be
    instruction = instruction_for(name, be, rng, HeldOut(frame=held_out))
    explanation = about(targets, layout, rng)
    if len(targets) == 1 and rng.random() < 0.6:
        canonical = facts_of(item.class_name).noun
        explanation = f"The {canonical.text} {canonical.be} {colour}."
    return _question("colour", instruction, targets, layout, explanation, held_out)


_PLACES: tuple[tuple[Phrases, relations.Pick, str], ...] = (
    (phrasings.LEFTMOST, relations.leftmost, "farther to the left"),
    (phrasings.RIGHTMOST, relations.rightmost, "farther to the right"),
    (phrasings.SECOND_LEFT, relations.second_left, ""),
    (phrasings.SECOND_RIGHT, relations.second_right, ""),
    (phrasings.NEAREST, relations.nearest, "nearer"),
    (phrasings.FARTHEST, relations.farthest, "farther away"),
)
_SIZES: tuple[tuple[Phrases, relations.Pick, str], ...] = (
    (phrasings.BIGGEST, relations.biggest, "bigger"),
    (phrasings.SMALLEST, relations.smallest, "smaller"),
)
# For the two objects of one class.
_PLACES_OF_TWO = {
    "farther to the left": phrasings.LEFT_ONE,
    "farther to the right": phrasings.RIGHT_ONE,
    "bigger": phrasings.BIGGER,
    "smaller": phrasings.SMALLER,
}


def ask_spatial(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`The leftmost object`, `the left mug`, `the second thing from the right`."""
    return _superlative("spatial", _PLACES, layout, rng, held_out)


def ask_size(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`The biggest object`, `the smaller mug`."""
    return _superlative("size", _SIZES, layout, rng, held_out)


def _superlative(
    kind: str,
    table: Sequence[tuple[Phrases, relations.Pick, str]],
    layout: Layout,
    rng: np.random.Generator,
    held_out: bool,
) -> Question | None:
    names = [item.class_name for item in layout.visible]
    repeated = sorted({name for name in names if names.count(name) > 1})
    for _ in range(_SUPERLATIVE_TRIES):
        phrases, choose, comparative = pick(rng, table)
        peers = layout.of_class(pick(rng, repeated)) if repeated and rng.random() < 0.5 else None
        target = choose(layout, peers or layout.everything)
        if target is not None:
            break
    else:
        return None
    noun, be, rival = None, "is", "Nothing"
    if peers:
        canonical = facts_of(target.class_name).noun
        noun, be = canonical.text, canonical.be
        rival = "Nothing" if canonical.plural_only else f"No other {noun}"
        if len(peers) == 2 and comparative in _PLACES_OF_TWO and rng.random() < 0.6:
            phrases = _PLACES_OF_TWO[comparative]
    parts = held_out_parts(rng, held_out)
    instruction = instruction_for(any_object(phrases, rng, parts.name, noun), be, rng, parts)
    explanation = f"{rival} is {comparative}."
    if not comparative or (peers and rival == "Nothing") or rng.random() < 0.4:
        explanation = about([target], layout, rng)
    return _question(kind, instruction, [target], layout, explanation, held_out)


def ask_relation(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`The object left of the banana`, `the mug between the book and the can`."""
    for _ in range(_ANCHOR_TRIES if len(layout.visible) > 1 else 0):
        found = _draw_relation(layout, rng)
        if found is not None:
            break
    else:
        return None
    target, phrases, slots, where = found
    parts = held_out_parts(rng, held_out)
    canonical = facts_of(target.class_name).noun
    by_class = rng.random() < 0.4
    if isinstance(phrases, _Side):
        phrases = phrases.for_target(layout, target, by_class, rng)
    name = any_object(phrases, rng, parts.name, canonical.text if by_class else None, **slots)
    instruction = instruction_for(name, canonical.be if by_class else "is", rng, parts)
    explanation = f"{capitalised(canonical.it_is)} {where}."
    return _question("relation", instruction, [target], layout, explanation, held_out)


@dataclass(frozen=True)
class _Side:
    """The side of an anchor on which the target lies."""

    anchor: VisibleObject
    right: bool

    def for_target(
        self, layout: Layout, target: VisibleObject, by_class: bool, rng: np.random.Generator
    ) -> Phrases:
        """`left of` only fits where nothing else is there; `just left of` fits always."""
        rivals = [
            item
            for item in layout.everything
            if not by_class or item.class_name == target.class_name
        ]
        only = len(layout.on_side(rivals, self.anchor, self.right)) == 1
        if only and rng.random() < 0.6:
            return phrasings.RIGHT_OF if self.right else phrasings.LEFT_OF
        return phrasings.JUST_RIGHT_OF if self.right else phrasings.JUST_LEFT_OF


def _draw_relation(
    layout: Layout, rng: np.random.Generator
) -> tuple[VisibleObject, Phrases | _Side, dict[str, str], str] | None:
    """The target, its phrasings with their slots, and its place in words; None: not clear-cut."""
    anchor, other = pick(rng, layout.visible), pick(rng, layout.visible)
    a = describe(anchor, layout)
    if a is None:
        return None
    slots = {"a": a}
    target: VisibleObject | None
    phrases: Phrases | _Side
    draw = rng.random()
    if draw < 0.4:
        right = draw < 0.2
        target = layout.beside(anchor, right)
        phrases = _Side(anchor, right)
        where = f"to the {'right' if right else 'left'} of {a}"
    elif draw < 0.55:
        target = layout.next_to(anchor)
        phrases, where = phrasings.NEXT_TO, f"next to {a}"
    elif draw < 0.75:
        behind = draw < 0.65
        target = layout.in_line(anchor, behind)
        phrases = phrasings.BEHIND if behind else phrasings.IN_FRONT_OF
        where = f"behind {a}" if behind else f"in front of {a}"
    else:
        b = describe(other, layout)
        if b is None or other is anchor:
            return None
        slots["b"] = b
        target = layout.between(anchor, other)
        phrases, where = phrasings.BETWEEN, f"between {a} and {b}"
    return None if target is None else (target, phrases, slots, where)


def met_needs(layout: Layout) -> list[tuple[Need, list[VisibleObject]]]:
    """The needs whose servers in view are certain, at least one and not too many."""
    present = {item.class_name for item in layout.everything}
    unclear = {item.class_name for item in layout.unclear}
    found = []
    for need in NEEDS:
        if need.serves & present and not (need.debatable & present or need.serves & unclear):
            found.append((need, [i for i in layout.visible if i.class_name in need.serves]))
    return found


def ask_need(layout: Layout, rng: np.random.Generator, held_out: bool) -> Question | None:
    """`I am thirsty.`"""
    found = met_needs(layout)
    if not found:
        return None
    # A need that many classes serve is met more often; each need shall be heard as often.
    weights = np.cumsum([1 / len(need.serves) for need, _ in found])
    need, targets = found[int(np.searchsorted(weights, rng.random() * weights[-1]))]
    instruction = need_instruction(need, rng, held_out)
    explanation = explain_need(need, targets)
    return _question("need", instruction, targets, layout, explanation, held_out)


def explain_need(need: Need, targets: Sequence[VisibleObject]) -> str:
    """Why the targets serve the need: `A mug or a glass can help against thirst.`"""
    nouns = [facts_of(name).noun for name in dict.fromkeys(item.class_name for item in targets)]
    names = listing([noun.a() for noun in nouns], "or")
    return need.reason.format(A=capitalised(names), a=names)


def absent_colours(item_colours: Sequence[str], colours: Sequence[str]) -> list[str]:
    """The colours that nobody would see on any of the items."""
    return [
        colour
        for colour in colours
        if not any(colours_are_close(colour, present) for present in item_colours)
    ]

"""Names for the objects of a view: definite ones that single out one object, and lists."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lisa_ros.sim.colours import colours_are_close
from lisa_ros.sim.grammar import NUMBERS, capitalised, listing, pick
from lisa_ros.sim.question import SEG
from lisa_ros.sim.relations import Layout
from lisa_ros.sim.view import VisibleObject
from lisa_ros.sim.vocabulary import ClassFacts, facts_of

MOST_TARGETS = 3  # more objects than this are never asked for at once
_ORDER_MARGIN = 0.03  # of the image width: below it, which one is the left one is open
_PLACES = {2: ("left", "right"), 3: ("left", "middle", "right")}
_LONGEST_LIST = 4


def describe(item: VisibleObject, layout: Layout) -> str | None:
    """The definite name of an object: the shortest that singles it out.

    `the mug` where there is one mug; `the red mug` where no other mug could be called red;
    else `the left mug`, among two or three.  None: no such name, or an unclear mug is in view.
    """
    peers = layout.of_class(item.class_name)
    if peers is None:
        return None
    noun = facts_of(item.class_name).noun.text
    others = [peer for peer in peers if peer.instance != item.instance]
    if not others:
        return f"the {noun}"
    if is_told_by_colour(item, others):
        return f"the {item.colour} {noun}"
    places = _PLACES.get(len(peers))
    if places is None or not in_clear_order(peers, layout):
        return None
    rank = [peer.instance for peer in peers].index(item.instance)
    return f"the {places[rank]} {noun}"


def is_told_by_colour(item: VisibleObject, others: Sequence[VisibleObject]) -> bool:
    """Whether the object has one colour, and no other object might be said to have it."""
    return item.colour is not None and all(
        other.colour is not None and not colours_are_close(item.colour, other.colour)
        for other in others
    )


def in_clear_order(items: Sequence[VisibleObject], layout: Layout) -> bool:
    """Whether the order from left to right (in which the items come) is beyond doubt."""
    places = [item.centre_xy[0] for item in items]
    margin = _ORDER_MARGIN * layout.width
    return all(right - left >= margin for left, right in itertools.pairwise(places))


def answer_with(targets: Sequence[VisibleObject], layout: Layout, opening: str) -> str | None:
    """The answer that names each target behind its `[SEG]`; None where one has no name.

    Where a thing is has to be known before what it is: "the second from the left" is found without
    its name, and a wrong name would lead to another thing.

    Args:
        targets: from left to right.
        layout: the view.
        opening: `request`, `question` or `need`; it sets the words for a single target.
    """
    if not 0 < len(targets) <= MOST_TARGETS or not in_clear_order(targets, layout):
        return None
    names = []
    for target in targets:
        name = describe(target, layout)
        if name is None:
            return None
        names.append(f"{SEG} {name}")
    if len(names) > 1:
        return f"There are {NUMBERS[len(names)]}: {listing(names)}."
    noun = facts_of(targets[0].class_name).noun
    return f"{opening_words(opening, noun.be)} {names[0]}."


def opening_words(opening: str, be: str) -> str:
    """How an answer begins that shows something: `Sure,` to a request; see `Instruction`."""
    return {
        "request": "Sure,",
        "question": "It is" if be == "is" else "They are",
        "need": "Take",
        "several": f"There are {NUMBERS[2]}:",
    }[opening]


def there_is_no(facts: ClassFacts, colour: str | None = None) -> str:
    """`There is no red mug here.`"""
    noun = facts.noun
    name = f"{colour} {noun.text}" if colour else noun.text
    return f"There {noun.be} no {name} here."


def indefinite(item: VisibleObject) -> str:
    """`a red mug`, or `a mug` where the colour is none or part of the name."""
    noun = facts_of(item.class_name).noun
    return noun.a(item.colour if item.colour != noun.text else None)


def caption_parts(items: Sequence[VisibleObject]) -> list[str]:
    """The objects in their order; equal neighbours are counted: `two red mugs`."""
    parts: list[str] = []
    start = 0
    while start < len(items):
        first = items[start]
        noun = facts_of(first.class_name).noun
        stop = start + 1
        while (
            stop < len(items)
            and items[stop].class_name == first.class_name
            and items[stop].colour == first.colour
        ):
            stop += 1
        count = stop - start
        if count == 1:
            parts.append(indefinite(first))
        else:
            coloured = first.colour is not None and first.colour != noun.text
            name = f"{first.colour} {noun.plural}" if coloured else noun.plural
            parts.append(f"{NUMBERS[min(count, 10)]} {name}")
        start = stop
    return parts


def i_see(layout: Layout) -> str:
    """What is in view instead of what was asked for: `I see a banana and a red mug.`"""
    items = layout.visible
    if not items:
        return "I see nothing clearly." if layout.unclear else "I see nothing on the table."
    parts = caption_parts(items)
    if len(parts) > _LONGEST_LIST:
        return f"I see {', '.join(parts[: _LONGEST_LIST - 1])} and other things."
    return f"I see {listing(parts)}."


def about(targets: Sequence[VisibleObject], layout: Layout, rng: np.random.Generator) -> str:
    """A sentence about the first target: what its class is good for, or where it lies."""
    target = targets[0]
    where = place(target, layout) if len(targets) == 1 and rng.random() < 0.4 else None
    return where or pick(rng, facts_of(target.class_name).facts)


def place(item: VisibleObject, layout: Layout) -> str | None:
    """`It is on the left side of the picture.`; None where it is neither here nor there."""
    share = item.centre_xy[0] / layout.width
    it_is = capitalised(facts_of(item.class_name).noun.it_is)
    if share < 0.4:
        return f"{it_is} on the left side of the picture."
    if share > 0.6:
        return f"{it_is} on the right side of the picture."
    return f"{it_is} in the middle of the picture." if 0.44 < share < 0.56 else None

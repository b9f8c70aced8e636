"""A need: something a person wants to do, and the classes of object that serve it."""

from __future__ import annotations

from dataclasses import dataclass

from lisa_ros.sim.grammar import Phrases


@dataclass(frozen=True)
class Need:
    """A need and its words.

    Attributes:
        name: its name, for lists and reports.
        serves: the classes that serve it well.
        debatable: classes on which people may disagree; where such an object is in view, the need
            is not asked.
        refusal: the answer where nothing in view serves it.
        reason: why an object serves it; `{A}` is "A mug", `{a}` is "a mug".
        do: verb phrases that complete "I want to ...".
        thing: noun phrases that complete "I need ...".
        say: sentences that let the hearer guess the need.
    """

    name: str
    serves: frozenset[str]
    debatable: frozenset[str]
    refusal: str
    reason: str
    do: Phrases
    thing: Phrases
    say: Phrases


def need(
    name: str,
    *,
    serves: str,
    debatable: str = "",
    refusal: str,
    reason: str,
    do: str = "",
    thing: str = "",
    say: str = "",
) -> Need:
    """Read a need as the tables write it.

    Args:
        name: its name.
        serves: classes, as in `"mug; glass"`.
        debatable: classes.
        refusal: a sentence.
        reason: a sentence with `{A}` or `{a}`.
        do: phrases, as `Phrases.parse` reads them.
        thing: phrases.
        say: phrases.
    """
    return Need(
        name=name,
        serves=_classes(serves),
        debatable=_classes(debatable),
        refusal=refusal,
        reason=reason,
        do=Phrases.parse(do),
        thing=Phrases.parse(thing),
        say=Phrases.parse(say),
    )


def _classes(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in " ".join(text.split()).split(";") if part.strip())

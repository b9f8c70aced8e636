"""Nouns in the grammar of English: article, number and plural."""

from __future__ import annotations

from dataclasses import dataclass

from lisa_ros.sim.grammar import with_article

_IRREGULAR_PLURALS = {"knife": "knives", "loaf": "loaves", "dice": "dice", "die": "dice"}

# What one counts of a thing that has no singular of its own.
_COUNTED_AS = {
    "milk": "carton of milk",
    "bread": "loaf of bread",
    "tape": "roll of tape",
    "soap": "bar of soap",
    "toilet paper": "roll of toilet paper",
    "keys": "set of keys",
}


@dataclass(frozen=True)
class Noun:
    """A name in the grammar of English: `a mug`, plural only (`scissors`), or mass (`milk`)."""

    text: str
    plural_only: bool = False
    mass: bool = False

    @classmethod
    def parse(cls, text: str) -> Noun:
        """`"mug"`, `"scissors+"` (plural only), `"milk~"` (mass)."""
        return cls(text.rstrip("+~"), plural_only=text.endswith("+"), mass=text.endswith("~"))

    @property
    def be(self) -> str:
        """`is` or `are`."""
        return "are" if self.plural_only else "is"

    @property
    def it_is(self) -> str:
        """`it is` or `they are`."""
        return "they are" if self.plural_only else "it is"

    def a(self, adjective: str | None = None) -> str:
        """With the indefinite article where English wants one: `a red mug`, `milk`."""
        words = f"{adjective} {self.text}" if adjective else self.text
        return words if self.plural_only or self.mass else with_article(words)

    @property
    def counted(self) -> str:
        """As in "one ...": `mug`, `pair of scissors`, `carton of milk`."""
        if self.text in _COUNTED_AS:
            return _COUNTED_AS[self.text]
        return f"pair of {self.text}" if self.plural_only else self.text

    @property
    def plural(self) -> str:
        """As in "two ...": `mugs`, `pairs of scissors`, `cartons of milk`."""
        head, of, rest = self.counted.partition(" of ")
        return _plural(head) + of + rest


def _plural(word: str) -> str:
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")

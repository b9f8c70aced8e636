"""The names of colours, and which of them people mix up."""

from __future__ import annotations

COLOURS = (
    *("red", "orange", "yellow", "green", "blue", "purple"),
    *("pink", "brown", "black", "white", "grey"),
)

# Other words for a colour that people use.
COLOUR_WORDS = {"grey": ("grey", "gray"), "purple": ("purple", "violet")}

# Two people may disagree on these, in a dim light above all.
_CLOSE_COLOURS = (
    *("red orange", "red pink", "red brown", "orange brown", "orange yellow", "blue purple"),
    *("pink purple", "white grey", "black grey", "yellow brown", "orange pink", "yellow white"),
    *("yellow green", "black brown", "red purple", "pink white"),
)


def _pairs() -> frozenset[tuple[str, str]]:
    pairs = [tuple(pair.split()) for pair in _CLOSE_COLOURS]
    return frozenset((a, b) for a, b in pairs) | frozenset((b, a) for a, b in pairs)


_CLOSE_PAIRS = _pairs()


def colours_are_close(a: str, b: str) -> bool:
    """Whether two people may take colour `a` for colour `b` (equal ones are close)."""
    return a == b or (a, b) in _CLOSE_PAIRS

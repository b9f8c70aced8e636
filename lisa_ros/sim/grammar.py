"""Small English: alternatives, articles, lists, numbers, and the slips of a hurried typist.

Phrases are written as data. `"a; b || c"` reads: the phrasings a and b for training, c kept for
testing. `"[please |]bring it"` reads: with or without the word in the brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

_OPTION = re.compile(r"\[([^\[\]]*)\]")


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of the items, each as likely (`rng.choice` is thirty times slower)."""
    return items[int(rng.random() * len(items))]


def expand(template: str) -> tuple[str, ...]:
    """All wordings of a template with `[this|or that]` in it, in order."""
    found = _OPTION.search(template)
    if found is None:
        return (template,)
    head, tail = template[: found.start()], template[found.end() :]
    return tuple(
        wording for option in found[1].split("|") for wording in expand(head + option + tail)
    )


@dataclass(frozen=True)
class Phrases:
    """Templates with their wordings: some to train with, others kept for testing.

    A template is drawn first, then one of its wordings, so that a template with many options
    is not drawn more often.
    """

    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Phrases:
        """Read `"train; train || test; test"`; line breaks count as blanks."""
        train, _, test = " ".join(text.split()).partition("||")
        return cls(cls._templates(train), cls._templates(test))

    @staticmethod
    def _templates(text: str) -> tuple[tuple[str, ...], ...]:
        return tuple(expand(part.strip()) for part in text.split(";") if part.strip())

    def draw(self, rng: np.random.Generator, held_out: bool = False) -> str:
        """One wording of the training part, or of the part kept for testing."""
        return pick(rng, pick(rng, self.test if held_out else self.train))

    def wordings(self, held_out: bool = False) -> Iterator[str]:
        """All wordings of one part."""
        for wordings in self.test if held_out else self.train:
            yield from wordings


def with_article(words: str) -> str:
    """`"a mug"`, `"an orange mug"`."""
    return ("an " if words[0].lower() in "aeiou" else "a ") + words


def listing(items: Sequence[str], last: str = "and") -> str:
    """`"a mug, a book and a can"`; `last` is the word before the last item."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def capitalised(sentence: str) -> str:
    """The sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def as_sentence(words: str, end: str = ".") -> str:
    """Upper case at the start, and a final mark where there is none."""
    return capitalised(words) + ("" if words[-1] in ".?!" else end)


def roughen(sentence: str, rng: np.random.Generator) -> str:
    """The sentence as people type it: now and then lower case, unpunctuated, with a slip."""
    if rng.random() < 0.35:
        sentence = sentence[0].lower() + sentence[1:] if sentence[:2] != "I " else sentence
    if rng.random() < 0.12:
        sentence = sentence.lower()
    if rng.random() < 0.35:
        sentence = sentence.rstrip(".?!")
    if rng.random() < 0.04:
        sentence = _with_slip(sentence, rng)
    return sentence


def _with_slip(sentence: str, rng: np.random.Generator) -> str:
    """One letter of a longer word left out, doubled, or swapped with the next one."""
    words = [found.span() for found in re.finditer(r"[A-Za-z]{5,}", sentence)]
    if not words:
        return sentence
    start, end = pick(rng, words)
    at = start + 1 + int(rng.random() * (end - start - 3))
    first, second = sentence[at], sentence[at + 1]
    slip = pick(rng, (second, first + first + second, second + first))
    return sentence[:at] + slip + sentence[at + 2 :]

"""From a name or a need to the words of an instruction."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lisa_ros.sim.grammar import Phrases, as_sentence, capitalised, pick, roughen
from lisa_ros.sim.needs import Need
from lisa_ros.sim.nouns import Noun
from lisa_ros.sim.phrasings import (
    ANY,
    NEED_BY_DO,
    NEED_BY_SAYING,
    NEED_BY_THING,
    QUESTIONS,
    REQUESTS,
)
from lisa_ros.sim.vocabulary import ClassFacts

_ASKING = (
    *("what", "which", "where", "who", "how", "could", "would", "is", "are", "am"),
    *("can i", "can you", "do i", "do you", "so what", "in which", "with which"),
)
# In these frames somebody else acts, or the user, whose hair would not be "my hair" there.
_OF_OTHERS = ("friend", "somebody", "someone", "people", "you want")
_MINE = re.compile(r"\b(I|me|my|myself)\b")


@dataclass(frozen=True)
class Instruction:
    """The user's words, and what the beginning of an answer follows from.

    Attributes:
        text: the words.
        opening: what they are: `request`, `question`, `need`, or `several` for all of a class.
        be: `is` or `are`, by the name that the answer has for what they ask for.
    """

    text: str
    opening: str
    be: str = "is"


@dataclass(frozen=True)
class HeldOut:
    """Which parts of an instruction come from the phrasings that are kept for testing."""

    name: bool = False
    frame: bool = False


TRAINING = HeldOut()


def held_out_parts(rng: np.random.Generator, held_out: bool) -> HeldOut:
    """For a test, a new name in a known frame more often than the other way round."""
    if not held_out:
        return TRAINING
    draw = rng.random()
    return HeldOut(name=draw < 0.75, frame=draw > 0.55)


def punctuated(words: str) -> str:
    """The words as a sentence, with a question mark where they ask."""
    clauses = words.lower().split(", ")
    asks = any(
        f"{clause} ".startswith(f"{word} ")
        for clause in (clauses[0], clauses[-1])
        for word in _ASKING
    )
    return as_sentence(words, "?" if asks else ".")


def finish(words: str, rng: np.random.Generator, held_out: bool) -> str:
    """The sentence as people type it; without slips where it is kept for testing."""
    if words.lower().startswith("please "):
        words = words.removesuffix(" please")
    sentence = punctuated(words)
    return sentence if held_out else roughen(sentence, rng)


def instruction_for(
    name: str, be: str, rng: np.random.Generator, parts: HeldOut = TRAINING
) -> Instruction:
    """A request for, or a question about, the object of this name (with its article)."""
    opening = "request" if rng.random() < 0.65 else "question"
    frames = REQUESTS if opening == "request" else QUESTIONS
    words = frames.draw(rng, parts.frame).format(x=name, be=be)
    return Instruction(finish(words, rng, parts != TRAINING), opening, be)


def noun_of(
    facts: ClassFacts, rng: np.random.Generator, synonym: bool, held_out: bool = False
) -> Noun:
    """The class's own name, or another one."""
    if not synonym:
        return facts.noun
    return pick(rng, facts.held_out_synonyms if held_out else facts.synonyms)


def definite(noun: Noun, rng: np.random.Generator, adjective: str | None = None) -> str:
    """Mostly `the red mug`, at times `a red mug` or `my red mug`."""
    draw = rng.random()
    if draw < 0.15:
        return noun.a(adjective)
    words = f"{adjective} {noun.text}" if adjective else noun.text
    return f"my {words}" if draw < 0.22 else f"the {words}"


def any_object(
    phrases: Phrases,
    rng: np.random.Generator,
    held_out: bool,
    noun: str | None = None,
    **slots: str,
) -> str:
    """A name by place or size, for a class or for any object."""
    return phrases.draw(rng, held_out).format(n=noun or pick(rng, ANY), **slots)


def need_instruction(need: Need, rng: np.random.Generator, held_out: bool) -> Instruction:
    """A need in a person's words."""
    parts = held_out_parts(rng, held_out)
    draw = rng.random()
    if draw < 0.45:
        do = need.do.draw(rng, parts.name)
        frame = NEED_BY_DO.draw(rng, parts.frame)
        while _MINE.search(do) and any(other in frame for other in _OF_OTHERS):
            frame = NEED_BY_DO.draw(rng, parts.frame)
        words = frame.format(do=do)
    elif draw < 0.75:
        words = NEED_BY_THING.draw(rng, parts.frame).format(thing=need.thing.draw(rng, parts.name))
    else:
        words = NEED_BY_SAYING.draw(rng, parts.frame).format(say=need.say.draw(rng, parts.name))
    return Instruction(finish(capitalised(words), rng, held_out), "need")

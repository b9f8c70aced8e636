"""What an instruction with ground truth is."""

from __future__ import annotations

from dataclasses import dataclass

SEG = "[SEG]"

PRESENT_KINDS = (*("class", "synonym", "colour", "size", "spatial", "relation", "need", "several"),)
ABSENT_KINDS = ("absent", "absent_need")
KINDS = (*PRESENT_KINDS, *ABSENT_KINDS, "text")


@dataclass(frozen=True)
class Question:
    """An instruction, and the one right answer to it.

    Attributes:
        kind: one of `KINDS`.
        instruction: the user's words.
        targets: the instances asked for, one for each `[SEG]` of the answer in this order;
            empty for a refusal and for a question that words answer.
        answer: a short answer; each object is named behind its `[SEG]`.
        explanation: one or two sentences that are true of the scene; empty after a caption.
        wants_mask: whether the user wants an object shown, not words.
        held_out: whether the words are kept for testing.
        wrong_answer: how one would begin who shows an object where a refusal is right, in the words
            that an answer to this instruction has; a model learns from it to doubt what it shows,
            and not those words.  Empty where an object is there.
    """

    kind: str
    instruction: str
    targets: tuple[int, ...]
    answer: str
    explanation: str
    wants_mask: bool
    held_out: bool
    wrong_answer: str = ""

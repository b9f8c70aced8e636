"""What is said about a sample in training: the published questions and answers.

The mark of the image before the first question is not part of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lisa_ros.data.samples import Sample, Target

SHORT_QUESTIONS = (
    "Can you segment the {} in this image?",
    "Please segment the {} in this image.",
    "What is {} in this image? Please respond with segmentation mask.",
    "What is {} in this image? Please output segmentation mask.",
)
LONG_QUESTIONS = (
    "{} Please respond with segmentation mask.",
    "{} Please output segmentation mask.",
)
EXPLANATORY_QUESTIONS = (
    "{} Please output segmentation mask and explain why.",
    "{} Please output segmentation mask and explain the reason.",
    "{} Please output segmentation mask and give some explanation.",
)
ANSWERS = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
)
EXPLANATORY = 0.1  # share of explained samples that are answered in words alone


@dataclass(frozen=True)
class Dialogue:
    """A conversation about a picture.

    Attributes:
        turns: (question, answer) each.
        masks: bool (H, W), one for each `[SEG]` of the answers, in their order.
    """

    turns: tuple[tuple[str, str], ...]
    masks: tuple[np.ndarray, ...]


def phrase_dialogues(sample: Sample, rng: np.random.Generator) -> tuple[Dialogue, ...]:
    """Of the semantic and the referring family: a question and a mask for each class or phrase."""
    return tuple(
        _dialogue(_question(target, rng), _pick(ANSWERS, rng), target) for target in sample.targets
    )


def reasoning_dialogues(
    sample: Sample, rng: np.random.Generator, explanatory: float | None = EXPLANATORY
) -> tuple[Dialogue, ...]:
    """Of the reasoning family: short or long questions, some answered with an explanation.

    A sample that has an explanation is answered in words alone with the probability
    `explanatory`; else, half and half, with a mask, or with a mask and the explanation.  The kind
    is drawn once for all texts of the sample.  With None, published as -1, explanations are not
    used.
    """
    if explanatory is None:
        return phrase_dialogues(sample, rng)
    kind = "words" if rng.random() < explanatory else ("mask", "both")[rng.integers(2)]
    dialogues = []
    for target in sample.targets:
        if not target.explanation or kind == "mask":
            dialogues.append(_dialogue(_question(target, rng), _pick(ANSWERS, rng), target))
        elif kind == "both":
            question = _pick(EXPLANATORY_QUESTIONS, rng).format(target.text)
            answer = f"{_pick(ANSWERS, rng)} {target.explanation}"
            dialogues.append(_dialogue(question, answer, target))
        else:
            dialogues.append(Dialogue(((target.text, target.explanation),), ()))
    return tuple(dialogues)


def word_dialogues(sample: Sample, rng: np.random.Generator) -> tuple[Dialogue, ...]:
    """Of the VQA family: the conversation as it stands, without masks."""
    return (Dialogue(sample.turns, ()),) if sample.turns else ()


MakeDialogues = Callable[[Sample, np.random.Generator], tuple[Dialogue, ...]]

DIALOGUES: dict[str, MakeDialogues] = {  # by family
    "sem_seg": phrase_dialogues,
    "refer_seg": phrase_dialogues,
    "vqa": word_dialogues,
    "reason_seg": reasoning_dialogues,
}


def _dialogue(question: str, answer: str, target: Target) -> Dialogue:
    return Dialogue(((question, answer),), (target.mask == 1,))


def _question(target: Target, rng: np.random.Generator) -> str:
    if target.is_sentence:
        return _pick(LONG_QUESTIONS, rng).format(target.text)
    return _pick(SHORT_QUESTIONS, rng).format(target.text.lower())


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]

"""The published questions and answers."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import LEFT, MIDDLE, RIGHT, H, W, mask_of

from lisa_ros.data.dialogues import (
    DIALOGUES,
    Dialogue,
    phrase_dialogues,
    reasoning_dialogues,
    word_dialogues,
)
from lisa_ros.data.samples import IGNORE, Sample, Target

IMAGE = np.zeros((H, W, 3), np.uint8)
SHORT = {
    "Can you segment the red cup in this image?",
    "Please segment the red cup in this image.",
    "What is red cup in this image? Please respond with segmentation mask.",
    "What is red cup in this image? Please output segmentation mask.",
}
LONG = {
    "Who Drives? Please respond with segmentation mask.",
    "Who Drives? Please output segmentation mask.",
}
EXPLAINED = {
    "Who Drives? Please output segmentation mask and explain why.",
    "Who Drives? Please output segmentation mask and explain the reason.",
    "Who Drives? Please output segmentation mask and give some explanation.",
}
ANSWERS = {
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
}
REASON = "The man sits in the car."


def sample_of(*targets: Target) -> Sample:
    return Sample(Path("a.jpg"), IMAGE, targets)


def said(make, sample: Sample, runs: int = 400) -> Counter[tuple[str, str]]:
    """Turns of the first dialogue over many draws."""
    rng = np.random.default_rng(0)
    return Counter(make(sample, rng)[0].turns[0] for _ in range(runs))


@pytest.mark.parametrize("make", [phrase_dialogues, reasoning_dialogues])
def test_short_questions(make):
    turns = said(make, sample_of(Target("Red Cup", False, mask_of(LEFT))))
    assert {question for question, _ in turns} == SHORT
    assert {answer for _, answer in turns} == ANSWERS
    assert len(turns) == len(SHORT) * len(ANSWERS)  # drawn apart from each other
    assert max(turns.values()) < 3 * min(turns.values()) + 10


def test_long_questions():
    turns = said(reasoning_dialogues, sample_of(Target("Who Drives?", True, mask_of(LEFT))))
    assert {question for question, _ in turns} == LONG
    assert {answer for _, answer in turns} == ANSWERS


def test_each_target_is_a_conversation_of_its_own():
    targets = [Target(f"cup {i}", False, mask_of(box)) for i, box in enumerate((LEFT, RIGHT))]
    dialogues = phrase_dialogues(sample_of(*targets), np.random.default_rng(0))
    assert len(dialogues) == 2
    for i, (dialogue, box) in enumerate(zip(dialogues, (LEFT, RIGHT), strict=True)):
        ((question, answer),) = dialogue.turns
        assert f"cup {i}" in question
        assert answer.count("[SEG]") == len(dialogue.masks) == 1
        np.testing.assert_array_equal(dialogue.masks[0], mask_of(box) == 1)


@pytest.mark.parametrize("make", [phrase_dialogues, reasoning_dialogues])
def test_ignored_pixels_are_no_target(make):
    mask = mask_of(MIDDLE)
    mask[LEFT] = IGNORE
    (dialogue,) = make(sample_of(Target("cup", False, mask)), np.random.default_rng(0))
    assert dialogue.masks[0].dtype == bool
    np.testing.assert_array_equal(dialogue.masks[0], mask_of(MIDDLE) == 1)
    (dialogue,) = make(sample_of(Target("cup", False, mask_of())), np.random.default_rng(0))
    assert dialogue.masks[0].sum() == 0  # an empty one stays


@pytest.mark.parametrize(("explanatory", "in_words"), [(0.1, 0.1), (0.5, 0.5)])
def test_explanations(explanatory, in_words):
    target = Target("Who Drives?", True, mask_of(LEFT), REASON)
    rng = np.random.default_rng(0)
    kinds: Counter[str] = Counter()
    for _ in range(4000):
        (dialogue,) = reasoning_dialogues(sample_of(target), rng, explanatory)
        ((question, answer),) = dialogue.turns
        if not dialogue.masks:
            assert (question, answer) == ("Who Drives?", REASON)
            kinds["words"] += 1
        elif answer in ANSWERS:
            assert question in LONG
            kinds["mask"] += 1
        else:
            assert question in EXPLAINED
            assert answer.removesuffix(f" {REASON}") in ANSWERS
            kinds["both"] += 1
    assert kinds["words"] / 4000 == pytest.approx(in_words, abs=0.03)
    for kind in ("mask", "both"):
        assert kinds[kind] / 4000 == pytest.approx((1 - in_words) / 2, abs=0.03)


def test_without_explanations_an_explained_sample_is_one_as_others():
    target = Target("Who Drives?", True, mask_of(LEFT), REASON)
    rng = np.random.default_rng(0)
    for _ in range(50):
        (dialogue,) = reasoning_dialogues(sample_of(target), rng, None)
        ((question, answer),) = dialogue.turns
        assert question in LONG
        assert answer in ANSWERS


def test_texts_of_an_explained_sample_are_answered_in_one_kind():
    targets = [Target(f"Who Drives {i}?", True, mask_of(LEFT), REASON) for i in range(3)]
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        dialogues = reasoning_dialogues(sample_of(*targets), rng)
        counts = {(len(d.masks), d.turns[0][1].endswith(REASON)) for d in dialogues}
        assert len(dialogues) == 3
        assert len(counts) == 1
        seen |= counts
    assert seen == {(0, True), (1, False), (1, True)}


def test_conversations_are_told_as_they_are():
    turns = (("What is it?", "A cup."), ("Red?", "Yes."))
    rng = np.random.default_rng(0)
    assert word_dialogues(Sample(Path("a.jpg"), IMAGE, turns=turns), rng) == (Dialogue(turns, ()),)
    assert word_dialogues(Sample(Path("a.jpg"), IMAGE), rng) == ()


def test_braces_in_a_text_are_text():
    (dialogue,) = phrase_dialogues(
        sample_of(Target("the {0} key", False, mask_of(LEFT))), np.random.default_rng(0)
    )
    assert "the {0} key" in dialogue.turns[0][0]


def test_families():
    assert set(DIALOGUES) == {"sem_seg", "refer_seg", "vqa", "reason_seg"}

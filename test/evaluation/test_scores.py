"""Answers compared with the truth: IoU, refusals, N-acc and T-acc, names."""

from types import SimpleNamespace

import numpy as np
import pytest

from lisa_ros.evaluation.cases import Case
from lisa_ros.evaluation.metrics import MaskMetrics
from lisa_ros.evaluation.scores import Scores, compare
from lisa_ros.model.conversation import clean_explanation
from lisa_ros.perception import Status

SHAPE = (4, 6)


def area(rows: int, value: int = 1) -> np.ndarray:
    """The upper rows, uint8 (4, 6)."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[:rows] = value
    return mask


def answer(mask: np.ndarray | None, text: str = "") -> SimpleNamespace:
    found = mask is not None and mask.any()
    status = Status.FOUND if found else Status.NOT_FOUND
    mask = None if mask is None else mask > 0
    words = clean_explanation(text)
    return SimpleNamespace(mask=mask, text=text, explanation=words, status=status)


def test_golden_masks_of_reason_seg_to_the_digit(first_golden):
    arrays = first_golden.arrays("reasonseg")
    metrics = MaskMetrics()
    for name in sorted(k for k in arrays if k.startswith("val/") and k.endswith("/mask")):
        prefix = name.removesuffix("/mask")
        logits = arrays[f"{prefix}/pred_mask_logits"][0]
        result = compare(Case((), prefix, arrays[name]), answer((logits > 0).astype(np.uint8)))
        assert result.intersection == arrays[f"{prefix}/intersection"][1]
        assert result.union == arrays[f"{prefix}/union"][1]
        metrics.add_overlap(result.intersection, result.union)
    assert metrics.giou == pytest.approx(arrays["val/giou"].item(), rel=1e-6)
    assert metrics.ciou == pytest.approx(arrays["val/ciou"].item(), rel=1e-6)


def test_n_acc_and_t_acc_by_hand():
    """Five phrases of nothing, three refused; four of something, one refused."""
    nothing, half = area(0), area(2)
    cases = [(nothing, a) for a in (None, area(0), None, area(1), area(4))]
    cases += [(half, a) for a in (half, area(4), area(1), None)]
    scores = Scores.of(compare(Case((), "x", target), answer(a)) for target, a in cases)
    assert (scores.absent, scores.present.count) == (5, 4)
    assert scores.refusal_rate == 3 / 5  # N-acc: TP 3, FN 2
    assert scores.target_accuracy == 3 / 4  # T-acc: TN 3, FP 1
    assert scores.false_refusal_rate == 1 / 4
    # 1 for each right refusal; 12/12, 12/24, 6/12 and 0 for the masks.
    assert scores.masks.giou == pytest.approx((3 + 1 + 0.5 + 0.5) / 9, rel=1e-5)
    assert scores.present.giou == pytest.approx(2 / 4, rel=1e-5)
    # Wrong masks of nothing widen the union (6 and 24), a false refusal by what it missed (12).
    assert scores.masks.ciou == pytest.approx((12 + 12 + 6) / (6 + 24 + 12 + 24 + 12 + 12))


def test_shares_of_nothing_are_none():
    scores = Scores()
    assert scores.refusal_rate is None
    assert scores.target_accuracy is None
    assert scores.naming_rate is None


def test_a_mask_on_ignored_pixels_is_right_but_no_refusal():
    result = compare(Case((), "x", area(2, 255)), answer(area(1)))
    assert result.iou == 1
    assert result.is_absent
    assert not result.is_refusal


def test_groups_are_scored_alone():
    half = area(2)
    scores = Scores.of(
        [
            compare(Case(("short", "left"), "x", half), answer(half)),
            compare(Case(("long",), "x", half), answer(area(4))),
        ]
    )
    assert scores.masks.count == 2
    giou = {name: row.masks.giou for name, row in scores.by_group.items()}
    assert giou == pytest.approx({"short": 1, "left": 1, "long": 0.5}, rel=1e-4)


def test_names_are_looked_for_in_the_words():
    case = Case((), "x", area(2), names=("Red mug",))
    named = [
        compare(case, answer(area(2), text)).named
        for text in ("Sure, the [SEG] red mug.", "the mug")
    ]
    assert named == [True, False]
    assert compare(Case((), "x", area(2)), answer(None)).named is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Sure, THE CAN.", True),
        ("the can, and the cup", True),
        ("Sure, the candle.", False),
        ("You can bathe canaries", False),
    ],
)
def test_a_name_is_of_whole_words(text, named):
    case = Case((), "x", area(2), names=("the can",))
    assert compare(case, answer(area(2), text)).named is named


def test_all_things_are_to_be_named():
    case = Case((), "x", area(2), names=("the left mug", "the right mug"))
    texts = ("the left mug and the right mug.", "the left mug and the bowl.")
    assert [compare(case, answer(area(2), text)).named for text in texts] == [True, False]


def test_a_name_is_no_pattern():
    case = Case((), "x", area(2), names=("box (a.b)",))
    named = [compare(case, answer(area(2), f"the {x}.")).named for x in ("box (a.b)", "box (axb)")]
    assert named == [True, False]


def test_a_target_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\).*\(4, 6\)"):
        compare(Case((), "x", np.zeros((3, 3), np.uint8)), answer(area(1)))

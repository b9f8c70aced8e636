"""The model that comes with the package, on scenes that neither training nor its card has seen."""

import json

import pytest

from lisa_ros.evaluation.generated import score_answers
from lisa_ros.model.loading import EMBEDDED_MODEL
from lisa_ros.perception import Segmenter
from lisa_ros.training.scene_set import SceneSet, SceneSettings, render_scenes
from lisa_ros.training.tiny_model import TEST_SETS, scene_cases

pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")

FRESH_SEED = 1_500_000_000
SCENES = 60


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((EMBEDDED_MODEL / "card.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", TEST_SETS)
def test_it_does_as_its_card_says(card, name, tmp_path):
    settings = SceneSettings(questions=6, **TEST_SETS[name])
    for _ in render_scenes(tmp_path, settings, count=SCENES, first_seed=FRESH_SEED, workers=2):
        pass
    segmenter = Segmenter.from_pretrained(device="cpu")
    got = score_answers(segmenter, scene_cases(SceneSet(tmp_path)), template="mask").as_dict()
    assert got["cases_present"] > 200
    assert got["giou"] == pytest.approx(card[name]["giou"], abs=0.05)
    assert got["refused"] > card[name]["refused"] - 0.1  # of some 80
    assert got["falsely_refused"] < card[name]["falsely_refused"] + 0.05


def test_its_card_names_what_it_must(card):
    assert {"recipe", "hardware", "hours", *TEST_SETS} <= set(card)
    for name in TEST_SETS:
        assert {"centre square", "outside the centre square"} <= set(card[name]["giou_by_group"])
    assert card["giou_with_another_question"] < card["seen"]["giou"] / 2
    text = (EMBEDDED_MODEL / "README.md").read_text(encoding="utf-8")
    for name in TEST_SETS:
        assert f"{card[name]['giou']:.2f}" in text  # the page tells the card's figures


def test_it_is_small():
    assert sum(file.stat().st_size for file in EMBEDDED_MODEL.iterdir()) < 20e6

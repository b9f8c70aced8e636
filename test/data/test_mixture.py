"""The published mixture: rates, evenness, reproducibility, and bad samples on the way."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import (
    LEFT,
    H,
    W,
    mask_of,
    write_llava_instruct,
    write_reason_seg,
    write_refclef,
    write_refcoco,
)
from semantic_miniature import write_ade20k

from lisa_ros.data.families import PUBLISHED_SUB_SETS, open_family
from lisa_ros.data.mixture import PUBLISHED_RATES, Mixture
from lisa_ros.data.samples import BadSampleError, DataError, Sample, Target


class Made:
    """A data set of `count` samples, some of them broken or mute."""

    def __init__(self, name: str, count: int, broken: tuple[int, ...] = (), mute: bool = False):
        self.name = name
        self.count = count
        self.broken = broken
        self.mute = mute

    def __len__(self) -> int:
        return self.count

    def read(self, index: int, rng=None) -> Sample:
        value = rng.integers(1_000_000)
        if index in self.broken:
            raise BadSampleError(f"{self.name}/{index}.jpg is broken; mend it")
        path = Path(f"{self.name}/{index}/{value}")
        image = np.zeros((H, W, 3), np.uint8)
        if self.name == "vqa":
            return Sample(path, image, turns=(("a", "b"),))
        target = Target(f"thing {index}", False, mask_of(LEFT))
        return Sample(path, image, () if self.mute else (target,))


def families(**broken: tuple[int, ...]) -> dict[str, list[Made]]:
    counts = {"sem_seg": {"a": 5, "b": 50}, "refer_seg": {"c": 5}, "vqa": {"vqa": 5}}
    counts["reason_seg"] = {"d": 5}
    return {
        family: [Made(name, count, broken.get(name, ())) for name, count in members.items()]
        for family, members in counts.items()
    }


def facts(item) -> tuple:
    turns = tuple(dialogue.turns for dialogue in item.dialogues)
    return item.family, item.data_set, item.index, item.sample.path, turns


def test_families_by_rate_and_sub_sets_evenly():
    mixture = Mixture(families(), seed=1)
    items = [mixture.item(k) for k in range(3200)]
    shares = Counter(item.family for item in items)
    for family, rate in PUBLISHED_RATES.items():
        assert shares[family] / 3200 == pytest.approx(rate / 16, abs=0.03)
    sets = Counter(item.data_set for item in items)
    assert sets["a"] / sets["b"] == pytest.approx(1, abs=0.15)  # not by their sizes
    indices = Counter(item.index for item in items if item.data_set == "a")
    assert set(indices) == set(range(5))
    assert min(indices.values()) > 0.7 * max(indices.values())


def test_rates_of_the_families_that_are_there():
    mixture = Mixture({"vqa": families()["vqa"], "refer_seg": families()["refer_seg"]}, seed=0)
    shares = Counter(mixture.item(k).family for k in range(1000))
    assert shares["vqa"] / 1000 == pytest.approx(0.5, abs=0.05)


def test_an_item_is_the_same_whenever_it_is_asked_for():
    first, second = Mixture(families(), seed=3), Mixture(families(), seed=3)
    forwards = [facts(first.item(k)) for k in range(60)]
    backwards = [facts(second.item(k)) for k in reversed(range(60))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 60
    other = Mixture(families(), seed=4)
    assert [facts(other.item(k)) for k in range(60)] != forwards


def test_bad_samples_do_not_change_what_comes_whenever_it_is_asked_for():
    """Also where one process has met a bad sample before and another has not."""
    broken = {"a": (0, 1, 2), "d": (0, 3)}
    whole = Mixture(families(**broken), seed=5)
    whole_run = [facts(whole.item(k)) for k in range(200)]
    resumed = Mixture(families(**broken), seed=5)
    assert [facts(resumed.item(k)) for k in range(120, 200)] == whole_run[120:]
    assert not {(f[1], f[2]) for f in whole_run} & {("a", 0), ("a", 1), ("d", 0), ("d", 3)}


def test_bad_samples_are_counted_and_told_of_once(caplog):
    data = families(d=(0, 1, 2, 3))
    with caplog.at_level(logging.WARNING):
        mixture = Mixture({"reason_seg": data["reason_seg"]}, seed=0)
        items = [mixture.item(k) for k in range(100)]
    assert {item.index for item in items} == {4}
    assert mixture.bad == {("d", i): f"d/{i}.jpg is broken; mend it" for i in range(4)}
    assert len(caplog.records) == 4
    assert "Left out sample" in caplog.text
    assert "d/0.jpg is broken" in caplog.text


def test_a_sample_that_only_some_draws_break_comes_again_when_another_draw_is_good():
    class Moody(Made):
        def read(self, index: int, rng=None) -> Sample:
            self.broken = (index,) if rng.random() < 0.5 else ()
            return super().read(index, rng)

    whole = Mixture({"sem_seg": [Moody("a", 3)]}, seed=0)
    items = [facts(whole.item(k)) for k in range(60)]
    assert len(whole.bad) == 3
    resumed = Mixture({"sem_seg": [Moody("a", 3)]}, seed=0)
    assert [facts(resumed.item(k)) for k in range(30, 60)] == items[30:]


def test_the_rate_of_a_family_with_bad_samples_stays():
    mixture = Mixture(families(d=(0, 1, 2, 3)), seed=2)
    shares = Counter(mixture.item(k).family for k in range(1600))
    assert shares["reason_seg"] / 1600 == pytest.approx(1 / 16, abs=0.02)


def test_strict_raises():
    mixture = Mixture(
        {"reason_seg": families(d=(0, 1, 2, 3, 4))["reason_seg"]}, seed=0, strict=True
    )
    with pytest.raises(BadSampleError, match=r"d/\d\.jpg is broken"):
        mixture.item(0)


def test_samples_without_anything_to_ask_are_passed_over_even_when_strict():
    data = [Made("mute", 5, mute=True), Made("a", 5)]
    mixture = Mixture({"sem_seg": data}, seed=0, strict=True)
    assert {mixture.item(k).data_set for k in range(50)} == {"a"}
    assert not mixture.bad


@pytest.mark.parametrize(
    ("data_set", "words"),
    [
        (Made("a", 3, broken=(0, 1, 2)), r"a/\d\.jpg is broken"),
        (Made("a", 3, mute=True), "nothing to ask about"),
    ],
)
def test_a_family_of_bad_samples_only_ends(data_set, words):
    with pytest.raises(DataError, match=f"family sem_seg in a row could not be used.*{words}"):
        Mixture({"sem_seg": [data_set]}, seed=0).item(0)


@pytest.mark.parametrize(
    ("data", "rates", "words"),
    [
        ({}, PUBLISHED_RATES, "at least one family"),
        ({"sem": [Made("a", 1)]}, PUBLISHED_RATES, "no family 'sem'; there are sem_seg"),
        ({"sem_seg": []}, PUBLISHED_RATES, "sem_seg has no samples"),
        ({"sem_seg": [Made("a", 0)]}, PUBLISHED_RATES, "sem_seg has no samples"),
        ({"sem_seg": [Made("a", 1)]}, {"vqa": 1}, "rate above 0, got None"),
        ({"sem_seg": [Made("a", 1)]}, {"sem_seg": -1}, "rate above 0, got -1"),
    ],
)
def test_wrong_mixtures_are_named(data, rates, words):
    with pytest.raises(DataError, match=words):
        Mixture(data, seed=0, rates=rates)


def test_explanatory_share_is_passed_on(tmp_path):
    write_reason_seg(tmp_path)
    data = {"reason_seg": open_family(tmp_path, "reason_seg", ["ReasonSeg|train"])}
    mixture = Mixture(data, seed=0, explanatory=1.0)
    items = [mixture.item(k) for k in range(20)]
    explained = [item for item in items if item.sample.path.stem == "long"]
    assert explained
    assert not any(dialogue.masks for item in explained for dialogue in item.dialogues)


def test_all_families_from_their_files(tmp_path):
    write_ade20k(tmp_path)
    write_refcoco(tmp_path)
    write_refclef(tmp_path)
    write_llava_instruct(tmp_path)
    write_reason_seg(tmp_path)
    names = {
        "sem_seg": ["ade20k"],
        "refer_seg": ["refcoco", "refclef"],
        "vqa": ["llava_instruct_150k"],
        "reason_seg": ["ReasonSeg|train|val"],
    }
    data = {family: open_family(tmp_path, family, members) for family, members in names.items()}
    mixture = Mixture(data, seed=0, strict=True)
    seen = set()
    for k in range(120):
        item = mixture.item(k)
        seen.add(item.data_set)
        assert 1 <= len(item.dialogues) <= 3
        for dialogue in item.dialogues:
            assert sum(a.count("[SEG]") for _, a in dialogue.turns) == len(dialogue.masks)
            assert all(mask.shape == item.sample.image.shape[:2] for mask in dialogue.masks)
    assert seen == {
        *("sem_seg/ade20k", "refer_seg/refcoco/train", "refer_seg/refclef/train"),
        *("vqa/llava_instruct_150k", "reason_seg/ReasonSeg/train|val"),
    }


@pytest.mark.parametrize(
    ("family", "name", "words"),
    [
        ("seg", "ade20k", "no family 'seg'; there are sem_seg, refer_seg, vqa, reason_seg"),
        ("sem_seg", "ade", "'ade'"),
        ("refer_seg", "refcoco", "refcoco is missing"),
        ("vqa", "llava", "no VQA data set 'llava'"),
        ("reason_seg", "ReasonSeg|train", "ReasonSeg is missing"),
    ],
)
def test_unknown_names_are_named(tmp_path, family, name, words):
    with pytest.raises(DataError, match=words.replace("|", r"\|")):
        open_family(tmp_path, family, [name])


def test_published_families():
    assert set(PUBLISHED_SUB_SETS) == set(PUBLISHED_RATES)

"""What the names of the command line stand for."""

import json
import shutil
import sys

import numpy as np
import pytest

from lisa_ros.data.samples import BadSampleError, DataError, Sample, Target
from lisa_ros.evaluation.cases import EvaluationError
from lisa_ros.evaluation.provenance import picture_hash
from lisa_ros.evaluation.sources import DataSetCases, open_source


@pytest.fixture
def mine(tmp_path, first_golden):
    """One picture of ReasonSeg's train split, which has four texts."""
    train = first_golden.folder / "dataset/reason_seg/ReasonSeg/train"
    for name in ("t1.jpg", "t1.json"):
        shutil.copy(train / name, tmp_path)
    return tmp_path


def test_reason_seg_asks_the_first_text_only(first_golden):
    source = open_source("reason_seg/train", first_golden.folder / "dataset")
    assert (source.name, len(source)) == ("reason_seg/train", 2)
    first = source.read(0)
    assert first.name == "train/t1.jpg"
    assert [case.instruction for case in first.cases] == ["Who is the driver?"]
    assert first.cases[0].groups == ("long",)
    assert source.read(1).cases[0].groups == ("short",)


def test_own_data_asks_every_text(mine):
    (picture,) = (open_source("own", mine).read(0),)
    assert len(picture.cases) == 4
    assert not any(case.is_phrase for case in picture.cases)


def test_own_data_may_have_splits(mine, tmp_path):
    (tmp_path / "field").mkdir()
    for file in tmp_path.glob("t1.*"):
        file.rename(tmp_path / "field" / file.name)
    assert len(open_source("own/field", tmp_path)) == 1


def test_the_hash_is_of_pixels_words_and_masks(mine):
    before = picture_hash(open_source("own", mine).read(0))
    assert before == picture_hash(open_source("own", mine).read(0))
    annotation = json.loads((mine / "t1.json").read_text())
    for key, value in (("text", ["Who?"]), ("shapes", annotation["shapes"][:1])):
        changed = {**annotation, key: value}
        (mine / "t1.json").write_text(json.dumps(changed))
        assert picture_hash(open_source("own", mine).read(0)) != before


def test_a_mask_of_another_size_is_a_bad_sample(tmp_path):
    class OneSample:
        name = "one"

        def __len__(self):
            return 1

        def read(self, index, rng=None):
            target = Target("the cup", False, np.zeros((4, 5), np.uint8))
            return Sample(tmp_path / "a.jpg", np.zeros((4, 6, 3), np.uint8), (target,))

    with pytest.raises(BadSampleError, match=r"a.jpg: .*\(4, 6\).*'the cup' has \(4, 5\)"):
        DataSetCases("one", OneSample()).read(0)


@pytest.mark.parametrize("name", ["reason_seg", "refcoco", "scenes/other", "vqa/val", ""])
def test_unknown_names_are_answered_by_what_there_is(name, tmp_path):
    with pytest.raises(DataError, match="there are reason_seg/SPLIT, own/SPLIT, refclef/SPLIT"):
        open_source(name, tmp_path)


def test_only_scenes_are_rendered(mine):
    with pytest.raises(EvaluationError, match="only scenes can be rendered, not own"):
        open_source("own", mine, render=3)


@pytest.mark.parametrize(
    ("missing", "package"), [("mujoco", "mujoco"), ("cv2", "opencv-python-headless")]
)
def test_the_package_that_scenes_lack_is_named(tmp_path, monkeypatch, missing, package):
    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == "lisa_ros.evaluation.scenes":
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(sys.modules, "lisa_ros.evaluation.scenes", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(EvaluationError, match=rf"{missing}.*; pip install {package}$"):
        open_source("scenes", tmp_path)


def test_scenes_of_other_meshes_or_words_are_refused(tmp_path):
    pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")
    assert len(open_source("scenes", tmp_path, render=1)) == 1
    assert len(open_source("scenes", tmp_path)) == 1
    with pytest.raises(EvaluationError, match="expected scenes of held-out meshes and held-out"):
        open_source("scenes/held_out", tmp_path)


def test_a_folder_without_scenes_is_named(tmp_path):
    pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")
    with pytest.raises(DataError, match=r"holds no scenes.*--render N puts N scenes there"):
        open_source("scenes", tmp_path)

"""The samples of examples/finetune_new_object: an object of one's own in simulated scenes."""

import subprocess
import sys
from pathlib import Path

import pytest

from lisa_ros.data.reason_seg import open_reason_seg
from lisa_ros.training.config import read_train_config

pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "finetune_new_object"


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    command = [sys.executable, EXAMPLE / "make_samples.py", folder, "--cones", "3", "--known", "4"]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
    return folder / "reason_seg"


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_new_object_is_where_the_masks_say(samples, split):
    cones = open_reason_seg(samples / "Cone", split)
    assert len(cones) == 3
    for k in range(3):
        sample = cones.read(k)
        assert "cone" in sample.targets[0].text or "pylon" in sample.targets[0].text
        pixels = sample.image[sample.targets[0].mask == 1].astype(int)
        assert len(pixels) >= 200
        # Much is orange, in whatever light; the rest is white or dark.
        orange = (pixels[:, 0] > 1.5 * pixels[:, 2]) & (pixels[:, 0] > pixels[:, 1])
        assert orange.mean() > 0.3


def test_words_to_test_with_are_not_those_to_train_with(samples):
    words = [
        {open_reason_seg(samples / "Cone", split).read(k).targets[0].text for k in range(3)}
        for split in ("train", "val")
    ]
    assert not words[0] & words[1]


def test_known_things_come_with_what_is_asked_of_them(samples):
    known = open_reason_seg(samples / "Table", "train")
    assert len(known) == 4
    for k in range(4):
        assert known.read(k).targets[0].mask.any()


def test_its_configuration_can_be_read():
    config = read_train_config(EXAMPLE / "train.yaml")
    assert (ROOT / config.model / "config.json").is_file()

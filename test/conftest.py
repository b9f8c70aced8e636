"""Fixtures shared by all tests: the golden sets and small checkpoints of other sizes."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_set import GoldenSet, golden_folders, open_golden
from plain_lisa import PlainLisa
from small_checkpoint import OTHER_SIZES, write_checkpoint

from lisa_ros.model import Lisa, load
from lisa_ros.perception import Segmenter

os.environ["ACCELERATE_USE_CPU"] = "true"  # trainings of the tests run on the CPU everywhere

# Prompts and answers that the checkpoint of other sizes is taught; [SEG] is 643.
OTHER_ANSWERS = [
    ([1, *range(20, 40), 641, -200, 642, *range(50, 60)], [90, 91, 643, 92, 643, 2]),
    ([1, 641, -200, 642, 77, 78], [643, 93, 94, 95, 96, 97]),
    ([1, 33, 641, -200, 642, *range(100, 130)], [98, 99, 2]),
]

torch.set_num_threads(2)

_DISK_SPACE = 3  # GB that all tests write at most, with room to spare


def pytest_sessionstart() -> None:
    """Stop at once where the tests would fill the disk: what fails then seldom says so."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 1e9
    if free < _DISK_SPACE:
        pytest.exit(
            f"the tests need {_DISK_SPACE} GB in {folder}, which has {free:.1f} GB free; make "
            "room, or set TMPDIR to a folder on another disk",
            returncode=1,
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each golden set, and for each case or image of it if it asks so.

    `golden` alone: each set.  With `teacher_forced`, `generated`: each case (a dict of meta.json).
    With `image_index`: each image.
    """
    names = metafunc.fixturenames
    sets = [open_golden(folder) for folder in golden_folders()]
    for name, values in (
        ("teacher_forced", lambda s: {c["key"]: c for c in s.cases("teacher_forced")}),
        ("generated", lambda s: {c["key"]: c for c in s.cases("generate")}),
        ("image_index", lambda s: {f"img{i}": i for i in range(len(s.meta["images"]))}),
    ):
        if name in names:
            rows = [(f"{s.name}-{key}", s, value) for s in sets for key, value in values(s).items()]
            ids, *columns = zip(*rows, strict=True)
            metafunc.parametrize(("golden", name), list(zip(*columns, strict=True)), ids=ids)
            return
    if "golden" in names:
        metafunc.parametrize("golden", sets, ids=lambda s: s.name, scope="session")


@pytest.fixture(scope="session")
def first_golden() -> GoldenSet:
    """The set of the repository, for what needs to be shown once only."""
    return open_golden(Path(__file__).parent / "golden")


@pytest.fixture(scope="session")
def segmenter(first_golden: GoldenSet) -> Segmenter:
    """A segmenter of the golden model whose image is not set for sure: set it first."""
    return Segmenter(first_golden.model, model_id="golden", precision="fp32")


@pytest.fixture(scope="session")
def other_sizes(tmp_path_factory: pytest.TempPathFactory, first_golden: GoldenSet):
    """Folders (LISA, CLIP) of a random checkpoint whose every size differs from the golden one."""
    root = tmp_path_factory.mktemp("other_sizes")
    lisa, clip = write_checkpoint(root, OTHER_SIZES, first_golden.lisa / "tokenizer.model")
    plain = PlainLisa(lisa, clip)
    plain.teach(OTHER_ANSWERS, picture(90, 160))
    plain.save_lm_head()
    return lisa, clip


@pytest.fixture(scope="session")
def other_answers() -> list[tuple[list[int], list[int]]]:
    """Prompts about `picture(90, 160)`, and the answers that the checkpoint was taught."""
    return OTHER_ANSWERS


@pytest.fixture(scope="session")
def other_model(other_sizes) -> Lisa:
    """The random checkpoint of other sizes, loaded."""
    lisa, clip = other_sizes
    return load(lisa, vision_tower=clip, device="cpu")


@pytest.fixture(scope="session")
def other_plain(other_sizes) -> PlainLisa:
    """The same checkpoint, read and run by an independent plain loop."""
    return PlainLisa(*other_sizes)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, RGB uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(-3, 3, (3, 3))]
    return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture(scope="session", name="picture")
def picture_fixture():
    """The function `picture`."""
    return picture

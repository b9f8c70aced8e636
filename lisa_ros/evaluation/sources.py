"""What can be evaluated on, by the names of the command line."""

from __future__ import annotations

from pathlib import Path

from lisa_ros.data.files import need_folder
from lisa_ros.data.reason_seg import open_reason_seg
from lisa_ros.data.referring import SPLIT_BY, open_referring
from lisa_ros.data.samples import BadSampleError, DataError, DataSet, Target
from lisa_ros.evaluation.cases import Case, CaseSource, EvaluationError, Picture

SOURCES = {
    "reason_seg/SPLIT": "ReasonSeg (val, test) in a data folder of the published layout",
    "own/SPLIT": "a folder of your own in ReasonSeg's format; `own` alone if it has no splits",
    **{
        f"{name}/SPLIT": "referring expressions in a data folder of the published layout"
        for name in SPLIT_BY
    },
    "scenes": "simulated scenes: a folder of them, or rendered with --render",
    "scenes/held_out": "the same, with objects and words that no training scene has",
}


def open_source(name: str, folder: Path, *, render: int | None = None) -> CaseSource:
    """What a name stands for.

    Args:
        name: as in `SOURCES`.
        folder: the data folder; for scenes and own data, what holds the files themselves.
        render: scenes that the folder gets first, as far as it lacks them.

    Raises:
        DataError: the name is unknown, or the data are missing or broken.
        EvaluationError: scenes cannot be rendered.
    """
    family, _, split = name.partition("/")
    if family == "scenes" and split in ("", "held_out"):
        return _open_scenes(name, folder, render)
    if render is not None:
        raise EvaluationError(f"only scenes can be rendered, not {name}; leave out --render")
    if family == "own":
        return DataSetCases(name, open_reason_seg(folder, split))
    if family == "reason_seg" and split:
        published = open_reason_seg(_part(folder, "reason_seg/ReasonSeg"), split)
        # The published evaluation asks each picture's first text only.
        return DataSetCases(name, published, most_questions=1)
    if family in SPLIT_BY and split:
        return DataSetCases(name, open_referring(_part(folder, "refer_seg"), family, split))
    raise DataError(f"nothing to evaluate on is named {name!r}; there are {', '.join(SOURCES)}")


class DataSetCases:
    """The samples of a data set; texts of ReasonSeg's format are of the group short or long."""

    def __init__(self, name: str, data: DataSet, *, most_questions: int | None = None) -> None:
        self.name = name
        self._data = data
        self._most_questions = most_questions
        self._has_sentences = name.startswith(("reason_seg", "own"))

    def __len__(self) -> int:
        return len(self._data)

    def read(self, index: int) -> Picture:
        """One picture with its questions; see `CaseSource`."""
        sample = self._data.read(index, None)
        targets = sample.targets[: self._most_questions]
        for target in targets:
            if target.mask.shape != sample.image.shape[:2]:
                raise BadSampleError(
                    f"{sample.path}: the picture has {sample.image.shape[:2]} rows and columns but "
                    f"the mask of {target.text!r} has {target.mask.shape}; give them one size"
                )
        # The folder tells val/1.jpg from test/1.jpg.
        name = f"{sample.path.parent.name}/{sample.path.name}"
        return Picture(name, sample.image, tuple(self._case(target) for target in targets))

    def _case(self, target: Target) -> Case:
        groups = (("long" if target.is_sentence else "short"),) if self._has_sentences else ()
        return Case(groups, target.text, target.mask, is_phrase=not target.is_sentence)


def _part(folder: Path, part: str) -> Path:
    return need_folder(folder / part, "data in the published layout (--data names what holds it)")


def _open_scenes(name: str, folder: Path, render: int | None) -> CaseSource:
    try:  # MuJoCo is an extra
        from lisa_ros.evaluation.scenes import open_scenes
    except ImportError as error:
        package = "opencv-python-headless" if error.name == "cv2" else error.name or "mujoco"
        raise EvaluationError(
            f"expected what draws simulated scenes, got {error}; pip install {package}"
        ) from error
    return open_scenes(name, folder, render)

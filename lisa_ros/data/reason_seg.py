"""ReasonSeg, and a lab's own pictures in its format: `x.jpg` beside `x.json`.

The JSON holds `text` (a list of questions that mean the same), `is_sentence`, and `shapes`
(polygons as labelme draws them, each with a `label`).  The label `flag` is skipped, a label with
`ignore` in it marks pixels that count neither way, any other marks the target.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.draws import draw
from lisa_ros.data.files import is_utf8, need_folder, read_json, read_picture
from lisa_ros.data.polygons import Window, polygon_region
from lisa_ros.data.samples import IGNORE, BadSampleError, DataError, Sample, Target

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
# What labelme draws from fewer than three points, as an open line, or as pixels.
NO_POLYGONS = ("rectangle", "circle", "mask", "point", "points", "line", "linestrip")
MAX_COORDINATE = 1e6  # pixels; OpenCV reckons in 32 bits

logger = logging.getLogger(__name__)


def open_reason_seg(folder: str | Path, splits: str | Sequence[str]) -> ReasonSeg:
    """Open ReasonSeg or a folder of the same form.

    Args:
        folder: holds a folder for each split and, for training, `explanatory/train.json`.
        splits: one or more of its folders, as a sequence or joined by `|` (the published
            `train_val` is understood as well); "" for pictures in `folder` itself.

    Raises:
        DataError: a folder is missing or holds no samples, or the explanations cannot be read.
    """
    folder = need_folder(Path(folder), "a data set in ReasonSeg's format (train/, val/, ...)")
    names = splits.split("|") if isinstance(splits, str) else list(splits)
    parts = [part for name in names for part in _split_names(folder, name)]
    if len(set(parts)) < len(parts):
        raise DataError(f"{folder}: each split may be named once, got {', '.join(parts)}")
    entries = [entry for part in parts for entry in _entries(folder / part)]
    label = "|".join(part for part in parts if part)
    explanations = _read_explanations(folder / "explanatory" / "train.json")
    name = "/".join(filter(None, ("reason_seg", folder.name, label)))
    return ReasonSeg(name, entries, explanations)


@dataclass(frozen=True)
class Entry:
    """The files of one sample; one of them may not exist.

    Attributes:
        other: a second picture of the same name, which would share the annotation.
    """

    picture: Path
    annotation: Path
    other: Path | None = None


class ReasonSeg:
    """Pictures with polygons and questions; implements `DataSet`.

    All texts of a picture ask for the same mask.  The published evaluation uses the first only.
    """

    def __init__(
        self, name: str, entries: Sequence[Entry], explanations: Mapping[str, Any]
    ) -> None:
        """
        Args:
            explanations: by the picture's file name; checked when the picture is read.
        """
        self.name = name
        self._entries = entries
        self._explanations = explanations

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture with its questions; see `DataSet`."""
        entry = self._entries[index]
        if entry.other is not None:
            raise BadSampleError(
                f"{entry.picture} and {entry.other.name} would share {entry.annotation.name}; "
                "rename one of them"
            )
        if not entry.annotation.is_file():
            raise BadSampleError(
                f"{entry.picture} has no {entry.annotation.name} beside it; add one or remove it"
            )
        if not entry.picture.is_file():
            raise BadSampleError(
                f"{entry.annotation} has no {entry.picture.name} beside it; add one or remove it"
            )
        image = read_picture(entry.picture)
        mask, texts, is_sentence = read_annotation(entry.annotation, image.shape[:2])
        explanation = self._explanations.get(entry.picture.name, "")
        if not isinstance(explanation, str) or "[SEG]" in explanation or not is_utf8(explanation):
            raise BadSampleError(
                f"{entry.picture}: its `outputs` in explanatory/train.json must be words in UTF-8 "
                f"without [SEG], got {explanation!r}; mend that entry"
            )
        targets = (
            Target(text, is_sentence, mask, explanation.strip()) for text in draw(texts, rng)
        )
        return Sample(entry.picture, image, tuple(targets))


def read_annotation(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, list[str], bool]:
    """A sample's JSON.

    Args:
        size: (H, W) of the picture.

    Returns:
        The mask as uint8 (H, W) of 0, 1 and `IGNORE`, the texts, and whether they are sentences.

    Raises:
        BadSampleError: it cannot be read, a key is missing, a text is empty or no UTF-8, it was
            drawn on a picture of another size, or a polygon is no polygon or lies outside.
    """
    try:
        content = read_json(path)
    except DataError as error:
        raise BadSampleError(str(error)) from None
    if not isinstance(content, dict):
        raise BadSampleError(f"{path}: expected a JSON object with `text`, `is_sentence`, `shapes`")
    texts = content.get("text")
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise BadSampleError(
            f'{path}: `text` must be a list of questions such as ["the red cup"], got {texts!r}'
        )
    if not all(text.strip() for text in texts):
        raise BadSampleError(
            f"{path}: `text` number {_first_empty(texts)} is empty; write or drop it"
        )
    if not all(map(is_utf8, texts)):
        raise BadSampleError(f"{path}: `text` must be in UTF-8, got {texts!a}; write it anew")
    is_sentence = content.get("is_sentence")
    if not isinstance(is_sentence, bool):
        raise BadSampleError(
            f"{path}: `is_sentence` must be true (a question) or false (a short phrase), "
            f"got {is_sentence!r}"
        )
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise BadSampleError(f"{path}: `shapes` must be a list of polygons, got {shapes!r}")
    try:
        check_size(content, size)
        mask = draw_mask(shapes, size)
    except ValueError as error:
        raise BadSampleError(f"{path}: {error}") from None
    return mask, [text.strip() for text in texts], is_sentence


def check_size(content: Mapping[str, Any], size: tuple[int, ...]) -> None:
    """Compare the size that labelme keeps beside its polygons, where it is there.

    Args:
        content: of labelme's file.
        size: (H, W) of the picture.

    Raises:
        ValueError: the polygons were drawn on a picture of another size.
    """
    drawn_on = content.get("imageHeight"), content.get("imageWidth")
    if any(there not in (None, real) for there, real in zip(drawn_on, size, strict=True)):
        raise ValueError(
            f"`imageHeight` and `imageWidth` must be the picture's, {size[0]} and {size[1]}, got "
            f"{drawn_on[0]} and {drawn_on[1]}; draw the polygons again on this picture, or give "
            "back the one they were drawn on"
        )


def draw_mask(shapes: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
    """Labelled polygons as uint8 (H, W) of 0, 1 and `IGNORE`.

    As published: points are cut to whole pixels, the outline belongs to the area, and polygons are
    drawn from the largest to the smallest, so that a small one lies on top.  Of equal ones the
    first in the file lies on top.  No polygon at all is an empty mask (two pictures of ReasonSeg's
    test split).

    Raises:
        ValueError: a shape is no polygon, or lies outside the picture.
    """
    regions: list[tuple[Window, np.ndarray, int]] = []
    for number, shape in enumerate(shapes, start=1):
        label = _label(shape, number)
        if label.lower() == "flag":
            continue  # whatever it is
        points = _points(shape, number)
        window, region = polygon_region(points, size)
        if not region.any():
            height, width = size
            raise ValueError(
                f"shape {number} ({label!r}) lies outside the picture of {width} x {height}; "
                "draw it again on this picture, or give back the picture's first size"
            )
        regions.append((window, region, IGNORE if "ignore" in label.lower() else 1))
    mask = np.zeros(size, np.uint8)
    areas = [int(region.sum()) for _, region, _ in regions]
    for i in np.argsort(areas, kind="stable")[::-1]:
        window, region, value = regions[i]
        mask[window][region] = value
    return mask


def _label(shape: Any, number: int) -> str:
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise ValueError(f"shape {number} must be an object with a `label` and `points`")
    return shape["label"]


def _points(shape: dict[str, Any], number: int) -> np.ndarray:
    """A shape's points as int32 (n, 2), x before y."""
    label = shape["label"]
    if shape.get("shape_type") in NO_POLYGONS:
        raise ValueError(
            f"shape {number} ({label!r}) is a {shape['shape_type']}; draw it as a polygon"
        )
    try:
        points = np.array(shape.get("points"), dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < MAX_COORDINATE).all():
        raise ValueError(f"shape {number} ({label!r}) needs `points` [[x, y], ...] in pixels")
    return points.astype(np.int32)


def _first_empty(texts: Sequence[str]) -> int:
    return next(number for number, text in enumerate(texts, start=1) if not text.strip())


def _split_names(folder: Path, name: str) -> list[str]:
    """The folders that a name stands for: itself, or several joined by `_` as published."""
    names = [name] if (folder / name).is_dir() else name.split("_")
    missing = [part for part in names if not (folder / part).is_dir()]
    if missing:
        raise DataError(f"{folder} has no split {missing[0]!r}; it has {_splits_of(folder)}")
    return names


def _splits_of(folder: Path) -> str:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return ", ".join(sorted(name for name in names if name != "explanatory")) or "no folders"


def _entries(folder: Path) -> list[Entry]:
    """The samples of a folder by name, those included of which a file is missing."""
    pictures: dict[str, Path] = {}
    annotations: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue  # "._x.jpg" is what macOS leaves in archives
        if path.suffix.lower() in PICTURE_SUFFIXES:
            if pictures.setdefault(path.stem, path) != path:
                others[path.stem] = path
        elif path.suffix.lower() == ".json":
            annotations[path.stem] = path
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures x.jpg beside x.json; it has {_splits_of(folder)}"
        )
    return [
        Entry(
            pictures.get(stem, folder / f"{stem}.jpg"),
            annotations.get(stem, folder / f"{stem}.json"),
            others.get(stem),
        )
        for stem in sorted(pictures.keys() | annotations.keys())
    ]


def _read_explanations(path: Path) -> dict[str, Any]:
    """`outputs` by picture; none where the data set has no such file."""
    if not path.is_file():
        return {}
    items = read_json(path)
    if not isinstance(items, list):
        raise DataError(f"{path}: expected a list of objects with `image`, `query` and `outputs`")
    explanations: dict[str, Any] = {}
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict) or not isinstance(item.get("image"), str):
            logger.warning(
                "%s: left out entry number %d, which has no `image`; mend or remove it",
                *(path, number),
            )
            continue
        if explanations.get(item["image"], item.get("outputs")) != item.get("outputs"):
            logger.warning("%s explains %s twice; the last is used", path, item["image"])
        explanations[item["image"]] = item.get("outputs")
    return explanations

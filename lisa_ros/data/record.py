"""Samples in ReasonSeg's format from what a robot was asked.

A mask gets in only through a person: an answer's mask that was looked at and accepted, or polygons
drawn with labelme on the picture that `write_review` lays out.

ReasonSeg stores outlines.  They keep every border pixel of a mask, but not its holes: a ring comes
back as a disc.  `mask_to_shapes` says how well the outlines fit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_ros.data.bag import RecordedQuestion
from lisa_ros.data.files import need_package, read_json
from lisa_ros.data.overlays import add_caption, draw_masks
from lisa_ros.data.reason_seg import check_size, draw_mask
from lisa_ros.data.samples import DataError

POOR_FIT = 0.95  # IoU of outlines and mask below which a person is told


@dataclass(frozen=True)
class ReviewFiles:
    """What a person looks at, or draws on.

    Attributes:
        picture: for labelme, which saves its JSON file beside it.
        overlay: the picture with the answer's mask; None where there is none.
    """

    picture: Path
    overlay: Path | None


def write_review(folder: Path, question: RecordedQuestion) -> ReviewFiles:
    """Lay out a question's picture, and its answer's mask drawn on it above the instruction."""
    assert question.image is not None
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{question.number}.jpg"
    _save_jpeg(picture, question.image)
    if question.mask is None:
        return ReviewFiles(picture, None)
    overlay = folder / f"overlay_{question.number}.jpg"
    drawn = draw_masks(question.image, [question.mask])
    _save_jpeg(overlay, add_caption(drawn, f"{question.number}: {question.instruction}"))
    return ReviewFiles(picture, overlay)


def read_drawn(folder: Path) -> dict[int, dict[str, Any]]:
    """Labelme's files `<number>.json`, by the question's number.

    Raises:
        DataError: the folder or its files are missing, broken, or not named by a number.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected labelme's files 1.json, 2.json, ...")
    drawn = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith("."):
            continue  # "._1.json" is what macOS leaves in archives
        content = read_json(path)
        if not path.stem.isdigit():
            raise DataError(f"{path} is not named by the number of a question, such as 3.json")
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise DataError(f"{path} is no file of labelme: it has no list `shapes`")
        drawn[int(path.stem)] = content
    if not drawn:
        raise DataError(f"{folder} holds no files of labelme; draw on its pictures and save there")
    return drawn


def accepted_shapes(question: RecordedQuestion) -> tuple[list[dict[str, Any]], float]:
    """The outlines of an answer's mask that a person accepted, and how well they fit.

    Raises:
        DataError: there is no mask to accept.
    """
    if question.mask is None:  # whatever went wrong in 3D or with the words, a mask can be right
        raise DataError(
            f"question {question.number} ended with {question.status} and has no mask to accept; "
            "draw one with labelme"
        )
    return mask_to_shapes(question.mask)


def drawn_shapes(question: RecordedQuestion, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The polygons that a person drew on a question's picture.

    Args:
        content: of labelme's file.

    Raises:
        DataError: they were drawn on a picture of another size.
    """
    assert question.image is not None
    try:
        check_size(content, question.image.shape[:2])
    except ValueError as error:
        raise DataError(f"question {question.number}: {error}") from None
    return content["shapes"]


def mask_to_shapes(mask: np.ndarray) -> tuple[list[dict[str, Any]], float]:
    """A mask's outer outlines as labelme stores polygons, and the IoU of these with the mask.

    Args:
        mask: uint8 (H, W) of 0 and 1.
    """
    cv2 = need_package("cv2", "opencv-python-headless")
    outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    shapes = []
    for outline in outlines:
        points = outline[:, 0].tolist()
        points += points[-1:] * (3 - len(points))  # labelme opens no polygon of one or two points
        shapes.append(_shape("target", points))
    again = draw_mask(shapes, mask.shape) == 1
    union = np.count_nonzero(again | (mask == 1))
    fit = np.count_nonzero(again & (mask == 1)) / union if union else 1.0
    return shapes, fit


def find_stem(folder: Path, stem: str, question: RecordedQuestion) -> tuple[str, bool]:
    """The name of a question's sample in a folder, and whether it is there already.

    Names of other samples, such as those of another bag of the same name, are left to them:
    `stem_2` follows `stem`.
    """
    name, number = stem, 1
    while any(folder.glob(f"{escape(name)}.*")):
        if _origin_in(folder / f"{name}.json") == _origin(question):
            return name, True
        number += 1
        name = f"{stem}_{number}"
    return name, False


def write_sample(
    folder: Path, stem: str, question: RecordedQuestion, shapes: Sequence[dict[str, Any]]
) -> Path:
    """Write `stem.jpg` and `stem.json`; labelme opens the pair, and keeps the text when it saves.

    Returns:
        The JSON file, written last and at once; an older one is replaced (`find_stem` finds a name
        that is free).

    Raises:
        DataError: a shape is no polygon on the picture, or nothing is marked.
    """
    assert question.image is not None
    height, width = question.image.shape[:2]
    path = folder / f"{stem}.json"
    try:
        mask = draw_mask(shapes, (height, width))
    except ValueError as error:
        raise DataError(f"question {question.number}: {error}") from None
    if not (mask == 1).any():
        raise DataError(f"question {question.number}: nothing is marked; draw what was asked for")
    folder.mkdir(parents=True, exist_ok=True)
    # Whole before they get their names, which nothing takes from them; hidden files are no samples.
    unfinished, unfinished_picture = folder / f".{stem}.json", folder / f".{stem}.jpg"
    _save_jpeg(unfinished_picture, question.image)
    content = {
        "version": "5.0.0",
        "flags": {},
        "text": [question.instruction],
        "is_sentence": question.is_sentence,
        **({"recorded_from": _origin(question)} if question.bag else {}),
        "shapes": list(shapes),
        "imagePath": f"{stem}.jpg",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    text = json.dumps(content, ensure_ascii=False, indent=1)
    # A bag's name, and so the picture's, may be no UTF-8.
    unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(unfinished_picture, folder / f"{stem}.jpg")
    os.replace(unfinished, path)
    return path


def _origin(question: RecordedQuestion) -> dict[str, Any]:
    """What tells a question from those of other bags, as JSON values."""
    return {"bag": question.bag, "number": question.number, "stamp": list(question.stamp)}


def _origin_in(path: Path) -> Any:
    """Where a sample comes from; None if its file does not say it."""
    try:
        content = read_json(path)
    except DataError:
        return None
    return content.get("recorded_from") if isinstance(content, dict) else None


def _shape(label: str, points: list[list[int]]) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "shape_type": "polygon",
        "flags": {},
    }


def _save_jpeg(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path, quality=95, subsampling=0)

"""Data sets of objects and their parts, in one COCO-format JSON file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.coco_masks import SegmentationError, segmentation_to_mask
from lisa_ros.data.coco_records import Record, by_id, only, picture_file
from lisa_ros.data.draws import draw
from lisa_ros.data.files import read_json, read_picture
from lisa_ros.data.samples import BadSampleError, DataError, Sample, Target

Name = str | tuple[str, str]  # an object, or an object and its part

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture of the file.

    Attributes:
        size: (H, W) by the file.
        annotations: JSON of [id, category id, segmentation] for each.  As text: the processes of a
            data loader share it, where counting references would copy a million small objects.
    """

    path: Path
    size: tuple[int, int]
    annotations: bytes


@dataclass(frozen=True)
class PartAnnotations:
    """Objects and parts; each annotation is a target of its own, as in the published training.

    Pictures without annotations are left out, and annotations that cover no pixel.  A part is
    called "dog head" or "the head of the dog", drawn evenly; without a random generator "dog head".
    Records that cannot be used are bad samples behind the pictures.

    Attributes:
        name: as in a configuration.
        annotation_file: the JSON file.
        names: by category id.
        problems: what is wrong with the records that cannot be used.
    """

    name: str
    annotation_file: Path
    names: dict[int | str, Name] = field(repr=False)
    pictures: tuple[AnnotatedPicture, ...] = field(repr=False)
    problems: tuple[str, ...] = field(default=(), repr=False)
    _empty: set[int | str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.pictures) + len(self.problems)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture; each target is one annotated object or part.

        Raises:
            BadSampleError: the picture is missing or broken, an annotation does not fit it, or none
                covers a pixel.
        """
        if index >= len(self.pictures):
            raise BadSampleError(self.problems[index - len(self.pictures)])
        picture = self.pictures[index]
        image = read_picture(picture.path)
        if image.shape[:2] != picture.size:
            raise BadSampleError(
                f"{picture.path} has {image.shape[:2]} pixels (H, W) once upright, but "
                f"{self.annotation_file} says {picture.size}; take the original picture"
            )
        # All are looked at, not the drawn ones only: a picture is good or bad whatever is drawn.
        read = (self._named_mask(item, picture) for item in json.loads(picture.annotations))
        named_masks = [named_mask for named_mask in read if named_mask is not None]
        if not named_masks:
            raise BadSampleError(
                f"{self.annotation_file}: no annotation of {picture.path.name} covers a pixel; "
                "mend one or remove the picture"
            )
        targets = (
            Target(_words(name, rng), is_sentence=False, mask=mask)
            for name, mask in draw(named_masks, rng)
        )
        return Sample(picture.path, image, tuple(targets))

    def _named_mask(
        self, annotation: list[Any], picture: AnnotatedPicture
    ) -> tuple[Name, np.ndarray] | None:
        """What is marked, and where; None if no pixel is, which is told once."""
        identifier, category, segmentation = annotation
        where = f"{self.annotation_file}: annotation {identifier} of {picture.path.name}"
        if not isinstance(category, (int, str)) or category not in self.names:
            raise BadSampleError(f"{where} is of category {category}, which has no name; add it")
        try:
            mask = segmentation_to_mask(segmentation, *picture.size)
        except SegmentationError as error:
            raise BadSampleError(f"{where} {error}; mend or remove it") from None
        if mask.any():
            return self.names[category], mask
        if identifier not in self._empty:
            self._empty.add(identifier)
            logger.warning("%s covers no pixel of the picture and is left out", where)
        return None


def open_part_annotations(name: str, annotation_file: Path, folder: Path) -> PartAnnotations:
    """Read the file.

    Args:
        name: of the data set.
        folder: that the file's `file_name` starts from.

    Raises:
        DataError: the file is missing, broken or of another format.
    """
    content = read_json(annotation_file)
    try:
        images, problems = by_id(content["images"], annotation_file, "picture")
        categories, no_categories = by_id(content["categories"], annotation_file, "category")
        annotations, no_annotations = by_id(content["annotations"], annotation_file, "annotation")
    except (KeyError, TypeError) as error:
        raise _not_coco(annotation_file, f"{type(error).__name__}: {error}") from None
    problems += [*no_categories, *no_annotations]
    names = _names(categories, annotation_file, problems)
    grouped = _by_picture(annotations, images, annotation_file, problems)
    pictures = []
    for key, of_picture in grouped.items():
        where = f"{annotation_file}: picture {key}"
        try:
            path, size = picture_file(images[key], folder, where)
            pictures.append(AnnotatedPicture(path, size, json.dumps(of_picture).encode()))
        except BadSampleError as error:
            problems.append(str(error))
    if not pictures and problems:
        raise _not_coco(annotation_file, problems[0])
    if not pictures:
        raise DataError(f"{annotation_file} has no annotated picture; take the original file")
    return PartAnnotations(name, annotation_file, names, tuple(pictures), tuple(problems))


def _names(
    categories: Mapping[int | str, Sequence[Record]], file: Path, problems: list[str]
) -> dict[int | str, Name]:
    """The name of each category; `problems` gets what is wrong with one that has none."""
    names = {}
    for key, records in categories.items():
        where = f"{file}: category {key}"
        try:
            name = only(records, where).get("name")
            if not isinstance(name, str):
                raise BadSampleError(f"{where} has no `name`; add it")
            names[key] = _split_name(name)
        except BadSampleError as error:
            problems.append(str(error))
    return names


def _by_picture(
    annotations: Mapping[int | str, Sequence[Record]],
    images: Mapping[int | str, Sequence[Record]],
    file: Path,
    problems: list[str],
) -> dict[int | str, list[Any]]:
    """The annotations of each picture that has any, in the order of the pictures.

    `problems` gets what is wrong with those that cannot be used.
    """
    grouped: dict[int | str, list[Any]] = {key: [] for key in images}
    for key, records in annotations.items():
        where = f"{file}: annotation {key}"
        try:
            item = only(records, where)
            image = item.get("image_id")
            if not isinstance(image, (int, str)) or image not in grouped:
                raise BadSampleError(
                    f"{where} is of picture {image}, which is not there; add or remove one of them"
                )
            grouped[image].append((key, item.get("category_id"), item.get("segmentation")))
        except BadSampleError as error:
            problems.append(str(error))
    return {key: of_picture for key, of_picture in grouped.items() if of_picture}


def _not_coco(file: Path, reason: str) -> DataError:
    return DataError(
        f"{file} is not in COCO format ({reason}); expected images (id, file_name, height, width), "
        "categories (id, name) and annotations (id, image_id, category_id, segmentation)"
    )


def _split_name(name: str) -> Name:
    """`dog:head` as object and part; `mouse_(computer_equipment)` loses its second name."""
    words = [word.split("_(")[0] for word in name.strip().split(":", 1)]
    return (words[0], words[1]) if len(words) == 2 else words[0]


def _words(name: Name, rng: np.random.Generator | None) -> str:
    if isinstance(name, str):
        return name
    thing, part = name
    if rng is not None and rng.random() >= 0.5:
        return f"the {part} of the {thing}"
    return f"{thing} {part}"

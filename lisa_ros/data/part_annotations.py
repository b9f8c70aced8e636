"""Data sets of objects and their parts, in one COCO-format JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.coco_masks import SegmentationError, segmentation_to_mask
from lisa_ros.data.draws import draw
from lisa_ros.data.files import read_json, read_picture
from lisa_ros.data.samples import BadSampleError, DataError, Sample, Target

Name = str | tuple[str, str]  # an object, or an object and its part


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

    Pictures without annotations are left out.  A part is called "dog head" or "the head of the
    dog", drawn evenly; without a random generator "dog head".

    Attributes:
        name: as in a configuration.
        annotation_file: the JSON file.
        names: by category id.
    """

    name: str
    annotation_file: Path
    names: dict[int, Name] = field(repr=False)
    pictures: tuple[AnnotatedPicture, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture; each target is one annotated object or part.

        Raises:
            BadSampleError: the picture is missing or broken, or an annotation does not fit it.
        """
        picture = self.pictures[index]
        image = read_picture(picture.path)
        if image.shape[:2] != picture.size:
            raise BadSampleError(
                f"{picture.path} has {image.shape[:2]} pixels (H, W) once upright, but "
                f"{self.annotation_file} says {picture.size}; take the original picture"
            )
        annotations = draw(json.loads(picture.annotations), rng)
        targets = (self._target(annotation, picture, rng) for annotation in annotations)
        return Sample(picture.path, image, tuple(targets))

    def _target(
        self, annotation: list[Any], picture: AnnotatedPicture, rng: np.random.Generator | None
    ) -> Target:
        identifier, category, segmentation = annotation
        where = f"{self.annotation_file}: annotation {identifier} of {picture.path.name}"
        if category not in self.names:
            raise BadSampleError(f"{where} is of category {category}, which has no name; add it")
        try:
            mask = segmentation_to_mask(segmentation, *picture.size)
        except SegmentationError as error:
            raise BadSampleError(f"{where} {error}; mend or remove it") from None
        if not mask.any():
            raise BadSampleError(f"{where} covers no pixel of the picture; mend or remove it")
        return Target(_words(self.names[category], rng), is_sentence=False, mask=mask)


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
        grouped: dict[int, list[Any]] = {item["id"]: [] for item in content["images"]}
        for item in content["annotations"]:
            annotation = (item["id"], item["category_id"], item["segmentation"])
            grouped[item["image_id"]].append(annotation)
        names = {item["id"]: _split_name(item["name"]) for item in content["categories"]}
        pictures = tuple(
            AnnotatedPicture(
                folder / item["file_name"],
                (item["height"], item["width"]),
                json.dumps(grouped[item["id"]]).encode(),
            )
            for item in content["images"]
            if grouped[item["id"]]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{annotation_file} is not in COCO format ({type(error).__name__}: {error}); expected "
            "images (id, file_name, height, width), categories (id, name) and annotations (id, "
            "image_id, category_id, segmentation)"
        ) from None
    if not pictures:
        raise DataError(f"{annotation_file} has no annotated picture; take the original file")
    return PartAnnotations(name, annotation_file, names, pictures)


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

"""Referring expressions: refCLEF, refCOCO, refCOCO+, refCOCOg and gRefCOCO.

In the layout of the original release (github.com/lichengunc/refer), below one folder:

    refcoco/refs(unc).p, refcoco/instances.json        (refclef, refcoco+, refcocog(umd) alike)
    grefcoco/grefs(unc).json, grefcoco/instances.json
    images/mscoco/images/train2014/*.jpg, images/saiapr_tc-12/
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.coco_masks import SegmentationError, lies_outside, segmentation_to_mask
from lisa_ros.data.coco_records import Record, by_id, only, picture_file
from lisa_ros.data.draws import draw
from lisa_ros.data.files import is_utf8, need_folder, read_json, read_picture
from lisa_ros.data.plain_pickle import read_plain_pickle
from lisa_ros.data.samples import BadSampleError, DataError, Sample, Target

SPLIT_BY = {  # who split it, as published
    "refclef": "unc",
    "refcoco": "unc",
    "refcoco+": "unc",
    "refcocog": "umd",
    "grefcoco": "unc",
}
NO_TARGET = -1  # the annotation of a phrase that nothing in the picture answers to (gRefCOCO)

logger = logging.getLogger(__name__)


def open_referring(
    folder: str | Path, name: str, split: str, split_by: str | None = None
) -> Referring:
    """Open one split of a data set.

    Args:
        folder: `refer_seg` of a data folder; see this module.
        name: a key of `SPLIT_BY`.
        split: train, val, test, testA, testB (refCLEF: testC too), as far as the data set has it.
        split_by: who split it, if not as published; "google" or "umd" for refCOCOg.

    Raises:
        DataError: the name or split is unknown, or a file is missing or broken, or no
            reference of the split can be used.
    """
    if name not in SPLIT_BY:
        raise DataError(f"no referring data set {name!r}; there are {', '.join(SPLIT_BY)}")
    folder = Path(folder)
    own = need_folder(folder / name, f"{name} in the layout of lichengunc/refer")
    pictures = "saiapr_tc-12" if name == "refclef" else "mscoco/images/train2014"
    images = need_folder(folder / "images" / pictures, f"the pictures of {name}")
    refs_file = _refs_file(own, name, split_by or SPLIT_BY[name])
    instances_file = own / "instances.json"
    read = read_json if refs_file.suffix == ".json" else read_plain_pickle
    instances = read_json(instances_file)
    try:
        refs, problems = by_id(read(refs_file), refs_file, "reference", "ref_id")
        infos, no_infos = by_id(instances["images"], instances_file, "picture")
        annotations, no_annotations = by_id(instances["annotations"], instances_file, "annotation")
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{refs_file} and instances.json are not as released: {type(error).__name__} {error}; "
            "take the data set's original files"
        ) from None
    for problem in (*no_infos, *no_annotations):  # what refers to them is a bad sample
        logger.warning("Left out: %s", problem)
    chosen = {
        key: records
        for key, records in refs.items()
        if any(_in_split(ref.get("split"), split) for ref in records)
    }
    if not chosen and (refs or not problems):
        there = {str(ref.get("split")) for records in refs.values() for ref in records}
        known = ", ".join(sorted(there))
        raise DataError(f"{refs_file} has no split {split!r}; it has {known or 'no references'}")
    found, unusable = _pictures(chosen, infos, refs_file, instances_file, images)
    problems += unusable
    if problems and not found:
        raise DataError(
            f"{refs_file}, split {split}: no reference can be used, for example: {problems[0]}; "
            "take the data set's original files"
        )
    return Referring(f"refer_seg/{name}/{split}", instances_file, found, annotations, problems)


@dataclass
class Picture:
    """A picture and what is said about it.

    Attributes:
        size: (H, W) by the annotations.
        phrases: text and annotations of each expression, in the order of the references.
    """

    path: Path
    size: tuple[int, int]
    phrases: list[tuple[str, tuple[int | str, ...]]] = field(default_factory=list)


class Referring:
    """Pictures with referring expressions; implements `DataSet`.

    `read(index, None)` gives every expression about the picture in the order of the published
    evaluation: references as in their file, and the sentences of each.  Texts are in lower case
    without outer spaces.  An expression of gRefCOCO may have several objects (united) or none.
    References that cannot be used are bad samples behind the pictures.
    """

    def __init__(
        self,
        name: str,
        instances_file: Path,
        pictures: Sequence[Picture],
        annotations: Mapping[int | str, Sequence[Record]],
        problems: Sequence[str],
    ) -> None:
        """
        Args:
            annotations: by id; several where it is not clear which is right.
            problems: what is wrong with the references that cannot be used.
        """
        self.name = name
        self._instances_file = instances_file
        self._pictures = pictures
        self._problems = problems
        wanted = {key for picture in pictures for _, keys in picture.phrases for key in keys}
        self._segmentations = {
            key: [annotation.get("segmentation") for annotation in records]
            for key, records in annotations.items()
            if key in wanted
        }

    def __len__(self) -> int:
        return len(self._pictures) + len(self._problems)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture with its expressions; see `DataSet`."""
        if index >= len(self._pictures):
            raise BadSampleError(self._problems[index - len(self._pictures)])
        picture = self._pictures[index]
        image = read_picture(picture.path)
        if image.shape[:2] != picture.size:
            height, width = picture.size
            raise BadSampleError(
                f"{picture.path} has {image.shape[1]} x {image.shape[0]} pixels, but its masks in "
                f"{self._instances_file} have {width} x {height}; take the original picture"
            )
        # All are looked at, not the drawn ones only: a picture is good or bad whatever is drawn.
        for text, _ in picture.phrases:
            if not is_utf8(text):
                raise BadSampleError(
                    f"{picture.path}: the expression {text!a} about it is no UTF-8; mend or remove "
                    "it in the file of the references"
                )
        different = dict.fromkeys(keys for _, keys in picture.phrases)
        masks = {keys: self._mask(keys, picture) for keys in different}
        targets = (
            Target(text, is_sentence=False, mask=masks[keys])
            for text, keys in draw(picture.phrases, rng)
        )
        return Sample(picture.path, image, tuple(targets))

    def _mask(self, keys: tuple[int | str, ...], picture: Picture) -> np.ndarray:
        mask = np.zeros(picture.size, np.uint8)
        for key in keys:
            where = f"{self._instances_file}: annotation {key} of {picture.path.name}"
            if key not in self._segmentations:
                raise BadSampleError(f"{where} is missing; take the data set's original file")
            segmentation = only(self._segmentations[key], where)
            try:
                part = segmentation_to_mask(segmentation, *picture.size)
            except SegmentationError as error:
                raise BadSampleError(f"{where} {error}; mend or remove it") from None
            # An empty list says that nothing is marked; polygons beside the picture are an error.
            if not part.any() and lies_outside(segmentation, *picture.size):
                height, width = picture.size
                raise BadSampleError(
                    f"{where} lies outside the picture of {width} x {height}; mend or remove it"
                )
            mask |= part
        return mask


def _pictures(
    refs: Mapping[int | str, Sequence[Record]],
    infos: Mapping[int | str, Sequence[Record]],
    refs_file: Path,
    instances_file: Path,
    images: Path,
) -> tuple[list[Picture], list[str]]:
    """The pictures in the order of their first reference, and what is wrong with other references.

    Each problem is there once: many references may be about one broken picture.
    """
    pictures: dict[int | str, Picture] = {}
    problems: dict[str, None] = {}
    silent = []  # references without words, as in gRefCOCO's val
    for ref_id, records in refs.items():
        where = f"{refs_file}: reference {ref_id}"
        try:
            ref = only(records, where)
            key, texts, ids = ref.get("image_id"), _texts(ref, where), _annotation_ids(ref, where)
            if not isinstance(key, (int, str)) or key not in infos:
                raise BadSampleError(
                    f"{where} is about picture {key}, which is not in instances.json; take both "
                    "files from one release"
                )
            if any(texts) and key not in pictures:
                info = f"{instances_file}: picture {key}"
                pictures[key] = Picture(*picture_file(infos[key], images, info))
        except BadSampleError as error:
            problems[str(error)] = None
            continue
        if not any(texts) or not all(texts):
            silent.append(ref_id)
        if any(texts):
            pictures[key].phrases += [(text, ids) for text in texts if text]
    if silent:
        logger.warning(
            "%s: left out the empty sentences of %d references, of which ref_id %s is the first",
            *(refs_file, len(silent), silent[0]),
        )
    return list(pictures.values()), list(problems)


def _texts(ref: Record, where: str) -> list[str]:
    try:
        return [str(sentence["sent"]).strip().lower() for sentence in ref["sentences"]]
    except (KeyError, TypeError):
        raise BadSampleError(
            f"{where} needs a list `sentences` of objects with `sent`, got "
            f"{ref.get('sentences')!r:.60}; mend or remove it"
        ) from None


def _annotation_ids(ref: Record, where: str) -> tuple[int | str, ...]:
    value = ref.get("ann_id")
    ids: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(key, (int, str)) for key in ids):
        raise BadSampleError(
            f"{where} needs `ann_id`, one id or a list, got {value!r:.60}; mend or remove it"
        )
    return tuple(key for key in ids if key != NO_TARGET)


def _in_split(of_ref: Any, split: str) -> bool:
    """Whether a reference belongs to a split; one of `testAB` belongs to testA and testB.

    One that does not say so may belong to any.
    """
    if not isinstance(of_ref, str):
        return True
    if split == "test":
        return of_ref.startswith("test")
    if split in ("testA", "testB", "testC"):
        return of_ref.startswith("test") and split[-1] in of_ref.removeprefix("test")
    return of_ref == split


def _refs_file(folder: Path, name: str, split_by: str) -> Path:
    stem = f"{'grefs' if name == 'grefcoco' else 'refs'}({split_by})"
    found = [folder / f"{stem}{suffix}" for suffix in (".p", ".json")]
    for path in found:
        if path.is_file():
            return path
    there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
    raise DataError(f"{folder} has no {stem}.p or {stem}.json; it has {there}")

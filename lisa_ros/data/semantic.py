"""The semantic family: ADE20K, COCO-Stuff, PASCAL-Part, PACO-LVIS and Mapillary Vistas.

Each in the folders of its own release, below one folder, as the published training has them:

    ade20k/      images/training/*.jpg, annotations/training/*.png
    cocostuff/   train2017/*.png, of the pictures coco/train2017/*.jpg
    mapillary/   config_v2.0.json, training/images/*.jpg, training/v2.0/labels/*.png
    vlpart/      pascal_part/train.json, of pascal_part/VOCdevkit/VOC2010/JPEGImages
                 paco/annotations/paco_lvis_v1_train.json, of the pictures in coco/
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lisa_ros.data.files import need_folder, read_json
from lisa_ros.data.label_map import LabelMapSet
from lisa_ros.data.part_annotations import PartAnnotations, open_part_annotations
from lisa_ros.data.samples import DataError, DataSet

_CLASS_NAMES = Path(__file__).parent / "class_names"


def open_semantic(folder: str | Path, name: str) -> DataSet:
    """One data set of the family, as `sem_seg/<name>`; the training split.

    Args:
        folder: that holds `ade20k`, `coco`, `cocostuff`, `mapillary` or `vlpart`.
        name: ade20k, cocostuff, pascal_part, paco_lvis or mapillary.

    Raises:
        DataError: the name is unknown, files are missing, or the file of annotations is broken.
    """
    if name not in _OPENERS:
        raise DataError(f"no semantic data set is called {name!r}; expected {', '.join(SEMANTIC)}")
    return _OPENERS[name](Path(folder))


def _open_ade20k(folder: Path) -> LabelMapSet:
    """SceneParse150: label 0 is unlabelled, k is the k-th of 150 classes."""
    pictures = folder / "ade20k/images/training"
    labels = folder / "ade20k/annotations/training"
    files = tuple((path, labels / f"{path.stem}.png") for path in _list(pictures, ".jpg"))
    return LabelMapSet("sem_seg/ade20k", (None, *_read_names("ade20k.txt")), files)


def _open_cocostuff(folder: Path) -> LabelMapSet:
    """stuffthingmaps_trainval2017: label k is class k + 1 of the release's labels.txt.

    Names with a hyphen ("wall-brick", "building-other") are no words to ask with, and are left out,
    as published.  The published list says "sky" for the release's "sky-other", and so keeps it.
    """
    pictures = folder / "coco/train2017"
    labels = _list(folder / "cocostuff/train2017", ".png")
    classes = tuple(None if "-" in name else name for name in _read_names("cocostuff.txt"))
    files = tuple((pictures / f"{path.stem}.jpg", path) for path in labels)
    return LabelMapSet("sem_seg/cocostuff", classes, files)


def _open_mapillary(folder: Path) -> LabelMapSet:
    """Mapillary Vistas 2.0: label k is entry k of the configuration, by its readable name.

    All entries are asked for, "unlabeled" and "ego vehicle" too, as published.
    """
    config = folder / "mapillary/config_v2.0.json"
    pictures = folder / "mapillary/training/images"
    labels = _list(folder / "mapillary/training/v2.0/labels", ".png")
    try:
        classes = tuple(entry["readable"].lower() for entry in read_json(config)["labels"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{config} is broken ({type(error).__name__}: {error}); expected a list `labels` of "
            "entries with `readable`; unpack it anew"
        ) from None
    files = tuple((pictures / f"{path.stem}.jpg", path) for path in labels)
    return LabelMapSet("sem_seg/mapillary", classes, files)


def _open_pascal_part(folder: Path) -> PartAnnotations:
    """PASCAL-Part as VLPart prepares it."""
    root = folder / "vlpart/pascal_part"
    pictures = root / "VOCdevkit/VOC2010/JPEGImages"
    return open_part_annotations("sem_seg/pascal_part", root / "train.json", pictures)


def _open_paco_lvis(folder: Path) -> PartAnnotations:
    """PACO-LVIS v1; its `file_name` starts with train2017/ or val2017/."""
    annotations = folder / "vlpart/paco/annotations/paco_lvis_v1_train.json"
    return open_part_annotations("sem_seg/paco_lvis", annotations, folder / "coco")


_OPENERS: dict[str, Callable[[Path], DataSet]] = {
    "ade20k": _open_ade20k,
    "cocostuff": _open_cocostuff,
    "pascal_part": _open_pascal_part,
    "paco_lvis": _open_paco_lvis,
    "mapillary": _open_mapillary,
}
SEMANTIC = tuple(_OPENERS)


def _list(folder: Path, suffix: str) -> list[Path]:
    need_folder(folder, f"the data set's *{suffix} files")
    # "._x.png" is what macOS leaves in archives.
    found = sorted(p for p in folder.iterdir() if p.suffix == suffix and p.name[0] != ".")
    if not found:
        raise DataError(f"{folder} holds no *{suffix} files; unpack the data set there")
    return found


def _read_names(file: str) -> tuple[str, ...]:
    return tuple((_CLASS_NAMES / file).read_text(encoding="utf-8").splitlines())

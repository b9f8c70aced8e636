"""Small copies of the five semantic data sets, each in the folders and formats of its release."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

H, W = 40, 60


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (H, W)) -> None:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=95)


def stripes(labels: list[int], size: tuple[int, int] = (H, W)) -> np.ndarray:
    """Vertical stripes of equal width, one a label: uint8 (H, W)."""
    return np.tile(np.repeat(labels, size[1] // len(labels)).astype(np.uint8), (size[0], 1))


def write_label_map(path: Path, labels: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels)
    if palette:
        picture.putpalette([value for i in range(256) for value in (255 - i, i, i // 2)])
    picture.save(path)


def write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def write_ade20k(folder: Path) -> None:
    """0 is unlabelled; 1 wall, 4 floor, 13 person, 150 flag."""
    for i, labels in enumerate(([0, 1, 4, 13, 150], [1, 0], [0, 0])):
        name = f"ADE_train_{i + 1:08d}"
        photo(folder / f"ade20k/images/training/{name}.jpg", i)
        write_label_map(folder / f"ade20k/annotations/training/{name}.png", stripes(labels))


def write_cocostuff(folder: Path) -> None:
    """0 person, 60 cake, 156 sky, 170 wall-brick (never asked for), 255 unlabelled."""
    for i, labels in ((9, [0, 60, 156, 170, 255]), (25, [170, 255])):
        photo(folder / f"coco/train2017/{i:012d}.jpg", i)
        write_label_map(folder / f"cocostuff/train2017/{i:012d}.png", stripes(labels))


def write_mapillary(folder: Path) -> None:
    """Label maps of Mapillary have a palette."""
    names = ("Bird", "Lane Marking - Crosswalk", "Car", "Unlabeled")
    entries = [
        {"name": "x--y", "readable": name, "color": [i, i, i], "instances": True, "evaluate": True}
        for i, name in enumerate(names)
    ]
    root = folder / "mapillary"
    write_json(root / "config_v2.0.json", {"version": 2.0, "mapping": "public", "labels": entries})
    photo(root / "training/images/-0aB_c.jpg", 3)
    labels = stripes([2, 1, 0, 3])
    write_label_map(root / "training/v2.0/labels/-0aB_c.png", labels, palette=True)


def write_pascal_part(folder: Path) -> None:
    """Polygons; the second picture has no annotation."""
    root = folder / "vlpart/pascal_part"
    images = [{"id": i, "file_name": f"2008_00000{i}.jpg", "height": H, "width": W} for i in (2, 3)]
    for image in images:
        photo(root / "VOCdevkit/VOC2010/JPEGImages" / image["file_name"], image["id"])
    square = [[10, 5, 30, 5, 30, 25, 10, 25]]
    two = [[40, 5, 50, 5, 50, 15], [40, 20, 50, 20, 50, 35]]
    write_json(
        root / "train.json",
        {
            "images": images,
            "categories": [{"id": 11, "name": "dog:head"}, {"id": 12, "name": "dog:tail"}],
            "annotations": [
                _annotation(1, 2, 11, square),
                _annotation(2, 2, 12, two),
            ],
        },
    )


def write_paco_lvis(folder: Path) -> None:
    """Objects as polygons, parts as run lengths, packed and not."""
    mask = np.zeros((H, W), np.uint8)
    mask[10:20, 30:50] = 1
    packed = coco.encode(np.asfortranarray(mask))
    packed = {"size": packed["size"], "counts": packed["counts"].decode()}
    edges = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
    runs = np.diff(edges, prepend=0, append=mask.size).tolist()
    categories = [
        {"id": 61, "name": "mug", "supercategory": "OBJECT"},
        {"id": 69, "name": "mouse_(computer_equipment)", "supercategory": "OBJECT"},
        {"id": 300, "name": "mug:handle", "supercategory": "PART"},
        {"id": 301, "name": "mouse_(computer_equipment):left_button", "supercategory": "PART"},
    ]
    photo(folder / "coco/train2017/000000000042.jpg", 42)
    write_json(
        folder / "vlpart/paco/annotations/paco_lvis_v1_train.json",
        {
            "images": [
                {"id": 42, "file_name": "train2017/000000000042.jpg", "height": H, "width": W}
            ],
            "categories": categories,
            "annotations": [
                _annotation(1, 42, 61, [[2, 2, 20, 2, 20, 30, 2, 30]]),
                _annotation(2, 42, 69, [[2, 2, 20, 2, 20, 30]]),
                _annotation(3, 42, 300, packed),
                _annotation(4, 42, 301, {"size": [H, W], "counts": runs}),
            ],
        },
    )


def write_semantic(folder: Path) -> None:
    """All five."""
    for write in (write_ade20k, write_cocostuff, write_mapillary, write_pascal_part):
        write(folder)
    write_paco_lvis(folder)


def _annotation(identifier: int, image: int, category: int, segmentation: object) -> dict:
    return {
        "id": identifier,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "area": 1,
        "bbox": [0, 0, 1, 1],
        "iscrowd": 0,
    }

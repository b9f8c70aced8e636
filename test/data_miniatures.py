"""Small copies of ReasonSeg, the refer data sets and LLaVA's conversations, in their formats."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

H, W = 40, 60
LEFT, RIGHT, MIDDLE = np.s_[5:20, 4:14], np.s_[5:20, 40:50], np.s_[10:30, 20:30]


def mask_of(*boxes) -> np.ndarray:
    """uint8 (H, W), 1 inside the boxes."""
    mask = np.zeros((H, W), np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask


def polygon_of(box) -> list[float]:
    """COCO's outline of a box, x, y, x, y, ..."""
    rows, columns = box
    top, bottom, left, right = map(float, (rows.start, rows.stop, columns.start, columns.stop))
    return [left, top, right, top, right, bottom, left, bottom]


def corners_of(box) -> list[list[float]]:
    """labelme's outline of a box; its edges belong to it."""
    rows, columns = box
    top, bottom, left, right = rows.start, rows.stop - 1, columns.start, columns.stop - 1
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def compressed(mask: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(mask))
    return {"size": [H, W], "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict:
    column_major = mask.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(column_major, prepend=0))
    counts = np.diff(np.concatenate([[0], edges, [column_major.size]])).tolist()
    return {"size": [H, W], "counts": counts}


def write_photo(path: Path, seed: int = 0, size: tuple[int, int] = (H, W)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def write_json(path: Path, value, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))


# --- ReasonSeg ---


def annotation(texts: list[str], boxes: dict, *, is_sentence: bool = True) -> dict:
    """A sample's JSON; `boxes` are boxes by label."""
    shapes = [{"label": label, "points": corners_of(box)} for label, box in boxes.items()]
    return {"text": texts, "is_sentence": is_sentence, "shapes": shapes}


def write_reason_seg(folder: Path) -> Path:
    """`reason_seg/ReasonSeg` in a data folder: 2 train, 1 val and 1 test picture."""
    root = folder / "reason_seg/ReasonSeg"
    questions = ["What can I drink from?", "Which one holds tea?", "Where is tea?", "Tea in what?"]
    samples = {
        "train/long": annotation(questions, {"target": LEFT, "ignore": RIGHT}),
        "train/short": annotation(["The Cup"], {"target": MIDDLE}, is_sentence=False),
        "val/one": annotation(["the plate"], {"target": LEFT}, is_sentence=False),
        "test/bare": annotation(["What is not there?"], {}),
    }
    for seed, (name, content) in enumerate(samples.items()):
        write_photo(root / f"{name}.jpg", seed)
        write_json(root / f"{name}.json", content)
    explained = {"image": "long.jpg", "query": questions[0], "outputs": "A cup holds drinks."}
    write_json(root / "explanatory/train.json", [explained])
    return root


# --- the refer data sets ---


def sentences(*texts: str) -> list[dict]:
    return [{"sent": text, "raw": text, "sent_id": i, "tokens": []} for i, text in enumerate(texts)]


def reference(ref_id: int, image_id: int, ann_id, split: str, *texts: str) -> dict:
    return {
        **{"ref_id": ref_id, "image_id": image_id, "ann_id": ann_id, "category_id": 1},
        **{"split": split, "sentences": sentences(*texts), "file_name": "not used.jpg"},
    }


def instances(names: dict[int, str], segmentations: dict) -> dict:
    """instances.json of pictures by id and (image id, segmentation) by annotation id."""
    return {
        "images": [{"id": i, "file_name": n, "height": H, "width": W} for i, n in names.items()],
        "annotations": [
            {"id": key, "image_id": image, "segmentation": segmentation, "iscrowd": 0}
            for key, (image, segmentation) in segmentations.items()
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }


def write_refcoco(folder: Path, name: str = "refcoco", split_by: str = "unc") -> Path:
    """One of refcoco, refcoco+ and refcocog in `refer_seg`; pictures 7 (train, testA), 8, 9."""
    root = folder / "refer_seg"
    names = {i: f"COCO_train2014_{i:012}.jpg" for i in (7, 8, 9)}
    for i, file_name in names.items():
        write_photo(root / "images/mscoco/images/train2014" / file_name, i)
    segmentations = {
        1: (7, [polygon_of(LEFT)]),
        2: (7, [polygon_of(LEFT), polygon_of(RIGHT)]),
        3: (8, uncompressed(mask_of(MIDDLE))),
        4: (9, []),
    }
    refs = [
        reference(50, 7, 2, "train", "Both Cups ", "two cups"),
        reference(51, 8, 3, "train", "middle"),
        reference(52, 7, 1, "train", "left cup", "the cup at the left"),
        reference(53, 9, 4, "val", "nothing"),
        reference(54, 7, 1, "testA", "left"),
        reference(55, 8, 3, "testB", "right"),
    ]
    write_json(root / name / "instances.json", instances(names, segmentations))
    (root / name / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    return root


def write_refclef(folder: Path) -> Path:
    """refCLEF in `refer_seg`: ids are texts, masks are lists of compressed run lengths."""
    root = folder / "refer_seg"
    write_photo(root / "images/saiapr_tc-12/112.jpg")
    segmentations = {
        "112_1": (112, [compressed(mask_of(LEFT))]),
        "112_2": (112, [compressed(mask_of(LEFT)), compressed(mask_of(RIGHT))]),
    }
    refs = [
        reference(1, 112, "112_1", "train", "sky"),
        reference(2, 112, "112_2", "testAB", "both"),
    ]
    write_json(root / "refclef/instances.json", instances({112: "112.jpg"}, segmentations))
    (root / "refclef/refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
    return root


def write_grefcoco(folder: Path) -> Path:
    """gRefCOCO in `refer_seg`: phrases of several objects or none, and a mute reference."""
    root = folder / "refer_seg"
    name = "COCO_train2014_000000000007.jpg"
    write_photo(root / "images/mscoco/images/train2014" / name)
    segmentations = {1: (7, [polygon_of(LEFT)]), 2: (7, [polygon_of(RIGHT)])}
    refs = [
        reference(1, 7, [1], "val", "left"),
        reference(2, 7, [1, 2], "val", "both"),
        {**reference(3, 7, [-1], "val", "the dog"), "no_target": True},
        reference(4, 7, [2], "val"),
        reference(5, 7, [2], "train", "right", ""),
    ]
    write_json(root / "grefcoco/instances.json", instances({7: name}, segmentations))
    write_json(root / "grefcoco/grefs(unc).json", refs)
    return root


# --- LLaVA's conversations ---


def messages(*values: str) -> list[dict]:
    senders = ["human", "gpt"] * len(values)
    return [{"from": s, "value": v} for s, v in zip(senders, values, strict=False)]


def write_llava_instruct(folder: Path) -> Path:
    """llava_instruct_150k: two conversations about one picture of COCO."""
    write_photo(folder / "coco/train2017/000000000009.jpg")
    first = messages("<image>\nWhat is it?", "A cup.", "Of what colour?", "Red. ")
    second = messages("Describe it.\n<image>", "A red cup.")
    entries = [
        {"id": "000000000009", "image": "000000000009.jpg", "conversations": value}
        for value in (first, second)
    ]
    path = folder / "llava_dataset/llava_instruct_150k.json"
    write_json(path, entries)
    return path


def write_mix665k(folder: Path) -> Path:
    """llava_v1_5_mix665k: a picture of each source, and an entry about no picture."""
    names = [
        "coco/train2017/000000033471.jpg",
        "gqa/images/2354786.jpg",
        "ocr_vqa/images/140031996.jpg",
        "textvqa/train_images/0000599864fd15b3.jpg",
        "vg/VG_100K/2.jpg",
    ]
    entries: list[dict] = [{"id": "wild", "conversations": messages("Hello", "Hello!")}]
    for i, name in enumerate(names):
        write_photo(folder / name, i)
        talk = messages("<image>\nWhat is it?", f"It is {i}.")
        entries.append({"id": str(i), "image": name, "conversations": talk})
    path = folder / "llava_dataset/llava_v1_5_mix665k.json"
    write_json(path, entries)
    return path

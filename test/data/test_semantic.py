"""The five semantic data sets, on small copies of their releases."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from semantic_miniature import (
    H,
    W,
    photo,
    stripes,
    write_ade20k,
    write_cocostuff,
    write_json,
    write_label_map,
    write_mapillary,
    write_paco_lvis,
    write_pascal_part,
    write_semantic,
)

from lisa_ros.data.draws import draw
from lisa_ros.data.samples import BadSampleError, DataError
from lisa_ros.data.semantic import SEMANTIC, open_semantic

PACO = "vlpart/paco/annotations/paco_lvis_v1_train.json"
MUG_HANDLE = np.s_[10:20, 30:50]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_semantic(tmp_path)
    return tmp_path


def texts(sample) -> list[str]:
    return [target.text for target in sample.targets]


def edit(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    write_json(path, values)


# --- all of them ---


@pytest.mark.parametrize("name", SEMANTIC)
def test_samples_are_as_promised(folder, name):
    data = open_semantic(folder, name)
    assert data.name == f"sem_seg/{name}"
    for index in range(len(data)):
        for rng in (None, np.random.default_rng(index)):
            sample = data.read(index, rng)
            assert sample.path.is_file()
            assert sample.image.shape == (H, W, 3)
            assert sample.turns == ()
            for target in sample.targets:
                assert target.mask.shape == (H, W)
                assert target.mask.dtype == np.uint8
                assert set(np.unique(target.mask)) == {0, 1}
                assert not target.is_sentence
                assert target.text
                assert target.explanation == ""


@pytest.mark.parametrize("name", SEMANTIC)
def test_equal_seeds_give_equal_samples(folder, name):
    data = open_semantic(folder, name)
    first, second = (data.read(0, np.random.default_rng(7)) for _ in range(2))
    assert texts(first) == texts(second)
    for a, b in zip(first.targets, second.targets, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)


@pytest.mark.parametrize("name", SEMANTIC)
def test_a_missing_folder_is_named(tmp_path, name):
    with pytest.raises(DataError, match=r"does not exist|is missing") as caught:
        open_semantic(tmp_path, name)
    assert str(tmp_path) in str(caught.value)


def test_unknown_name_says_what_there_is(tmp_path):
    with pytest.raises(DataError, match=r"'partimagenet'.*ade20k, cocostuff, pascal_part"):
        open_semantic(tmp_path, "partimagenet")


@pytest.mark.parametrize("name", SEMANTIC)
@pytest.mark.parametrize("damage", ["missing", "truncated", "no picture"])
def test_a_broken_picture_is_named_and_the_others_still_work(folder, name, damage):
    data = open_semantic(folder, name)
    path = data.read(0).path
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"<html>")
    with pytest.raises(BadSampleError, match=path.name):
        data.read(0)
    for index in range(1, len(data)):
        data.read(index)


# --- label maps ---


def test_ade20k_label_0_is_nothing_and_k_is_the_kth_class(tmp_path):
    write_ade20k(tmp_path)
    data = open_semantic(tmp_path, "ade20k")
    assert len(data) == 3
    sample = data.read(0)
    assert texts(sample) == ["wall", "floor", "person", "flag"]
    for label, target in zip((1, 4, 13, 150), sample.targets, strict=True):
        np.testing.assert_array_equal(target.mask, stripes([0, 1, 4, 13, 150]) == label)


def test_ade20k_masks_are_those_of_the_published_arithmetic(tmp_path):
    """There: 0 becomes 255, then one less, with 254 back to 255, in uint8."""
    write_ade20k(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 151, (H, W)).astype(np.uint8)
    labels[0, :3] = 255
    write_label_map(tmp_path / "ade20k/annotations/training/ADE_train_00000001.png", labels)
    published = labels.copy()
    published[published == 0] = 255
    published -= 1
    published[published == 254] = 255
    data = open_semantic(tmp_path, "ade20k")
    classes = [name for name in data.classes if name]
    assert len(classes) == 150
    got = {target.text: target.mask for target in data.read(0).targets}
    for index in sorted(set(published.ravel().tolist()) - {255}):
        np.testing.assert_array_equal(got.pop(classes[index]), published == index)
    assert not got


def test_a_picture_without_classes_has_no_targets(folder):
    assert open_semantic(folder, "ade20k").read(2).targets == ()
    assert open_semantic(folder, "cocostuff").read(1).targets == ()


def test_cocostuff_leaves_out_names_with_a_hyphen(tmp_path):
    write_cocostuff(tmp_path)
    data = open_semantic(tmp_path, "cocostuff")
    sample = data.read(0)
    assert texts(sample) == ["person", "cake", "sky"]
    np.testing.assert_array_equal(sample.targets[1].mask, stripes([0, 1, 0, 0, 0]))
    assert len(data.classes) == 182
    assert sum(name is None for name in data.classes) == 28
    assert data.classes[181] == "wood"


def test_cocostuff_pictures_are_those_of_coco(tmp_path):
    write_cocostuff(tmp_path)
    data = open_semantic(tmp_path, "cocostuff")
    assert data.read(0).path == tmp_path / "coco/train2017/000000000009.jpg"


def test_mapillary_is_read_by_number_and_not_by_colour(tmp_path):
    write_mapillary(tmp_path)
    sample = open_semantic(tmp_path, "mapillary").read(0)
    assert texts(sample) == ["bird", "lane marking - crosswalk", "car", "unlabeled"]
    np.testing.assert_array_equal(sample.targets[2].mask, stripes([1, 0, 0, 0]))


def test_three_classes_are_drawn_without_repetition(tmp_path):
    write_ade20k(tmp_path)
    data = open_semantic(tmp_path, "ade20k")
    rng = np.random.default_rng(0)
    drawn = [tuple(texts(data.read(0, rng))) for _ in range(80)]
    assert all(len(set(names)) == 3 for names in drawn)
    counts = Counter(name for names in drawn for name in names)
    assert set(counts) == {"wall", "floor", "person", "flag"}
    assert min(counts.values()) > 40  # 60 expected
    assert len(set(drawn)) > 12  # of 24 orders


def test_files_of_macos_archives_are_no_samples(tmp_path):
    write_cocostuff(tmp_path)
    (tmp_path / "cocostuff/train2017/._000000000009.png").write_bytes(b"\0\5\26\7")
    assert len(open_semantic(tmp_path, "cocostuff")) == 2


def test_a_label_map_of_another_size(tmp_path):
    write_ade20k(tmp_path)
    path = tmp_path / "ade20k/annotations/training/ADE_train_00000001.png"
    write_label_map(path, stripes([1, 2], (H, W - 2)))
    with pytest.raises(BadSampleError, match=r"ADE_train_00000001\.png has \(40, 58\).*\(40, 60\)"):
        open_semantic(tmp_path, "ade20k").read(0)


def test_a_missing_label_map(tmp_path):
    write_ade20k(tmp_path)
    (tmp_path / "ade20k/annotations/training/ADE_train_00000001.png").unlink()
    with pytest.raises(BadSampleError, match=r"annotations.*00000001\.png does not exist"):
        open_semantic(tmp_path, "ade20k").read(0)


def test_a_truncated_label_map(tmp_path):
    write_cocostuff(tmp_path)
    path = tmp_path / "cocostuff/train2017/000000000009.png"
    noise = np.random.default_rng(0).integers(0, 180, (H, W)).astype(np.uint8)
    write_label_map(path, noise)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(BadSampleError, match=r"000000000009\.png is corrupt or truncated"):
        open_semantic(tmp_path, "cocostuff").read(0)


def test_a_label_map_in_colours(tmp_path):
    write_ade20k(tmp_path)
    photo(tmp_path / "ade20k/annotations/training/ADE_train_00000001.png")
    with pytest.raises(BadSampleError, match=r"mode RGB; expected class numbers"):
        open_semantic(tmp_path, "ade20k").read(0)


def test_a_label_without_a_name(tmp_path):
    write_ade20k(tmp_path)
    path = tmp_path / "ade20k/annotations/training/ADE_train_00000001.png"
    write_label_map(path, stripes([1, 151]))
    with pytest.raises(BadSampleError, match=r"holds label 151.*0 to 150"):
        open_semantic(tmp_path, "ade20k").read(0)


def test_an_empty_folder(tmp_path):
    (tmp_path / "ade20k/images/training").mkdir(parents=True)
    with pytest.raises(DataError, match=r"training holds no \*\.jpg"):
        open_semantic(tmp_path, "ade20k")


@pytest.mark.parametrize("content", ["{}", "[]", '{"labels": [{"name": "x"}]}', '{"labels": 3}'])
def test_a_broken_mapillary_configuration(tmp_path, content):
    write_mapillary(tmp_path)
    (tmp_path / "mapillary/config_v2.0.json").write_text(content)
    with pytest.raises(DataError, match=r"config_v2\.0\.json is broken"):
        open_semantic(tmp_path, "mapillary")


# --- objects and parts ---


def test_pascal_part_polygons(tmp_path):
    write_pascal_part(tmp_path)
    data = open_semantic(tmp_path, "pascal_part")
    assert len(data) == 1  # the other picture has no annotation
    sample = data.read(0)
    assert texts(sample) == ["dog head", "dog tail"]
    square, pieces = (target.mask for target in sample.targets)
    want = np.zeros((H, W), np.uint8)
    want[5:25, 10:30] = 1
    np.testing.assert_array_equal(square, want)
    assert pieces[10, 47]
    assert pieces[30, 47]
    assert not pieces[17].any()  # between the two


def test_paco_run_lengths_and_names(tmp_path):
    write_paco_lvis(tmp_path)
    sample = open_semantic(tmp_path, "paco_lvis").read(0)
    assert texts(sample) == ["mug", "mouse", "mug handle", "mouse left_button"]
    want = np.zeros((H, W), np.uint8)
    want[MUG_HANDLE] = 1
    for packed_or_not in sample.targets[2:]:
        np.testing.assert_array_equal(packed_or_not.mask, want)


def test_parts_are_called_both_ways_half_of_the_time(tmp_path):
    write_pascal_part(tmp_path)
    data, rng = open_semantic(tmp_path, "pascal_part"), np.random.default_rng(0)
    counts = Counter(text for _ in range(100) for text in texts(data.read(0, rng)))
    assert set(counts) == {"dog head", "the head of the dog", "dog tail", "the tail of the dog"}
    assert min(counts.values()) > 30  # 50 expected


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (None, "neither polygons nor run lengths"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5, None]], "three points"),
        ({"size": [H, W + 1], "counts": [H * W]}, r"expected \[40, 60\]"),
        ({"size": [H, W], "counts": [5, 5]}, "do not sum to 2400"),
        ({"size": [H, W], "counts": "~~~~"}, "garbled"),
    ],
)
def test_a_broken_segmentation_is_named(tmp_path, segmentation, said):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: v["annotations"][2].update(segmentation=segmentation))
    data = open_semantic(tmp_path, "paco_lvis")
    for rng in (None, *map(np.random.default_rng, range(5))):  # whatever is drawn
        with pytest.raises(BadSampleError, match=rf"{PACO}: annotation 3 of 0+42\.jpg .*{said}"):
            data.read(0, rng)


@pytest.mark.parametrize("segmentation", [[], [[100, 5, 119, 5, 110, 25]]])
def test_an_annotation_of_no_pixel_is_left_out_and_told_once(tmp_path, caplog, segmentation):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: v["annotations"][2].update(segmentation=segmentation))
    data = open_semantic(tmp_path, "paco_lvis")
    assert texts(data.read(0)) == ["mug", "mouse", "mouse left_button"]
    assert len(data.read(0, np.random.default_rng(0)).targets) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / PACO}: annotation 3 of 000000000042.jpg covers no pixel of the picture and "
        "is left out"
    ]


def test_a_picture_without_any_marked_pixel_is_named(tmp_path):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: [a.update(segmentation=[]) for a in v["annotations"]])
    with pytest.raises(BadSampleError, match=r"no annotation of 000000000042\.jpg covers a pixel"):
        open_semantic(tmp_path, "paco_lvis").read(0)


def append_other(values: dict, part: str, **changes) -> None:
    values[part].append({**values[part][0], **changes})


def add_picture(values: dict) -> None:
    """A second picture, of the first one's file, with one annotation."""
    append_other(values, "images", id=43)
    append_other(values, "annotations", id=99, image_id=43)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: append_other(v, "images", height=1), r"picture 42 is there 2 times and differs"),
        (lambda v: append_other(v, "annotations", image_id=43), "annotation 1 is there 2 times"),
        (lambda v: append_other(v, "annotations", id=7, image_id=9), "annotation 7 .* picture 9"),
        (lambda v: append_other(v, "annotations", id=None), "annotation number 6 has no `id`"),
        (lambda v: v["images"][0].pop("height"), "picture 42 needs .*got .*, None and 60"),
        (lambda v: v["categories"].append({"id": 77}), "category 77 has no `name`"),
        (lambda v: v["categories"].append("mug"), "category number .* has no `id`"),
        (lambda v: v["images"].append(3), "picture number 3 has no `id`"),
    ],
)
def test_a_bad_record_spoils_no_other(tmp_path, change, said):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, add_picture)
    edit(tmp_path / PACO, change)
    data = open_semantic(tmp_path, "paco_lvis")
    with pytest.raises(BadSampleError, match=rf"{PACO}: {said}.*(add|keep|remove|mend)"):
        data.read(len(data) - 1)
    assert data.read(len(data) - 2).targets


def test_a_category_that_is_there_twice_names_nothing(tmp_path):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: append_other(v, "categories", name="x"))
    data = open_semantic(tmp_path, "paco_lvis")
    for index, said in enumerate(["category .*, which has no name", "is there 2 times"]):
        with pytest.raises(BadSampleError, match=said):
            data.read(index)


@pytest.mark.parametrize("part", ["images", "categories", "annotations"])
def test_equal_copies_count_once_and_are_told(tmp_path, caplog, part):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: append_other(v, part))
    data = open_semantic(tmp_path, "paco_lvis")
    assert len(data) == 1
    assert len(data.read(0).targets) == 4
    assert "1 records are copies of others and count once" in caplog.text


def test_a_polygon_a_little_outside_is_cut_off(tmp_path):
    write_paco_lvis(tmp_path)
    polygon = [[-5, -5, 70, -5, 70, 20, -5, 20]]
    edit(tmp_path / PACO, lambda v: v["annotations"][0].update(segmentation=polygon))
    mask = open_semantic(tmp_path, "paco_lvis").read(0).targets[0].mask
    assert mask[:20].all()
    assert not mask[20:].any()


def test_an_annotation_of_no_category(tmp_path):
    write_paco_lvis(tmp_path)
    edit(tmp_path / PACO, lambda v: v["annotations"][0].update(category_id=999))
    with pytest.raises(BadSampleError, match=r"annotation 1 of .* category 999"):
        open_semantic(tmp_path, "paco_lvis").read(0)


def test_a_picture_of_another_size(tmp_path):
    write_paco_lvis(tmp_path)
    photo(tmp_path / "coco/train2017/000000000042.jpg", size=(20, 30))
    with pytest.raises(BadSampleError, match=r"42\.jpg has \(20, 30\).*says \(40, 60\)"):
        open_semantic(tmp_path, "paco_lvis").read(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"images": [', "not valid JSON"),
        (b"\x81", "neither UTF-8 nor cp1252"),
        (b"[]", "not in COCO format"),
        (b"{}", "not in COCO format"),
        (b'{"images": [3], "categories": [], "annotations": []}', "not in COCO format"),
        (b'{"images": [], "categories": [], "annotations": []}', "no annotated picture"),
    ],
)
@pytest.mark.parametrize("name", ["pascal_part", "paco_lvis"])
def test_a_broken_annotation_file(folder, name, content, said):
    path = folder / {"pascal_part": "vlpart/pascal_part/train.json", "paco_lvis": PACO}[name]
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        open_semantic(folder, name)
    assert str(path) in str(caught.value)


# --- draws ---


@pytest.mark.parametrize("count", range(6))
def test_draw(count):
    choices = list("abcdef")[:count]
    assert draw(choices, None) == choices
    drawn = draw(choices, np.random.default_rng(0))
    assert len(drawn) == min(count, 3)
    assert set(drawn) <= set(choices)
    assert len(set(drawn)) == len(drawn)


def test_palette_survives_pillow(tmp_path):
    """What the miniature of Mapillary relies on: the file has a palette indeed."""
    write_mapillary(tmp_path)
    path = tmp_path / "mapillary/training/v2.0/labels/-0aB_c.png"
    assert Image.open(path).mode == "P"

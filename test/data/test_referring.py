"""refCLEF, refCOCO, refCOCO+, refCOCOg and gRefCOCO in the layout of their releases."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import (
    LEFT,
    MIDDLE,
    RIGHT,
    H,
    W,
    mask_of,
    polygon_of,
    reference,
    write_grefcoco,
    write_json,
    write_photo,
    write_refclef,
    write_refcoco,
)

from lisa_ros.data.referring import open_referring
from lisa_ros.data.samples import BadSampleError, DataError

PHOTO = "images/mscoco/images/train2014/COCO_train2014_{:012}.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_refcoco(tmp_path)


def edit_instances(folder: Path, change, name: str = "refcoco") -> None:
    path = folder / name / "instances.json"
    values = json.loads(path.read_text())
    change(values)
    write_json(path, values)


def edit_refs(folder: Path, change) -> None:
    path = folder / "refcoco/refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    change(refs)
    path.write_bytes(pickle.dumps(refs))


def texts(sample) -> list[str]:
    return [target.text for target in sample.targets]


@pytest.mark.parametrize(
    ("name", "split_by"), [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")]
)
def test_pictures_in_the_order_of_their_references(tmp_path, name, split_by):
    folder = write_refcoco(tmp_path, name, split_by)
    data = open_referring(folder, name, "train")
    assert data.name == f"refer_seg/{name}/train"
    assert len(data) == 2
    sample = data.read(0)
    assert sample.path == folder / PHOTO.format(7)
    assert sample.image.shape == (H, W, 3)
    assert texts(sample) == ["both cups", "two cups", "left cup", "the cup at the left"]
    wanted = [mask_of(LEFT, RIGHT)] * 2 + [mask_of(LEFT)] * 2
    for target, want in zip(sample.targets, wanted, strict=True):
        np.testing.assert_array_equal(target.mask, want)
        assert not target.is_sentence
    (target,) = data.read(1).targets
    np.testing.assert_array_equal(target.mask, mask_of(MIDDLE))


def test_other_splitter(tmp_path):
    folder = write_refcoco(tmp_path, "refcocog", "google")
    assert len(open_referring(folder, "refcocog", "train", "google")) == 2
    with pytest.raises(DataError, match=r"no refs\(umd\)\.p.*it has instances\.json, refs\(google"):
        open_referring(folder, "refcocog", "train")


@pytest.mark.parametrize(
    ("split", "want"),
    [("val", ["nothing"]), ("testA", ["left"]), ("testB", ["right"]), ("test", ["left", "right"])],
)
def test_splits(folder, split, want):
    data = open_referring(folder, "refcoco", split)
    assert [text for i in range(len(data)) for text in texts(data.read(i))] == want


def test_empty_segmentation_is_an_empty_mask(folder):
    (target,) = open_referring(folder, "refcoco", "val").read(0).targets
    assert target.mask.shape == (H, W)
    assert not target.mask.any()


def test_three_expressions_are_drawn_for_training(folder):
    data = open_referring(folder, "refcoco", "train")
    masks = {t.text: t.mask for t in data.read(0).targets}
    drawn = set()
    for seed in range(20):
        targets = data.read(0, np.random.default_rng(seed)).targets
        assert len({t.text for t in targets}) == 3
        drawn.update(t.text for t in targets)
        for target in targets:
            np.testing.assert_array_equal(target.mask, masks[target.text])
    assert drawn == set(masks)


def test_refclef_has_other_pictures_and_ids(tmp_path):
    folder = write_refclef(tmp_path)
    sample = open_referring(folder, "refclef", "train").read(0)
    assert sample.path == folder / "images/saiapr_tc-12/112.jpg"
    np.testing.assert_array_equal(sample.targets[0].mask, mask_of(LEFT))
    for split in ("testA", "testB", "test"):
        (target,) = open_referring(folder, "refclef", split).read(0).targets
        np.testing.assert_array_equal(target.mask, mask_of(LEFT, RIGHT))
    with pytest.raises(DataError, match=r"no split 'testC'; it has testAB, train"):
        open_referring(folder, "refclef", "testC")


def test_grefcoco_has_several_objects_or_none(tmp_path, caplog):
    folder = write_grefcoco(tmp_path)
    sample = open_referring(folder, "grefcoco", "val").read(0)
    assert texts(sample) == ["left", "both", "the dog"]
    wanted = (mask_of(LEFT), mask_of(LEFT, RIGHT), mask_of())
    for target, want in zip(sample.targets, wanted, strict=True):
        np.testing.assert_array_equal(target.mask, want)
    assert "left out the empty sentences of 1 references, of which ref_id 4" in caplog.text
    caplog.clear()
    assert texts(open_referring(folder, "grefcoco", "train").read(0)) == ["right"]
    assert "of which ref_id 5" in caplog.text


def test_picture_without_any_words_is_left_out(folder):
    edit_refs(folder, lambda refs: refs.append(reference(99, 9, 4, "train", "  ")))
    assert len(open_referring(folder, "refcoco", "train")) == 2


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("refcoco++", "train", "no referring data set 'refcoco++'; there are refclef, refcoco,"),
        ("refcoco", "tain", "no split 'tain'; it has testA, testB, train, val"),
        ("refcoco", "testC", "no split 'testC'"),
        ("refcocog", "train", "refcocog is missing"),
        ("refclef", "train", "refclef is missing"),
    ],
)
def test_unknown_names_are_told_what_there_is(folder, name, split, words):
    with pytest.raises(DataError) as caught:
        open_referring(folder, name, split)
    assert words in str(caught.value)


def test_missing_pictures_are_named(folder):
    (folder / PHOTO.format(8)).unlink()
    data = open_referring(folder, "refcoco", "train")
    with pytest.raises(BadSampleError, match=r"000008\.jpg does not exist"):
        data.read(1)
    (folder / "images/mscoco").rename(folder / "images/coco")
    with pytest.raises(DataError, match="train2014 is missing; the pictures of refcoco belong"):
        open_referring(folder, "refcoco", "train")


def test_picture_of_another_size_is_named(folder):
    write_photo(folder / PHOTO.format(8), size=(W, H))
    with pytest.raises(BadSampleError, match=r"40 x 60 pixels, but its masks in .* 60 x 40"):
        open_referring(folder, "refcoco", "train").read(1)


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ({"size": [9, 9], "counts": [81]}, r"has run lengths of size \[9, 9\]"),
        ([[1, 2, 3]], "three points"),
        (None, "neither polygons nor run lengths"),
        ([[W, 5, W + 9, 5, W + 9, 25]], "lies outside the picture of 60 x 40"),
        ([[1, -9, 9, -9, 9, 0], [-9, 1, 0, 1, 0, 9]], "lies outside the picture of 60 x 40"),
    ],
)
def test_bad_mask_is_named(folder, segmentation, words):
    def change(values):
        values["annotations"][2]["segmentation"] = segmentation

    edit_instances(folder, change)
    data = open_referring(folder, "refcoco", "train")
    with pytest.raises(BadSampleError, match=rf"instances\.json: annotation 3 .*{words}.*mend"):
        data.read(1)
    assert data.read(0).targets


def test_a_picture_is_bad_whatever_is_drawn(folder):
    edit_instances(folder, lambda values: values["annotations"][0].update(segmentation=None))
    data = open_referring(folder, "refcoco", "train")
    for seed in range(5):
        with pytest.raises(BadSampleError, match="annotation 1 "):
            data.read(0, np.random.default_rng(seed))


def test_half_a_character_is_named(folder):
    edit_refs(folder, lambda refs: refs[1]["sentences"][0].update(sent="the \ud83d cup"))
    data = open_referring(folder, "refcoco", "train")
    with pytest.raises(BadSampleError, match=r"000008\.jpg: .*'the \\ud83d cup'.* no UTF-8"):
        data.read(1)
    assert data.read(0).targets


def test_missing_annotation_is_named(folder):
    edit_instances(folder, lambda values: values["annotations"].pop(2))
    with pytest.raises(BadSampleError, match=r"annotation 3 of COCO.* is missing"):
        open_referring(folder, "refcoco", "train").read(1)


def test_missing_picture_record_is_named(folder):
    edit_instances(folder, lambda values: values["images"].pop(0))
    data = open_referring(folder, "refcoco", "train")
    assert texts(data.read(0)) == ["middle"]
    assert_bad(data, "reference 50 is about picture 7, which is not in", "reference 52 is about")


def assert_bad(data, *words: str) -> None:
    """The last samples are bad, for these reasons."""
    for index, said in enumerate(words, start=len(data) - len(words)):
        with pytest.raises(BadSampleError, match=said):
            data.read(index)
    assert data.read(len(data) - len(words) - 1).targets


def test_equal_copies_count_once_and_are_told(folder, caplog):
    edit_refs(folder, lambda refs: refs.append(refs[0]))
    edit_instances(folder, lambda values: values["annotations"].append(values["annotations"][0]))
    assert len(open_referring(folder, "refcoco", "train").read(0).targets) == 4
    assert "refs(unc).p: 1 records are copies of others and count once" in caplog.text
    assert "the first of them is annotation 1" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda refs: refs.append(reference(52, 8, 3, "train", "other")),
            r"reference 52 is there 2 times and differs; keep one",
        ),
        (lambda refs: refs[2].pop("sentences"), r"reference 52 needs a list `sentences`.*None"),
        (lambda refs: refs[2].update(sentences=["left"]), "reference 52 needs a list `sentences`"),
        (lambda refs: refs[2].pop("ann_id"), "reference 52 needs `ann_id`.*None"),
        (lambda refs: refs[2].pop("image_id"), "reference 52 is about picture None, which is not"),
        (lambda refs: refs[2].pop("ref_id"), "reference number 3 has no `ref_id`; mend or remove"),
        (lambda refs: refs.append(3), "reference number 7 has no `ref_id`; mend or remove"),
    ],
)
def test_a_bad_reference_spoils_no_other(folder, change, said):
    edit_refs(folder, change)
    data = open_referring(folder, "refcoco", "train")
    assert texts(data.read(0))[:2] == ["both cups", "two cups"]
    assert_bad(data, rf"refs\(unc\)\.p: {said}")
    assert texts(open_referring(folder, "refcoco", "testA").read(0)) == ["left"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["images"][0].pop("height"), "picture 7 needs .*got .*, None and 60"),
        (
            lambda values: values["images"].append({**values["images"][0], "height": 1}),
            "picture 7 is there 2 times and differs",
        ),
    ],
)
def test_a_bad_picture_record_spoils_no_other(folder, change, said):
    edit_instances(folder, change)
    data = open_referring(folder, "refcoco", "train")
    assert len(data) == 2
    assert texts(data.read(0)) == ["middle"]
    assert_bad(data, rf"instances\.json: {said}")


def test_an_annotation_that_is_there_twice_spoils_its_picture_alone(folder):
    def change(values):
        values["annotations"].append(
            {**values["annotations"][2], "segmentation": [polygon_of(LEFT)]}
        )

    edit_instances(folder, change)
    data = open_referring(folder, "refcoco", "train")
    assert_bad(data, r"instances\.json: annotation 3 of .* is there 2 times and differs; keep one")


def test_an_annotation_without_an_id_is_told(folder, caplog):
    edit_instances(folder, lambda values: values["annotations"][2].pop("id"))
    data = open_referring(folder, "refcoco", "train")
    assert "instances.json: annotation number 3 has no `id`; mend or remove it" in caplog.text
    assert_bad(data, "annotation 3 of .* is missing")


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(3), pickle.dumps([3]), pickle.dumps([{"ref_id": 1}]), b"", pickle.dumps(Path())],
)
def test_broken_references_are_named(folder, content):
    (folder / "refcoco/refs(unc).p").write_bytes(content)
    with pytest.raises(DataError, match=r"refs\(unc\)\.p.*original file"):
        open_referring(folder, "refcoco", "train")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"images": [{}], "annotations": []}'])
def test_broken_instances_are_named(folder, content):
    (folder / "refcoco/instances.json").write_bytes(content)
    with pytest.raises(DataError, match=r"instances\.json"):
        open_referring(folder, "refcoco", "train")

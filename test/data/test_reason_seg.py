"""ReasonSeg and pictures in its format."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import (
    LEFT,
    MIDDLE,
    RIGHT,
    H,
    W,
    annotation,
    corners_of,
    mask_of,
    write_json,
    write_photo,
    write_reason_seg,
)
from PIL import Image

from lisa_ros.data.reason_seg import draw_mask, open_reason_seg
from lisa_ros.data.samples import IGNORE, BadSampleError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reason_seg(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a lab's own, with one sample x."""
    write_photo(tmp_path / "kitchen/x.png")
    write_json(tmp_path / "kitchen/x.json", annotation(["the cup"], {"cup": LEFT}))
    return tmp_path / "kitchen"


def shape(label: str, box, **values) -> dict:
    return {"label": label, "points": corners_of(box), **values}


@pytest.mark.parametrize("split", ["train", "val"])
def test_masks_and_texts_are_the_golden_ones(golden, split):
    folder = golden.folder / "dataset/reason_seg/ReasonSeg"
    data = open_reason_seg(folder, split)
    want = golden.arrays("reasonseg")
    seen = []
    for index in range(len(data)):
        sample = data.read(index)
        key = f"{split}/{sample.path.name}"
        texts = golden.meta["reasonseg"][key]
        assert [target.text for target in sample.targets] == texts["comments"]
        for target in sample.targets:
            np.testing.assert_array_equal(target.mask, want[f"{key}/mask"])
            assert target.mask.dtype == np.uint8
            assert target.is_sentence == texts["is_sentence"]
        seen.append(f"{key}/mask")
    assert seen == sorted(k for k in want if k.startswith(split) and k.endswith("/mask"))


def test_sample(folder):
    data = open_reason_seg(folder, "train")
    assert data.name == "reason_seg/ReasonSeg/train"
    assert len(data) == 2
    sample = data.read(0)
    assert sample.path == folder / "train/long.jpg"
    assert sample.image.shape == (H, W, 3)
    assert [t.text for t in sample.targets][:2] == [
        "What can I drink from?",
        "Which one holds tea?",
    ]
    assert len(sample.targets) == 4
    want = mask_of(LEFT)
    want[RIGHT] = IGNORE
    for target in sample.targets:
        assert target.is_sentence
        assert target.explanation == "A cup holds drinks."
        np.testing.assert_array_equal(target.mask, want)
    short = data.read(1).targets
    assert [(t.text, t.is_sentence, t.explanation) for t in short] == [("The Cup", False, "")]


def test_three_texts_are_drawn_for_training(folder):
    data = open_reason_seg(folder, "train")
    all_texts = {target.text for target in data.read(0).targets}
    drawn = set()
    for seed in range(20):
        texts = [t.text for t in data.read(0, np.random.default_rng(seed)).targets]
        assert len(set(texts)) == 3
        drawn.update(texts)
    assert drawn == all_texts
    assert len(data.read(1, np.random.default_rng(0)).targets) == 1


@pytest.mark.parametrize("splits", ["train|val", ["train", "val"], "train_val"])
def test_several_splits(folder, splits):
    data = open_reason_seg(folder, splits)
    assert data.name == "reason_seg/ReasonSeg/train|val"
    assert [data.read(i).path.stem for i in range(len(data))] == ["long", "short", "one"]


def test_pictures_beside_each_other_without_splits(own):
    data = open_reason_seg(own, "")
    assert data.name == "reason_seg/kitchen"
    np.testing.assert_array_equal(data.read(0).targets[0].mask, mask_of(LEFT))


def test_no_polygon_is_an_empty_mask(folder):
    assert not open_reason_seg(folder, "test").read(0).targets[0].mask.any()


def test_smaller_polygons_lie_on_top_and_flags_are_skipped():
    inner = np.s_[12:18, 22:28]
    shapes = [
        shape("Ignore_this", inner),
        shape("target", MIDDLE),
        shape("FLAG", np.s_[0:H, 0:W]),
        shape("flagpole", RIGHT),
    ]
    want = mask_of(MIDDLE, RIGHT)
    want[inner] = IGNORE
    np.testing.assert_array_equal(draw_mask(shapes, (H, W)), want)


@pytest.mark.parametrize("points", [[], [[1, 2], [30, 40]], None])
def test_a_flag_is_skipped_whatever_it_is(points):
    flag = {"label": "flag", "shape_type": "rectangle", "points": points}
    mask = draw_mask([flag, shape("target", LEFT)], (H, W))
    np.testing.assert_array_equal(mask, mask_of(LEFT))


@pytest.mark.parametrize("first", ["target", "ignore"])
def test_of_equal_polygons_the_first_lies_on_top(first):
    second = {"target": "ignore", "ignore": "target"}[first]
    mask = draw_mask([shape(first, LEFT), shape(second, LEFT)], (H, W))
    assert (mask[LEFT] == (1 if first == "target" else IGNORE)).all()


def test_polygons_are_cut_at_the_border():
    points = [[-1000.0, -1000.0], [10.9, -1000.0], [10.9, 5.9], [-1000.0, 5.9]]
    mask = draw_mask([{"label": "a", "points": points}], (H, W))
    np.testing.assert_array_equal(mask, mask_of(np.s_[0:6, 0:11]))


def test_cp1252_and_byte_order_marks_are_read(own):
    content = annotation(["What cuts \u201cfood\u201d?"], {"knife": LEFT})
    for encoding in ("cp1252", "utf-8", "utf-8-sig"):
        write_json(own / "x.json", content, encoding)
        assert open_reason_seg(own, "").read(0).targets[0].text == "What cuts \u201cfood\u201d?"


@pytest.mark.parametrize("size", [{"imageHeight": H, "imageWidth": W}, {"imageHeight": None}])
def test_a_size_that_is_the_pictures_or_unknown(own, size):
    content = {**json.loads((own / "x.json").read_text()), **size}
    (own / "x.json").write_text(json.dumps(content))
    assert open_reason_seg(own, "").read(0).targets


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(own, encoding):
    write_json(own / "x.json", annotation(["the cup"], {"cup": LEFT}), encoding)
    assert_bad(own, "x.json is in UTF-16 or UTF-32, expected UTF-8; save it as UTF-8")


def assert_bad(own: Path, *words: str) -> None:
    data = open_reason_seg(own, "")
    with pytest.raises(BadSampleError) as caught:
        data.read(0)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"text": "the cup"}, ("`text` must be a list", "the cup")),
        ({"text": []}, ("`text` must be a list",)),
        ({"text": ["the cup", " "]}, ("`text` number 2 is empty",)),
        ({"text": ["the \ud83d cup"]}, ("`text` must be in UTF-8", r"the \ud83d cup")),
        ({"is_sentence": 1}, ("`is_sentence` must be true",)),
        ({"shapes": {}}, ("`shapes` must be a list",)),
        (
            {"imageHeight": 2 * H, "imageWidth": 2 * W},
            ("must be the picture's, 40 and 60, got 80 and 120",),
        ),
        ({"imageHeight": W, "imageWidth": H}, ("got 60 and 40; draw the polygons again",)),
        ({"imageWidth": W + 1}, ("got None and 61",)),
        ({"shapes": [shape("cup", LEFT, shape_type="rectangle")]}, ("is a rectangle", "polygon")),
        ({"shapes": [shape("cup", LEFT, shape_type="point")]}, ("is a point", "polygon")),
        ({"shapes": [{"points": corners_of(LEFT)}]}, ("shape 1", "`label`")),
        ({"shapes": [{"label": "cup", "points": []}]}, ("shape 1 ('cup')", "[[x, y], ...]")),
        ({"shapes": [{"label": "cup", "points": [[0, 1], [2]]}]}, ("[[x, y], ...]",)),
        ({"shapes": [{"label": "cup", "points": [[0, 1e12]]}]}, ("[[x, y], ...]",)),
        ({"shapes": [{"label": "cup", "points": [[0, float("nan")]]}]}, ("[[x, y], ...]",)),
        (
            {"shapes": [shape("cup", LEFT), shape("ignore", np.s_[50:60, 70:80])]},
            ("shape 2 ('ignore') lies outside the picture of 60 x 40", "draw it again"),
        ),
    ],
)
def test_bad_annotations_are_named(own, values, words):
    content = {**json.loads((own / "x.json").read_text()), **values}
    (own / "x.json").write_text(json.dumps(content))
    assert_bad(own, "x.json: ", *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b'{"text": ["a"]', "not valid JSON"),
        (b'\xff\xfe{\x00"\x81', "save it as UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "expected a JSON object"),
    ],
)
def test_broken_json_is_named(own, content, words):
    (own / "x.json").write_bytes(content)
    assert_bad(own, "x.json", words)


def test_missing_partners_are_named(own):
    (own / "x.json").unlink()
    assert_bad(own, "x.png has no x.json beside it")
    write_photo(own / "y.jpg")
    (own / "x.png").unlink()
    write_json(own / "a.json", annotation(["the cup"], {}))
    assert_bad(own, "a.json has no a.jpg beside it")


def test_truncated_picture_is_named(own):
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(own / "x.jpg")
    (own / "x.png").unlink()
    whole = (own / "x.jpg").read_bytes()
    (own / "x.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    assert_bad(own, "x.jpg is corrupt or truncated", "copy the file again")


@pytest.mark.parametrize("outputs", [None, 3, "It is [SEG]."])
def test_bad_explanation_is_named(folder, outputs):
    items = [{"image": "long.jpg", "query": "?", "outputs": outputs}]
    write_json(folder / "explanatory/train.json", items)
    data = open_reason_seg(folder, "train")
    with pytest.raises(BadSampleError, match=r"long\.jpg.*explanatory/train\.json.*\[SEG\]"):
        data.read(0)
    assert data.read(1).targets


def test_second_explanation_is_told_of(folder, caplog):
    items = [{"image": "long.jpg", "query": "?", "outputs": text} for text in ("Old.", "New.")]
    write_json(folder / "explanatory/train.json", items)
    assert open_reason_seg(folder, "train").read(0).targets[0].explanation == "New."
    assert "explains long.jpg twice" in caplog.text


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("tain", "no split 'tain'; it has test, train, val"),
        ("train_tain", "no split 'tain'"),
        ("", "holds no pictures"),
        ("train|train", "may be named once"),
    ],
)
def test_wrong_splits_are_named(folder, splits, words):
    with pytest.raises(DataError, match=words.replace("|", r"\|")):
        open_reason_seg(folder, splits)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere is missing.*train/"):
        open_reason_seg(tmp_path / "nowhere", "train")


def test_files_of_macos_archives_are_no_samples(own):
    for name in ("._x.png", "._x.json", "._y.jpg"):
        (own / name).write_bytes(b"\0\5\26\7")
    assert len(open_reason_seg(own, "")) == 1


def test_two_pictures_of_one_name_are_a_bad_sample(folder):
    write_photo(folder / "train/short.png")
    data = open_reason_seg(folder, "train")
    assert len(data) == 2
    assert data.read(0).targets
    with pytest.raises(BadSampleError, match=r"short\.jpg and short\.png would share short\.json"):
        data.read(1)


def test_an_explanation_of_no_picture_is_told_of(folder, caplog):
    path = folder / "explanatory/train.json"
    write_json(path, [{"outputs": "A cup."}, *json.loads(path.read_text())])
    explained = open_reason_seg(folder, "train").read(0).targets[0].explanation
    assert explained == "A cup holds drinks."
    assert "train.json: left out entry number 1, which has no `image`; mend" in caplog.text


def test_broken_explanations_are_named(folder):
    write_json(folder / "explanatory/train.json", {"long.jpg": "text"})
    with pytest.raises(DataError, match=r"explanatory/train\.json: expected a list"):
        open_reason_seg(folder, "train")

"""What a data folder holds and what is broken in it."""

import json
import pickle
import shutil

import numpy as np
import pytest
from data_miniatures import (
    write_grefcoco,
    write_llava_instruct,
    write_mix665k,
    write_reason_seg,
    write_refclef,
    write_refcoco,
)
from PIL import Image, ImageFont
from semantic_miniature import write_ade20k, write_semantic

from lisa_ros.data.check import Found, check_data_set, find_data_sets
from lisa_ros.data.contact_sheet import draw_sheet, draw_tile
from lisa_ros.data.overlays import add_caption, draw_masks, load_font, wrap
from lisa_ros.data.samples import IGNORE, DataError, Sample, Target
from lisa_ros.palette import COLOURS


def check(folder, quick=False):
    """Reports by name, and how far the progress came for each."""
    steps: list[tuple[int, int]] = []
    found, _ = find_data_sets(folder)
    return {
        one.name: check_data_set(one, quick=quick, progress=lambda *step: steps.append(step))
        for one in found
    }, steps


def test_everything_that_is_there_is_found_and_read(tmp_path):
    write_semantic(tmp_path)
    write_reason_seg(tmp_path)
    for name, split_by in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        write_refcoco(tmp_path, name, split_by)
    write_refclef(tmp_path)
    write_grefcoco(tmp_path)
    write_llava_instruct(tmp_path)
    write_mix665k(tmp_path)
    _, absent = find_data_sets(tmp_path)
    assert absent == []
    reports, steps = check(tmp_path)
    counts = {name: report.samples for name, report in reports.items() if not report.problems}
    assert counts["sem_seg/ade20k"] == 3
    assert counts["refer_seg/refcocog/train"] == 2
    assert counts["refer_seg/grefcoco/val"] == 1
    assert counts["vqa/llava_v1_5_mix665k"] == 5
    assert counts["reason_seg/ReasonSeg/train"] == 2
    assert reports["sem_seg/ade20k"].mute == 1
    assert len(steps) == sum(counts.values())
    assert all(report.tiles for report in reports.values() if not report.problems)
    # Splits that the miniatures of two data sets lack:
    broken = {name for name, report in reports.items() if report.problems}
    assert broken == {f"refer_seg/refclef/{s}" for s in ("val", "testC")} | {
        f"refer_seg/grefcoco/{s}" for s in ("testA", "testB")
    }


def test_counts_of_reason_seg_are_known(tmp_path):
    write_reason_seg(tmp_path)
    found, absent = find_data_sets(tmp_path)
    assert {one.name.rpartition("/")[2]: one.expected for one in found} == {
        "train": 239,
        "val": 200,
        "test": 779,
    }
    assert "sem_seg/ade20k" in absent
    assert "refer_seg/grefcoco" in absent
    assert "vqa/llava_instruct_150k" in absent


def test_a_missing_split_of_reason_seg_is_named(tmp_path):
    write_reason_seg(tmp_path)
    shutil.rmtree(tmp_path / "reason_seg/ReasonSeg/test")
    assert "reason_seg/ReasonSeg/test" in find_data_sets(tmp_path)[1]


@pytest.mark.parametrize("part", ["", "reason_seg/ReasonSeg"])
def test_a_split_of_pictures_alone_is_named(tmp_path, part):
    root = write_reason_seg(tmp_path)
    (root / "test/bare.json").unlink()
    shutil.copy(root / "test/bare.jpg", root / "contact_sheet.jpg")
    reports, _ = check(tmp_path / part)
    assert [name.rpartition("/")[2] for name in reports] == ["train", "val", "test"]
    (problem,) = reports["reason_seg/ReasonSeg/test"].problems
    assert "bare.jpg has no bare.json beside it" in problem


def test_pictures_with_an_annotation_of_no_pixel_are_not_broken(tmp_path):
    write_semantic(tmp_path)
    path = tmp_path / "vlpart/pascal_part/train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(content))
    assert not check(tmp_path)[0]["sem_seg/pascal_part"].problems


def test_pictures_in_which_nothing_is_marked_are_counted(tmp_path):
    write_reason_seg(tmp_path)
    reports, _ = check(tmp_path)
    unmarked = {name.rpartition("/")[2]: report.unmarked for name, report in reports.items()}
    assert unmarked == {"train": 0, "val": 0, "test": 1}
    assert not reports["reason_seg/ReasonSeg/test"].problems


def test_data_of_ones_own_beside_reason_seg_has_no_expected_count(tmp_path):
    root = write_reason_seg(tmp_path)
    shutil.copytree(root / "train", root.parent / "Kitchen/train")
    found = {one.name: one.expected for one in find_data_sets(tmp_path)[0]}
    assert found["reason_seg/Kitchen/train"] is None


@pytest.mark.parametrize(
    ("part", "names"),
    [("", ["ReasonSeg/train", "ReasonSeg/val", "ReasonSeg/test"]), ("train", ["train"])],
)
def test_a_folder_in_the_format_itself(tmp_path, part, names):
    folder = write_reason_seg(tmp_path) / part
    assert find_data_sets(folder)[1] == []
    reports, _ = check(folder)
    assert list(reports) == [f"reason_seg/{name}" for name in names]
    assert all(not report.problems for report in reports.values())


def test_broken_files_are_named(tmp_path):
    write_ade20k(tmp_path)
    root = write_reason_seg(tmp_path)
    picture = tmp_path / "ade20k/images/training/ADE_train_00000002.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    (root / "train/short.json").write_text("{")
    reports, _ = check(tmp_path)
    (problem,) = reports["sem_seg/ade20k"].problems
    assert str(picture) in problem
    (problem,) = reports["reason_seg/ReasonSeg/train"].problems
    assert str(root / "train/short.json") in problem
    assert not reports["reason_seg/ReasonSeg/val"].problems


def test_a_bad_record_is_named_in_its_split_alone(tmp_path):
    path = write_refcoco(tmp_path) / "refcoco/refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    del refs[0]["sentences"]
    path.write_bytes(pickle.dumps(refs))
    reports, _ = check(tmp_path)
    (problem,) = reports["refer_seg/refcoco/train"].problems
    assert "refs(unc).p: reference 50 needs a list `sentences`" in problem
    assert not any(reports[f"refer_seg/refcoco/{s}"].problems for s in ("val", "testA", "testB"))


def test_a_data_set_that_cannot_be_opened(tmp_path):
    write_semantic(tmp_path)
    (tmp_path / "vlpart/pascal_part/train.json").write_text("[]")
    report = check(tmp_path)[0]["sem_seg/pascal_part"]
    assert report.samples is None
    assert "train.json" in report.problems[0]


def test_quick_reads_no_pictures_but_those_it_draws(tmp_path):
    class Many:
        name, read_count = "many", 0

        def __len__(self):
            return 1000

        def read(self, index, rng=None):
            self.read_count += 1
            mask = np.ones((10, 10), np.uint8)
            return Sample(tmp_path / "x.jpg", np.zeros((10, 10, 3), np.uint8),
                          (Target("all", False, mask),))  # fmt: skip

    many = Many()
    report = check_data_set(Found("many", lambda: many), quick=True, progress=print)
    assert many.read_count == len(report.tiles) == 4
    assert report.samples == 1000


@pytest.mark.parametrize("make", [lambda p: None, lambda p: (p / "photos").mkdir()])
def test_a_folder_without_data(tmp_path, make):
    make(tmp_path)
    with pytest.raises(DataError, match="holds no known data set; expected folders such as ade20k"):
        find_data_sets(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="nothing is no folder"):
        find_data_sets(tmp_path / "nothing")


# --- the sheet ---


def sample(tmp_path, *targets, turns=(), size=(300, 400)):
    image = np.full((*size, 3), 200, np.uint8)
    return Sample(tmp_path / "train/x.jpg", image, targets, turns)


def square(value=1, size=(300, 400), where=np.s_[100:200, 100:200]):
    mask = np.zeros(size, np.uint8)
    mask[where] = value
    return mask


def has(picture, colour) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=-1).any())


def test_a_tile_shows_masks_in_the_colour_of_their_text(tmp_path):
    other = square(where=np.s_[10:50, 300:380])
    tile = draw_tile(sample(tmp_path, Target("a", False, square()), Target("b", False, other)))
    pixels = np.asarray(tile).astype(int)
    orange, blue = (np.array(colour) for colour in COLOURS[:2])
    assert np.abs(pixels[150, 150] - (200 * 0.55 + orange * 0.45)).max() < 3
    assert np.abs(pixels[30, 340] - (200 * 0.55 + blue * 0.45)).max() < 3
    assert pixels[250, 50].tolist() == [200, 200, 200]
    below = pixels[306:]
    assert has(below, orange)
    assert has(below, blue)


@pytest.mark.parametrize("around", [0, IGNORE])
def test_a_thin_thing_of_a_large_picture_is_seen(tmp_path, around):
    size = (3000, 4000)
    mask = np.full(size, around, np.uint8)
    mask[:, 2000] = 1
    tile = draw_tile(sample(tmp_path, Target("a wire", False, mask), size=size))
    pixels = np.asarray(tile).astype(int)[:300]
    middle = np.abs(pixels[:, 200] - (200 * 0.55 + np.array(COLOURS[0]) * 0.45)).max(axis=-1)
    assert (middle < 3).all()


def test_texts_of_one_mask_share_a_colour(tmp_path):
    texts = [Target(text, False, square()) for text in ("a", "b")]
    below = np.asarray(draw_tile(sample(tmp_path, *texts)))[306:]
    assert has(below, COLOURS[0])
    assert not has(below, COLOURS[1])


@pytest.mark.parametrize("words", ["", "word " * 200, "x" * 900, "дом 家 🙂"])
def test_any_words_fit(tmp_path, words):
    tile = draw_tile(sample(tmp_path, Target(words, True, square(), explanation=words)))
    assert tile.width == 400
    assert tile.height < 600
    tile = draw_tile(sample(tmp_path, turns=((words, words),) * 5))
    assert tile.height < 600


def test_letters_of_other_languages_are_no_boxes():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 15)
    except OSError:
        pytest.skip("DejaVu Sans is not installed")
    shapes = {bytes(load_font(15).getmask(letter)) for letter in "żčж\u03b1"}
    assert len(shapes) == 4  # boxes are all the same


def test_without_fonts_of_the_system_there_are_letters(monkeypatch):
    default = ImageFont.load_default(15)

    def truetype(font, *more, **choices):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return ImageFont.FreeTypeFont(font, *more, **choices)

    monkeypatch.setattr(ImageFont, "truetype", truetype)
    assert load_font(15).getlength("the cup") == default.getlength("the cup")


@pytest.mark.parametrize("size", [(1, 1), (3000, 20), (20, 3000), (1, 500)])
def test_any_picture_fits(tmp_path, size):
    mask = np.ones(size, np.uint8)
    tile = draw_tile(sample(tmp_path, Target("all", False, mask), size=size))
    assert tile.width == 400
    assert tile.height < 400


def test_a_sheet_of_rows_of_different_lengths(tmp_path):
    tile = draw_tile(sample(tmp_path, Target("a", False, square())))
    sheet = draw_sheet({"one": [tile], "none": [], "three": [tile] * 3})
    assert sheet.width > 3 * tile.width
    assert 2 * tile.height < sheet.height < 2 * tile.height + 150
    assert draw_sheet({}).width > 0


def test_ignored_pixels_are_hatched_and_the_image_is_left_alone():
    image = np.full((60, 60, 3), 200, np.uint8)
    before = image.copy()
    drawn = draw_masks(image, [square(IGNORE, (60, 60), np.s_[:30])])
    grey = (drawn == 128).all(axis=-1)
    assert 0.2 < grey[:30].mean() < 0.5
    assert not grey[30:].any()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("most", [1, 2, 9])
def test_wrapped_lines_fit_and_lose_no_word(most):
    font, text = ImageFont.load_default(15), "where is the red cup that holds the tea of yesterday"
    lines = wrap(text, 100, font, most)
    assert all(font.getlength(line) <= 100 for line in lines)
    assert len(lines) == min(most, 4)
    if most == 9:
        assert " ".join(lines) == text
    else:
        assert lines[-1].endswith("...")
        assert text.startswith(" ".join(lines)[:-3])


def test_a_long_text_is_wrapped_at_once():
    assert wrap("x" * 10**6, 100, ImageFont.load_default(15), 2)[1].endswith("x...")


def test_a_caption_is_below_the_picture():
    image = np.full((50, 80, 3), 200, np.uint8)
    captioned = add_caption(image, "3: the cup that is at the left of all the others")
    np.testing.assert_array_equal(captioned[:50], image)
    assert captioned.shape[1] == 80
    assert (captioned[50:] < 100).any()  # ink


def test_the_sheet_can_be_saved(tmp_path):
    write_reason_seg(tmp_path)
    reports, _ = check(tmp_path, quick=True)
    path = tmp_path / "sheet.png"
    draw_sheet({name: report.tiles for name, report in reports.items()}).save(path)
    assert Image.open(path).width == 16 + 2 * 416
    assert json.loads((tmp_path / "reason_seg/ReasonSeg/train/long.json").read_text())["text"]

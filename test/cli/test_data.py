"""`lisa data check` and `lisa data record` as a user runs them."""

import errno
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import write_reason_seg
from PIL import Image
from semantic_miniature import write_ade20k

from lisa_ros.cli.main import main

SIZE = (60, 80)


def run(*arguments: object) -> int:
    return main(["data", *map(str, arguments)])


# --- check ---


def check(folder: Path, *more: str) -> int:
    return run("check", folder, "--sheet", folder / "sheet.png", *more)


def test_a_whole_folder(tmp_path, capsys):
    write_ade20k(tmp_path)
    write_reason_seg(tmp_path)
    assert check(tmp_path) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if "/" in line}
    assert rows["sem_seg/ade20k"] == ["3", "0", "1", "0"]
    assert rows["reason_seg/ReasonSeg/train"] == ["2", "0", "0", "0", "release:", "239"]
    assert rows["reason_seg/ReasonSeg/val"][-1] == "200"
    assert rows["reason_seg/ReasonSeg/test"] == ["1", "0", "0", "1", "release:", "779"]
    assert "not there: sem_seg/cocostuff" in printed
    assert Image.open(tmp_path / "sheet.png").height > 500


def test_broken_files_end_with_1(tmp_path, capsys):
    root = write_reason_seg(tmp_path)
    (root / "val/one.jpg").write_bytes(b"\xff\xd8")
    assert check(tmp_path) == 1
    printed = capsys.readouterr()
    assert f"reason_seg/ReasonSeg/val: {root / 'val/one.jpg'}" in printed.out
    assert "Traceback" not in printed.err


def test_names_that_are_no_utf8_are_told_all_the_same(tmp_path, monkeypatch):
    root = write_reason_seg(tmp_path)
    (root / "val" / os.fsdecode(b"b\xfe.jpg")).write_bytes(b"no picture")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", screen)
    assert check(tmp_path) == 1
    screen.flush()
    assert "b\\udcfe.jpg has no b\\udcfe.json beside it" in screen.buffer.getvalue().decode()


def test_quick_says_that_pictures_were_not_read(tmp_path, capsys):
    write_ade20k(tmp_path)
    assert check(tmp_path, "--quick") == 0
    assert "not read" in capsys.readouterr().out


def test_a_missing_folder_of_pictures_does_not_flood_the_screen(tmp_path, capsys):
    write_ade20k(tmp_path)
    labels = tmp_path / "ade20k/annotations/training"
    for i in range(4, 20):
        picture = tmp_path / f"ade20k/images/training/ADE_train_{i:08d}.jpg"
        picture.write_bytes(b"")
    for path in labels.iterdir():
        path.unlink()
    assert check(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "none of 19 samples can be read, for example:" in printed
    assert printed.count("sem_seg/ade20k: ") == 4


def test_a_folder_without_data(tmp_path, capsys):
    assert check(tmp_path) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("lisa: error: ")
    assert "holds no known data set" in printed.err


@pytest.mark.parametrize(
    ("name", "said"),
    [("sheet", "ends in .jpg or .jpeg or .png"), ("none/sheet.png", "make it first")],
)
def test_where_the_sheet_goes_is_checked_before_anything_is_read(tmp_path, capsys, name, said):
    assert run("check", tmp_path / "nothing", "--sheet", tmp_path / name) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("lisa: error: --sheet: expected")
    assert said in printed


def test_the_sheet_is_never_one_of_the_samples(tmp_path, monkeypatch, capsys):
    root = write_reason_seg(tmp_path)
    monkeypatch.chdir(root / "train")
    before = sorted(path.name for path in Path().iterdir())
    for arguments in (
        ["."],
        [".", "--sheet", "short.jpg"],
        [root, "--sheet", root / "test/bare.jpg"],  # the only one there
    ):
        assert run("check", *arguments) == 1
        printed = capsys.readouterr().err
        assert "lisa: error: --sheet: expected a place that is not among pictures of" in printed
    assert sorted(path.name for path in Path().iterdir()) == before
    assert run("check", ".", "--sheet", "../contact_sheet.png") == 0
    for _ in range(2):  # beside splits it is no sample
        assert run("check", root, "--sheet", root / "contact_sheet.png") == 0


def test_a_full_disk_is_told_with_the_sheet(tmp_path, monkeypatch, capsys):
    write_reason_seg(tmp_path)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert check(tmp_path) == 1
    said = f"lisa: error: {tmp_path}/sheet.png cannot be written: no space left on the disk; make"
    assert said in capsys.readouterr().err


# --- record ---


def write_kitchen(path: Path, second: int = 1, status: str = "FOUND") -> Path:
    """Questions 1 (found), 2 (found, with a hole), 3 (not found), 4 (its picture missing)."""
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    from recorded_bag import Asked, Writer

    square, ring = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    square[10:30, 10:40] = True
    ring[10:50, 10:50] = True
    ring[20:40, 20:40] = False
    path.parent.mkdir(exist_ok=True)
    with Writer(path) as writer:
        writer.picture(second, np.full((*SIZE, 3), 90, np.uint8))
        writer.answer(Asked(second, "the cup", [square], status), SIZE)
        writer.answer(Asked(second, "the ring", [ring], status), SIZE)
        writer.answer(Asked(second, "the moon", [], "NOT_FOUND"), SIZE)
        writer.answer(Asked(second + 8, "the past", [square]), SIZE)
    return path


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """The bag of `write_kitchen`."""
    return write_kitchen(tmp_path / "kitchen")


def record(bag: Path, *more: object) -> int:
    return run("record", bag, bag.parent / "train", *more)


def recorded(bag: Path) -> list[str]:
    return sorted(path.name for path in bag.parent.glob("train/*.json"))


def draw(folder: Path, name: str, **size: int) -> None:
    folder.mkdir(exist_ok=True)
    shapes = [{"label": "moon", "points": [[1, 1], [9, 1], [9, 9]]}]
    (folder / name).write_text(json.dumps({"shapes": shapes, **size}))


def test_a_full_disk_is_told_with_the_folder(bag, monkeypatch, capsys):
    def fail(*arguments, **choices):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert record(bag, "--accept", "1") == 1
    said = f"lisa: error: {bag}_review cannot be written: no space left on the disk; make room"
    assert said in capsys.readouterr().err
    assert recorded(bag) == []


def answer(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Sit at the terminal and type; then the terminal closes."""
    typed = iter(words)

    def type_next(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_next)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)


def test_nothing_is_recorded_unseen(bag, capsys):
    assert record(bag) == 0
    printed = capsys.readouterr().out
    assert "1: FOUND, 'the cup'" in printed
    assert "4: FOUND, 'the past'\n   left out: the bag does not hold the picture" in printed
    assert "--accept 1,3" in printed
    assert recorded(bag) == []
    assert sorted(path.name for path in (bag.parent / "kitchen_review").iterdir()) == [
        *("1.jpg", "2.jpg", "3.jpg", "overlay_1.jpg", "overlay_2.jpg")
    ]


def test_accepted_masks_are_recorded(bag, capsys):
    assert record(bag, "--accept", "1,2") == 0
    assert recorded(bag) == ["kitchen_0001.json", "kitchen_0002.json"]
    printed = capsys.readouterr().out
    assert "IoU of 0.75 only" in printed  # the ring has 1200 of 1600 pixels
    assert printed.count("IoU") == 1
    assert run("check", bag.parent, "--sheet", bag.parent / "sheet.png") == 0


def test_samples_that_are_there_stay(bag, capsys):
    record(bag, "--accept", "1")
    path = bag.parent / "train/kitchen_0001.json"
    corrected = json.dumps({**json.loads(path.read_text()), "shapes": []})  # by hand
    path.write_text(corrected)
    assert record(bag, "--accept", "1,2") == 0
    assert path.read_text() == corrected
    assert "kitchen_0001.json is there already and stays" in capsys.readouterr().out
    assert len(recorded(bag)) == 2


@pytest.mark.parametrize(("folder", "second"), [("tue", 1), ("tue", 5), ("mon", 5)])
def test_bags_of_one_name_do_not_hide_each_other(tmp_path, folder, second):
    """Of other folders, or recorded anew in the same one."""
    train = tmp_path / "train"
    bag = write_kitchen(tmp_path / "mon/kitchen")
    assert run("record", bag, train, "--accept", "1,2") == 0
    before = {path.name: path.read_bytes() for path in train.iterdir()}
    shutil.rmtree(bag)
    other = write_kitchen(tmp_path / folder / "kitchen", second)
    for _ in range(2):
        assert run("record", other, train, "--accept", "1") == 0
    after = {path.name: path.read_bytes() for path in train.iterdir()}
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {"kitchen_0001_2.json", "kitchen_0001_2.jpg"}
    content = json.loads(after["kitchen_0001_2.json"])
    assert content["imagePath"] == "kitchen_0001_2.jpg"
    assert content["recorded_from"] == {"bag": str(other), "number": 1, "stamp": [second, 0]}


@pytest.mark.parametrize("name", ["kitchen_0001.jpg", "kitchen_0001.PNG", "kitchen_0001.json"])
def test_files_of_the_user_stay(bag, name):
    (bag.parent / "train").mkdir()
    (bag.parent / "train" / name).write_bytes(b"the user's")
    assert record(bag, "--accept", "1") == 0
    assert (bag.parent / "train" / name).read_bytes() == b"the user's"
    assert (bag.parent / "train/kitchen_0001_2.json").is_file()


@pytest.mark.parametrize("status", ["NO_DEPTH", "DEPTH_MISMATCH", "TF_UNAVAILABLE", "TRUNCATED"])
def test_a_mask_is_accepted_however_its_question_ended(tmp_path, monkeypatch, status):
    bag = write_kitchen(tmp_path / "kitchen", status=status)
    assert record(bag, "--accept", "1") == 0
    answer(monkeypatch, "y")
    assert record(bag) == 0
    assert recorded(bag) == ["kitchen_0001.json", "kitchen_0002.json"]


def test_drawn_masks_are_recorded_beside_accepted_ones(bag, tmp_path):
    draw(tmp_path / "drawn", "3.json")
    assert record(bag, "--accept", "1", "--drawn", tmp_path / "drawn") == 0
    assert recorded(bag) == ["kitchen_0001.json", "kitchen_0003.json"]
    content = json.loads((bag.parent / "train/kitchen_0003.json").read_text())
    assert content["text"] == ["the moon"]
    assert content["shapes"][0]["label"] == "moon"


def test_what_was_drawn_on_a_picture_of_another_size_is_refused(bag, tmp_path, capsys):
    draw(tmp_path / "drawn", "3.json", imageHeight=2 * SIZE[0], imageWidth=2 * SIZE[1])
    assert record(bag, "--drawn", tmp_path / "drawn") == 1
    assert recorded(bag) == []
    said = "not recorded: question 3: `imageHeight` and `imageWidth` must be the picture's"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ("3", "question 3 ended with NOT_FOUND"),
        ("4", "left out: the bag does not hold the picture"),
        ("1,7,9", "the bag has no question 7, 9"),
    ],
)
def test_what_cannot_be_accepted_ends_with_1(bag, capsys, numbers, said):
    assert record(bag, "--accept", numbers) == 1
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (("y", "n"), ["kitchen_0001.json"]),
        (("n", "yes"), ["kitchen_0002.json"]),
        (("what?", "", "Y", "Y"), ["kitchen_0001.json", "kitchen_0002.json"]),
        (("q",), []),
        ((), []),
    ],
)
def test_a_person_is_asked_about_each_mask(bag, monkeypatch, words, want):
    answer(monkeypatch, *words)
    assert record(bag) == 0
    assert recorded(bag) == want


def test_nobody_is_asked_who_has_said_it_already(bag, monkeypatch):
    answer(monkeypatch, "y", "y")
    assert record(bag, "--accept", "1") == 0
    assert recorded(bag) == ["kitchen_0001.json"]


def test_an_mcap_file_gives_the_same_names(bag):
    assert record(bag / "kitchen.mcap", "--accept", "1", "--review", bag.parent / "look") == 0
    assert recorded(bag.parent / "kitchen") == []
    assert (bag / "train/kitchen_0001.json").is_file()
    assert (bag.parent / "look/overlay_1.jpg").is_file()


def test_the_folder_one_is_in_is_a_bag(bag, monkeypatch):
    monkeypatch.chdir(bag)
    assert run("record", ".", bag.parent / "train", "--accept", "1") == 0
    assert recorded(bag) == ["kitchen_0001.json"]
    assert (bag.parent / "kitchen_review/overlay_1.jpg").is_file()


def test_errors_are_one_sentence(tmp_path, capsys):
    assert run("record", tmp_path / "nothing", tmp_path / "train") == 1
    assert capsys.readouterr().err.startswith("lisa: error: ")


@pytest.mark.parametrize("numbers", ["", "a", "1,,2", "1-3"])
def test_wrong_numbers_are_wrong_usage(bag, numbers):
    with pytest.raises(SystemExit, match="2"):
        record(bag, "--accept", numbers)


@pytest.mark.parametrize("arguments", [(), ("check",), ("record", "bag")])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)

"""`lisa` as a user runs it: in a process of its own, from files to files."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_ros.cli.main import main
from lisa_ros.cli.segment import save_answer
from lisa_ros.perception import Answer, Segmenter, Status

GOLDEN = Path(__file__).parents[1] / "golden"
IMAGE = GOLDEN / "images/img2_large_1280x960.png"
MODEL = (
    "--model",
    str(GOLDEN / "lisa-tiny"),
    "--vision-tower",
    str(GOLDEN / "clip-vit-tiny-patch14"),
)
CASE = next(
    case
    for case in json.loads((GOLDEN / "meta.json").read_text())["cases"]
    if case["key"] == "gen5"
)


def lisa(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lisa_ros.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("answer") / "new" / "folder"
    done = lisa("segment", IMAGE, CASE["instruction"], *MODEL, "--template", "raw",
                "--sam-config", GOLDEN / "sam_config.json", "--save", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_words_are_printed_and_everything_is_saved(saved: tuple[Path, str]):
    folder, printed = saved
    assert printed.startswith(CASE["new_text"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "answer.json",
        "mask_0.png",
        "mask_1.png",
        "overlay.png",
    ]


def test_saved_answer_is_that_of_the_published_code(saved: tuple[Path, str]):
    folder, _ = saved
    answer = json.loads((folder / "answer.json").read_text())
    golden = np.load(GOLDEN / "generate.npz")
    assert answer["status"] == "FOUND"
    assert answer["text"] == CASE["new_text"]
    assert answer["token_ids"] == golden["gen5/output_ids"].tolist()
    assert "[SEG]" not in answer["explanation"]
    assert answer["precision"] == "fp32"
    assert answer["timings_ms"]["total"] > 0
    shape = tuple(golden["gen5/mask_shape"])
    bits = np.unpackbits(golden["gen5/mask_binary_packed"], axis=1)[:, : shape[1] * shape[2]]
    for item, want in zip(answer["objects"], bits.reshape(shape), strict=True):
        mask = np.asarray(Image.open(folder / item["mask"]))
        assert mask.shape == (960, 1280)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.count_nonzero((mask > 0) != want) < 0.001 * want.size
        x0, y0, x1, y1 = item["box_xyxy"]
        rows, columns = np.nonzero(mask)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        scores = item["scores"]
        assert set(scores) == {
            "seg_probability",
            "mask_probability",
            "predicted_iou",
            "object_score",
        }
        assert scores["object_score"] is None  # a published model gives none


def test_overlay_has_the_size_of_the_image(saved: tuple[Path, str]):
    assert Image.open(saved[0] / "overlay.png").size == (1280, 960)


def test_a_full_disk_is_told_with_the_folder(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert main(["segment", str(IMAGE), "the mug", "--save", str(tmp_path)]) == 1
    said = f"lisa: error: {tmp_path} cannot be written: no space left on the disk; make room and"
    assert said in capsys.readouterr().err


def save_words(folder: Path, model_id: str = "lisa-tiny") -> None:
    """An answer of words alone is saved in a folder."""
    answer = Answer(Status.TEXT_ONLY, *("",) * 5, (), (), (), (0, 0, 8, 6), {}, model_id, "fp32")
    save_answer(folder, np.zeros((6, 8, 3), np.uint8), answer)


def test_masks_of_an_earlier_answer_do_not_stay_but_those_of_the_user(tmp_path: Path):
    for name in ("mask_7.png", "mask_8.png", "mask_cup.png", "photo.png"):
        (tmp_path / name).write_bytes(b"there")
    listed = [{"mask": name} for name in ("mask_7.png", "mask_9.png", "../photo.png", "photo.png")]
    (tmp_path / "answer.json").write_text(json.dumps({"objects": listed}))
    save_words(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("answer.json", "mask_8.png", "mask_cup.png", "overlay.png", "photo.png")
    ]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff", b"null", b'{"objects": 3}', b'{"objects": [{}, {"mask": 1}]}']
)
def test_an_answer_of_something_else_removes_no_mask(tmp_path: Path, content: bytes):
    (tmp_path / "mask_0.png").write_bytes(b"the user's")
    (tmp_path / "answer.json").write_bytes(content)
    save_words(tmp_path)
    assert (tmp_path / "mask_0.png").read_bytes() == b"the user's"
    assert json.loads((tmp_path / "answer.json").read_text())["status"]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model must not be loaded."""

    def load(*_, **__):
        raise AssertionError("loaded for nothing")

    monkeypatch.setattr(Segmenter, "from_pretrained", load)


@pytest.mark.parametrize("name", ["overlay.png", "answer.json", "mask_0.png", "mask_12.png"])
@pytest.mark.usefixtures("no_model")
def test_the_picture_itself_is_not_written_over(tmp_path: Path, name: str, capsys):
    shutil.copy(IMAGE, tmp_path / name)
    (tmp_path / "link.png").symlink_to(tmp_path / name)
    for picture in (name, "link.png"):
        arguments = ["segment", tmp_path / picture, "the mug", *MODEL, "--save", tmp_path]
        assert main(list(map(str, arguments))) == 1
        said = f"got {tmp_path}, where the answer's {name} would be written over it; name another"
        assert said in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == IMAGE.read_bytes()


@pytest.mark.usefixtures("no_model")
def test_without_opencv_nothing_is_computed_for_nothing(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["segment", str(IMAGE), "the mug", "--save", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lisa: error: --save draws an overlay with OpenCV, got ")
    assert "pip install opencv-python-headless" in said


def test_a_model_whose_name_is_no_utf8_is_written_all_the_same(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    name = os.fsdecode(b"lisa\xfe")
    save_words(tmp_path, name)
    assert json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))["model"] == name


def test_json_is_all_that_is_printed():
    done = lisa("segment", IMAGE, CASE["instruction"], *MODEL, "--template", "raw", "--json")
    answer = json.loads(done.stdout)
    assert answer["text"] == CASE["new_text"]
    assert answer["objects"][0]["mask"] is None  # nothing was saved


def test_mask_only_forces_a_mask(capsys: pytest.CaptureFixture[str]):
    main(["segment", str(IMAGE), "Describe this image.", *MODEL, "--mask-only", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"] == "[SEG] ."
    assert len(answer["objects"]) == 1


def test_convert_then_segment_needs_no_other_folder(tmp_path: Path):
    done = lisa("convert", GOLDEN / "lisa-tiny", tmp_path / "all", *MODEL[2:])
    assert done.returncode == 0, done.stderr
    done = lisa("segment", IMAGE, CASE["instruction"], "--model", tmp_path / "all",
                "--template", "raw", "--json")  # fmt: skip
    assert json.loads(done.stdout)["text"] == CASE["new_text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.png", "x", *MODEL), "nothing.png does not exist"),
        ((GOLDEN / "meta.json", "x", *MODEL), "is no picture"),
        ((IMAGE, "  ", *MODEL), "got nothing"),
        ((IMAGE, "[SEG]<image>", *MODEL), "only control tokens"),
        ((IMAGE, "word " * 9000, *MODEL), "too long"),
        ((IMAGE, "x", "--model", GOLDEN / "images"), "is no LISA checkpoint"),
        ((IMAGE, "x", "--model", "no/such/folder"), "no such folder"),
        ((IMAGE, "x", *MODEL, "--device", "cuda:99"), "cuda:99"),
        ((IMAGE, "x", *MODEL, "--conversation", "latin"), "llava_v1, llava_llama_2"),
        ((IMAGE, "x", *MODEL, "--save", IMAGE), "File exists"),
    ],
)
def test_errors_are_one_sentence_and_no_traceback(
    arguments: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["segment", *map(str, arguments)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("lisa: error: ")
    assert said in printed.err
    assert printed.out == ""


def test_without_a_model_that_of_the_package_answers(capsys: pytest.CaptureFixture[str]):
    assert main(["segment", str(IMAGE), "where is the mug?", "--device", "cpu", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["model"] == "lisa-tiny"
    assert answer["status"] in ("FOUND", "NOT_FOUND")


def test_the_process_exits_with_the_code_of_the_error():
    done = lisa("segment", "nothing.png", "x")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["segment", "--help"])
    printed = capsys.readouterr().out
    for option in (
        *("--model", "--vision-tower", "--sam-config", "--conversation", "--precision"),
        *("--template", "--device", "--max-new-tokens", "--mask-only", "--json", "--save"),
    ):
        assert option in printed


@pytest.mark.parametrize("extra", [(), ("x", "--max-new-tokens", "0"), ("x", "--template", "no")])
def test_wrong_usage_exits_with_2(extra: tuple[str, ...]):
    with pytest.raises(SystemExit, match="2"):
        main(["segment", str(IMAGE), *extra])


@pytest.mark.parametrize("number", ["abc", "0", "2.5", ""])
@pytest.mark.parametrize("command", [("segment", "x.png", "x"), ("evaluate", "own", "--out", "o")])
def test_what_is_no_count_is_told_with_what_is(command: tuple[str, ...], number: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--max-new-tokens", number])
    assert f"expected a whole number of 1 or more, got {number!r}" in capsys.readouterr().err

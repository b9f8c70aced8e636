"""From a robot's bag to samples in ReasonSeg's format."""

import errno
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from recorded_bag import ANSWER, MESSAGES, Asked, Writer, typestore, write_bag

from lisa_ros.data.bag import read_questions
from lisa_ros.data.reason_seg import open_reason_seg
from lisa_ros.data.record import (
    POOR_FIT,
    accepted_shapes,
    drawn_shapes,
    find_stem,
    mask_to_shapes,
    read_drawn,
    write_review,
    write_sample,
)
from lisa_ros.data.samples import DataError

H, W = 90, 120


def photo(seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (W, H), interpolation=cv2.INTER_CUBIC)


def blob(seed: int = 0) -> np.ndarray:
    """Ragged pieces without holes, as a network's masks are; bool (H, W)."""
    noise = np.random.default_rng(seed).normal(size=(H, W)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), 6) > 0.04).astype(np.uint8)
    outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.fillPoly(np.zeros_like(mask), outlines, 1).astype(bool)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def questions(path, **choices):
    return list(read_questions(path, **choices))


@pytest.fixture
def bag(tmp_path):
    """Three pictures, four questions: found, found by a phrase, not found, its picture missing."""
    asked = [
        Asked(1, "Which one holds tea?", [blob(1)]),
        Asked(2, "the cup", [blob(2), blob(3)], fields={"prompt_template": "phrase"}),
        Asked(3, "Bring me the moon.", [], "NOT_FOUND"),
    ]
    pictures = {second: photo(second) for second in (1, 2, 3)}
    with Writer(tmp_path / "run") as writer:
        for second, pixels in pictures.items():
            writer.picture(second, pixels)
        for one in asked:
            writer.answer(one, (H, W))
        writer.answer(Asked(9, "What was there?", [blob(4)]), (H, W))
    return tmp_path / "run"


# --- reading ---


def test_questions_of_a_bag(bag):
    first, second, third, lost = questions(bag)
    assert [q.number for q in (first, second, third, lost)] == [1, 2, 3, 4]
    assert (first.instruction, first.status, first.is_sentence) == (
        "Which one holds tea?",
        "FOUND",
        True,
    )
    assert (first.bag, first.stamp, lost.stamp) == (str(bag), (1, 0), (9, 0))
    np.testing.assert_array_equal(first.image, photo(1))
    np.testing.assert_array_equal(first.mask, blob(1))
    assert second.is_sentence is False
    np.testing.assert_array_equal(second.mask, blob(2) | blob(3))
    assert (third.status, third.mask, third.problem) == ("NOT_FOUND", None, "")
    assert lost.image is None
    assert "does not hold the picture" in lost.problem


@pytest.mark.parametrize("plugin", ["mcap", "sqlite3"])
def test_both_kinds_of_bags(tmp_path, plugin):
    path = write_bag(tmp_path / "bag", {1: photo()}, [Asked(1, "x", [blob()])], plugin=plugin)
    np.testing.assert_array_equal(questions(path)[0].mask, blob())


def test_an_mcap_file_by_itself(bag):
    assert len(questions(bag / "run.mcap")) == 4


def without_definitions(tmp_path):
    """As Humble records: SQLite without the messages' definitions."""
    path = tmp_path / "bag"
    write_bag(path, {1: photo()}, [Asked(1, "x", [blob()])], plugin="sqlite3")
    with sqlite3.connect(path / "bag.db3") as base:
        base.execute("DELETE FROM message_definitions")
    return path


def test_definitions_come_from_the_installed_package(tmp_path, monkeypatch):
    path = without_definitions(tmp_path)
    shutil.copytree(MESSAGES, tmp_path / "prefix/share/lisa_ros/msg")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'prefix'}")
    np.testing.assert_array_equal(questions(path)[0].mask, blob())


def test_no_definitions_anywhere(tmp_path, monkeypatch):
    path = without_definitions(tmp_path)
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(DataError, match="source the workspace"):
        questions(path)


def test_the_bags_of_ros_hold_the_same_type():
    """A reader refuses a bag whose type hash is not that of the definition in it."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(":")
    files = [Path(prefix, "share/lisa_ros/msg/Answer.json") for prefix in prefixes]
    built = next((path for path in files if path.is_file()), None)
    if built is None:
        pytest.skip("the interfaces are not built, or not sourced")
    hashes = {
        t["type_name"]: t["hash_string"] for t in json.loads(built.read_text())["type_hashes"]
    }
    assert typestore().hash_rihs01(ANSWER) == hashes[ANSWER]


@pytest.mark.parametrize(
    "fields",
    [
        {"final": False},
        {"source": 4},  # follow mode
        {"context_kept": True},
        {"instruction": "  "},
        {"status": 3},  # TEXT_ONLY
        {"status": 13},  # REJECTED
    ],
)
def test_what_is_no_question_of_its_own_is_left_out(tmp_path, fields):
    asked = [Asked(1, "one", [blob()], fields=fields), Asked(1, "two", [blob()])]
    assert [q.instruction for q in questions(write_bag(tmp_path / "b", {1: photo()}, asked))] == [
        "two"
    ]


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "8UC3"])
def test_encodings(tmp_path, encoding):
    want = photo()
    pixels = want[..., ::-1] if encoding in ("bgr8", "bgra8", "8UC3") else want
    if encoding.endswith("a8"):
        pixels = np.dstack([pixels, np.full((H, W), 255, np.uint8)])
    if encoding == "mono8":
        pixels, want = want[..., 0], want[..., :1].repeat(3, axis=2)
    with Writer(tmp_path / "bag") as writer:
        writer.picture(1, pixels, encoding=encoding)
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    np.testing.assert_array_equal(questions(tmp_path / "bag")[0].image, want)


def compressed(writer, content: bytes, kind: str):
    message = writer.store.types["sensor_msgs/msg/CompressedImage"]
    return message(header=writer.header(1), format=kind, data=np.frombuffer(content, np.uint8))


def test_compressed_images(tmp_path):
    png = cv2.imencode(".png", photo()[..., ::-1])[1].tobytes()
    with Writer(tmp_path / "bag") as writer:
        writer.write("/camera/image/compressed", compressed(writer, png, "rgb8; png compressed"))
        writer.write("/depth", compressed(writer, b"\0" * 99, "16UC1; compressedDepth png"))
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    np.testing.assert_array_equal(questions(tmp_path / "bag")[0].image, photo())


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_broken_compressed_image_is_the_questions_problem(tmp_path, content):
    with Writer(tmp_path / "bag") as writer:
        writer.write("/camera/image/compressed", compressed(writer, content, "jpeg"))
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    assert "cannot be decoded" in questions(tmp_path / "bag")[0].problem


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "yuv422"])
def test_an_encoding_that_is_not_read(tmp_path, encoding):
    with Writer(tmp_path / "bag") as writer:
        writer.picture(1, photo(), encoding=encoding)
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    (question,) = questions(tmp_path / "bag")
    assert encoding in question.problem
    assert "image_proc" in question.problem


def test_a_mask_of_another_size(tmp_path):
    asked = [Asked(1, "x", [blob()[:50]]), Asked(1, "y", [blob()])]
    first, second = questions(write_bag(tmp_path / "bag", {1: photo()}, asked))
    assert "(50, 120) (H, W), but the picture (90, 120)" in first.problem
    assert not second.problem


def test_depth_and_the_nodes_own_pictures_are_not_taken(tmp_path):
    with Writer(tmp_path / "bag") as writer:
        writer.picture(1, np.ones((H, W), np.uint16), "/camera/depth", "16UC1")
        writer.picture(1, np.zeros((H, W, 3), np.uint8), "/lisa/overlay")
        writer.picture(1, photo())
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    np.testing.assert_array_equal(questions(tmp_path / "bag")[0].image, photo())


def test_of_two_cameras_one_must_be_named(tmp_path):
    with Writer(tmp_path / "bag") as writer:
        writer.picture(1, photo(1), "/left/image")
        writer.picture(1, photo(2), "/right/image")
        writer.answer(Asked(1, "x", [blob()]), (H, W))
    with pytest.raises(DataError, match=r"got /left/image, /right/image; .* --image-topic"):
        questions(tmp_path / "bag")
    got = questions(tmp_path / "bag", image_topic="/right/image")
    np.testing.assert_array_equal(got[0].image, photo(2))
    with pytest.raises(DataError, match=r"no images on /up; its image topics are: /left"):
        questions(tmp_path / "bag", image_topic="/up")


def test_a_bag_without_answers(tmp_path):
    path = write_bag(tmp_path / "bag", {1: photo()}, [])
    with pytest.raises(DataError, match=r"no topic of type lisa_ros/msg/Answer, only: /camera"):
        questions(path)


def test_a_missing_bag(tmp_path):
    with pytest.raises(DataError, match="nothing does not exist"):
        questions(tmp_path / "nothing")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_bag(bag, share):
    file = bag / "run.mcap"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"run\.mcap cannot be read.*mcap recover"):
        questions(file)


def test_a_folder_without_metadata(bag):
    (bag / "metadata.yaml").unlink()
    with pytest.raises(DataError, match="ros2 bag reindex"):
        questions(bag)


def test_without_rosbags(bag, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    with pytest.raises(DataError, match="pip install rosbags"):
        questions(bag)


# --- masks as outlines ---


@pytest.mark.parametrize("seed", range(8))
def test_a_mask_without_holes_comes_back_whole(tmp_path, seed):
    path = write_bag(tmp_path / "bag", {1: photo()}, [Asked(1, "the cup", [blob(seed)])])
    (question,) = questions(path)
    shapes, fit = accepted_shapes(question)
    assert fit > 0.98
    write_sample(tmp_path / "Kitchen/train", "run_0001", question, shapes)
    sample = open_reason_seg(tmp_path / "Kitchen", "train").read(0)
    (target,) = sample.targets
    assert target.text == "the cup"
    assert target.is_sentence
    assert iou(target.mask == 1, blob(seed)) > 0.98
    assert np.abs(sample.image.astype(int) - photo()).mean() < 3  # it went through a JPEG file


@pytest.mark.parametrize("where", [np.s_[5, 7], np.s_[5, 7:9], np.s_[3:9, 4], np.s_[0, :]])
def test_points_and_lines_come_back(where):
    mask = np.zeros((H, W), np.uint8)
    mask[where] = 1
    shapes, fit = mask_to_shapes(mask)
    assert fit == 1
    assert all(len(shape["points"]) >= 3 for shape in shapes)  # or labelme refuses the file


def test_a_hole_is_lost_and_the_fit_says_so():
    mask = np.zeros((H, W), np.uint8)
    mask[20:60, 20:60] = 1
    mask[25:55, 25:55] = 0
    _, fit = mask_to_shapes(mask)
    assert fit == pytest.approx((1600 - 900) / 1600)
    assert fit < POOR_FIT


def test_without_a_mask_there_is_nothing_to_accept(bag):
    with pytest.raises(DataError, match="question 3 ended with NOT_FOUND"):
        accepted_shapes(questions(bag)[2])


# --- writing ---


def test_the_file_is_one_that_labelme_opens(bag, tmp_path):
    question = questions(bag)[0]
    path = write_sample(tmp_path / "new/folder", "a", question, accepted_shapes(question)[0])
    content = json.loads(path.read_text())
    assert content["imagePath"] == "a.jpg"
    assert (content["imageHeight"], content["imageWidth"]) == (H, W)
    assert content["imageData"] is None
    assert content["text"] == ["Which one holds tea?"]
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.jpg", "a.json"]


def test_a_sample_that_cannot_be_written_leaves_its_name_free(bag, tmp_path, monkeypatch):
    question = questions(bag)[0]
    shapes = accepted_shapes(question)[0]

    def fail(*arguments, **choices):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fail)
        with pytest.raises(OSError, match="No space left"):
            write_sample(tmp_path / "train", "a", question, shapes)
    assert find_stem(tmp_path / "train", "a", question) == ("a", False)
    write_sample(tmp_path / "train", "a", question, shapes)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["a.jpg", "a.json"]
    assert find_stem(tmp_path / "train", "a", question) == ("a", True)
    assert find_stem(tmp_path / "train", "a", questions(bag)[1]) == ("a_2", False)


def test_review_shows_the_picture_alone_and_with_the_mask(bag, tmp_path):
    first, _, third, _ = questions(bag)
    files = write_review(tmp_path / "review", first)
    assert files.picture.name == "1.jpg"
    plain, overlay = (cv2.imread(str(path))[..., ::-1] for path in (files.picture, files.overlay))
    assert np.abs(plain.astype(int) - photo(1)).mean() < 3
    assert overlay.shape[0] > H  # the words are below
    changed = np.abs(overlay[:H].astype(int) - plain).sum(axis=-1) > 60
    assert changed[blob(1)].mean() > 0.8
    assert write_review(tmp_path / "review", third).overlay is None


def test_drawn_polygons_are_kept_as_they_are(bag, tmp_path):
    shapes = [
        {"label": "target", "points": [[10.5, 10], [40, 10], [40, 40]], "shape_type": "polygon"},
        {"label": "ignore", "points": [[60, 60], [80, 60], [80, 80]], "shape_type": "polygon"},
    ]
    (tmp_path / "drawn").mkdir()
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": "3.jpg"}
    (tmp_path / "drawn/3.json").write_text(json.dumps(content))
    (tmp_path / "drawn/._3.json").write_bytes(b"\x00\x05\x16\x07")  # as macOS leaves in archives
    drawn = read_drawn(tmp_path / "drawn")
    assert drawn.keys() == {3}
    question = questions(bag)[2]
    path = write_sample(tmp_path / "train", "a", question, drawn_shapes(question, drawn[3]))
    assert json.loads(path.read_text())["shapes"] == shapes
    mask = open_reason_seg(tmp_path, "train").read(0).targets[0].mask
    assert set(np.unique(mask)) == {0, 1, 255}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("3.json", "{", "not valid JSON"),
        ("3.json", "{}", "no list `shapes`"),
        ("cup.json", '{"shapes": []}', "not named by the number"),
        ("3.txt", "", "holds no files of labelme"),
    ],
)
def test_files_that_are_not_labelmes(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_drawn(tmp_path)


def test_no_folder_of_drawings(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read_drawn(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([], "nothing is marked"),
        ([{"label": "ignore", "points": [[1, 1], [9, 1], [9, 9]]}], "nothing is marked"),
        ([{"label": "target", "points": [[500, 1], [900, 1], [900, 9]]}], "lies outside"),
        ([{"label": "target", "points": [[1, 1]], "shape_type": "rectangle"}], "as a polygon"),
    ],
)
def test_shapes_that_mark_nothing(bag, tmp_path, shapes, said):
    with pytest.raises(DataError, match=f"question 1: .*{said}"):
        write_sample(tmp_path / "train", "a", questions(bag)[0], shapes)
    assert not (tmp_path / "train").exists()

"""LLaVA-Instruct-150k and mix665k."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import H, W, messages, write_json, write_llava_instruct, write_mix665k

from lisa_ros.data.samples import BadSampleError, DataError
from lisa_ros.data.vqa import as_turns, open_vqa


def test_llava_instruct(tmp_path):
    write_llava_instruct(tmp_path)
    data = open_vqa(tmp_path, "llava_instruct_150k")
    assert (data.name, len(data), data.skipped) == ("vqa/llava_instruct_150k", 2, 0)
    sample = data.read(0, np.random.default_rng(0))
    assert sample.path == tmp_path / "coco/train2017/000000000009.jpg"
    assert sample.image.shape == (H, W, 3)
    assert sample.targets == ()
    assert sample.turns == (("What is it?", "A cup."), ("Of what colour?", "Red. "))
    assert data.read(1).turns == (("Describe it.", "A red cup."),)


def test_mix665k_without_its_text_only_entries(tmp_path, caplog):
    write_mix665k(tmp_path)
    with caplog.at_level(logging.INFO):
        data = open_vqa(tmp_path, "llava_v1_5_mix665k")
    assert (len(data), data.skipped) == (5, 1)
    assert "1 entries are about no picture" in caplog.text
    for i in range(5):
        sample = data.read(i)
        assert sample.path.is_file()
        assert sample.turns == (("What is it?", f"It is {i}."),)
    assert data.read(4).path == tmp_path / "vg/VG_100K/2.jpg"


def test_missing_folder_of_pictures_is_named(tmp_path):
    write_mix665k(tmp_path)
    (tmp_path / "gqa").rename(tmp_path / "gqua")
    with pytest.raises(DataError, match=r"the folder .*/gqa is missing; pictures that llava_v1_5"):
        open_vqa(tmp_path, "llava_v1_5_mix665k")
    write_llava_instruct(tmp_path)
    (tmp_path / "coco/train2017").rename(tmp_path / "coco/train")
    with pytest.raises(DataError, match=r"coco/train2017 is missing"):
        open_vqa(tmp_path, "llava_instruct_150k")


def test_missing_and_broken_pictures_are_named(tmp_path):
    write_mix665k(tmp_path)
    data = open_vqa(tmp_path, "llava_v1_5_mix665k")
    (tmp_path / "vg/VG_100K/2.jpg").unlink()
    with pytest.raises(BadSampleError, match=r"VG_100K/2\.jpg does not exist"):
        data.read(4)
    path = tmp_path / "gqa/images/2354786.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadSampleError, match=r"2354786\.jpg is corrupt or truncated"):
        data.read(1)
    assert data.read(0).turns


def test_unknown_name_and_missing_file_are_named(tmp_path):
    with pytest.raises(DataError, match="no VQA data set 'llava'; there are llava_instruct_150k"):
        open_vqa(tmp_path, "llava")
    with pytest.raises(DataError, match=r"llava_instruct_150k\.json does not exist"):
        open_vqa(tmp_path, "llava_instruct_150k")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "expected a list"),
        ([3], "no entries with an `image`"),
        ([], "no entries with an `image`"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, content, words):
    write_json(tmp_path / "llava_dataset/llava_instruct_150k.json", content)
    with pytest.raises(DataError, match=rf"llava_instruct_150k\.json.*{words}"):
        open_vqa(tmp_path, "llava_instruct_150k")


def test_an_entry_that_is_no_object_spoils_no_other(tmp_path):
    file = write_llava_instruct(tmp_path)
    entries = json.loads(file.read_text())
    write_json(file, [entries[0], "hello", entries[1]])
    data = open_vqa(tmp_path, "llava_instruct_150k")
    assert (len(data), data.skipped) == (3, 0)
    assert data.read(0).turns
    assert data.read(1).turns
    with pytest.raises(BadSampleError, match=r"150k\.json: entry number 2 .*'hello'; mend or"):
        data.read(2)


def test_broken_conversation_is_named(tmp_path):
    file = write_llava_instruct(tmp_path)
    entries = [
        {"image": "000000000009.jpg", "conversations": messages("Hello")},
        {"image": "000000000009.jpg"},
    ]
    write_json(file, entries)
    data = open_vqa(tmp_path, "llava_instruct_150k")
    for i in range(2):
        with pytest.raises(
            BadSampleError, match=r"150k\.json: the conversation about 000000000009"
        ):
            data.read(i)


def test_words_before_the_first_question_are_left_out():
    talk = [{"from": "gpt", "value": "Hello!"}, *messages("Where?\n<image>", "There.")]
    assert as_turns(talk) == (("Where?", "There."),)


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (messages("Where?"), "human, gpt"),
        ([], "human, gpt"),
        (messages("a", "b")[::-1], "human, gpt"),
        ([{"from": "system", "value": "a"}, *messages("a", "b")], "human, gpt"),
        (messages("<image>\n", "b"), "empty message"),
        (messages("a", "Sure, [SEG]."), r"\[SEG\]"),
        (messages("a", "the \ud83d cup"), "no UTF-8"),
        (messages("a", 3), "no list of messages"),
        ("hello", "no list of messages"),
        (None, "no list of messages"),
    ],
)
def test_other_conversations_are_refused(talk, words):
    with pytest.raises(ValueError, match=words):
        as_turns(talk)

"""What an evaluation leaves on disk, and how it is found again."""

import pytest

from lisa_ros.evaluation.cases import EvaluationError
from lisa_ros.evaluation.records import Record, RecordFolder, Shard
from lisa_ros.evaluation.scores import Result

RESULT = Result(
    *("wo ist die Tür\u2028?", ("long",), "FOUND", "Sure, [SEG].", 6, 8, 4, 10),
    mask={"size": [2, 8], "counts": "abc\\"},
)


def record(index: int, error: str | None = None) -> Record:
    if error is not None:
        return Record(index, error=error)
    return Record(index, f"{index}.jpg", "ff", (RESULT,), {"total": 1.5}, "CPU")


def write(folder: RecordFolder, *records: Record) -> None:
    with folder.writer() as add:
        for item in records:
            add(item)


def test_records_come_back_as_they_were(tmp_path):
    folder = RecordFolder(tmp_path, Shard())
    write(folder, record(1), record(0, error="broken"))
    write(folder, record(2))
    assert folder.read() == {0: record(0, error="broken"), 1: record(1), 2: record(2)}


def test_a_line_that_was_cut_off_counts_as_not_done(tmp_path):
    folder = RecordFolder(tmp_path, Shard())
    write(folder, record(0), record(1))
    file = tmp_path / "pictures.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    assert list(folder.read()) == [0]
    write(folder, record(1))
    assert folder.read() == {0: record(0), 1: record(1)}


def test_a_sample_that_was_mended_counts_as_it_is_now(tmp_path):
    folder = RecordFolder(tmp_path, Shard())
    write(folder, record(0, error="one"), record(1, error="one"))
    write(folder, record(0, error="two"), record(1))
    assert folder.read() == {0: record(0, error="two"), 1: record(1)}


def test_shards_split_the_pictures_and_are_read_together(tmp_path):
    shards = [Shard(k, 3) for k in range(3)]
    indices = [list(shard.indices(8)) for shard in shards]
    assert indices == [[0, 3, 6], [1, 4, 7], [2, 5]]
    for shard, numbers in zip(shards, indices, strict=True):
        write(RecordFolder(tmp_path, shard), *map(record, numbers))
    assert list(RecordFolder(tmp_path, Shard()).read()) == list(range(8))
    with pytest.raises(EvaluationError, match="got 3/3"):
        Shard(3, 3)


def test_a_line_of_something_else_is_named(tmp_path):
    folder = RecordFolder(tmp_path, Shard())
    write(folder, record(0))
    with (tmp_path / "pictures.jsonl").open("a") as file:
        file.write('{"index": 1}\n')
    with pytest.raises(EvaluationError, match=r"pictures.jsonl, line 2: .*remove the line"):
        folder.read()


def test_a_folder_belongs_to_one_evaluation(tmp_path):
    run = {"data": {"name": "a", "pictures": 3}, "model": {"files": {"x": "1"}}}
    folder = RecordFolder(tmp_path / "new", Shard())
    folder.claim(run)
    folder.claim(run)
    other = {**run, "model": {"files": {"x": "2", "y": "3"}}}
    with pytest.raises(
        EvaluationError, match=r"model.files.x: there 1, now 2; model.files.y: there None, now 3"
    ):
        folder.claim(other)
    assert [path.name for path in folder.folder.iterdir()] == ["run.json"]

"""Pickles from the web: data yes, code no."""

import collections
import os
import pickle
from pathlib import Path

import pytest

from lisa_ros.data.plain_pickle import read_plain_pickle
from lisa_ros.data.samples import DataError


class Runs:
    def __init__(self, function, *arguments) -> None:
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read(tmp_path, protocol):
    value = [{"sent": "the caf\u00e9", "ids": (1, 2.5, None, True)}, {3, 4}, 10**20, 1j]
    (tmp_path / "a.p").write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(tmp_path / "a.p") == value


def test_python_2_is_read(tmp_path):
    """As `pickle.dump([{'sent': 'a cup', 'id': 7L}, u'\\xe9'])` of Python 2 wrote it."""
    content = b"(lp0\n(dp1\nS'sent'\np2\nS'a cup'\np3\nsS'id'\np4\nL7L\nsaV\xe9\np5\na."
    (tmp_path / "a.p").write_bytes(content)
    assert read_plain_pickle(tmp_path / "a.p") == [{"sent": "a cup", "id": 7}, "\u00e9"]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda path: Runs(os.mkdir, str(path)), "posix.mkdir"),
        (lambda path: Runs(eval, f"__import__('os').mkdir({str(path)!r})"), "eval"),
        (lambda path: Runs(getattr, path, "mkdir"), "getattr"),
        (lambda path: collections.OrderedDict(a=1), "collections.OrderedDict"),
    ],
)
def test_nothing_is_run(tmp_path, make, name, protocol):
    trace = tmp_path / "trace"
    (tmp_path / "a.p").write_bytes(pickle.dumps([make(trace)], protocol))
    with pytest.raises(DataError, match=rf"a\.p cannot be loaded.*{name}.*original file"):
        read_plain_pickle(tmp_path / "a.p")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04]", b"hello", b"(lp0\nS'x", b"\x80\xff."])
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "a.p").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.p cannot be loaded"):
        read_plain_pickle(tmp_path / "a.p")


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"a\.p does not exist"):
        read_plain_pickle(tmp_path / "a.p")

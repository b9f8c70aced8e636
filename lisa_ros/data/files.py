"""Reading the files of data sets, with errors that name the file, the reason and the mend."""

from __future__ import annotations

import codecs
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.images import ImageReadError, read_image
from lisa_ros.data.samples import BadSampleError, DataError


def read_json(path: Path) -> Any:
    """A JSON file in UTF-8, with or without a byte order mark, or else in Windows' cp1252.

    Some files of ReasonSeg are in cp1252 (curly quotes and apostrophes).

    Raises:
        DataError: the file is missing, empty, in another encoding such as UTF-16, or no JSON.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected a JSON file") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    # Without a mark at the beginning, the zeros beside Latin letters tell it.
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise DataError(f"{path} is in UTF-16 or UTF-32, expected UTF-8; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is neither UTF-8 nor cp1252 (byte {error.start}); save it as UTF-8"
            ) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}; mend or download it again") from None


def read_picture(path: Path) -> np.ndarray:
    """The picture of a sample as RGB uint8 (H, W, 3).

    Raises:
        BadSampleError: it is missing, broken or no picture.
    """
    try:
        return read_image(path)
    except ImageReadError as error:
        raise BadSampleError(f"{error}; copy the file again, or remove the sample") from None


def is_utf8(text: str) -> bool:
    """Whether a text can be written; JSON may hold half a character, as in `the \\ud83d cup`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def need_folder(path: Path, what: str) -> Path:
    """The folder itself.

    Raises:
        DataError: it is missing; `what` says what belongs there.
    """
    if not path.is_dir():
        raise DataError(f"the folder {path} is missing; {what} belongs there")
    return path


def need_package(module: str, pip_name: str) -> Any:
    """A package that only some readers use.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f"this data set needs {module}, got {error}; pip install {pip_name}"
        ) from error

"""Questions that a robot was asked, out of a ROS 2 bag: picture, words, status and mask.

Read by `rosbags`, which needs no ROS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.files import need_package
from lisa_ros.data.samples import DataError

ANSWER_TYPE = "lisa_ros/msg/Answer"
_IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_COLOUR = {  # encoding: channels and which of them are red, green and blue
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "8UC3": (3, [2, 1, 0]),  # names no colours; RViz too reads it as OpenCV's BGR
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]),
}

Stamp = tuple[int, int]


@dataclass(frozen=True)
class RecordedQuestion:
    """A question of a person or a program, and how it ended.

    Attributes:
        number: 1, 2, 3, ... in the order of the answers in the bag.
        instruction: its words.
        is_sentence: false if it was asked as a bare noun phrase.
        status: name of the constant in msg/Answer.msg, FOUND for example.
        image: RGB uint8 (H, W, 3) that was answered; None if there is a problem.
        mask: uint8 (H, W) of 0 and 1, all objects together; None if there is none.
        problem: why the question cannot be used; empty if it can.
        bag: absolute path of the bag; empty if it comes from none.
        stamp: of the picture, seconds and nanoseconds.
    """

    number: int
    instruction: str
    is_sentence: bool
    status: str
    image: np.ndarray | None
    mask: np.ndarray | None
    problem: str = ""
    bag: str = ""
    stamp: Stamp = (0, 0)


class _ImageError(ValueError):
    """One image message cannot be used."""


def read_questions(bag: str | Path, image_topic: str | None = None) -> Iterator[RecordedQuestion]:
    """The questions of a bag that end in an answer about a picture.

    In the order of their pictures; those whose picture is missing come last.  Left out are
    follow-up questions, whose words mean little without the first one, and what follow mode
    answers, which nobody has asked.

    Args:
        bag: an MCAP file, or a folder of rosbag2 (MCAP or SQLite).
        image_topic: of the colour images that were asked about; where the bag has one only, that.

    Raises:
        DataError: the bag cannot be read, has no answers, or the image topic is not clear.
    """
    path = str(Path(bag).resolve())
    with _open(Path(bag)) as reader:
        answers = [c for c in reader.connections if c.msgtype == ANSWER_TYPE]
        if not answers:
            topics = ", ".join(sorted({c.topic for c in reader.connections})) or "none"
            raise DataError(
                f"{bag} has no topic of type {ANSWER_TYPE}, only: {topics}; record /lisa/answer "
                "and the camera's image topic"
            )
        waiting: dict[Stamp, list[tuple[int, Any]]] = {}
        number = 0
        for message in _messages(reader, answers):
            if _is_question(message):
                number += 1
                waiting.setdefault(_stamp(message), []).append((number, message))
        if not waiting:
            return
        for message in _messages(reader, _image_connections(reader, answers, image_topic)):
            for number, answer in waiting.pop(_stamp(message), ()):
                yield _question(path, number, answer, message)
        for left in waiting.values():
            for number, answer in left:
                yield _question(path, number, answer, None)


@contextmanager
def _open(bag: Path) -> Iterator[Any]:
    """The bag's reader; what goes wrong while it is open names the bag."""
    try:
        need_package("rosbags.highlevel", "rosbags")
    except DataError:
        raise DataError("reading bags needs rosbags; install it: pip install rosbags") from None
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.rosbag2 import ReaderError
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    if not bag.exists():
        raise DataError(f"{bag} does not exist; expected an MCAP file or a folder of rosbag2")
    store = get_typestore(Stores.LATEST)
    for name, text in _package_definitions():
        store.register(get_types_from_msg(text, name))
    try:
        with AnyReader([bag], default_typestore=store) as reader:
            for connection in reader.connections:
                no_definition = connection.msgdef.format == MessageDefinitionFormat.NONE
                if connection.msgtype == ANSWER_TYPE and no_definition:
                    if ANSWER_TYPE not in store.types:
                        raise DataError(
                            f"{bag} does not say how {ANSWER_TYPE} is built (ROS 2 Humble does not "
                            "record it); source the workspace that holds lisa_ros and try again"
                        )
                    reader.typestore = store
            yield reader
    except (AnyReaderError, ReaderError, OSError, ValueError) as error:
        raise DataError(
            f"{bag} cannot be read: {error}; mend it with `ros2 bag reindex` (a folder) or "
            "`mcap recover` (a file)"
        ) from error


def _package_definitions() -> list[tuple[str, str]]:
    """Name and text of our messages, where this package is installed with its interfaces."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        files = [Path(prefix, f"share/lisa_ros/msg/{name}.msg") for name in ("Object", "Answer")]
        if all(path.is_file() for path in files):
            return [(f"lisa_ros/msg/{p.stem}", p.read_text(encoding="utf-8")) for p in files]
    return []


def _messages(reader: Any, connections: list[Any]) -> Iterator[Any]:
    for connection, _, data in reader.messages(connections=connections):
        try:
            message = reader.deserialize(data, connection.msgtype)
        except Exception as error:  # whatever generated code meets in garbled bytes
            raise ValueError(f"a message on {connection.topic} is garbled ({error})") from error
        yield message


def _is_question(message: Any) -> bool:
    return (
        message.final
        and message.source != message.SOURCE_FOLLOW
        and not message.context_kept
        and message.instruction.strip() != ""
        and message.status not in (message.TEXT_ONLY, message.REJECTED, message.NOT_ACTIVE)
        and _stamp(message) != (0, 0)
    )


def _image_connections(reader: Any, answers: list[Any], topic: str | None) -> list[Any]:
    """The topic of the colour images, told from depth by its first message."""
    images = [c for c in reader.connections if c.msgtype in _IMAGE_TYPES]
    if topic is not None:
        chosen = [c for c in images if c.topic == topic]
        if not chosen:
            known = ", ".join(sorted(c.topic for c in images)) or "none"
            raise DataError(f"the bag has no images on {topic}; its image topics are: {known}")
        return chosen
    own = tuple(answer.topic.rpartition("/")[0] + "/" for answer in answers)
    images = [c for c in images if not c.topic.startswith(own)]  # the node's mask and overlay
    chosen = [c for c in images if _is_colour(next(_messages(reader, [c]), None))]
    if len(chosen) != 1:
        known = ", ".join(sorted(c.topic for c in chosen)) or "none"
        raise DataError(
            f"expected one topic of colour images, got {known}; name the one that was asked about "
            "with --image-topic"
        )
    return chosen


def _is_colour(message: Any) -> bool:
    if message is None:
        return False
    if hasattr(message, "format"):
        return "compressedDepth" not in message.format
    return message.encoding not in ("16UC1", "mono16", "32FC1")


def _question(bag: str, number: int, answer: Any, picture: Any) -> RecordedQuestion:
    names = {getattr(answer, name): name for name in _STATUSES}
    image, mask, problem = None, None, ""
    try:
        if picture is None:
            raise _ImageError("the bag does not hold the picture that was asked about")
        pixels = _to_rgb(picture)
        mask = _mask(answer, pixels.shape[:2])
        image = pixels
    except _ImageError as error:
        problem = str(error)
    return RecordedQuestion(
        number,
        answer.instruction.strip(),
        is_sentence=answer.prompt_template != "phrase",
        status=names.get(answer.status, f"status {answer.status}"),
        image=image,
        mask=mask,
        problem=problem,
        bag=bag,
        stamp=_stamp(answer),
    )


_STATUSES = (
    *("FOUND", "NOT_FOUND", "NO_DEPTH", "DEPTH_MISMATCH", "TF_UNAVAILABLE", "NO_IMAGE"),
    *("STALE_IMAGE", "TRUNCATED", "TIMEOUT", "PREEMPTED", "CANCELLED", "LOST", "ERROR"),
)


def _mask(answer: Any, size: tuple[int, ...]) -> np.ndarray | None:
    masks = [_rows(item.mask, 1)[..., 0] > 0 for item in answer.objects if item.area]
    if not masks:
        return None
    if any(mask.shape != size for mask in masks):
        raise _ImageError(f"a mask is {masks[0].shape} (H, W), but the picture {size}")
    return np.logical_or.reduce(masks).astype(np.uint8)


def _to_rgb(message: Any) -> np.ndarray:
    if hasattr(message, "format"):
        cv2 = need_package("cv2", "opencv-python-headless")
        as_stored = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.asarray(message.data), as_stored) if len(message.data) else None
        if pixels is None:
            raise _ImageError(f"its picture of format {message.format!r} cannot be decoded")
        return np.ascontiguousarray(pixels[..., ::-1])
    if message.encoding not in _COLOUR:
        raise _ImageError(
            f"its picture is {message.encoding!r}; expected {', '.join(_COLOUR)} or a "
            "compressed topic; record the topic that image_proc makes of them"
        )
    channels, order = _COLOUR[message.encoding]
    return np.ascontiguousarray(_rows(message, channels)[..., order])


def _rows(message: Any, channels: int) -> np.ndarray:
    """The pixels of an image message of 8 bits, (H, W, C), without what pads its rows."""
    height, width, step = message.height, message.width, message.step
    if step < width * channels or len(message.data) < height * step:
        raise _ImageError(
            f"its picture or mask says {width} x {height} pixels and rows of {step} bytes, but has "
            f"{len(message.data)} bytes"
        )
    rows = np.asarray(message.data)[: height * step].reshape(height, step)
    return rows[:, : width * channels].reshape(height, width, channels)


def _stamp(message: Any) -> Stamp:
    return message.header.stamp.sec, message.header.stamp.nanosec

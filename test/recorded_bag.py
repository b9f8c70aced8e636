"""Bags of a camera and of answers to questions about its pictures, written without ROS."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

MESSAGES = Path(__file__).parents[1] / "msg"
ANSWER, IMAGE = "lisa_ros/msg/Answer", "sensor_msgs/msg/Image"


@dataclass
class Asked:
    """A question about the picture of `second`, and its answer; `fields` go into the message."""

    second: int
    instruction: str
    masks: Sequence[np.ndarray] = ()
    status: str = "FOUND"
    fields: dict[str, Any] = field(default_factory=dict)


@cache
def typestore():
    """ROS 2's messages and ours."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("Object", "Answer"):
        text = (MESSAGES / f"{name}.msg").read_text()
        store.register(get_types_from_msg(text, f"lisa_ros/msg/{name}"))
    return store


class Writer:
    """Writes messages into a bag; a context manager."""

    def __init__(self, path: Path, plugin: str = "mcap", topic: str = "/lisa/answer") -> None:
        from rosbags.rosbag2 import StoragePlugin
        from rosbags.rosbag2 import Writer as BagWriter

        self.store = typestore()
        self._writer = BagWriter(path, version=9, storage_plugin=StoragePlugin[plugin.upper()])
        self._answers = topic
        self._connections: dict[str, Any] = {}
        self._time = 0

    def __enter__(self):
        self._writer.open()
        return self

    def __exit__(self, *_):
        self._writer.close()

    def write(self, topic: str, message) -> None:
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self.store
            )
        self._time += 10**8
        data = self.store.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], self._time, data)

    def picture(
        self, second: int, pixels: np.ndarray, topic: str = "/camera/image_raw", encoding="rgb8"
    ) -> None:
        self.write(topic, self.image(second, pixels, encoding))

    def answer(self, asked: Asked, size: tuple[int, int]) -> None:
        message = self._empty(ANSWER)
        message.header = self.header(asked.second)
        message.final, message.source = True, message.SOURCE_TOPIC
        message.status = getattr(message, asked.status)
        message.instruction, message.prompt_template = asked.instruction, "explain"
        message.image_height, message.image_width = size
        message.objects = [self._object(asked.second, mask) for mask in asked.masks]
        for name, value in asked.fields.items():
            setattr(message, name, value)
        self.write(self._answers, message)

    def header(self, second: int):
        header = self._empty("std_msgs/msg/Header")
        header.stamp.sec, header.frame_id = second, "camera"
        return header

    def image(self, second: int, pixels: np.ndarray, encoding: str):
        message = self._empty(IMAGE)
        message.header, message.encoding = self.header(second), encoding
        message.height, message.width = pixels.shape[:2]
        rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
        rows = np.pad(rows, ((0, 0), (0, 5)))  # drivers pad rows
        message.step, message.data = rows.shape[1], rows.ravel()
        return message

    def _object(self, second: int, mask: np.ndarray):
        message = self._empty("lisa_ros/msg/Object")
        message.mask = self.image(second, mask.astype(np.uint8) * 255, "mono8")
        message.area = int(np.count_nonzero(mask))
        return message

    def _empty(self, kind: str):
        """A message with zeros everywhere."""
        from rosbags.interfaces import Nodetype

        def default(form):
            node, detail = form
            if node == Nodetype.BASE:
                return {"string": "", "bool": False}.get(detail[0], 0)
            if node == Nodetype.NAME:
                return self._empty(detail)
            (element, what), length = detail
            if element != Nodetype.BASE or what[0] == "string":
                return [default((element, what)) for _ in range(length)]
            dtype = {"octet": "u1", "char": "u1", "bool": "?"}.get(what[0], what[0])
            return np.zeros(length, dtype)

        fields = self.store.fielddefs[kind][1]
        return self.store.types[kind](**{name: default(form) for name, form in fields})


def write_bag(
    path: Path, pictures: dict[int, np.ndarray], questions: Sequence[Asked], **choices: str
) -> Path:
    """A bag of pictures by second, each followed by the questions about it."""
    with Writer(path, **choices) as writer:
        for second, pixels in pictures.items():
            writer.picture(second, pixels)
            for asked in questions:
                if asked.second == second:
                    writer.answer(asked, pixels.shape[:2])
    return path

"""The node's side of `ros_overhead.py`: the perception node with a model that costs nothing.

Started by ros_overhead.py.  Answers each line on its standard input with one line of JSON:
`samples` gives the moments of all questions since the last time, `counts` the frames so far.
All moments are CLOCK_MONOTONIC, which the processes of one Linux machine share.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import rclpy
import torch
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from std_msgs.msg import String

from lisa_ros.model.preprocessing import MaskGeometry
from lisa_ros.model.random_weights import named_config
from lisa_ros.msg import Answer as AnswerMessage
from lisa_ros.nodes import answer_messages, answering, outputs
from lisa_ros.nodes.frames import stamp_ns
from lisa_ros.nodes.perception_node import PerceptionNode
from lisa_ros.nodes.questions import Outcome, Question
from lisa_ros.perception import Answer, Finished, ObjectFound, Scores, SegmentedObject, Status

_THREADS = 8  # as in lisa_ros.nodes.perception_node.main
_CHECK = 0.2  # seconds between looks whether to end


class FreeModel(torch.nn.Module):
    """What the node reads off a model: no weights, the sizes of the golden tests'."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.config = named_config("tiny")


class FreeSegmenter:
    """Stands in for `lisa_ros.perception.Segmenter`: one fixed mask at once, and no words."""

    model_id = "free"
    precision = "fp32"
    encodes_in_background = False

    def __init__(self) -> None:
        self.model = FreeModel()
        self._object: SegmentedObject | None = None

    def encode(self, image: np.ndarray) -> np.ndarray:
        """There are no features but the image."""
        return image

    def set_image(self, image: np.ndarray) -> None:
        """Make the fixed mask, an ellipse of an eighth of the picture, when the size changes."""
        height, width = image.shape[:2]
        self.language_view = (0, 0, width, height)
        if self._object is not None and self._object.mask.shape == (height, width):
            return
        y, x = np.ogrid[:height, :width]
        mask = ((y / height - 0.5) / 0.2) ** 2 + ((x / width - 0.5) / 0.2) ** 2 < 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        self._object = SegmentedObject(
            mask=mask,
            box_xyxy=(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),
            area=int(mask.sum()),
            scores=Scores(1.0, 1.0, 1.0),
            embedding=np.zeros(256, np.float32),
            low_res_mask=torch.zeros(256, 256),
            geometry=MaskGeometry((height, width), (height, width), max(height, width)),
        )

    def reset_image(self) -> None:
        """There are no features to let go of."""

    def stream(self, instruction: str, **_: Any) -> Iterator[ObjectFound | Finished]:
        """One object and the end."""
        assert self._object is not None  # the worker sets an image first
        yield ObjectFound(self._object)
        yield Finished(
            Answer(
                status=Status.FOUND,
                message="",
                instruction=instruction,
                question=instruction,
                text="[SEG]",
                explanation="",
                objects=(self._object,),
                prompt_ids=(),
                answer_ids=(),
                language_view=self.language_view,
                timings_ms={},
                model_id=self.model_id,
                precision=self.precision,
            )
        )


class Stopwatch:
    """Moments and summed times of the question on its way, in nanoseconds."""

    def __init__(self) -> None:
        self._sample: dict[str, int] = {}
        self._done: list[dict[str, int]] = []
        self._lock = threading.Lock()

    def mark(self, name: str) -> None:
        """The first time that this happens to the question."""
        now = time.monotonic_ns()
        with self._lock:
            self._sample.setdefault(name, now)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with the time that it takes before the mask is published added to `name`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic_ns()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.monotonic_ns() - started
                with self._lock:
                    if "mask_published" not in self._sample:
                        self._sample[name] = self._sample.get(name, 0) + took

        return timed

    def finish(self, stamp: int | None) -> None:
        """The question has ended; `stamp` of the image that it was answered on."""
        with self._lock:
            if stamp is not None and "mask_published" in self._sample:
                self._done.append({**self._sample, "stamp": stamp})
            self._sample = {}

    def take(self) -> list[dict[str, int]]:
        """All questions since the last time."""
        with self._lock:
            done, self._done = self._done, []
            return done


class MeasuredNode(PerceptionNode):
    """The perception node with a free model, and clocks at its borders."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        super().__init__()
        load, add_image = self._worker.load, self._frames.add_image
        self._worker.load = lambda make: load(FreeSegmenter)  # type: ignore[method-assign, arg-type]

        def arrived(message: Any) -> None:
            self.stopwatch.mark("image_arrived")
            add_image(message)

        self._frames.add_image = arrived  # type: ignore[method-assign]
        self._watch("conversion", answering, "image_to_rgb")
        self._watch("conversion", outputs, "mask_image")
        self._watch("conversion", answer_messages, "mask_image")
        for publisher in self.publishers:
            if publisher.topic_name == "/lisa/mask":
                self._watch_mask(publisher)
            elif publisher.topic_name == "/lisa/answer":
                self._watch("publish_answer", publisher, "publish")

    def _watch(self, name: str, owner: Any, function: str) -> None:
        setattr(owner, function, self.stopwatch.wrap(name, getattr(owner, function)))

    def _watch_mask(self, publisher: Any) -> None:
        publish = publisher.publish

        def published(message: Any) -> None:
            self.stopwatch.mark("mask_published")
            publish(message)

        publisher.publish = published

    @property
    def counts(self) -> dict[str, float]:
        """Images that have arrived, and the processor time of the process in seconds."""
        times = psutil.Process().cpu_times()
        return {"images": self._frames.counts.images, "cpu_s": times.user + times.system}

    def _on_instruction(self, message: String) -> None:
        self.stopwatch.mark("instruction_arrived")
        super()._on_instruction(message)

    def _end(self, question: Question, outcome: Outcome) -> AnswerMessage:
        message = super()._end(question, outcome)
        # So that the next question waits for its own image, whichever of the two comes first.
        self._frames.clear()
        self.stopwatch.finish(None if outcome.frame is None else stamp_ns(outcome.frame.image))
        return message


def _answer_commands(node: MeasuredNode, ended: threading.Event) -> None:
    replies = SimpleNamespace(samples=node.stopwatch.take, counts=lambda: node.counts)
    for line in sys.stdin:
        print(json.dumps(getattr(replies, line.strip())()), flush=True)
    ended.set()


def main() -> None:
    rclpy.init()
    node = MeasuredNode()
    executor = MultiThreadedExecutor(num_threads=_THREADS)
    executor.add_node(node)
    ended = threading.Event()
    threading.Thread(target=_answer_commands, args=(node, ended), daemon=True).start()
    try:
        while rclpy.ok() and not ended.is_set():
            executor.spin_once(timeout_sec=_CHECK)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        executor.shutdown(timeout_sec=5.0)
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

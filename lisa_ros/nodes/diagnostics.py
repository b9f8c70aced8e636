"""What the node says of itself on /diagnostics."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

import numpy as np
import psutil
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from lisa_ros.nodes.frames import FrameCounts
from lisa_ros.nodes.questions import Outcome
from lisa_ros.perception import Segmenter, Status

_HISTORY = 100  # answers over which stage times are summed up


class Diagnostics:
    """Collects numbers from all threads, and publishes them when told to."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._lock = threading.Lock()
        self._seconds: dict[str, deque[float]] = {}
        self._answers: dict[str, int] = {}
        self.state = "UNCONFIGURED"
        self.last_error = ""

    def count(self, outcome: Outcome) -> None:
        """Take an ended question into account."""
        with self._lock:
            name = outcome.status.name
            self._answers[name] = self._answers.get(name, 0) + 1
            for stage, seconds in outcome.seconds.items():
                self._seconds.setdefault(stage, deque(maxlen=_HISTORY)).append(seconds)
            if outcome.status is Status.ERROR:
                self.last_error = outcome.message

    def publish(
        self, segmenter: Segmenter | None, counts: FrameCounts, problems: list[str]
    ) -> None:
        """One DiagnosticArray: the model, the camera, the answers.

        Args:
            problems: what is wrong with the camera's topics, in words.
        """
        array = DiagnosticArray()
        array.header.stamp = self._node.get_clock().now().to_msg()
        array.status = [self._model(segmenter), self._camera(counts, problems), self._times()]
        self._publisher.publish(array)

    def _model(self, segmenter: Segmenter | None) -> DiagnosticStatus:
        values: dict[str, object] = {"state": self.state, "last error": self.last_error}
        if segmenter is not None:
            values["model"] = segmenter.model_id
            values["precision"] = segmenter.precision
            values["device"] = device = segmenter.model.device
            if device.type == "cuda":
                values["GPU memory [MiB]"] = torch.cuda.memory_allocated(device) >> 20
        values["host memory [MiB]"] = psutil.Process().memory_info().rss >> 20
        level = DiagnosticStatus.OK
        if self.state == "FAILED":
            level = DiagnosticStatus.ERROR
        elif self.state != "ACTIVE":
            level = DiagnosticStatus.WARN
        return self._status("model", level, self.state, values)

    def _camera(self, counts: FrameCounts, problems: list[str]) -> DiagnosticStatus:
        values = {name.replace("_", " "): value for name, value in vars(counts).items()}
        if problems:
            return self._status("camera", DiagnosticStatus.WARN, "; ".join(problems), values)
        if self.state != "ACTIVE":
            message = "not listening"
        else:
            message = "images arrive" if counts.images else "waiting for images"
        return self._status("camera", DiagnosticStatus.OK, message, values)

    def _times(self) -> DiagnosticStatus:
        with self._lock:
            count = sum(self._answers.values())
            values: dict[str, object] = {f"answers {k}": n for k, n in self._answers.items()}
            for stage, seconds in self._seconds.items():
                p50, p95 = np.percentile(list(seconds), (50, 95))
                values[f"{stage} p50/p95 [ms]"] = f"{1000 * p50:.1f} / {1000 * p95:.1f}"
        return self._status("answers", DiagnosticStatus.OK, f"{count} answers", values)

    def _status(
        self, part: str, level: bytes, message: str, values: Mapping[str, object]
    ) -> DiagnosticStatus:
        name = f"{self._node.get_fully_qualified_name().lstrip('/')}: {part}"
        pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=name, message=message, values=pairs)

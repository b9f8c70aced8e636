"""How long an answer took, by stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lisa_ros.model.lisa import ImageFeatures
from lisa_ros.model.timing import StageTimer


@dataclass
class EncodedImage:
    """An image's features.

    Attributes:
        encoding_ms: what they took, until an answer has told it.
    """

    features: ImageFeatures
    encoding_ms: float | None

    def take_ms(self) -> float | None:
        """The time, if it has not been told yet."""
        taken, self.encoding_ms = self.encoding_ms, None
        return taken


class AnswerClock:
    """Stage times of a run; the first one about an image also pays for the image's features.

    Attributes:
        timer: for the stages of the run itself.
    """

    def __init__(self, images: Sequence[EncodedImage], device: torch.device) -> None:
        taken = [(image.features.timer, image.take_ms()) for image in images]
        self.timer = StageTimer(device)
        self._encoding = [timer for timer, ms in taken if ms is not None]
        self._started = time.perf_counter() - sum(ms or 0.0 for _, ms in taken) / 1000
        self._first_mask_ms: float | None = None

    def mask_is_out(self) -> None:
        """Note the time, if the mask is the run's first."""
        if self._first_mask_ms is None:
            self._first_mask_ms = self._elapsed_ms()

    def milliseconds(self) -> dict[str, float]:
        """By stage, with `total` and, where there was a mask, `first_mask`."""
        total = self._elapsed_ms()
        times: dict[str, float] = {}
        for timer in (*self._encoding, self.timer):
            for name, ms in timer.milliseconds().items():
                times[name] = times.get(name, 0.0) + ms
        if self._first_mask_ms is not None:
            times["first_mask"] = self._first_mask_ms
        return {**times, "total": total}

    def _elapsed_ms(self) -> float:
        return 1000 * (time.perf_counter() - self._started)

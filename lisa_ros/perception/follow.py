"""Follow mode (experimental): an answer's object in the frames after it, without asking again.

An answer's `[SEG]` embedding is decoded against each new frame's image features.  That embedding
was made from one view; duplicates and objects that leave the picture can fool it.  So the mask is
trusted only as long as nothing about it jumps from one frame to the next, and what asking again
finds only if it looks the same.  What the object looks like is remembered in several views, as in
DeepSORT (Wojke et al., 2017): seen from the side it resembles its last view, not its first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lisa_ros.perception.answer import SegmentedObject
from lisa_ros.perception.segmenter import Segmenter


@dataclass(frozen=True)
class FollowLimits:
    """What may change from one frame to the next before the object counts as doubtful.

    Attributes:
        min_iou: least IoU of the masks.
        max_shift: farthest way of the centroid, as a share of the image's diagonal.
        max_area_ratio: largest ratio of the areas, either way.
        min_similarity: least cosine between the SAM features under the mask and those of the most
            similar view that was trusted; what asking again finds must reach it too.
        reground_interval: seconds after which the question is asked again in any case.  A mask
            that is not doubtful stays where the answer is nothing, or looks different.
    """

    min_iou: float = 0.5
    max_shift: float = 0.1
    max_area_ratio: float = 1.6
    min_similarity: float = 0.8
    reground_interval: float = 5.0


_VIEWS = 16  # that are remembered
_NEW_VIEW = 0.95  # cosine with the views that are known below which one is remembered
_RETRY = 1.0  # seconds after asking in vain until what looks like the object is worth a question


@dataclass(frozen=True)
class FollowStep:
    """One frame of follow mode.

    Attributes:
        object: the mask in this frame; None if the object is lost.
        message: why it is lost, and when the question will be asked again.
    """

    object: SegmentedObject | None
    message: str = ""


class Follower:
    """Follows one object through frames, from an answer on.

    Times are seconds of any clock that does not jump.

    Args:
        segmenter: its current image is the one that was answered.
        item: an object of the answer.
        now: the time.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        item: SegmentedObject,
        now: float,
        limits: FollowLimits | None = None,
    ) -> None:
        self._segmenter = segmenter
        self._limits = limits or FollowLimits()
        self._lost_at: float | None = None  # when asking last did not find it
        self._views: deque[np.ndarray] = deque(maxlen=_VIEWS)  # SAM features of each
        self._anchor(item, segmenter.pooled_features(item), now)

    def _anchor(self, item: SegmentedObject, features: np.ndarray, now: float) -> None:
        """Take a fresh answer's object about the current image as the new reference."""
        self._embedding = item.embedding
        self._views.append(features)
        self._previous = item
        self._anchored_at, self._lost_at = now, None

    def step(self, ask: Callable[[], SegmentedObject | None], now: float) -> FollowStep:
        """Find the object in the segmenter's current image.

        Args:
            ask: asks the question about that image, and gives the object of its answer; called
                where the mask is doubtful, but not again for a while after it found nothing, unless
                something looks like the object.
            now: the time.
        """
        item = self._segmenter.decode(self._embedding)
        features = self._segmenter.pooled_features(item)
        similarity = self._similarity(features)
        doubt = self._doubt(item, similarity)
        interval = self._limits.reground_interval
        is_due = now - self._anchored_at > interval
        if not doubt:
            self._previous, self._lost_at = item, None
            if similarity < _NEW_VIEW:
                self._views.append(features)
            if not is_due:
                return FollowStep(item)
        elif self._lost_at is not None:
            looks_like_it = item.area > 0 and similarity >= self._limits.min_similarity
            wait = (min(_RETRY, interval) if looks_like_it else interval) - (now - self._lost_at)
            if wait > 0:
                return FollowStep(
                    None, f"{doubt}; the question will be asked again in {wait:.1f} s"
                )
        target = ask()
        if target is None:
            found = "did not find it"
        else:
            features = self._segmenter.pooled_features(target)
            similarity = self._similarity(features)
            if similarity >= self._limits.min_similarity:
                self._anchor(target, features, now)
                return FollowStep(target)
            # Where the object has left the view, an answer may point at something else.
            found = f"found what looks different (cosine {similarity:.2f})"
        if not doubt:
            self._anchored_at = now
            return FollowStep(item)
        self._lost_at = now
        return FollowStep(
            None,
            f"{doubt}, and asking again {found}; the question will be asked again in "
            f"{interval:g} s",
        )

    def _similarity(self, features: np.ndarray) -> float:
        return max(_cosine(view, features) for view in self._views)

    def _doubt(self, item: SegmentedObject, similarity: float) -> str:
        limits, previous = self._limits, self._previous
        if item.area == 0:
            return "there is no mask"
        if item.mask.shape != previous.mask.shape:
            return "the image has another size"
        overlap = np.count_nonzero(item.mask & previous.mask)
        iou = overlap / np.count_nonzero(item.mask | previous.mask)
        if iou < limits.min_iou:
            return f"the mask's IoU with the last one is {iou:.2f}"
        shift = np.linalg.norm(_centroid(item.mask) - _centroid(previous.mask))
        shift /= np.hypot(*item.mask.shape)
        if shift > limits.max_shift:
            return f"the mask moved by {shift:.0%} of the picture"
        ratio = max(item.area, previous.area) / min(item.area, previous.area)
        if ratio > limits.max_area_ratio:
            return f"the mask's area changed by a factor of {ratio:.1f}"
        if similarity < limits.min_similarity:
            return f"what is under the mask looks different (cosine {similarity:.2f})"
        return ""


def _centroid(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([rows.mean(), columns.mean()])


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))

"""Camera messages matched by stamp, and the newest matched frame in one slot.

Nothing here knows ROS: messages are read through their `header.stamp` alone, and converted by who
needs them, so that a camera at 30 Hz costs next to nothing while no question is asked.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

_NANOSECONDS = 1_000_000_000
DEPTH_PATIENCE = 1.0  # seconds that an image waits for its depth
_DEPTH_EXPECTED = 1 * _NANOSECONDS  # depth comes if it came this recently, by stamps
_CLOCK_JUMP = 1 * _NANOSECONDS  # stamps further back than this mean a new bag or a reset clock
_POLL = 0.02  # seconds between looks whether to wait on
_HISTORY = 30  # messages of each topic that wait for their partner: at 30 Hz a second
_IMAGES = 60  # images that do: at 60 Hz as many as depth is waited for


def stamp_ns(message: Any) -> int:
    """Stamp of a message with a header, in nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * _NANOSECONDS + stamp.nanosec


@dataclass(frozen=True, eq=False)
class Frame:
    """The messages of one moment.

    Attributes:
        image: sensor_msgs Image or CompressedImage.
        depth: the same of the depth camera, or None.
        camera_info: of the image, or None.
        depth_camera_info: of the depth, if it has its own.
        received_at: monotonic time of arrival, in seconds.
        is_of_request: whether a request brought them, instead of the camera.
    """

    image: Any
    depth: Any = None
    camera_info: Any = None
    depth_camera_info: Any = None
    received_at: float = field(default_factory=time.monotonic)
    is_of_request: bool = False

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image, in nanoseconds."""
        return stamp_ns(self.image)


@dataclass
class FrameCounts:
    """What became of the messages since the node started."""

    images: int = 0
    depths: int = 0
    frames: int = 0  # images that became the newest frame
    unused: int = 0  # frames that a newer one replaced before any question needed them
    unmatched: int = 0  # images given up because no depth came within sync_slop
    out_of_order: int = 0  # images older than the newest frame
    resets: int = 0  # stamps that jumped back


class FrameBuffer:
    """Matches images with depth by stamp: exactly, else the nearest within `sync_slop` seconds.

    Thread-safe; subscriptions add messages, the worker reads the newest frame.
    """

    def __init__(self, sync_slop: float = 0.02) -> None:
        self.sync_slop = sync_slop
        self.counts = FrameCounts()
        self._changed = threading.Condition()
        self._images: deque[tuple[Any, float]] = deque(maxlen=_IMAGES)
        self._depths: deque[Any] = deque(maxlen=_HISTORY)
        self._infos: deque[Any] = deque(maxlen=_HISTORY)
        self._depth_infos: deque[Any] = deque(maxlen=_HISTORY)
        self._newest: Frame | None = None
        self._newest_used = False
        self._first_depth_at = 0.0  # monotonic time, in seconds

    def add_image(self, message: Any) -> None:
        """An image has arrived."""
        with self._changed:
            self.counts.images += 1
            self._reset_if_clock_jumped(stamp_ns(message))
            if self._newest is not None and stamp_ns(message) < self._newest.stamp_ns:
                self.counts.out_of_order += 1
                return
            if len(self._images) == _IMAGES:
                self.counts.unmatched += 1
            self._images.append((message, time.monotonic()))
            self._match()

    def add_depth(self, message: Any) -> None:
        """A depth image has arrived."""
        with self._changed:
            self.counts.depths += 1
            if not self._depths:
                self._first_depth_at = time.monotonic()
            self._depths.append(message)
            self._improve_newest()
            self._match()

    def add_camera_info(self, message: Any) -> None:
        """The image's camera_info has arrived."""
        with self._changed:
            self._infos.append(message)
            self._changed.notify_all()

    def add_depth_camera_info(self, message: Any) -> None:
        """The depth image's own camera_info has arrived."""
        with self._changed:
            self._depth_infos.append(message)

    def newest(self) -> Frame | None:
        """The newest matched frame, which from now on counts as used."""
        with self._changed:
            self._match()  # an image may have waited long enough
            self._newest_used = True
            return self._with_infos(self._newest)

    def wait_newer(self, than: Frame | None, timeout: float) -> Frame | None:
        """The newest frame once it is another one than `than`; None after `timeout` seconds."""
        with self._changed:
            self._match()
            # Not by stamp: some drivers leave it at zero.
            seen = None if than is None else than.image
            newer = self._changed.wait_for(
                lambda: self._newest is not None and self._newest.image is not seen, timeout
            )
            if not newer:
                return None
            self._newest_used = True
            return self._with_infos(self._newest)

    def with_own_infos(
        self,
        frame: Frame,
        patience: float = 0.0,
        is_stopped: Callable[[], object] = lambda: False,
    ) -> Frame:
        """The frame with the camera_info of its stamp, where that has come since.

        Args:
            patience: seconds after the first depth in which to wait for the first camera_info.
            is_stopped: asked while waiting; once true, nobody waits any more.
        """
        with self._changed:
            if frame.depth is not None and frame.camera_info is None:
                end = self._first_depth_at + patience
                while not (self._infos or is_stopped() or time.monotonic() > end):
                    self._changed.wait(_POLL)
            info = _nearest(self._infos, frame.stamp_ns, self.sync_slop)
            depth_info = _nearest(self._depth_infos, frame.stamp_ns, self.sync_slop)
            info = info or frame.camera_info or _last(self._infos)
            depth_info = depth_info or frame.depth_camera_info or _last(self._depth_infos)
        if info is frame.camera_info and depth_info is frame.depth_camera_info:
            return frame
        return replace(frame, camera_info=info, depth_camera_info=depth_info)

    def clear(self) -> None:
        """Forget all messages, so that no old frame answers a new question."""
        with self._changed:
            self._clear()

    def _clear(self) -> None:
        for messages in (self._images, self._depths, self._infos, self._depth_infos):
            messages.clear()
        self._newest = None

    def _reset_if_clock_jumped(self, stamp: int) -> None:
        if self._newest is not None and stamp < self._newest.stamp_ns - _CLOCK_JUMP:
            self.counts.resets += 1
            latest = stamp + self.sync_slop * _NANOSECONDS
            for messages in (self._depths, self._infos, self._depth_infos):
                again = [message for message in messages if stamp_ns(message) <= latest]
                messages.clear()
                messages.extend(again)  # which have come before the image
            self._images.clear()
            self._newest = None

    def _match(self) -> None:
        """Make the newest image that has its depth, or needs none, the newest frame."""
        for i in reversed(range(len(self._images))):
            image, received_at = self._images[i]
            depth = _nearest(self._depths, stamp_ns(image), self.sync_slop)
            is_own = depth is not None and not self._nearer_may_come(stamp_ns(image))
            if not is_own and self._depth_may_come(stamp_ns(image), received_at):
                continue
            # Older images can no longer become the newest frame.
            self.counts.unmatched += i
            for _ in range(i + 1):
                self._images.popleft()
            if depth is None and self._newest_serves_for(stamp_ns(image)):
                self.counts.unmatched += 1
                return
            if self._newest is not None and not self._newest_used:
                self.counts.unused += 1
            self._newest = Frame(image, depth, received_at=received_at)
            self._newest_used = False
            self.counts.frames += 1
            self._changed.notify_all()
            return

    def _depth_may_come(self, stamp: int, received_at: float) -> bool:
        """Whether an image without depth should wait: depth comes, and is not past it yet."""
        if not self._depths or time.monotonic() - received_at > DEPTH_PATIENCE:
            return False
        newest = stamp_ns(self._depths[-1])
        is_past = newest > stamp + int(self.sync_slop * _NANOSECONDS)
        # A camera that is triggered now and then: the picture before had depth.
        had_depth = self._newest is not None and self._newest.depth is not None
        comes = stamp - newest < _DEPTH_EXPECTED or (had_depth and len(self._images) == 1)
        return comes and not is_past

    def _nearer_may_come(self, stamp: int) -> bool:
        """Whether the next depth, if they come evenly, lies nearer to a stamp than the last."""
        if len(self._depths) < 2:
            return False
        before, last = stamp_ns(self._depths[-2]), stamp_ns(self._depths[-1])
        return stamp - last > (last - before) / 2 > 0

    def _newest_serves_for(self, stamp: int) -> bool:
        """Whether the newest frame, since it has depth, is better than an image without.

        So depth that is slower than the images does not come and go.
        """
        newest = self._newest
        if newest is None or newest.depth is None:
            return False
        return stamp - newest.stamp_ns < _DEPTH_EXPECTED

    def _improve_newest(self) -> None:
        """Give the newest frame a depth that lies nearer than the one it was matched with."""
        frame = self._newest
        if frame is None:
            return
        depth = _nearest(self._depths, frame.stamp_ns, self.sync_slop)
        if depth is not None and depth is not frame.depth:
            self._newest = replace(frame, depth=depth)

    def _with_infos(self, frame: Frame | None) -> Frame | None:
        """The frame with the camera_info that is known by now."""
        if frame is None:
            return None
        # Intrinsics seldom change: one of another stamp is better than none.
        info = _nearest(self._infos, frame.stamp_ns, self.sync_slop) or _last(self._infos)
        depth_info = _nearest(self._depth_infos, frame.stamp_ns, self.sync_slop)
        depth_info = depth_info or _last(self._depth_infos)
        if info is not frame.camera_info or depth_info is not frame.depth_camera_info:
            self._newest = replace(frame, camera_info=info, depth_camera_info=depth_info)
        return self._newest


def _last(messages: deque[Any]) -> Any:
    return messages[-1] if messages else None


def _nearest(messages: deque[Any], stamp: int, slop: float) -> Any:
    """The message of this very stamp, else the nearest within `slop` seconds, else None."""
    # Of several as near the newest: some drivers leave all stamps at zero.
    newest_first = reversed(messages)
    best = min(newest_first, key=lambda message: abs(stamp_ns(message) - stamp), default=None)
    if best is None or abs(stamp_ns(best) - stamp) > slop * _NANOSECONDS:
        return None
    return best

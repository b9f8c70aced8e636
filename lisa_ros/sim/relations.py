"""Which object is meant by a place or a size: only answers on which all people agree.

Every function looks at all objects in view, the unclear ones among them, and returns None
where the answer is not clear-cut or would be an unclear object.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from lisa_ros.sim.view import VisibleObject

SIDE_MARGIN = 0.06  # of the image width between two centres
NEAR_MARGIN = 0.05  # metres between two distances
NEAR_RATIO = 1.05  # between two distances
LENGTH_RATIO = 1.15  # between two longest sides
AREA_RATIO = 1.3  # between two visible areas
CLOSER_RATIO = 1.35  # between two distances in the image
GAP_MARGIN = 0.03  # of the image width between two gaps between boxes


class Layout:
    """The objects of a view, and where they are to each other.

    Args:
        visible: the objects that one may ask for.
        unclear: those that one may not ask for.
        image_size: height and width in pixels.
    """

    def __init__(
        self,
        visible: Sequence[VisibleObject],
        unclear: Sequence[VisibleObject],
        image_size: tuple[int, int],
    ) -> None:
        self.visible = sorted(visible, key=lambda item: (item.centre_xy[0], item.instance))
        self.unclear = tuple(unclear)
        self.everything = (*self.visible, *self.unclear)
        self.height, self.width = image_size
        self._unclear_instances = {item.instance for item in unclear}

    def of_class(self, class_name: str) -> list[VisibleObject] | None:
        """All objects of a class from left to right; None if one of them is unclear."""
        if any(item.class_name == class_name for item in self.unclear):
            return None
        return [item for item in self.visible if item.class_name == class_name]

    def shows_any_of(self, class_names: Collection[str]) -> bool:
        """Whether an object of one of the classes is in view, if only a pixel of it."""
        return any(item.class_name in class_names for item in self.everything)

    def along_x(
        self, items: Sequence[VisibleObject], rank: int, from_right: bool = False
    ) -> VisibleObject | None:
        """The object at a place in the row from left to right, or from right to left."""
        row = sorted(items, key=lambda item: item.centre_xy[0], reverse=from_right)
        if len(row) < rank + 2:
            return None
        places = [item.centre_xy[0] for item in row]
        margin = SIDE_MARGIN * self.width
        if any(abs(places[i + 1] - places[i]) < margin for i in range(rank + 1)):
            return None
        return self._clear(row[rank])

    def by_distance(self, items: Sequence[VisibleObject], farthest: bool) -> VisibleObject | None:
        """The object nearest to the camera, or the farthest one."""
        row = sorted(items, key=lambda item: item.distance, reverse=farthest)
        if len(row) < 2 or any(math.isnan(item.distance) for item in row):
            return None
        return self._clear(row[0]) if self.deeper(row[0], row[1]) != 0 else None

    @staticmethod
    def deeper(a: VisibleObject, b: VisibleObject) -> int:
        """1 if `a` is clearly farther than `b`, -1 if it is clearly nearer, else 0."""
        near, far = sorted((a.distance, b.distance))
        if not (far - near >= NEAR_MARGIN and far >= NEAR_RATIO * near):
            return 0
        return 1 if a.distance > b.distance else -1

    def by_size(self, items: Sequence[VisibleObject], biggest: bool) -> VisibleObject | None:
        """The biggest or smallest object: so by its true length, and so in the image."""
        if len(items) < 2:
            return None
        first = sorted(items, key=lambda item: item.size_m, reverse=biggest)[0]
        for other in items:
            small, large = (other, first) if biggest else (first, other)
            if other is not first and (
                large.size_m < LENGTH_RATIO * small.size_m
                or large.pixels < AREA_RATIO * small.pixels
            ):
                return None
        return self._clear(first)

    def beside(self, anchor: VisibleObject, right: bool) -> VisibleObject | None:
        """The next object to the left or right of an anchor, at about the same height."""
        side = 1 if right else -1
        margin = SIDE_MARGIN * self.width
        x, y = anchor.centre_xy
        there: list[tuple[float, VisibleObject]] = []
        for item in self.everything:
            if item is anchor:
                continue
            step = side * (item.centre_xy[0] - x)
            if abs(step) < margin and abs(item.centre_xy[1] - y) < 0.2 * self.height:
                return None  # neither left nor right, but close
            if step > 0:
                there.append((step, item))
        there.sort(key=lambda pair: pair[0])
        if not there or there[0][0] < margin:
            return None
        if len(there) > 1 and there[1][0] - there[0][0] < margin:
            return None
        found = there[0][1]
        if abs(found.centre_xy[1] - y) > 0.2 * self.height or there[0][0] > 0.4 * self.width:
            return None
        return self._clear(found)

    def on_side(
        self, items: Sequence[VisibleObject], anchor: VisibleObject, right: bool
    ) -> list[VisibleObject]:
        """Those of the items that are, or may be said to be, left or right of an anchor."""
        side = 1 if right else -1
        reach = -0.5 * SIDE_MARGIN * self.width
        x = anchor.centre_xy[0]
        return [
            item for item in items if item is not anchor and side * (item.centre_xy[0] - x) > reach
        ]

    def next_to(self, anchor: VisibleObject) -> VisibleObject | None:
        """The object nearest to an anchor, in the image and not much nearer or farther away.

        Nearest from centre to centre and from edge to edge: what touches a big thing is next to it.
        """
        row = sorted(
            (math.dist(anchor.centre_xy, item.centre_xy), item.instance, item)
            for item in self.everything
            if item is not anchor
        )
        if not row or row[0][0] > 0.3 * self.width:
            return None
        if len(row) > 1 and row[1][0] < CLOSER_RATIO * row[0][0]:
            return None
        found = row[0][2]
        if not abs(found.distance - anchor.distance) < 0.25:
            return None
        enough = _gap(anchor, found) + GAP_MARGIN * self.width
        if any(_gap(anchor, item) < enough for _, _, item in row[1:]):
            return None
        return self._clear(found)

    def between(self, a: VisibleObject, b: VisibleObject) -> VisibleObject | None:
        """The only object between two others in the image."""
        if math.dist(a.centre_xy, b.centre_xy) < 0.25 * self.width:
            return None
        found = None
        for item in self.everything:
            if item is a or item is b:
                continue
            along, across = self._on_line(item, a, b)
            if 0.1 < along < 0.9 and across < 0.45:
                if found is not None:
                    return None
                found = item if 0.25 < along < 0.75 and across < 0.22 else None
                if found is None:
                    return None
        return found and self._clear(found)

    @staticmethod
    def _on_line(item: VisibleObject, a: VisibleObject, b: VisibleObject) -> tuple[float, float]:
        """Place of an object along the line from a (0) to b (1), and its offset from the line."""
        ax, ay = a.centre_xy
        dx, dy = b.centre_xy[0] - ax, b.centre_xy[1] - ay
        px, py = item.centre_xy[0] - ax, item.centre_xy[1] - ay
        length2 = dx * dx + dy * dy
        return (px * dx + py * dy) / length2, abs(px * dy - py * dx) / length2

    def in_line(self, anchor: VisibleObject, behind: bool) -> VisibleObject | None:
        """The only object behind an anchor, or in front of it, as the camera sees it."""
        sign = 1 if behind else -1
        found = None
        left, _, right, _ = anchor.box_xyxy
        for item in self.everything:
            if item is anchor:
                continue
            overlap = min(right, item.box_xyxy[2]) - max(left, item.box_xyxy[0])
            if overlap <= 0 or self.deeper(item, anchor) == -sign:
                continue
            narrow = min(right - left, item.box_xyxy[2] - item.box_xyxy[0])
            clear = overlap >= 0.5 * narrow and self.deeper(item, anchor) == sign
            if found is not None or not clear or abs(item.distance - anchor.distance) > 0.35:
                return None
            found = item
        return found and self._clear(found)

    def _clear(self, item: VisibleObject) -> VisibleObject | None:
        return None if item.instance in self._unclear_instances else item


def _gap(a: VisibleObject, b: VisibleObject) -> float:
    """Pixels between the boxes of two objects; 0 where they touch."""
    across = max(a.box_xyxy[0], b.box_xyxy[0]) - min(a.box_xyxy[2], b.box_xyxy[2])
    down = max(a.box_xyxy[1], b.box_xyxy[1]) - min(a.box_xyxy[3], b.box_xyxy[3])
    return math.hypot(max(0, across), max(0, down))


Pick = Callable[[Layout, Sequence[VisibleObject]], "VisibleObject | None"]


def leftmost(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The first object from the left."""
    return layout.along_x(items, 0)


def rightmost(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The first object from the right."""
    return layout.along_x(items, 0, from_right=True)


def second_left(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The second object from the left, of three or more."""
    return layout.along_x(items, 1) if len(items) > 2 else None


def second_right(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The second object from the right, of three or more."""
    return layout.along_x(items, 1, from_right=True) if len(items) > 2 else None


def nearest(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The object nearest to the camera."""
    return layout.by_distance(items, farthest=False)


def farthest(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The object farthest from the camera."""
    return layout.by_distance(items, farthest=True)


def biggest(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The biggest object."""
    return layout.by_size(items, biggest=True)


def smallest(layout: Layout, items: Sequence[VisibleObject]) -> VisibleObject | None:
    """The smallest object."""
    return layout.by_size(items, biggest=False)

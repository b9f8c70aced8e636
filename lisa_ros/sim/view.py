"""Which objects of a scene a rendered frame shows, and how clearly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class ObjectInScene(Protocol):
    """What this module needs to know of a scene's object."""

    @property
    def instance(self) -> int:
        """Its value in the id image, from 1."""

    @property
    def class_name(self) -> str:
        """Its class."""

    @property
    def colour(self) -> str | None:
        """Its one colour, or None where it has several."""

    @property
    def length(self) -> float:
        """Its longest side in metres, whichever way it is turned."""


@dataclass(frozen=True)
class VisibleObject:
    """What a frame shows of one object.

    Attributes:
        instance: its value in the id image.
        class_name: its class, a key of `vocabulary.CLASS_FACTS`.
        colour: its one colour, or None where it has several.
        pixels: number of visible pixels.
        box_xyxy: box around the visible pixels, in pixels, the right and lower side exclusive.
        centre_xy: mean of the visible pixels.
        distance: median depth of the visible pixels in metres.
        size_m: longest side of the true object in metres.
    """

    instance: int
    class_name: str
    colour: str | None
    pixels: int
    box_xyxy: tuple[int, int, int, int]
    centre_xy: tuple[float, float]
    distance: float
    size_m: float


class View(NamedTuple):
    """The objects in a frame, each group from left to right.

    Attributes:
        visible: those with enough pixels to ask for.
        unclear: those with a few pixels: they are never said to be there, nor to be absent.
    """

    visible: list[VisibleObject]
    unclear: list[VisibleObject]


def visible_objects(
    frame_ids: np.ndarray,
    frame_depth: np.ndarray,
    objects: Iterable[ObjectInScene],
    min_pixels: int,
) -> View:
    """What a frame shows of each object; objects without any pixel are in neither group.

    Args:
        frame_ids: uint8 (H, W), the instance at each pixel, 0 for the background.
        frame_depth: float32 (H, W) in metres; NaN and values up to 0 are holes.
        objects: the objects of the scene.
        min_pixels: fewest pixels of an object that one may ask for.

    Raises:
        ValueError: the two images differ in size.
    """
    if frame_ids.shape != frame_depth.shape:
        raise ValueError(
            f"expected ids and depth of one size, got {frame_ids.shape} and {frame_depth.shape}"
        )
    rows, columns = np.nonzero(frame_ids)
    ids = frame_ids[rows, columns]
    depths = frame_depth[rows, columns]
    order = np.argsort(ids, kind="stable")
    rows, columns, ids, depths = rows[order], columns[order], ids[order], depths[order]

    shown = View([], [])
    for thing in objects:
        start, stop = np.searchsorted(ids, [thing.instance, thing.instance + 1])
        pixels = int(stop - start)
        if not pixels:
            continue
        x, y, depth = columns[start:stop], rows[start:stop], depths[start:stop]
        depth = depth[np.isfinite(depth) & (depth > 0)]
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        enough = pixels >= min_pixels and len(depth) > 0
        (shown.visible if enough else shown.unclear).append(
            VisibleObject(
                instance=thing.instance,
                class_name=thing.class_name,
                colour=thing.colour,
                pixels=pixels,
                box_xyxy=box,
                centre_xy=(float(x.mean()), float(y.mean())),
                distance=float(np.median(depth)) if len(depth) else float("nan"),
                size_m=thing.length,
            )
        )
    for group in shown:
        group.sort(key=lambda item: (item.centre_xy[0], item.instance))
    return shown

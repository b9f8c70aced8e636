"""Samples on one sheet: pictures with their masks, and the words that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from lisa_ros.data.overlays import Font, draw_masks, load_font, wrap
from lisa_ros.data.samples import IGNORE, Sample
from lisa_ros.palette import COLOURS

_WIDTH, _HEIGHT = 400, 300  # of a picture, pixels
_GAP = 16
_LINE = 20
_SIZE = 15  # of the letters
_LINES = 8  # of words below a picture, at most
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)


def draw_tile(sample: Sample) -> Image.Image:
    """One sample: its picture, what can be asked for in the colour of its mask, its file."""
    picture = _shrink(sample.image, Image.Resampling.BOX)
    masks, marks = _tell_apart([_shrink_mask(t.mask, picture.shape[:2]) for t in sample.targets])
    font = load_font(_SIZE)
    lines = _lines(sample, marks, font)
    y = picture.shape[0] + 6
    tile = Image.new("RGB", (_WIDTH, y + (len(lines) + 1) * _LINE), _PAPER)
    tile.paste(Image.fromarray(draw_masks(picture, masks)))
    page = ImageDraw.Draw(tile)
    for indent, mark, tone, line in lines:
        if mark is not None:
            page.rectangle((2, y + 3, 14, y + 15), fill=mark)
        page.text((indent, y), line, tone, font)
        y += _LINE
    name = wrap(f"{sample.path.parent.name}/{sample.path.name}", _WIDTH, font, 1)[0]
    page.text((2, y), name, _FAINT, font)
    return tile


def draw_sheet(rows: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Tiles in rows, each row under its title; rows without tiles are left out."""
    rows = {title: tiles for title, tiles in rows.items() if tiles}
    columns = max((len(tiles) for tiles in rows.values()), default=1)
    heights = [2 * _LINE + max(t.height for t in tiles) + _GAP for tiles in rows.values()]
    size = (_GAP + columns * (_WIDTH + _GAP), _GAP + sum(heights))
    sheet = Image.new("RGB", size, _PAPER)
    page = ImageDraw.Draw(sheet)
    font = load_font(_SIZE + 5)
    top = _GAP
    for (title, tiles), height in zip(rows.items(), heights, strict=True):
        page.line((_GAP, top, size[0] - _GAP, top), fill=_FAINT)
        page.text((_GAP, top + 8), title, _INK, font)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (_GAP + column * (_WIDTH + _GAP), top + 2 * _LINE))
        top += height
    return sheet


Colour = tuple[int, int, int]
Line = tuple[int, Colour | None, Colour, str]  # indent, mark, tone of the words, words


def _tell_apart(masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[Colour]]:
    """The masks that differ, and the colour of each: texts of equal meaning have one mask."""
    different: list[np.ndarray] = []
    colours = []
    for mask in masks:
        same = (i for i, other in enumerate(different) if np.array_equal(mask, other))
        number = next(same, len(different))
        if number == len(different):
            different.append(mask)
        colours.append(COLOURS[number % len(COLOURS)])
    return different, colours


def _lines(
    sample: Sample,
    marks: Sequence[Colour],
    font: Font,
) -> list[Line]:
    """The words below a picture, as many lines as there is room for."""
    lines: list[Line] = []

    def add(words: str, most: int, tone: Colour, mark: Colour | None = None) -> None:
        indent = 20 if sample.targets else 2
        for i, line in enumerate(wrap(words, _WIDTH - indent, font, most)):
            lines.append((indent, mark if i == 0 else None, tone, line))

    for target, mark in zip(sample.targets, marks, strict=True):
        empty = "" if (target.mask == 1).any() else "  (nothing to mark)"
        most = 2 if len(sample.targets) > 1 else 3
        add(target.text + empty, most, _INK, mark)
    explanation = next((t.explanation for t in sample.targets if t.explanation), "")
    if explanation:
        add(explanation, 3, _FAINT)
    for question, answer in sample.turns:
        add(question, 2, _INK)
        add(answer, 2, _FAINT)
    if not lines:
        add("nothing to ask for", 1, _FAINT)
    return lines[:_LINES]


def _shrink(image: np.ndarray, how: Image.Resampling) -> np.ndarray:
    """As large as a tile allows, small pictures enlarged."""
    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, how))


def _shrink_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Keeps 0, 1 and `IGNORE`, and the thinnest things too: a pixel with any of a mask is in it.

    Of what would share a pixel, the target has it.
    """

    def covered(part: np.ndarray) -> np.ndarray:
        grey = Image.fromarray(part.astype(np.float32))
        return np.asarray(grey.resize(size[::-1], Image.Resampling.BOX)) > 0

    return np.where(covered(mask == 1), 1, IGNORE * covered(mask == IGNORE)).astype(np.uint8)

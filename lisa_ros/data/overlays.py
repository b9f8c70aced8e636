"""Masks drawn on their picture, and words below it, for people."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lisa_ros.data.samples import IGNORE
from lisa_ros.palette import COLOURS

_FILL = 0.45  # share of the colour inside a mask
_IGNORED = (128, 128, 128)

# Usual fonts with more letters than Pillow's own one, which shows a box even for é.
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def load_font(size: float) -> Font:
    """The letters of all pictures: a font of the system that has many, or else Pillow's own."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def draw_masks(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Each mask filled and outlined in a colour of the palette; what is ignored, hatched in grey.

    Args:
        image: RGB uint8 (H, W, 3).
        masks: uint8 (H, W) of 0, 1 and `IGNORE`.

    Returns:
        RGB uint8 (H, W, 3).
    """
    overlay = image.copy()
    for mask in masks:
        height, width = mask.shape
        stripes = (np.arange(height)[:, None] + np.arange(width)) % 6 < 2
        overlay[(mask == IGNORE) & stripes] = _IGNORED
    for i, mask in enumerate(masks):
        inside = mask == 1
        colour = np.array(COLOURS[i % len(COLOURS)])
        overlay[inside] = (overlay[inside] * (1 - _FILL) + colour * _FILL).astype(np.uint8)
    thick = max(1, round(max(image.shape) / 400))
    for i, mask in enumerate(masks):
        # A white rim keeps the outline readable on a background of the object's own colour.
        overlay[_rim(mask == 1, 2 * thick)] = (255, 255, 255)
        overlay[_rim(mask == 1, thick)] = COLOURS[i % len(COLOURS)]
    return overlay


def add_caption(image: np.ndarray, text: str) -> np.ndarray:
    """The image with lines of text below; RGB uint8 (H + some, W, 3)."""
    size = max(12, image.shape[1] // 40)
    font = load_font(size)
    lines = wrap(text, image.shape[1] - size, font, 4)
    strip = Image.new("RGB", (image.shape[1], round(size * (1.4 * len(lines) + 0.6))), "white")
    for i, line in enumerate(lines):
        position = (size // 2, round(size * (1.4 * i + 0.4)))
        ImageDraw.Draw(strip).text(position, line, "black", font)
    return np.concatenate([image, np.asarray(strip)])


def wrap(text: str, width: int, font: Font, most: int) -> list[str]:
    """The text in at most so many lines of so many pixels; dots stand for what is left out."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < most:
        is_last = len(lines) == most - 1
        cut = _fitting(rest, width, font)
        if cut < len(rest) and is_last:
            lines.append(
                rest[: _fitting(rest, width - font.getlength("..."), font)].rstrip() + "..."
            )
            break
        # At a space where there is one; a word wider than the line is cut anywhere.
        space = rest.rfind(" ", 0, cut + 1)
        if cut < len(rest) and space > 0:
            cut = space
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return lines or [""]


def _fitting(text: str, width: float, font: Font) -> int:
    """How many letters fit on a line, 1 or more."""
    longest = min(len(text), int(width))  # no letter is narrower than a pixel
    return max(
        1, bisect_right(range(1, longest + 1), width, key=lambda n: font.getlength(text[:n]))
    )


def _rim(inside: np.ndarray, width: int) -> np.ndarray:
    """The pixels just outside a mask; bool (H, W)."""
    grown = Image.fromarray(inside).convert("L").filter(ImageFilter.MaxFilter(2 * width + 1))
    return (np.asarray(grown) > 0) & ~inside

"""Makes textures small: cropped to what is used, without seams, grey where to be tinted."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from meshes.solids import Part


def crop_texture(part: Part, longest: int) -> Part:
    """The texture reduced to what is used of it, at most `longest` pixels wide and high."""
    assert part.texture is not None
    assert part.uv is not None
    uv, image = part.uv, part.texture
    centre = np.floor(uv.mean(axis=(1), keepdims=True) + 1e-6)
    shifted = uv - centre  # a whole number of repeats does not matter
    if shifted.min() >= -0.02 and shifted.max() <= 1.02:
        uv = shifted.clip(0, 1)
    if uv.min() >= 0 and uv.max() <= 1:
        low, high = uv.reshape(-1, 2).min(0), uv.reshape(-1, 2).max(0)
        low = np.maximum(low - 0.01, 0)
        high = np.minimum(high + 0.01, 1)
        w, h = image.size
        box = (
            int(low[0] * w),
            int((1 - high[1]) * h),
            int(np.ceil(high[0] * w)),
            int(np.ceil((1 - low[1]) * h)),
        )
        box = (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
        image = image.crop(box)
        low = np.array([box[0] / w, 1 - box[3] / h])
        high = np.array([box[2] / w, 1 - box[1] / h])
        uv = (uv - low) / (high - low)
    scale = min(1.0, longest / max(image.size))
    image = image.resize([max(4, round(scale * s)) for s in image.size], Image.Resampling.LANCZOS)
    return replace(part, uv=uv, texture=image)


def bleed_texture(part: Part) -> Part:
    """Fills what no triangle shows with the nearest shown colour, so no seam shines through."""
    assert part.texture is not None
    assert part.uv is not None
    pixels = np.asarray(part.texture)
    if part.uv.min() < -0.01 or part.uv.max() > 1.01:  # it repeats: all of it is shown
        return part
    height, width = pixels.shape[:2]
    shown = np.ones((height, width), np.uint8)
    corners = part.uv * [width, -height] + [-0.5, height - 0.5]
    for triangle in np.round(corners).astype(np.int32):
        cv2.fillConvexPoly(shown, triangle, 0)
    shown = cv2.dilate(shown, np.ones((3, 3), np.uint8))  # the rim may be background already
    if shown.all() or not shown.any():
        return part
    _, nearest = cv2.distanceTransformWithLabels(
        shown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, 3), np.uint8)
    colours[nearest[shown == 0]] = pixels[shown == 0]
    return replace(part, texture=Image.fromarray(colours[nearest]))


def make_tintable(part: Part) -> Part:
    """A bright grey texture, to be multiplied by a colour: `part.colour`, or another."""
    if part.texture is None:
        return part
    pixels = np.asarray(part.texture, np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    bright = np.clip(grey / max(np.percentile(grey, 85), 1) * 235, 60, 255).astype(np.uint8)
    texture = Image.fromarray(bright).convert("RGB")
    if np.ptp(pixels, axis=2).max() == 0:  # it was grey and meant to be tinted
        return replace(part, texture=texture)
    colour = tuple(float(c) for c in np.median(pixels.reshape(-1, 3), axis=0) / 255)
    return replace(part, texture=texture, colour=colour)

"""Where a predicted mask is right and where it is wrong, drawn on the picture."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from lisa_ros.evaluation.metrics import IGNORE
from lisa_ros.palette import BLUE, ORANGE, YELLOW

HIT, MISSED, EXTRA = BLUE, YELLOW, ORANGE
_FILL = 0.55  # share of the colour
_COLOUR_KEPT = 0.5  # of the picture, so that its own colours are not taken for marks
_HATCH = 5  # pixels between the lines over what is ignored
_SIZE = (360, 270)  # most width and height in pixels
_JPEG_QUALITY = 85


def draw_errors(image: np.ndarray, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """A small picture: hits blue, missed pixels yellow, extra ones orange, ignored ones hatched.

    The true mask has a white outline.

    Args:
        image: RGB uint8 (H, W, 3).
        target: (H, W) of 0, 1 and 255 (ignored).
        prediction: bool (H, W).

    Returns:
        RGB uint8 of at most 360 x 270 pixels.
    """
    height, width = target.shape
    scale = min(_SIZE[0] / width, _SIZE[1] / height, 1.0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    truth = np.asarray(Image.fromarray(target.astype(np.uint8)).resize(size, 0))
    found = np.asarray(Image.fromarray(prediction).resize(size, 0))
    grey = small.mean(axis=2, keepdims=True)
    drawn = grey + _COLOUR_KEPT * (small - grey)
    for area, colour in (
        ((truth == 1) & found, HIT),
        ((truth == 1) & ~found, MISSED),
        ((truth == 0) & found, EXTRA),
    ):
        drawn[area] = (1 - _FILL) * drawn[area] + _FILL * np.array(colour)
    wanted = truth == 1
    drawn[wanted & ~_shrunk(wanted)] = 255
    rows, columns = np.indices(truth.shape)
    drawn[(truth == IGNORE) & ((rows + columns) % _HATCH == 0)] = 255
    return drawn.round().astype(np.uint8)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """A mask without its outermost pixels, bool (H, W)."""
    padded = np.pad(mask, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & mask


def jpeg_uri(image: np.ndarray) -> str:
    """A picture, RGB uint8 (H, W, 3), as text that a page can hold."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")

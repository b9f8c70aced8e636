"""Pictures from files, and any usual array, as RGB uint8 (H, W, 3)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class ImageReadError(Exception):
    """A picture file cannot be used; the message names it, the reason and the mend."""


def read_image(path: str | Path) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3), turned upright by its EXIF tag, transparency dropped.

    Raises:
        ImageReadError: the file is missing, empty, corrupt, truncated, or no picture.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ImageReadError(f"{path} {what}; expected a picture file, such as a PNG or JPEG")
    if path.stat().st_size == 0:
        raise ImageReadError(f"{path} is empty (0 bytes); expected a picture")
    try:
        with warnings.catch_warnings():
            # A camera of 100 megapixels is no attack; Pillow still refuses twice its limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith(("I", "F")):
                    return to_rgb(np.asarray(upright))
                return np.array(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise ImageReadError(
            f"{path} is no picture that can be read; expected PNG, JPEG, WebP, BMP or TIFF"
        ) from None
    except Image.DecompressionBombError:
        raise ImageReadError(
            f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; scale it down"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageReadError(f"{path} is corrupt or truncated: {error}") from None


def to_rgb(array: np.ndarray) -> np.ndarray:
    """Grey (H, W) or (H, W, 1), grey with alpha, RGB or RGBA as RGB uint8 (H, W, 3).

    16-bit values lose their low byte; integers above 16 bits are taken as 16-bit pictures; floats
    are taken as 0 to 1.
    """
    if array.dtype.kind == "f":
        array = np.nan_to_num(array).clip(0, 1) * 255
    elif array.dtype != np.uint8:
        array = array.clip(0, 65535) >> 8
    array = array.astype(np.uint8)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ImageReadError(f"expected 1 to 4 channels (H, W, C), got shape {array.shape}")
    colours = array[..., :3] if array.shape[2] >= 3 else array[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(colours)

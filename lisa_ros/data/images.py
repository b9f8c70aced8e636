"""Pictures from files, and any usual array, as RGB uint8 (H, W, 3)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageReadError(Exception):
    """A picture file cannot be used; the message names it, the reason and the mend."""


def read_image(path: str | Path) -> np.ndarray:
    """A picture as RGB uint8 (H, W, 3), turned upright by its EXIF tag, transparency dropped.

    Raises:
        ImageReadError: the file is missing, empty, corrupt, truncated, no picture, or holds floats
            outside 0 to 1.
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
            # Not by its name: Pillow would map a turned TIFF into memory with its sides swapped.
            with path.open("rb") as file, Image.open(file) as picture:
                upright = _upright(picture)
                if upright.mode.startswith(("I", "F")):
                    return to_rgb(_values(upright, picture.format))
                return np.array(upright.convert("RGB"))
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from None
    except MemoryError:
        raise  # no fault of the file
    except UnidentifiedImageError:
        raise ImageReadError(
            f"{path} is no picture that can be read; expected PNG, JPEG, WebP, BMP or TIFF"
        ) from None
    except Image.DecompressionBombError:
        raise ImageReadError(
            f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; scale it down"
        ) from None
    except Exception as error:  # Pillow raises whatever its reading of garbled bytes meets
        raise ImageReadError(f"{path} is corrupt or truncated: {error}") from None


def _upright(picture: Image.Image) -> Image.Image:
    """Turned by its EXIF tag alone: `ImageOps.exif_transpose` stumbles over other, odd tags."""
    picture.load()
    turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    return picture if turn is None else picture.transpose(turn)


def _values(picture: Image.Image, file_format: str | None) -> np.ndarray:
    """The pixels of a picture of integers or floats, those of 16 bits as uint16."""
    values = np.asarray(picture)
    if picture.mode == "I" and file_format != "TIFF":
        # Pillow widens 16 bits to 32: a PGM's, and in older versions a PNG's.
        return values.astype(np.uint16)
    return values


def to_rgb(array: np.ndarray) -> np.ndarray:
    """Grey (H, W) or (H, W, 1), grey with alpha, RGB or RGBA as RGB uint8 (H, W, 3).

    16-bit values lose their low byte, and so do those of a wider type if one is above 255, as of a
    16-bit picture.  Floats are 0 to 1 (NaN is black), truth values black and white.

    Raises:
        ImageReadError: another number of channels, or floats outside 0 to 1.
    """
    kind = array.dtype.kind
    if kind == "f":
        if (array < 0).any() or (array > 1).any():
            raise ImageReadError(
                f"expected floats from 0 to 1, got {np.nanmin(array):g} to {np.nanmax(array):g}; "
                "divide them by the value of white, such as 255, or clip them"
            )
        array = np.nan_to_num(array) * 255
    elif kind == "b":
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:
        is_wide = (kind == "u" and array.dtype.itemsize == 2) or array.max(initial=0) > 255
        array = array.clip(0, 65535) >> 8 if is_wide else array.clip(0)
    array = array.astype(np.uint8)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ImageReadError(f"expected 1 to 4 channels (H, W, C), got shape {array.shape}")
    colours = array[..., :3] if array.shape[2] >= 3 else array[..., :1].repeat(3, axis=2)
    return np.ascontiguousarray(colours)

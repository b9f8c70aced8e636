"""RVL, the lossless depth compression that compressedDepth offers beside PNG.

A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017.
"""

from __future__ import annotations

import struct

import numpy as np

_MAX_PIXELS = 1 << 26  # the length of the data says nothing: an empty image takes 4 bytes
_MAX_DIGITS = 11  # of a 32-bit number, 3 bits each


def decode_rvl(data: bytes) -> np.ndarray:
    """Depth uint16 (H, W) of RVL data with the width and height (uint32) in front.

    The data are numbers written in nibbles: three bits each, the lowest first, and a top bit that
    says that more follow. They tell in turn how many pixels are zero, how many are not, and of each
    of these how far it is from the one before, with the sign in the lowest bit.

    Raises:
        ValueError: the data are truncated or garbage.
    """
    width, height = struct.unpack_from("=II", data) if len(data) >= 8 else (0, 0)
    size = width * height
    if not 0 < size <= _MAX_PIXELS:
        raise ValueError(f"RVL depth of 1 to {_MAX_PIXELS} pixels, got {width} x {height}")
    numbers = _numbers(data[8:])
    differences = (numbers >> 1) ^ -(numbers & 1)
    depth = np.zeros(size, np.int64)
    is_known = np.zeros(size, bool)
    i = pixel = 0
    while pixel < size:
        run = numbers[i : i + 2].tolist()
        zeros, known = run if len(run) == 2 else (size, size)
        pixel += zeros
        if pixel + known > size or i + 2 + known > len(numbers):
            raise ValueError(
                f"whole RVL depth of {width} x {height}, got {len(data)} bytes that are truncated "
                "or garbage"
            )
        depth[pixel : pixel + known] = differences[i + 2 : i + 2 + known]
        is_known[pixel : pixel + known] = True
        pixel += known
        i += 2 + known
    # Differences lead from one known pixel to the next, across the zeros between them.
    depth[is_known] = depth[is_known].cumsum()
    return depth.astype(np.uint16).reshape(height, width)


def _numbers(data: bytes) -> np.ndarray:
    """All whole numbers in the data, int64 (n,)."""
    words = np.frombuffer(data, np.uint32, len(data) // 4)
    nibbles = ((words[:, None] >> np.arange(28, -4, -4, dtype=np.uint32)) & 15).reshape(-1)
    last = np.flatnonzero(nibbles < 8)  # digit of each number
    if not len(last):
        return np.zeros(0, np.int64)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    if length.max() > _MAX_DIGITS:
        raise ValueError(f"RVL depth, got a number of {length.max()} digits; it is garbage")
    place = np.arange(last[-1] + 1) - np.repeat(first, length)
    digits = (nibbles[: last[-1] + 1] & 7).astype(np.int64) << (3 * place)
    return np.add.reduceat(digits, first)

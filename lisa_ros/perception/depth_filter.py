"""Which pixels of a mask show the object: what depth alone can tell, before any point is made.

A mask from a network is off by some pixels at its rim, and a depth camera smears its values there
("flying pixels").  Both leave points between the object and what lies behind it.  In the depth
image they are found by the jumps between neighbouring pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

# A mask reaches beyond its object by at most three pixels of SAM's 256 x 256 masks.
_SPILL_SHARE = 3 / 256  # of the longer side
_MIN_PIECE = 0.02  # of the largest piece; smaller ones are specks
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def spill_width(height: int, width: int) -> int:
    """Pixels by which a mask for an image of this size may reach beyond its object."""
    return max(2, round(_SPILL_SHARE * max(height, width)))


def erode(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask without its outermost pixels; the border of the image does not count as outside."""
    if not pixels:
        return mask
    size = 2 * pixels + 1
    kernel = np.ones((size, size), np.uint8)
    return cv2.erode(mask.view(np.uint8), kernel).view(bool)


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask with so many pixels more on each side."""
    if not pixels:
        return mask
    size = 2 * pixels + 1
    kernel = np.ones((size, size), np.uint8)
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def object_pixels(
    depth: np.ndarray, mask: np.ndarray, usable: np.ndarray, spill: int, jump: float
) -> np.ndarray:
    """The usable pixels without flying ones, other surfaces, and the background that spilled in.

    1. Of two neighbours with a jump between them, the farther one goes: it is a flying pixel or
       the rim of what lies behind.
    2. Background can hang on where the object touches it.  So what lies behind an edge goes too,
       as far as it is near the rim of the mask: it may be spilled.
    3. Of the pieces that remain, the largest stays, and with it those that lie beside it at the
       same depth across a gap (a hole in the depth, or something thin in front).

    Args:
        depth: float32 (h, w) metres; read only where `usable`.
        mask: bool (h, w), the object's mask; its outline is where spilled pixels lie.
        usable: bool (h, w), the pixels to choose from, inside the mask and with valid depth.
        spill: how far the mask may reach beyond the object, in pixels.
        jump: least difference of two neighbours on different surfaces, at 0 m; it grows with
            1 + z^2, like the noise of a stereo camera.  Metres.

    Returns:
        bool (h, w).
    """
    steps = _depth_in_jumps(depth, usable, jump)
    near, far = _sides_of_jumps(steps)
    labels, _ = _pieces(usable & ~far)
    edge = near & (labels > 0)
    rim = usable & ~erode(mask, spill)
    limit = ((rim | far) & ~edge).view(np.uint8)
    behind = (_grow(edge) & far).view(np.uint8)
    for _ in range(spill):
        behind = cv2.bitwise_and(cv2.dilate(behind, _CROSS), limit)
    return _largest_piece(steps, usable & ~far & ~behind.view(bool))


def regrow(
    depth: np.ndarray, kept: np.ndarray, usable: np.ndarray, pixels: int, tolerance: float
) -> np.ndarray:
    """The kept pixels, and so many around them as continue their surface.

    A pixel continues the surface if two kept ones in a line with it foretell its depth.  So the
    rim that erosion took from the object itself comes back, and flying pixels do not.

    Args:
        depth: float32 (h, w) metres.
        kept: bool (h, w).
        usable: bool (h, w), the pixels that may come back.
        pixels: how many rings.
        tolerance: how far the depth may be from what is foretold, metres.

    Returns:
        bool (h, w).
    """
    kept = kept.copy()
    for _ in range(2 * pixels):  # a corner comes back after its sides
        surface = np.where(kept, depth, np.float32(np.nan))
        missing = usable & ~kept
        for turn in range(4):
            z, new = np.rot90(surface, turn), np.rot90(missing, turn)
            foretold = 2 * z[:, 1:-1] - z[:, :-2]
            new = new[:, 2:] & (np.abs(np.rot90(depth, turn)[:, 2:] - foretold) <= tolerance)
            np.rot90(kept, turn)[:, 2:] |= new
    return kept


def depth_noise(depth: np.ndarray, kept: np.ndarray) -> float:
    """Standard deviation, metres, of what neighbouring kept pixels do not share; 0 if unknown.

    From second differences along the rows, which vanish on any smooth surface.
    """
    z = np.where(kept, depth, np.float32(np.nan))[::2]  # every other row is enough
    bends = np.abs(z[:, :-2] - 2 * z[:, 1:-1] + z[:, 2:])
    bends = bends[np.isfinite(bends)]
    if not len(bends):
        return 0.0
    return 1.4826 * float(np.median(bends)) / 6**0.5  # the difference has six times the variance


def _grow(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.view(np.uint8), _CROSS).view(bool)


def _depth_in_jumps(depth: np.ndarray, usable: np.ndarray, jump: float) -> np.ndarray:
    """Depth stretched such that everywhere 1 is the least jump; float32, NaN where unusable."""
    steps = np.arctan(depth) * np.float32(1 / jump)  # the integral of 1 / (jump (1 + z^2))
    steps[~usable] = np.nan
    return steps


def _sides_of_jumps(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearer and the farther pixels of all jumps between neighbours, bool (h, w) each."""
    near, far = np.zeros(steps.shape, bool), np.zeros(steps.shape, bool)
    for axis in (0, 1):
        first, second = _without_last(axis), _without_first(axis)
        change = steps[second] - steps[first]  # NaN is no jump
        up, down = change > 1, change < -1
        near[first] |= up
        far[second] |= up
        near[second] |= down
        far[first] |= down
    return near, far


def _without_first(axis: int) -> tuple[slice, ...]:
    return (slice(1, None),) if axis == 0 else (slice(None), slice(1, None))


def _without_last(axis: int) -> tuple[slice, ...]:
    return (slice(None, -1),) if axis == 0 else (slice(None), slice(None, -1))


def _pieces(usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the connected pieces but for specks, int32 (h, w), 0 for none; and their areas."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(usable.view(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # what is not usable
    areas[areas < _MIN_PIECE * areas.max()] = 0
    labels[areas[labels] == 0] = 0
    return labels, areas


def _largest_piece(steps: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The largest connected piece, and the pieces that continue it across gaps."""
    labels, areas = _pieces(usable)
    kept = np.zeros(len(areas), bool)
    kept[areas.argmax()] = areas.any()
    if np.count_nonzero(areas) > 1:
        pairs = np.concatenate(
            [_pairs_across_gaps(steps, labels), _pairs_across_gaps(steps.T, labels.T)]
        )
        known = 0
        while known != (known := int(kept.sum())):
            touched = kept[pairs].any(axis=1)
            kept[pairs[touched]] = True
    return kept[labels]


def _pairs_across_gaps(steps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pairs (n, 2) of pieces that follow each other in a row (of labels, 0 none) at one depth."""
    steps, labels = np.ascontiguousarray(steps), np.ascontiguousarray(labels)
    columns = np.arange(labels.shape[1], dtype=np.int32)
    last = np.maximum.accumulate(np.where(labels > 0, columns, np.int32(-1)), axis=1)
    before = last[:, :-1]  # the nearest pixel of a piece on the left
    starts = (labels[:, 1:] > 0) & (before >= 0) & (before != columns[:-1])
    rows, at = np.nonzero(starts)
    before, at = before[rows, at], at + 1
    same_depth = np.abs(steps[rows, at] - steps[rows, before]) <= 1
    pairs = np.stack([labels[rows, before], labels[rows, at]], axis=1)[same_depth]
    return np.unique(pairs, axis=0)

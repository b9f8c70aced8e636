"""From a mask and depth to points, a centroid and an oriented box; and the scene around it.

docs/geometry.md tells how, and with what accuracy.  Knows no messages: matrices are (4, 4) rigid
transforms, frames are the caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lisa_ros.perception.depth import GeometryError, Intrinsics, grid_ratio, on_depth_grid
from lisa_ros.perception.depth_filter import (
    depth_noise,
    dilate,
    erode,
    object_pixels,
    regrow,
    spill_width,
)
from lisa_ros.perception.oriented_box import OrientedBox, oriented_box
from lisa_ros.perception.point_filter import gather, without_stray

__all__ = [
    "GeometrySettings",
    "ObjectGeometry",
    "OrientedBox",
    "SceneCloud",
    "object_geometry",
    "scene_cloud",
]

_MIN_VOXEL = 0.0001  # m; far below any camera's error, and the numbers of the cells stay in int64
# Metres, times 1 + z^2: a time-of-flight camera's noise is constant, a stereo camera's grows.
_TOLERANCE = 0.003  # how far depth may be off its surface; twice the noise of common cameras
_JUMP = 0.01  # least difference of neighbouring pixels on two surfaces
_JUMP_DEVIATIONS = 7.0  # the same, in standard deviations, where a camera has more noise
_MIN_CELL = 4  # pixels; the point filter works on cells at least so wide


@dataclass(frozen=True)
class GeometrySettings:
    """How points are made.  Pixels are those of the depth image.

    Attributes:
        voxel_size: side of the cubes in which an object's points are averaged, metres, at least
            0.0001; 0: off.
        min_points: an object with fewer depth pixels than this, after the filters, has no geometry.
        min_depth: nearer depth is unknown, metres.
        max_depth: farther depth is unknown, metres.
        mask_erosion: pixels taken off the mask's rim, unless too little would remain of it.
        depth_filter: drop flying pixels, other surfaces and spilled background in the depth image.
        point_filter: drop points that lie far from their neighbours, by Open3D.
        scene_dilation: pixels added to a mask before the object is taken out of the scene.

    Raises:
        GeometryError: a negative number, a voxel too small, or an empty range of depth.
    """

    voxel_size: float = 0.005
    min_points: int = 50
    min_depth: float = 0.1
    max_depth: float = 10.0
    mask_erosion: int = 1
    depth_filter: bool = True
    point_filter: bool = True
    scene_dilation: int = 5

    def __post_init__(self) -> None:
        numbers = (self.voxel_size, self.min_points, self.mask_erosion, self.scene_dilation)
        if not all(number >= 0 for number in numbers):
            raise GeometryError(
                f"expected voxel_size, min_points, mask_erosion and scene_dilation of at least 0, "
                f"got {numbers}"
            )
        if 0 < self.voxel_size < _MIN_VOXEL:
            raise GeometryError(
                f"expected voxel_size 0 or at least {_MIN_VOXEL}, got {self.voxel_size}; "
                "its unit is the metre"
            )
        if not 0 <= self.min_depth < self.max_depth:
            raise GeometryError(
                "expected 0 <= min_depth < max_depth, got "
                f"min_depth {self.min_depth}, max_depth {self.max_depth}"
            )


@dataclass(frozen=True)
class ObjectGeometry:
    """An object in 3D, in one frame, metres.

    Attributes:
        points: float32 (N, 3), without NaN; empty if the object is not valid.
        colors: uint8 (N, 3), RGB.
        centroid: float64 (3,), the median of each coordinate of the depth pixels; NaN if not valid.
        box: around the visible surface; None if not valid.
        depth_valid_share: share, 0 to 1, of the mask's pixels with depth in range.
    """

    points: np.ndarray
    colors: np.ndarray
    centroid: np.ndarray
    box: OrientedBox | None
    depth_valid_share: float

    @property
    def is_valid(self) -> bool:
        """Whether at least `min_points` depth pixels were left."""
        return self.box is not None

    def transformed(self, matrix: np.ndarray) -> ObjectGeometry:
        """The same in another frame.

        Args:
            matrix: (4, 4), takes coordinates of this frame to the other.
        """
        rotation, translation = _rigid(matrix)
        return replace(
            self,
            points=_moved(self.points, rotation, translation),
            centroid=rotation @ self.centroid + translation,
            box=self.box and self.box.transformed(rotation, translation),
        )


@dataclass(frozen=True)
class SceneCloud:
    """The points of a frame, metres.

    Attributes:
        points: float32 (N, 3); NaN, where there is none, only if organized.
        colors: uint8 (N, 3), RGB.
        labels: uint16 (N,), 0 background, k the k-th object.
        organized: (height, width) of the image of which the points are the pixels, row by row, so
            that N = height * width; None if points are only those there are.
    """

    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray
    organized: tuple[int, int] | None

    def transformed(self, matrix: np.ndarray) -> SceneCloud:
        """The same in another frame; see `ObjectGeometry.transformed`."""
        return replace(self, points=_moved(self.points, *_rigid(matrix)))


def object_geometry(
    rgb: np.ndarray,
    depth_m: np.ndarray,
    mask: np.ndarray,
    intrinsics: Intrinsics,
    settings: GeometrySettings | None = None,
) -> ObjectGeometry:
    """An object's points, centroid and box in the camera's optical frame.

    Args:
        rgb: uint8 (H, W, 3).
        depth_m: float32 (h, w) metres, NaN unknown, registered to the image: of its size, or
            smaller by a whole ratio; then a depth pixel takes the mask and colour at its centre.
        mask: bool (H, W).
        intrinsics: of the image or of the depth; they are scaled to the depth.
        settings: the defaults if None.

    Returns:
        A geometry that is not valid if fewer than `min_points` pixels of depth remain.

    Raises:
        GeometryError: other types, or sizes that do not belong together.
    """
    settings = settings or GeometrySettings()
    grid = _Grid.of(rgb, depth_m, intrinsics)
    mask = grid.sampled(mask)
    window = _window(mask)
    depth, mask = depth_m[window], np.ascontiguousarray(mask[window])
    usable = mask & _in_range(depth, settings)
    area = np.count_nonzero(mask)
    share = float(np.count_nonzero(usable) / area) if area else 0.0

    core = erode(mask, settings.mask_erosion)
    if np.count_nonzero(usable & core) < settings.min_points:
        core = mask  # a thin object; better a few stray points than none
    kept = usable & core
    if np.count_nonzero(kept) < max(settings.min_points, 1):
        return _invalid(share)
    distance = float(np.median(depth[kept]))
    growth = 1 + distance**2
    tolerance = _TOLERANCE * growth
    noise = min(depth_noise(depth, kept), tolerance)  # more than that is a rough surface
    if settings.depth_filter:
        jump = max(_JUMP, _JUMP_DEVIATIONS * noise / growth)
        kept = object_pixels(depth, mask, kept, spill_width(*depth_m.shape), jump)
        if np.count_nonzero(kept) < settings.min_points:
            return _invalid(share)
    # The box is made of all pixels and not of voxels, since both the eroded rim and a voxel's
    # mean lie inside the object's outline.
    whole = regrow(depth, kept, usable & ~core, settings.mask_erosion, tolerance)
    points, colors = grid.points(depth, window, whole), grid.colors(window, whole)
    of_core = kept[whole]
    if settings.point_filter:
        pixel = distance / min(grid.intrinsics.fx, grid.intrinsics.fy)
        regular = without_stray(points, max(settings.voxel_size, _MIN_CELL * pixel, tolerance))
        points, colors, of_core = (_chosen(v, regular) for v in (points, colors, of_core))
        if np.count_nonzero(of_core) < settings.min_points:
            return _invalid(share)
    box = oriented_box(points, tolerance, noise)
    points, colors = _chosen(points, of_core), _chosen(colors, of_core)
    # Also of all pixels: among voxels, some spilled ones at the rim would count for more.
    centroid = np.array([np.median(column) for column in points.T])
    if settings.voxel_size:
        voxels = gather(points, settings.voxel_size)
        points = voxels.means(points).astype(np.float32)
        colors = (voxels.means(colors) + 0.5).astype(np.uint8)
    return ObjectGeometry(points, colors, centroid.astype(float), box, share)


def scene_cloud(
    rgb: np.ndarray,
    depth_m: np.ndarray,
    masks: Sequence[np.ndarray],
    intrinsics: Intrinsics,
    settings: GeometrySettings | None = None,
    *,
    organized: bool = False,
    include_objects: bool = False,
) -> SceneCloud:
    """The frame without its objects, or the whole frame, in the camera's optical frame.

    Every depth pixel in range is a point: nothing is filtered or averaged.

    Args:
        rgb, depth_m, intrinsics, settings: as for `object_geometry`.
        masks: bool (H, W) of each object.
        organized: keep a point for each pixel of the depth image, NaN where there is none.
        include_objects: keep the objects, labelled; where masks overlap, the first has the pixel.
            Else they are taken out, with `scene_dilation` pixels around them.

    Raises:
        GeometryError: other types, or sizes that do not belong together.
    """
    settings = settings or GeometrySettings()
    grid = _Grid.of(rgb, depth_m, intrinsics)
    shown = _in_range(depth_m, settings)
    labels = np.zeros(depth_m.shape, np.uint16)
    for label, mask in reversed(list(enumerate(masks, start=1))):
        sampled = grid.sampled(mask)
        if include_objects:
            labels[sampled] = label
        else:
            shown &= ~dilate(sampled, settings.scene_dilation)
    whole = np.s_[0 : depth_m.shape[0], 0 : depth_m.shape[1]]
    if not organized:
        points = grid.points(depth_m, whole, shown)
        return SceneCloud(points, grid.colors(whole, shown), labels[shown], None)
    everywhere = np.ones_like(shown)
    points = grid.points(np.where(shown, depth_m, np.float32(np.nan)), whole, everywhere)
    return SceneCloud(points, grid.colors(whole, everywhere), labels.ravel(), depth_m.shape)


@dataclass(frozen=True)
class _Grid:
    """The pixels of a depth image, and what the colour image holds there."""

    rgb: np.ndarray  # uint8 (h, w, 3)
    intrinsics: Intrinsics  # of the depth
    image_shape: tuple[int, int]  # of the colour image
    ratio: int

    @classmethod
    def of(cls, rgb: np.ndarray, depth: np.ndarray, intrinsics: Intrinsics) -> _Grid:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise GeometryError(
                f"expected an RGB image uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}"
            )
        if depth.ndim != 2 or depth.dtype != np.float32:
            raise GeometryError(
                f"expected depth float32 (h, w) in metres, got {depth.dtype} {depth.shape}; "
                "depth_in_metres makes it"
            )
        ratio = grid_ratio(rgb.shape, depth.shape)
        height, width = depth.shape
        camera = intrinsics.scaled_to(width, height)
        return cls(on_depth_grid(rgb, ratio), camera, rgb.shape[:2], ratio)

    def sampled(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the image on this grid."""
        if mask.shape != self.image_shape:
            raise GeometryError(
                f"expected a mask of the image's shape {self.image_shape}, got {mask.shape}"
            )
        sampled = np.ascontiguousarray(on_depth_grid(mask, self.ratio), bool)
        if not sampled.any():  # it lies between the samples
            rows, columns = sampled.shape
            blocks = mask.reshape(rows, self.ratio, columns, self.ratio)
            return np.asarray(blocks.any(axis=(1, 3)))
        return sampled

    def points(
        self, depth: np.ndarray, window: tuple[slice, slice], chosen: np.ndarray
    ) -> np.ndarray:
        """float32 (N, 3) of the chosen pixels of a window, whose depth is given."""
        x, y = self.intrinsics.rays(*window)
        pixels = np.flatnonzero(chosen)  # an index is several times faster than a mask
        points = np.empty((len(pixels), 3), np.float32)
        for i, coordinate in enumerate((x * depth, y[:, None] * depth, depth)):
            points[:, i] = coordinate.ravel()[pixels]
        return points

    def colors(self, window: tuple[slice, slice], chosen: np.ndarray) -> np.ndarray:
        """uint8 (N, 3) of the chosen pixels of a window."""
        flat = np.ascontiguousarray(self.rgb[window]).reshape(-1, 3)
        return np.take(flat, np.flatnonzero(chosen), axis=0)


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Around the mask, and a pixel more where the image goes on, so that its outline is inside."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return np.s_[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1]


def _in_range(depth: np.ndarray, settings: GeometrySettings) -> np.ndarray:
    return (depth >= settings.min_depth) & (depth <= settings.max_depth)  # NaN is in no range


def _chosen(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.compress(chosen, values, axis=0)  # several times faster than values[chosen]


def _invalid(depth_valid_share: float) -> ObjectGeometry:
    return ObjectGeometry(
        points=np.empty((0, 3), np.float32),
        colors=np.empty((0, 3), np.uint8),
        centroid=np.full(3, np.nan),
        box=None,
        depth_valid_share=depth_valid_share,
    )


def _rigid(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) of a transform."""
    matrix = np.asarray(matrix, float)
    if matrix.shape != (4, 4) or not np.allclose(
        matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-3
    ):
        raise GeometryError(f"expected a rigid transform (4, 4), got {matrix.tolist()}")
    return matrix[:3, :3], matrix[:3, 3]


def _moved(points: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    return (points @ rotation.T + translation).astype(np.float32)

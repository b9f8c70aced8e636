"""Points gathered in cubic cells, and the removal of stray ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lisa_ros.perception.depth import GeometryError

try:
    import open3d as o3d
except (ImportError, OSError) as error:  # OSError: a library of the system is missing
    o3d = None  # type: ignore[assignment]
    _WHY_MISSING = str(error)

_TABLE_SIZE = 16  # cells a point
_MAX_CELLS = 4000
_NEIGHBOURS = 16
_DEVIATIONS = 5.0  # with the usual 2 the rims of clean faces go too


@dataclass(frozen=True)
class Cells:
    """Which points share a cell of a cubic grid.

    Attributes:
        of_points: int64 (N,), the cell of each point.
        counts: int64 (C,), points of each cell, all above 0.
    """

    of_points: np.ndarray
    counts: np.ndarray

    def means(self, values: np.ndarray) -> np.ndarray:
        """float64 (C, K): the mean over each cell of values (N, K)."""
        sums = [np.bincount(self.of_points, column, len(self.counts)) for column in values.T]
        return np.stack(sums, axis=1) / self.counts[:, None]


def gather(points: np.ndarray, size: float) -> Cells:
    """Gather points (N, 3), N >= 1, in cells with sides of `size` metres; the grid starts at 0."""
    scaled = np.multiply(points.T, np.float32(1 / size), order="C")
    cells = np.floor(scaled, out=scaled).astype(np.int64)  # (3, N)
    cells -= cells.min(axis=1, keepdims=True)
    spans = cells.max(axis=1) + 1
    keys = (cells[0] * spans[1] + cells[1]) * spans[2] + cells[2]
    if spans.prod(dtype=float) > _TABLE_SIZE * len(points):
        _, of_points, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return Cells(of_points, counts)
    # A table of the whole grid is several times faster than sorting the keys.
    counts = np.bincount(keys)
    occupied = np.flatnonzero(counts)
    number = np.empty(len(counts), np.int64)
    number[occupied] = np.arange(len(occupied))
    return Cells(number[keys], counts[occupied])


def without_stray(points: np.ndarray, cell: float) -> np.ndarray:
    """bool (N,): which points (N, 3) lie about as near to their neighbours as all others do.

    Open3D's statistical filter (Rusu et al. 2008, Towards 3D point cloud based object maps) on the
    means of cells of at least `cell` metres, wider where it would take more than 4000: that
    bounds its cost, and dense surfaces count for no more than thinly sampled ones.

    Raises:
        GeometryError: Open3D cannot be loaded.
    """
    if o3d is None:
        raise GeometryError(
            f"expected Open3D, which the point filter needs, got: {_WHY_MISSING}; pip install "
            "open3d-cpu (open3d on aarch64), or set geometry.point_filter to false"
        )
    cells = gather(points, cell)
    if len(cells.counts) > _MAX_CELLS:
        cells = gather(points, cell * (len(cells.counts) / _MAX_CELLS) ** 0.5)
    if len(cells.counts) <= _NEIGHBOURS:
        return np.ones(len(points), bool)
    means = o3d.utility.Vector3dVector(cells.means(points))
    _, indices = o3d.geometry.PointCloud(means).remove_statistical_outlier(_NEIGHBOURS, _DEVIATIONS)
    regular = np.zeros(len(cells.counts), bool)
    regular[np.asarray(indices, np.int64)] = True
    return regular[cells.of_points]

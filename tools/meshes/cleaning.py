"""Drops what nobody can see, turns faces outwards, and reduces the number of triangles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open3d as o3d

from meshes.solids import Part

CREASE = np.cos(np.radians(40))  # faces that meet at a larger angle keep a sharp edge
# Where a triangle is looked at: its middle, near its corners, and near the middles of its sides.
SPOTS = np.array(
    [
        [1 / 3, 1 / 3, 1 / 3],
        [0.9, 0.05, 0.05],
        [0.05, 0.9, 0.05],
        [0.05, 0.05, 0.9],
        [0.48, 0.48, 0.04],
        [0.04, 0.48, 0.48],
        [0.48, 0.04, 0.48],
    ]
)


def visibility(parts: list[Part]) -> list[tuple[np.ndarray, np.ndarray]]:
    """How well triangles can be seen: per part, shares (F,) of free directions before and behind.

    Of several spots on a triangle the one that is seen best counts, so that a large face under a
    small thing stays.
    """
    scene = o3d.t.geometry.RaycastingScene()
    solid = [p.corners for p in parts if p.alpha > 0.9]
    if solid:
        triangles = np.concatenate(solid).reshape(-1, 3).astype(np.float32)
        scene.add_triangles(triangles, np.arange(len(triangles), dtype=np.uint32).reshape(-1, 3))
    size = np.ptp(np.concatenate([p.corners.reshape(-1, 3) for p in parts]), axis=0).max()
    k = np.arange(64) + 0.5
    z, angle = 1 - 2 * k / 64, np.pi * (1 + 5**0.5) * k  # a Fibonacci sphere
    directions = np.stack(
        [np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], 1
    )
    directions = directions[directions[:, 2] > -0.5]  # nobody looks from below the table
    result = []
    for part in parts:
        normals = part.normals()
        best = np.zeros((len(normals), 2))
        for spot in SPOTS:
            points = np.einsum("k,fkc->fc", spot, part.corners)
            free, total = np.zeros((2, len(normals), 2))
            for direction in directions:
                side = np.sign(normals @ direction)
                origin = points + (side * 1e-3 * size)[:, None] * normals + 1e-3 * size * direction
                rays = np.concatenate([origin, np.broadcast_to(direction, origin.shape)], 1)
                clear = np.ones(len(rays), bool)
                if solid:
                    clear = ~scene.test_occlusions(o3d.core.Tensor(rays.astype(np.float32))).numpy()
                which = (side < 0).astype(int)
                free[np.arange(len(points)), which] += clear
                total[np.arange(len(points)), which] += 1
            best = np.maximum(best, free / np.maximum(total, 1))
        result.append((best[:, 0], best[:, 1]))
    return result


def drop_hidden(parts: list[Part]) -> list[Part]:
    """Without triangles that cannot be seen; those seen only from behind are turned."""
    kept = []
    for part, (front, back) in zip(parts, visibility(parts), strict=True):
        part = part.flip(back > front).take(np.maximum(front, back) > 0.02)
        if len(part.corners):
            kept.append(part)
    return kept


def show_both_sides(parts: list[Part]) -> list[Part]:
    """Sheets that can be seen from both sides get a turned copy: the renderer culls back faces."""
    result = []
    for part, (front, back) in zip(parts, visibility(parts), strict=True):
        part = part.flip(back > front)
        both = np.minimum(front, back) > 0.12
        result.append(part.join(part.take(both).flip(np.ones(both.sum(), bool))))
    return result


def weld(points: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique rows of `keys` (N, k): a point (M, 3) for each, and the index (N,) into them."""
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return points[first], inverse.reshape(-1)


def decimate(part: Part, target: int, tolerance: float) -> Part:
    """About `target` triangles. Texture charts are decimated singly, so that no seam is crossed."""
    if len(part.corners) <= target:
        return part
    flat = part.corners.reshape(-1, 3)
    keys = np.round(flat / tolerance)
    if part.uv is not None:
        keys = np.concatenate([keys, np.round(part.uv.reshape(-1, 2) * 2048)], 1)
    points, index = weld(flat, keys)
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(points), o3d.utility.Vector3iVector(index.reshape(-1, 3))
    )
    if part.uv is None:
        mesh = mesh.simplify_quadric_decimation(target, boundary_weight=3.0)
        return replace(part, corners=np.asarray(mesh.vertices)[np.asarray(mesh.triangles)])
    labels = np.asarray(mesh.cluster_connected_triangles()[0])
    if 8 * (labels.max() + 1) > target:  # crumbs: one chart a leaf or a triangle
        return decimate_crumbs(part, target, tolerance)
    share = target / len(part.corners)
    pieces = []
    for label in range(labels.max() + 1):
        chart = part.take(labels == label)
        pieces.append(decimate_chart(chart, max(8, round(share * len(chart.corners))), tolerance))
    corners = np.concatenate([p[0] for p in pieces])
    if len(corners) > 2 * target:
        return decimate_crumbs(part, target, tolerance)
    return replace(part, corners=corners, uv=np.concatenate([p[1] for p in pieces]))


def decimate_crumbs(part: Part, target: int, tolerance: float) -> Part:
    """Decimates regardless of texture; each new triangle takes that of the nearest old one."""
    assert part.uv is not None
    plain = decimate(replace(part, uv=None, texture=None), target, tolerance)
    if len(plain.corners) > 2 * target:  # loose leaves: only as many of the largest
        plain = plain.take(np.argsort(np.argsort(-plain.areas(), kind="stable")) < 2 * target)
    scene = o3d.t.geometry.RaycastingScene()
    flat = part.corners.reshape(-1, 3).astype(np.float32)
    scene.add_triangles(flat, np.arange(len(flat), dtype=np.uint32).reshape(-1, 3))
    middle = o3d.core.Tensor(plain.corners.mean(1).astype(np.float32))
    old = scene.compute_closest_points(middle)["primitive_ids"].numpy().astype(int)
    return replace(plain, uv=part.uv[old], texture=part.texture)


def decimate_chart(part: Part, target: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (F, 3, 3) and their texture coordinates (F, 3, 2) for one connected chart."""
    assert part.uv is not None
    if len(part.corners) <= target:
        return part.corners, part.uv
    flat = part.corners.reshape(-1, 3)
    keys = np.concatenate([np.round(flat / tolerance), np.round(part.uv.reshape(-1, 2) * 2048)], 1)
    points, index = weld(flat, keys)
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(points), o3d.utility.Vector3iVector(index.reshape(-1, 3))
    )
    mesh = mesh.simplify_quadric_decimation(target, boundary_weight=10.0)
    vertices, triangles = np.asarray(mesh.vertices), np.asarray(mesh.triangles)
    if len(triangles) == 0:
        return part.corners, part.uv
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        flat.astype(np.float32), np.arange(len(flat), dtype=np.uint32).reshape(-1, 3)
    )
    nearest = scene.compute_closest_points(o3d.core.Tensor(vertices.astype(np.float32)))
    face = nearest["primitive_ids"].numpy().astype(int)
    u, v = nearest["primitive_uvs"].numpy().T
    weights = np.stack([1 - u - v, u, v], 1)
    uv = (part.uv[face] * weights[..., None]).sum(1)
    return vertices[triangles], uv[triangles]


def smooth_vertices(
    corners: np.ndarray, uv: np.ndarray | None, normals: np.ndarray, tolerance: float
):
    """Vertices that faces share only where they meet smoothly (and with one texture coordinate).

    Returns (V, 3) points, (V, 2) texture coordinates or None, (F, 3) indices. A renderer that
    averages the face normals at each vertex then shows smooth surfaces and sharp edges.
    """
    flat = corners.reshape(-1, 3)
    _, place = weld(flat, np.round(flat / tolerance))
    face_of = np.repeat(np.arange(len(corners)), 3)
    group = np.full(len(flat), -1)
    count = 0
    for rows in np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place))[:-1]):
        open_rows = list(rows)
        while (
            open_rows
        ):  # gather the faces around this point whose normals are close to one another's
            stack = [open_rows.pop(0)]
            while stack:
                row = stack.pop()
                group[row] = count
                near = [
                    r for r in open_rows if normals[face_of[r]] @ normals[face_of[row]] > CREASE
                ]
                stack += near
                open_rows = [r for r in open_rows if r not in near]
            count += 1
    keys = group[:, None]
    if uv is not None:
        keys = np.concatenate([keys, np.round(uv.reshape(-1, 2) * 2048).astype(int)], 1)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    # Number the vertices as the faces use them: neighbours then differ little, and pack well.
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first = first[order]
    triangles = rank[index.reshape(-1)].reshape(-1, 3)
    return flat[first], None if uv is None else uv.reshape(-1, 2)[first], triangles


def merge_plain(parts: list[Part], most: int = 6) -> list[Part]:
    """Plain parts of almost one colour joined, so that at most `most` remain."""
    parts = list(parts)

    def distance(a: Part, b: Part) -> float:
        if a.texture is not None or b.texture is not None or a.tint != b.tint:
            return np.inf
        if abs(a.alpha - b.alpha) > 0.2:
            return np.inf
        return float(np.abs(np.subtract(a.colour, b.colour)).sum())

    while len(parts) > 1:
        pairs = [
            (distance(a, b), i, j)
            for i, a in enumerate(parts)
            for j, b in enumerate(parts)
            if i < j
        ]
        best, i, j = min(pairs)
        if best == np.inf or (best > 0.05 and len(parts) <= most):
            break
        a, b = parts[i], parts[j]
        area_a, area_b = a.areas().sum(), b.areas().sum()
        colour = tuple(
            (area_a * x + area_b * y) / (area_a + area_b)
            for x, y in zip(a.colour, b.colour, strict=True)
        )
        parts[i] = replace(a.join(b), colour=colour)
        del parts[j]
    return parts

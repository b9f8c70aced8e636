"""Bakes the household meshes of the simulated camera into one small file.

    apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture_*.deb furniture
    PYTHONPATH=. python tools/bake_meshes.py furniture

writes lisa_ros/sim/assets/objects.pack and ATTRIBUTION.md. It reads the models of the Debian
package (CC0 and CC BY 3.0) that `meshes/sources.py` names, and takes the shapes of
`meshes/shapes.py`. Each mesh is brought to metres with z up, rid of faces that nobody can see,
decimated (quadric error, Garland and Heckbert 1997, by Open3D), and packed with its colours and
small textures as `lisa_ros/sim/pack.py` describes. Needs Open3D and OpenCV; takes a minute.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open3d as o3d
from meshes.cleaning import (
    decimate,
    drop_hidden,
    merge_plain,
    show_both_sides,
    smooth_vertices,
    visibility,
)
from meshes.furniture import LICENCES, CatalogueEntry, read_catalogues, read_obj
from meshes.shapes import SHAPES
from meshes.solids import Part
from meshes.sources import MESHES, Source
from meshes.textures import bleed_texture, crop_texture, make_tintable

from lisa_ros.sim.catalog import PACK
from lisa_ros.sim.pack import MeshPart, PackedMesh, write_pack


def rotation_matrix(degrees: tuple[float, float, float]) -> np.ndarray:
    """(3, 3): turns about x, then y, then z."""
    return o3d.geometry.get_rotation_matrix_from_zyx(np.radians(degrees[::-1]))


def place(parts: list[Part], source: Source) -> list[Part]:
    """Turned as it rests on a table, scaled if asked, centred in x and y, standing on z = 0."""
    rotation = rotation_matrix(source.turn)
    parts = [replace(p, corners=p.corners @ rotation.T) for p in parts]
    points = np.concatenate([p.corners.reshape(-1, 3) for p in parts])
    low, high = points.min(0), points.max(0)
    scale = source.longest / (high - low).max() if source.longest else 1.0
    origin = np.array([*(low + high)[:2] / 2, low[2]])
    return [replace(p, corners=(p.corners - origin) * scale) for p in parts]


def bake(source: Source, parts: list[Part]) -> PackedMesh:
    """One mesh, ready for the pack."""
    if source.only:
        parts = [p for p in parts if re.search(source.only, p.name)]
    if source.half is not None:  # one of a pair
        axis, sign = source.half
        parts = [p.take(sign * p.corners.mean(1)[:, axis] > 0) for p in parts]
        parts = [p for p in parts if len(p.corners)]
    # Pure black shows no shape.
    parts = [replace(p, colour=tuple(max(c, 0.06) for c in p.colour)) for p in parts]
    parts = [
        replace(p, tint=bool(source.tint) and bool(re.search(source.tint, p.name))) for p in parts
    ]
    parts = place(parts, source)
    size = np.ptp(np.concatenate([p.corners.reshape(-1, 3) for p in parts]), axis=0).max()
    tolerance = size * 2e-4
    if source.model:
        parts = drop_hidden(parts)
        parts = merge_plain(parts)
        total = sum(len(p.corners) for p in parts)
        if total > source.triangles:
            weights = np.array(
                [np.sqrt(len(p.corners) * max(p.areas().sum(), 1e-9)) for p in parts]
            )
            targets = np.maximum(weights / weights.sum() * source.triangles, 16)
            parts = [decimate(p, int(t), tolerance) for p, t in zip(parts, targets, strict=True)]
        parts = show_both_sides(parts)
        if source.lift:  # a label, out of the reach of the decimated surface below it
            parts = [
                replace(p, corners=p.corners + 0.0015 * p.normals()[:, None])
                if re.search(source.lift, p.name)
                else p
                for p in parts
            ]
    parts = place(parts, replace(source, turn=(0, 0, 0)))
    parts = [bleed_texture(p) if p.texture is not None else p for p in parts]
    parts = [crop_texture(p, source.pixels) if p.texture is not None else p for p in parts]
    parts = [make_tintable(p) if p.tint else p for p in parts]
    seen = [
        float((front * p.areas()).sum())
        for p, (front, _) in zip(parts, visibility(parts), strict=True)
    ]
    packed = []
    for part, area in zip(parts, seen, strict=True):
        points, uv, triangles = smooth_vertices(part.corners, part.uv, part.normals(), tolerance)
        if len(points) < 4:  # MuJoCo takes no lone triangle, and nobody would see it
            continue
        texture = None
        if part.texture is not None:
            stream = io.BytesIO()
            part.texture.save(stream, "webp", quality=80, method=6)
            texture = stream.getvalue()
        packed.append(
            MeshPart(
                vertices=points.astype(np.float32),
                triangles=triangles.astype(np.uint16),
                uv=None if uv is None else uv.astype(np.float32),
                texture=texture,
                colour=tuple(round(float(c), 3) for c in part.colour),
                alpha=round(float(part.alpha), 2),
                shininess=round(float(part.shininess), 2),
                tint=part.tint,
                share=round(area / sum(seen), 3),
            )
        )
    return PackedMesh(source.name, source.class_name, source.held_out, tuple(packed))


def attribution(rows: list[tuple[Source, CatalogueEntry | None]]) -> str:
    """ATTRIBUTION.md: who made which mesh, under which licence."""
    lines = [
        "# Where the meshes come from",
        "",
        "`objects.pack` is made by `tools/bake_meshes.py` from the Debian package",
        "`sweethome3d-furniture` 1.8: the furniture libraries of",
        "[Sweet Home 3D](https://www.sweethome3d.com/), cleaned and converted to OBJ by",
        "Emmanuel Puybaret / eTeks. All meshes were changed: hidden faces removed, decimated,",
        "resized, turned, colours and textures reduced, some made grey to take any colour.",
        "",
        "Licences: [CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/),",
        "[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/),",
        "[CC BY 3.0 US](https://creativecommons.org/licenses/by/3.0/us/).",
        "Scopia's catalogue names as its authors Emmanuel Puybaret / eTeks <info@eteks.com> and",
        "Scopia Visual Interfaces Systems, s.l. (http://www.scopia.es). The Blend Swap models come",
        "from https://www.blendswap.com, Kator Legaz's from Andrew Kator and Jennifer Legaz.",
        "",
        "| mesh | class | original | creator | licence |",
        "| --- | --- | --- | --- | --- |",
    ]
    for source, entry in rows:
        if entry is not None:
            lines.append(
                f"| {source.name} | {source.class_name} | {entry.name} ({entry.catalogue}, "
                f"{Path(entry.model).stem}) | {entry.creator} | {LICENCES[entry.catalogue]} |"
            )
    own = ", ".join(source.name for source, entry in rows if entry is None)
    lines += ["", f"Made by `tools/meshes/shapes.py`, under this package's licence: {own}.", ""]
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    catalogues = read_catalogues(Path(sys.argv[1]))
    only = set(sys.argv[2:])  # names, to try some meshes alone
    meshes, rows = [], []
    for source in MESHES:
        if only and source.name not in only:
            continue
        entry = catalogues[source.model] if source.model else None
        mesh = bake(source, read_obj(entry) if entry else SHAPES[source.name]())
        meshes.append(mesh)
        rows.append((source, entry))
        sizes = np.ptp(np.concatenate([p.vertices for p in mesh.parts]), axis=0)
        print(
            f"{mesh.name:24s} {sum(len(p.triangles) for p in mesh.parts):5d} triangles "
            f"{len(mesh.parts)} parts {np.round(sizes, 3)}",
            flush=True,
        )
    target = PACK if not only else Path("trial.pack")
    write_pack(target.with_suffix(".new"), meshes)
    target.with_suffix(".new").replace(target)  # all of it or nothing
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {len(meshes)} meshes")
    if not only:
        PACK.with_name("ATTRIBUTION.md").write_text(attribution(rows))


if __name__ == "__main__":
    main()

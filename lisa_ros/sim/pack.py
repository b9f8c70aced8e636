"""The file that holds the meshes: `assets/objects.pack`, written by `tools/bake_meshes.py`.

An xz stream of: the length of the header (uint32, little endian), the header (JSON), then the
arrays and textures in the order in which the header names them. Per part: vertices, quantised to
12 bits of the mesh's bounding box; triangles; texture coordinates, quantised to 12 bits of their
range; all as column-wise differences of uint16, which compress well; and a WebP texture. Normals
are not stored: faces share a vertex exactly where the surface is smooth.
"""

from __future__ import annotations

import json
import lzma
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEVELS = 4095  # 12 bits: 0.06 mm on an object of 25 cm


@dataclass(frozen=True)
class MeshPart:
    """A piece of one material."""

    vertices: np.ndarray  # (V, 3) float32 metres; z up, the mesh stands on z = 0
    triangles: np.ndarray  # (F, 3) uint16, counter-clockwise seen from outside
    uv: np.ndarray | None  # (V, 2) float32, v upwards; None without a texture
    texture: bytes | None  # WebP
    colour: tuple[float, float, float]  # 0..1; multiplies a texture only if `tint`
    alpha: float
    shininess: float
    tint: bool  # may be recoloured; its texture is grey
    share: float  # of the mesh's area, as seen from outside


@dataclass(frozen=True)
class PackedMesh:
    """One object as it rests on a table by default, centred in x and y."""

    name: str
    class_name: str
    held_out: bool
    parts: tuple[MeshPart, ...]


def _encode(values: np.ndarray) -> bytes:
    """Column-wise differences of an (N, k) array of uint16."""
    columns = np.asarray(values, np.uint16).T
    return np.diff(columns, axis=1, prepend=np.uint16(0)).astype("<u2").tobytes()


def _decode(data: bytes, count: int, width: int) -> np.ndarray:
    columns = np.frombuffer(data, "<u2").reshape(width, count)
    return np.cumsum(columns, axis=1, dtype=np.uint16).T


def write_pack(path: Path, meshes: Iterable[PackedMesh]) -> None:
    """Writes the meshes to `path`."""
    records, blobs = [], []
    for mesh in meshes:
        points = np.concatenate([part.vertices for part in mesh.parts])
        low, extent = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-9)
        parts = []
        for part in mesh.parts:
            blobs.append(_encode(np.round((part.vertices - low) / extent * LEVELS)))
            blobs.append(_encode(part.triangles))
            record = {
                "vertices": len(part.vertices),
                "triangles": len(part.triangles),
                "colour": part.colour,
                "alpha": part.alpha,
                "shininess": part.shininess,
                "tint": part.tint,
                "share": part.share,
            }
            if part.uv is not None and part.texture is not None:
                uv_low, uv_extent = part.uv.min(0), np.maximum(np.ptp(part.uv, axis=0), 1e-9)
                blobs.append(_encode(np.round((part.uv - uv_low) / uv_extent * LEVELS)))
                blobs.append(part.texture)
                record["uv"] = [*uv_low.tolist(), *uv_extent.tolist()]
                record["texture"] = len(part.texture)
            parts.append(record)
        records.append(
            {
                "name": mesh.name,
                "class": mesh.class_name,
                "held_out": mesh.held_out,
                "low": low.tolist(),
                "extent": extent.tolist(),
                "parts": parts,
            }
        )
    header = json.dumps(records).encode()
    path.write_bytes(
        lzma.compress(struct.pack("<I", len(header)) + header + b"".join(blobs), preset=9)
    )


def read_pack(path: Path) -> tuple[PackedMesh, ...]:
    """The meshes of a file that `write_pack` wrote."""
    data = lzma.decompress(path.read_bytes())
    (length,) = struct.unpack_from("<I", data)
    position = 4 + length

    def take(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    meshes = []
    for record in json.loads(data[4:position]):
        low, extent = np.array(record["low"]), np.array(record["extent"])
        parts = []
        for part in record["parts"]:
            count, faces = part["vertices"], part["triangles"]
            vertices = _decode(take(6 * count), count, 3) / LEVELS * extent + low
            triangles = _decode(take(6 * faces), faces, 3)
            uv = texture = None
            if "uv" in part:
                uv = _decode(take(4 * count), count, 2) / LEVELS * part["uv"][2:] + part["uv"][:2]
                texture = take(part["texture"])
            parts.append(
                MeshPart(
                    vertices.astype(np.float32),
                    triangles,
                    None if uv is None else uv.astype(np.float32),
                    texture,
                    tuple(part["colour"]),
                    part["alpha"],
                    part["shininess"],
                    part["tint"],
                    part["share"],
                )
            )
        meshes.append(PackedMesh(record["name"], record["class"], record["held_out"], tuple(parts)))
    return tuple(meshes)

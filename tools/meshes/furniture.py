"""Reads the models of the Debian package `sweethome3d-furniture`."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from meshes.solids import Part

LICENCES = {  # by catalogue, as its LICENSE.TXT says
    "BlendSwap-CC-0": "CC0 1.0",
    "BlendSwap-CC-BY": "CC BY 3.0",
    "KatorLegaz": "CC BY 3.0 US",
    "Scopia": "CC BY 3.0",
}


@dataclass(frozen=True)
class CatalogueEntry:
    """One model of a furniture catalogue: who made it, and its true size."""

    archive: zipfile.ZipFile
    catalogue: str
    model: str  # path of the .obj in the archive
    name: str
    creator: str
    size: tuple[float, float, float]  # width, depth, height in metres
    rotation: np.ndarray  # (3, 3), to be applied to the model first


def read_catalogues(root: Path) -> dict[str, CatalogueEntry]:
    """The models of all catalogues under `root`, by `catalogue/stem of the .obj`."""
    entries = {}
    for path in sorted(root.rglob("*.sh3f")):
        if path.stem not in LICENCES:
            continue
        archive = zipfile.ZipFile(path)
        text = archive.read("PluginFurnitureCatalog.properties").decode("latin1")
        records: dict[str, dict[str, str]] = {}
        for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*?)\s*$", text, re.MULTILINE):
            records.setdefault(number, {})[key] = value
        for record in records.values():
            model = record["model"].lstrip("/")
            rotation = [float(x) for x in record.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]
            entries[f"{path.stem}/{Path(model).stem}"] = CatalogueEntry(
                archive,
                path.stem,
                model,
                record["name"],
                record.get("creator", "unknown"),
                tuple(float(record[k]) / 100 for k in ("width", "depth", "height")),
                np.array(rotation).reshape(3, 3),
            )
    if not entries:
        raise SystemExit(f"no furniture catalogue (*.sh3f) under {root}; see the head of this file")
    return entries


@dataclass
class Material:
    """What an .mtl file says of a surface."""

    colour: tuple[float, float, float] = (0.7, 0.7, 0.7)
    alpha: float = 1.0
    shininess: float = 0.0
    texture: Image.Image | None = None


def read_materials(archive: zipfile.ZipFile, path: str) -> dict[str, Material]:
    """The materials of one .mtl file. A texture's mean colour is kept in the texture."""
    materials: dict[str, Material] = {}
    current = Material()
    folder = path.rsplit("/", 1)[0]
    files = {name.lower(): name for name in archive.namelist()}
    for line in archive.read(path).decode("latin1").splitlines():
        key, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if key == "newmtl":
            current = materials[rest] = Material()
        elif key == "Kd":
            current.colour = tuple(min(1.0, float(x)) for x in rest.split()[:3])
        elif key == "d":
            current.alpha = float(rest.split()[-1])
        elif key == "Ns":
            current.shininess = float(rest)
        elif key == "map_Kd":
            name = f"{folder}/{rest.split()[-1]}".lower()
            if name in files:
                current.texture = Image.open(io.BytesIO(archive.read(files[name])))
    return materials


def triangulate(outline: np.ndarray) -> list[tuple[int, int, int]]:
    """Triangles of a flat polygon (K, 3), which may have dents: ears are cut off one by one."""
    if len(outline) < 5 and len(outline) != 4:
        return [(0, 1, 2)] if len(outline) == 3 else []
    normal = np.cross(outline, np.roll(outline, -1, axis=0)).sum(0)
    axes = [(1, 2), (2, 0), (0, 1)][int(np.abs(normal).argmax())]
    flat = outline[:, axes]
    if normal[np.abs(normal).argmax()] < 0:
        flat = flat[:, ::-1]
    rest = list(range(len(flat)))

    def area(a: int, b: int, c: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = flat[a], flat[b], flat[c]
        return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))

    triangles = []
    while len(rest) > 3:
        for k, tip in enumerate(rest):
            before, after = rest[k - 1], rest[(k + 1) % len(rest)]
            inside = (
                area(before, tip, p) >= 0
                and area(tip, after, p) >= 0
                and area(after, before, p) >= 0
                for p in rest
                if p not in (before, tip, after)
            )
            if area(before, tip, after) > 0 and not any(inside):
                break
        else:  # crossed or without area: any cut is as good
            k = 1
            before, tip, after = rest[0], rest[1], rest[2]
        triangles.append((before, tip, after))
        del rest[k]
    return [*triangles, (rest[0], rest[1], rest[2])]


def read_obj(entry: CatalogueEntry) -> list[Part]:
    """The model as one part a material, in metres, z up, centred, standing on z = 0."""
    text = entry.archive.read(entry.model).decode("latin1").replace("\\\n", " ")
    vertices, uvs = [], []
    faces: dict[str, list[tuple[tuple[int, int], ...]]] = {}
    materials: dict[str, Material] = {}
    material = ""
    for line in text.splitlines():
        key, *words = line.split() or [""]
        if key == "v":
            vertices.append([float(x) for x in words[:3]])
        elif key == "vt":
            uvs.append([float(x) for x in words[:2]])
        elif key == "mtllib":
            folder = entry.model.rsplit("/", 1)[0]
            materials.update(read_materials(entry.archive, f"{folder}/{' '.join(words)}"))
        elif key == "usemtl":
            material = " ".join(words)
        elif key == "f":
            corners = []
            for word in words:
                index = [int(x) if x else 0 for x in word.split("/")] + [0, 0]
                v = index[0] - 1 if index[0] > 0 else len(vertices) + index[0]
                t = index[1] - 1 if index[1] >= 0 else len(uvs) + index[1]
                corners.append((v, t))  # t is -1 where there is no texture coordinate
            outline = np.array([vertices[v] for v, _ in corners])
            for triangle in triangulate(outline):
                faces.setdefault(material, []).append(tuple(corners[k] for k in triangle))
    used = sorted({corner[0] for triangles in faces.values() for f in triangles for corner in f})
    points = np.array(vertices) @ entry.rotation.T
    low, high = points[used].min(0), points[used].max(0)
    width, depth, height = entry.size
    points = (points - low) / np.maximum(high - low, 1e-9) - [0.5, 0, 0.5]
    points = points * [width, height, depth]
    points = points[:, [0, 2, 1]] * [1, -1, 1]  # the models have y up and their front towards +z
    uv_array = np.array([*uvs, [0.0, 0.0]])  # the last one for corners without
    parts = []
    for name, triangles in faces.items():
        corner = np.array(triangles)  # (F, 3, 2)
        m = materials.get(name, Material())
        parts.append(
            Part(
                points[corner[..., 0]],
                m.colour,
                name,
                uv=uv_array[corner[..., 1]] if m.texture is not None else None,
                texture=m.texture.convert("RGB") if m.texture is not None else None,
                alpha=m.alpha,
                shininess=min(1.0, m.shininess / 128),
            )
        )
    return parts

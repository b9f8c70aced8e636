"""All that a scene may show, as one MuJoCo model: meshes, textures and materials, no bodies."""

from __future__ import annotations

import io

import mujoco
import numpy as np
from PIL import Image

from lisa_ros.sim.catalog import meshes
from lisa_ros.sim.pack import MeshPart
from lisa_ros.sim.poses import rotation_matrix, yaw_matrix

NEAR, FAR = 0.05, 20.0  # metres
PAINTED = {"table": 512, "wall": 256, "floor": 256}  # textures drawn anew for each scene: pixels

Grid = tuple[np.ndarray, np.ndarray, np.ndarray]  # vertices (V, 3), triangles (F, 3), uv (V, 2)


def vertex_normals(part: MeshPart) -> np.ndarray:
    """Unit normals (V, 3): the mean over the faces around each vertex, weighted by their area."""
    count = len(part.vertices)
    a, b, c = part.vertices[part.triangles].transpose(1, 0, 2).astype(float)
    face = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    corner = part.triangles.ravel()
    total = np.stack([np.bincount(corner, face[:, k], count) for k in range(3)], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-15, total / np.maximum(length, 1e-15), [0.0, 0.0, 1.0])


def square(cells: int) -> Grid:
    """A square of 1 m x 1 m at z = 0 in cells x cells squares, seen from above.

    The light is computed at vertices only: on a table of two triangles it would not fall off.
    """
    t = np.linspace(0, 1, cells + 1)
    uv = np.stack(np.meshgrid(t, t), -1).reshape(-1, 2)
    vertices = np.concatenate([uv - 0.5, np.zeros((len(uv), 1))], 1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    a, b, c, d = first, first + 1, first + cells + 2, first + cells + 1
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return vertices, triangles, uv


def walls() -> Grid:
    """Four walls, 1 m high, around a square of 1 m x 1 m, seen from inside."""
    vertices, triangles, uv = square(8)
    upright = np.stack([vertices[:, 0], np.full(len(vertices), 0.5), vertices[:, 1] + 0.5], axis=1)
    sides = [upright @ yaw_matrix(k * np.pi / 2).T for k in range(4)]
    indices = [triangles + k * len(vertices) for k in range(4)]
    return np.concatenate(sides), np.concatenate(indices), np.tile(uv, (4, 1))


def board() -> Grid:
    """A box of 1 m x 1 m x 1 m below z = 0."""
    vertices, triangles, uv = square(1)
    top = vertices + np.array([0, 0, 0.5])
    to_x = top[:, [2, 0, 1]]  # the axes exchanged in turn: the square that looks along x, then y
    to_y = top[:, [1, 2, 0]]
    faces = [top, to_x, to_y, top * [1, -1, -1], to_x * [-1, -1, 1], to_y * [-1, -1, 1]]
    indices = [triangles + k * len(vertices) for k in range(6)]
    return np.concatenate(faces) - [0, 0, 0.5], np.concatenate(indices), np.tile(uv, (6, 1))


class DrawableModel:
    """The compiled model, and where to find each mesh and texture in it by name.

    A part of an object is called `mesh/k`, and so are its texture and material if it has them. The
    surroundings are called table, board, floor and walls; their textures as in PAINTED.
    """

    def __init__(self, width: int, height: int) -> None:
        self._spec = mujoco.MjSpec()
        self._spec.stat.extent = 1.0  # so that MuJoCo's ratios below are metres
        visual = self._spec.visual
        visual.global_.offwidth, visual.global_.offheight = width, height
        visual.quality.offsamples = 4
        visual.quality.shadowsize = 2048
        visual.map.znear, visual.map.zfar = NEAR, FAR
        for mesh in meshes().values():
            for k, part in enumerate(mesh.parts):
                name = f"{mesh.name}/{k}"
                self._add_mesh(name, part.vertices, part.triangles, part.uv, vertex_normals(part))
                if part.texture is not None:
                    image = Image.open(io.BytesIO(part.texture)).convert("RGB")
                    self._add_texture(name, np.asarray(image))
        self._add_mesh("table", *square(24))
        self._add_mesh("floor", *square(24))
        self._add_mesh("walls", *walls())
        self._add_mesh("board", *board())
        for name, size in PAINTED.items():
            self._add_texture(name, np.zeros((size, size, 3), np.uint8))
        self.model = self._spec.compile()
        self.mesh_id = {self.model.mesh(i).name: i for i in range(self.model.nmesh)}
        self.material_id = {self.model.mat(i).name: i for i in range(self.model.nmat)}
        self.texture_id = {self.model.tex(i).name: i for i in range(self.model.ntex)}
        # MuJoCo keeps a mesh in the frame of its principal axes: (3,) and (3, 3) lead back.
        self.mesh_frame = [
            (self.model.mesh_pos[i].copy(), rotation_matrix(self.model.mesh_quat[i]))
            for i in range(self.model.nmesh)
        ]

    def _add_mesh(
        self,
        name: str,
        vertices: np.ndarray,
        triangles: np.ndarray,
        uv: np.ndarray | None,
        normals: np.ndarray | None = None,
    ) -> None:
        """`normals`: None lets MuJoCo make them, with sharp edges."""
        mesh = self._spec.add_mesh(name=name)
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # open sheets have no volume
        mesh.uservert = np.asarray(vertices, np.float32).ravel()
        mesh.userface = np.asarray(triangles, np.int32).ravel()
        if normals is not None:
            mesh.usernormal = np.asarray(normals, np.float32).ravel()
        if uv is not None:
            # The pack counts v upwards, OpenGL from the texture's first row.
            mesh.usertexcoord = np.asarray(uv * [1, -1] + [0, 1], np.float32).ravel()

    def _add_texture(self, name: str, pixels: np.ndarray) -> None:
        texture = self._spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
        texture.height, texture.width, texture.nchannel = pixels.shape
        texture.data = pixels.tobytes()
        material = self._spec.add_material(name=name)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name

    def set_texture(self, name: str, pixels: np.ndarray) -> int:
        """Replaces a texture's pixels (S, S, 3) uint8; returns its id, to be uploaded."""
        texture = self.texture_id[name]
        start = self.model.tex_adr[texture]
        self.model.tex_data[start : start + pixels.size] = pixels.ravel()
        return texture

"""Pictures, depth and instance ids of a scene, by MuJoCo's OpenGL renderer, on a GPU or on the CPU.

A scene is written straight into MuJoCo's list of things to draw (`MjvScene`). So a new scene costs
no compilation and no simulation step, and an object may appear any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np

from lisa_ros.sim.camera import Camera
from lisa_ros.sim.catalog import meshes
from lisa_ros.sim.mujoco_model import FAR, NEAR, PAINTED, DrawableModel
from lisa_ros.sim.opengl import open_context
from lisa_ros.sim.poses import rotation_matrix
from lisa_ros.sim.scene import Scene, SceneObject
from lisa_ros.sim.surfaces import Surface, draw_surface
from lisa_ros.sim.surroundings import Light

MAX_GEOMS = 1000  # parts drawn at once: 50 objects of at most 8 parts fit
NO_OBJECT = 255  # in place of an instance: table and room
WHITE = (1.0, 1.0, 1.0)
MUJOCO_4 = hasattr(mujoco.MjvGeom, "texid")  # MuJoCo 3 takes the texture from the material


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and its ground truth. The arrays belong to the caller."""

    rgb: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W) float32 metres along the optical axis
    ids: np.ndarray  # (H, W) uint8: 0 table or room, k the object whose `instance` is k
    camera: Camera
    scene: Scene


class Renderer:
    """Draws scenes at one size. It holds an OpenGL context: use it in one thread, and close it.

    with Renderer(640, 480) as renderer:
        frame = renderer.render(sample_scene(seed=1))
    """

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self.width, self.height = width, height
        self._drawables = DrawableModel(width, height)
        self._gl = open_context(width, height)
        model = self._drawables.model
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._list = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._painted: dict[str, Surface] = {}

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context. Closing twice does no harm."""
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._context = None

    def render(self, scene: Scene) -> Frame:
        """Draws a scene: once in colour, once for ids and depth."""
        if self._context is None:
            raise RuntimeError("This renderer was closed: make a new one.")
        self._gl.make_current()
        camera = scene.camera(self.width, self.height)
        self._paint(scene)
        self._fill(scene, camera)
        flag, flags = mujoco.mjtRndFlag, self._list.flags
        flags[:] = 0
        flags[flag.mjRND_CULL_FACE] = 1
        flags[flag.mjRND_SHADOW] = any(light.shadows for light in scene.lights)
        rgb = np.empty((self.height, self.width, 3), np.uint8)
        mujoco.mjr_render(self._rect, self._list, self._context)
        mujoco.mjr_readPixels(rgb, None, self._rect, self._context)
        flags[flag.mjRND_SHADOW] = 0
        flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = 1
        codes = np.empty_like(rgb)
        nearness = np.empty((self.height, self.width), np.float32)
        mujoco.mjr_render(self._rect, self._list, self._context)
        mujoco.mjr_readPixels(codes, nearness, self._rect, self._context)
        ids = codes[::-1, :, 0].copy()  # OpenGL's first row is the lowest
        ids[ids == NO_OBJECT] = 0
        # The buffer holds NEAR / (FAR - NEAR) * (FAR / depth - 1): 1 at NEAR, 0 at FAR.
        depth = NEAR * FAR / (nearness[::-1].astype(np.float64) * (FAR - NEAR) + NEAR)
        return Frame(rgb[::-1].copy(), depth.astype(np.float32), ids, camera, scene)

    def _paint(self, scene: Scene) -> None:
        """Uploads the textures of table, walls and floor that changed."""
        surfaces = {
            "table": scene.table.surface,
            "wall": scene.room.wall,
            "floor": scene.room.ground,
        }
        for name, surface in surfaces.items():
            if self._painted.get(name) != surface:
                pixels = draw_surface(surface, PAINTED[name])
                texture = self._drawables.set_texture(name, pixels)
                mujoco.mjr_uploadTexture(self._drawables.model, self._context, texture)
                self._painted[name] = surface

    # --- From a scene to MuJoCo's list ---

    def _fill(self, scene: Scene, camera: Camera) -> None:
        self._list.ngeom = self._list.nlight = 0
        self._add_surroundings(scene)
        for item in scene.objects:
            self._add_object(item)
        for light in scene.lights:
            self._add_light(light)
        pose = camera.world_from_optical
        top = NEAR * camera.height / 2 / camera.fy
        for eye in self._list.camera:  # left and right: MuJoCo draws from their middle
            eye.pos, eye.forward, eye.up = pose[:3, 3], pose[:3, 2], -pose[:3, 1]
            eye.frustum_center = eye.frustum_width = 0.0  # the width follows from the picture's
            eye.frustum_bottom, eye.frustum_top = -top, top
            eye.frustum_near, eye.frustum_far = NEAR, FAR

    def _add_surroundings(self, scene: Scene) -> None:
        table, room = scene.table, scene.room
        turn = table.rotation
        self._add_part(
            "table", np.zeros(3), turn * [*table.size, 1.0], WHITE, "table", gloss=table.gloss
        )
        below = np.array([0.0, 0.0, -0.002])  # so that the top is the table's alone
        size = [*table.size, table.thickness]
        self._add_part("board", below, turn * size, table.edge_colour, gloss=table.gloss)
        turn, floor = room.rotation, np.array([0.0, 0.0, room.floor])
        self._add_part("floor", floor, 1.01 * turn * [*room.size, 1.0], WHITE, "floor")
        floor[2] -= 0.01  # both reach past the edge where they meet
        self._add_part("walls", floor, turn * [*room.size, room.height], WHITE, "wall")

    def _add_object(self, item: SceneObject) -> None:
        mesh = meshes()[item.mesh]
        matrix = rotation_matrix(item.orientation) * item.scale
        for k, part in enumerate(mesh.parts):
            name = f"{mesh.name}/{k}"
            self._add_part(
                name,
                np.array(item.origin),
                matrix,
                item.part_colour(part),
                name if part.texture is not None else None,
                alpha=part.alpha,
                gloss=part.shininess,
                instance=item.instance,
            )

    def _add_part(
        self,
        mesh: str,
        position: np.ndarray,
        matrix: np.ndarray,
        colour: tuple[float, float, float],
        texture: str | None = None,
        *,
        alpha: float = 1.0,
        gloss: float = 0.0,
        instance: int = NO_OBJECT,
    ) -> None:
        """Adds one mesh. `matrix` (3, 3) turns and scales it: OpenGL mends the normals' length."""
        if self._list.ngeom == MAX_GEOMS:
            raise ValueError(f"expected a scene of at most {MAX_GEOMS} parts: show fewer objects")
        mesh_id = self._drawables.mesh_id[mesh]
        offset, turn = self._drawables.mesh_frame[mesh_id]
        geom = self._list.geoms[self._list.ngeom]
        mujoco.mjv_initGeom(
            geom,
            mujoco.mjtGeom.mjGEOM_MESH,
            np.zeros(3),
            position + matrix @ offset,
            (matrix @ turn).ravel(),
            np.array([*colour, alpha], np.float32),
        )
        geom.dataid = 2 * mesh_id
        geom.objtype = mujoco.mjtObj.mjOBJ_GEOM
        geom.objid = geom.segid = instance - 1  # what is drawn for ids is segid + 1
        geom.category = mujoco.mjtCatBit.mjCAT_DYNAMIC
        geom.specular, geom.shininess = 0.5 * gloss, 0.3 + 0.5 * gloss
        geom.transparent = alpha < 1
        if texture is not None:
            geom.matid = self._drawables.material_id[texture]
            geom.texcoord = 1
        if MUJOCO_4:
            geom.texid = -1 if texture is None else self._drawables.texture_id[texture]
            geom.castshadow = instance != NO_OBJECT  # walls and tables would speckle themselves
        self._list.ngeom += 1

    def _add_light(self, light: Light) -> None:
        target = self._list.lights[self._list.nlight]
        target.id = self._list.nlight
        target.type = mujoco.mjtLightType.mjLIGHT_SPOT
        target.pos, target.dir = light.position, light.direction
        target.attenuation, target.cutoff, target.exponent = (1, 0, 0), 80.0, 0.0
        target.ambient, target.diffuse = light.ambient, light.diffuse
        target.specular = light.specular
        target.headlight, target.castshadow = 0, light.shadows
        self._list.nlight += 1

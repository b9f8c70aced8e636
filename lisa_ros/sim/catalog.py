"""What can lie on the table: classes of objects, their meshes, ways to rest, and colours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image

from lisa_ros.sim.colours import colours_are_close
from lisa_ros.sim.pack import MeshPart, PackedMesh, read_pack

PACK = Path(__file__).parent / "assets" / "objects.pack"

Colour = tuple[float, float, float]  # RGB, 0..1


# --- Colours ---


@dataclass(frozen=True)
class ColourRange:
    """A box in HSV that holds a named colour: hue in degrees, saturation and value 0..1."""

    hue: tuple[float, float]
    saturation: tuple[float, float]
    value: tuple[float, float]

    def sample(self, rng: np.random.Generator) -> Colour:
        """A random colour of this name."""
        h, s, v = (rng.uniform(*r) for r in (self.hue, self.saturation, self.value))
        sector, f = int(h % 360 // 60), h % 360 / 60 % 1
        p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
        return ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))[sector]


COLOURS: Mapping[str, ColourRange] = MappingProxyType(
    {
        "red": ColourRange((-8, 8), (0.8, 1.0), (0.6, 0.95)),
        "orange": ColourRange((20, 34), (0.85, 1.0), (0.85, 1.0)),
        "yellow": ColourRange((46, 60), (0.7, 1.0), (0.8, 1.0)),
        "green": ColourRange((85, 150), (0.5, 1.0), (0.3, 0.8)),
        "blue": ColourRange((205, 238), (0.6, 1.0), (0.45, 0.95)),
        "purple": ColourRange((265, 290), (0.5, 0.9), (0.35, 0.75)),
        "pink": ColourRange((318, 345), (0.3, 0.6), (0.85, 1.0)),
        "brown": ColourRange((14, 30), (0.5, 0.75), (0.28, 0.48)),
        "black": ColourRange((0, 360), (0.0, 0.2), (0.03, 0.12)),
        "white": ColourRange((0, 360), (0.0, 0.04), (0.9, 1.0)),
        "grey": ColourRange((0, 360), (0.0, 0.06), (0.4, 0.6)),
    }
)


def _pixel_colours(rgb: np.ndarray) -> np.ndarray:
    """The index into COLOURS of each pixel (N, 3) uint8, or -1 where no name fits well."""
    hsv = cv2.cvtColor(np.ascontiguousarray(rgb, np.uint8)[None], cv2.COLOR_RGB2HSV_FULL)[0]
    hue = hsv[:, 0] * (360 / 256)
    saturation, value = hsv[:, 1] / 255, hsv[:, 2] / 255
    names = list(COLOURS)
    result = np.full(len(hsv), -1)

    def name(colour: str, where: np.ndarray) -> None:
        result[where & (result < 0)] = names.index(colour)

    name("black", (value < 0.12) | ((value < 0.27) & (saturation < 0.4)))
    dull = saturation < 0.14
    name("white", dull & (value > 0.78))
    name("grey", dull)
    warm = (hue >= 345) | (hue < 12)
    name("pink", warm & (saturation < 0.55) & (value > 0.7))
    name("red", warm & (saturation > 0.5))
    earth = (hue >= 12) & (hue < 42)
    name("brown", earth & (value < 0.66) & (saturation > 0.25))
    name("orange", earth & (hue < 39) & (saturation > 0.6))
    name("yellow", (hue >= 42) & (hue < 68) & (saturation > 0.35) & (value > 0.55))
    name("green", (hue >= 72) & (hue < 168))
    name("blue", (hue >= 190) & (hue < 250))
    name("purple", (hue >= 255) & (hue < 305))
    name("pink", (hue >= 305) & (value > 0.7))
    return result


def colour_name(rgb: np.ndarray) -> str | None:
    """The one colour of the pixels (N, 3) uint8, or None.

    At least 60 % have it, and no more than 20 % one that nobody would take for it: a black brush
    with a white handle is called white as well.
    """
    if len(rgb) == 0:
        return None
    names = list(COLOURS)
    votes = np.bincount(_pixel_colours(rgb) + 1, minlength=len(names) + 1)[1:] / len(rgb)
    best = int(votes.argmax())
    others = [
        share
        for name, share in zip(names, votes, strict=True)
        if not colours_are_close(name, names[best])
    ]
    return names[best] if votes[best] >= 0.6 and max(others) <= 0.2 else None


# --- Classes ---


@dataclass(frozen=True)
class ObjectClass:
    """How objects of one class vary."""

    recolour: float = 0.0  # share of scenes in which the parts that may be tinted are
    colours: tuple[str, ...] = tuple(COLOURS)
    poses: tuple[tuple[str, float], ...] = (("stand", 1.0),)  # ways to rest, with their weights
    front: bool = False  # hard to tell from behind: mostly turned towards the camera


_STANDS_OR_LIES = (("stand", 0.7), ("lie", 0.3))
_ROLLS = (("tumble", 1.0),)
_ANY = 0.85
_CLASSES: dict[str, ObjectClass] = {
    "tv remote": ObjectClass(),
    "game controller": ObjectClass(0.5, ("white", "black", "grey", "red", "blue", "pink")),
    "keys": ObjectClass(),
    "watch": ObjectClass(),
    "scissors": ObjectClass(_ANY),
    "hammer": ObjectClass(_ANY),
    "screwdriver": ObjectClass(_ANY),
    "drill": ObjectClass(0.6),
    "flashlight": ObjectClass(_ANY),
    "pliers": ObjectClass(_ANY),
    "saw": ObjectClass(_ANY),
    "tape measure": ObjectClass(_ANY),
    "tape": ObjectClass(0.7),
    "stapler": ObjectClass(_ANY),
    "medicine bottle": ObjectClass(0.5, poses=_STANDS_OR_LIES),
    "milk": ObjectClass(poses=(("stand", 0.8), ("lie flat", 0.2))),
    "bread": ObjectClass(),
    "hamburger": ObjectClass(),
    "hot dog": ObjectClass(),
    "cupcake": ObjectClass(),
    "apple": ObjectClass(1.0, ("red", "green", "yellow"), (("stand", 0.6), ("tumble", 0.4))),
    "banana": ObjectClass(),
    "orange": ObjectClass(poses=_ROLLS),
    "lemon": ObjectClass(poses=(("lie", 1.0),)),
    "can": ObjectClass(_ANY, poses=_STANDS_OR_LIES),
    "mug": ObjectClass(_ANY, poses=(("stand", 0.8), ("flip", 0.1), ("lie", 0.1))),
    "glass": ObjectClass(poses=(("stand", 0.9), ("lie", 0.1))),
    "plate": ObjectClass(_ANY),
    "bowl": ObjectClass(_ANY, poses=(("stand", 0.92), ("flip", 0.08))),
    "fork": ObjectClass(),
    "knife": ObjectClass(),
    "spoon": ObjectClass(),
    "teapot": ObjectClass(0.7),
    "wine bottle": ObjectClass(poses=_STANDS_OR_LIES),
    "book": ObjectClass(_ANY),
    "laptop": ObjectClass(front=True),
    "tablet": ObjectClass(),
    "phone": ObjectClass(0.5, front=True),
    "camera": ObjectClass(0.3, ("red", "white", "black", "blue", "grey", "pink"), front=True),
    "headphones": ObjectClass(0.6),
    "sunglasses": ObjectClass(0.5),
    "teddy bear": ObjectClass(
        0.4, ("brown", "white", "pink", "grey", "blue"), (("stand", 0.8), ("back", 0.2))
    ),
    "toy car": ObjectClass(_ANY),
    "puzzle cube": ObjectClass(),
    "soccer ball": ObjectClass(poses=_ROLLS),
    "tennis ball": ObjectClass(poses=_ROLLS),
    "umbrella": ObjectClass(_ANY),
    "cap": ObjectClass(_ANY),
    "glove": ObjectClass(0.7),
    "shoe": ObjectClass(0.7),
    "candle": ObjectClass(_ANY),
    "vase": ObjectClass(_ANY),
    "cactus": ObjectClass(),
    "gift": ObjectClass(_ANY),
    "clock": ObjectClass(0.7, front=True),
    "ruler": ObjectClass(0.7),
    "pencil": ObjectClass(_ANY),
    "marker": ObjectClass(_ANY),
    "comb": ObjectClass(_ANY),
    "hairbrush": ObjectClass(0.6),
    "soap": ObjectClass(_ANY, ("white", "pink", "green", "blue", "yellow", "orange", "purple")),
    "sponge": ObjectClass(_ANY, ("yellow", "pink", "blue", "green", "orange")),
    "spray bottle": ObjectClass(_ANY, poses=(("stand", 0.8), ("lie", 0.2))),
    "toilet paper": ObjectClass(poses=_STANDS_OR_LIES),
    "toaster": ObjectClass(_ANY),
    "thermometer": ObjectClass(front=True),
    "lipstick": ObjectClass(0.7, ("red", "pink", "purple", "brown", "orange"), _STANDS_OR_LIES),
    "padlock": ObjectClass(0.4),
    "salt shaker": ObjectClass(poses=(("stand", 0.8), ("lie", 0.2))),
    "helmet": ObjectClass(_ANY),
    "dice": ObjectClass(_ANY, poses=(("cube", 1.0),)),
    "battery": ObjectClass(0.7, poses=(("stand", 0.3), ("lie", 0.7))),
}

CLASS_NAMES: tuple[str, ...] = tuple(_CLASSES)


def object_class(name: str) -> ObjectClass:
    """How objects of a class vary; those of `add_object` do not."""
    return _CLASSES.get(name, ObjectClass())


# --- Meshes ---


@dataclass(frozen=True)
class Mesh:
    """One object: as it rests on a table, z up, standing on z = 0."""

    name: str
    class_name: str
    held_out: bool  # kept out of training scenes
    parts: tuple[MeshPart, ...]
    points: np.ndarray  # (V, 3), all parts' vertices
    samples: np.ndarray  # (N, 3) uint8: its texture (or white) at spots of equal area
    base: np.ndarray  # (N, 3) 0..1: the colour by which that is multiplied
    tinted: np.ndarray  # (N,) bool: whether a tint takes the place of that colour

    @property
    def length(self) -> float:
        """Its longest side in metres."""
        return float(np.ptp(self.points, axis=0).max())

    def colour(self, tint: Colour | None) -> str | None:
        """The name of the object's colour when drawn in `tint` (None: as it is).

        None also where the parts that may be tinted have another one: a black lipstick with a red
        tip is called red as well.
        """
        colours = self.base if tint is None else np.where(self.tinted[:, None], tint, self.base)
        pixels = (self.samples * colours).astype(np.uint8)
        whole, changing = colour_name(pixels), colour_name(pixels[self.tinted])
        if whole and changing and not colours_are_close(whole, changing):
            return None
        return whole


def _surface_samples(part: MeshPart, count: int) -> np.ndarray:
    """(count, 3) uint8: the texture, or white, at random spots of the part."""
    if part.texture is None or part.uv is None:
        return np.full((count, 3), 255, np.uint8)
    image = np.asarray(Image.open(io.BytesIO(part.texture)).convert("RGB"))
    corners = part.vertices[part.triangles].astype(float)
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    rng = np.random.default_rng(0)
    face = rng.choice(len(area), count, p=area / area.sum())
    weights = rng.dirichlet((1, 1, 1), count)
    uv = (part.uv[part.triangles[face]] * weights[..., None]).sum(1) % 1
    rows = ((1 - uv[:, 1]) * (image.shape[0] - 1)).astype(int)
    columns = (uv[:, 0] * (image.shape[1] - 1)).astype(int)
    return image[rows, columns]


def _load(packed: PackedMesh) -> Mesh:
    samples, base, tinted = [], [], []
    for part in packed.parts:
        count = round(400 * part.share)
        keeps_texture = part.texture is not None and not part.tint
        samples.append(_surface_samples(part, count))
        base.append(np.tile((1.0, 1.0, 1.0) if keeps_texture else part.colour, (count, 1)))
        tinted.append(np.full(count, part.tint))
    return Mesh(
        name=packed.name,
        class_name=packed.class_name,
        held_out=packed.held_out,
        parts=packed.parts,
        points=np.concatenate([part.vertices for part in packed.parts]),
        samples=np.concatenate(samples),
        base=np.concatenate(base),
        tinted=np.concatenate(tinted),
    )


@lru_cache(maxsize=1)
def meshes() -> Mapping[str, Mesh]:
    """All meshes by name, read from the pack once."""
    return MappingProxyType({packed.name: _load(packed) for packed in (*read_pack(PACK), *_own)})


_own: list[PackedMesh] = []


def add_object(mesh: PackedMesh) -> None:
    """Let scenes show an object of your own; to be called before the first `Renderer` is made.

    `sample_scene(seed, also=[mesh.name])` puts it on the table.

    Raises:
        ValueError: there is a mesh of this name.
    """
    if mesh.name in meshes():
        raise ValueError(f"there is a mesh named {mesh.name!r} already; name yours differently")
    _own.append(mesh)
    meshes.cache_clear()


@lru_cache(maxsize=1)
def meshes_by_class() -> Mapping[str, tuple[Mesh, ...]]:
    """The meshes of each class, in the order of the pack."""
    return MappingProxyType(
        {name: tuple(m for m in meshes().values() if m.class_name == name) for name in CLASS_NAMES}
    )

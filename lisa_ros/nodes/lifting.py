"""From the masks of an answer to objects in 3D, in the frame that the robot wants them in.

Knows no ROS: the node hands in how transforms are looked up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lisa_ros.nodes.camera_geometry import NoGeometryError, RegisteredDepth, registered_depth
from lisa_ros.nodes.frames import Frame
from lisa_ros.perception import Status
from lisa_ros.perception.depth import GeometryError
from lisa_ros.perception.objects import (
    GeometrySettings,
    ObjectGeometry,
    SceneCloud,
    object_geometry,
    scene_cloud,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiftSettings:
    """What the node's parameters say about 3D.

    Attributes:
        geometry: how points are made.
        use_depth: whether the camera has depth, so that its absence is worth a word.
        assume_registered: believe that depth lies on the image's pixels.
        target_frame: of the results; empty for the image's.
        scene_with_objects: the scene cloud is the whole frame.
        scene_organized: the scene cloud has a point for each pixel of the depth.
    """

    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    use_depth: bool = True
    assume_registered: bool = False
    target_frame: str = ""
    scene_with_objects: bool = False
    scene_organized: bool = False


@dataclass(frozen=True)
class Lifted:
    """The 3D of an answer.

    Attributes:
        frame_id: of all coordinates.
        objects: one for each object of the answer; None where there is no geometry at all.
        problem: why no object has geometry; None if one has, or there is no object.
        note: the problem, or which objects have no geometry and why; empty if all have.
        scene: computes the scene cloud; None where there is no usable depth.
    """

    frame_id: str
    objects: tuple[ObjectGeometry | None, ...]
    problem: NoGeometryError | None = None
    note: str = ""
    scene: Callable[[], SceneCloud] | None = None


class Lifter:
    """Lifts masks to 3D.

    Args:
        look_up: (target frame, source frame, stamp in ns) -> (4, 4) rigid transform that takes
            coordinates of the source to the target at that time; raises NoGeometryError.
        resolve_topic: see `registered_depth`.
        warn: told once of each doubt about what a camera sends.
    """

    def __init__(
        self,
        look_up: Callable[[str, str, int], np.ndarray],
        *,
        resolve_topic: Callable[[str], str] = lambda name: name,
        warn: Callable[[str], object] = _LOG.warning,
    ) -> None:
        self._look_up = look_up
        self._resolve_topic = resolve_topic
        self._warn = warn
        self._told: set[str] = set()  # doubts
        self._located: tuple[object, str, np.ndarray] | None = None  # image message, target

    def locate(self, frame: Frame, settings: LiftSettings) -> np.ndarray | NoGeometryError | None:
        """Where the camera was at the frame's stamp, for `lift`; None if that does not matter.

        To be called before the model runs: tf2 forgets transforms after some seconds. That of the
        last image is kept here, for a conversation about it.
        """
        source, target = frame.image.header.frame_id, settings.target_frame
        if not target or target == source:
            return None
        if self._located is not None:
            image, known_target, transform = self._located
            if image is frame.image and known_target == target:
                return transform
        try:
            transform = self._look_up(target, source, frame.stamp_ns)
        except NoGeometryError as error:
            return error
        self._located = (frame.image, target, transform)
        return transform

    def lift(
        self,
        frame: Frame,
        rgb: np.ndarray,
        masks: Sequence[np.ndarray],
        transform: np.ndarray | NoGeometryError | None,
        settings: LiftSettings,
    ) -> Lifted:
        """All objects of an answer in 3D.

        Args:
            frame: that was answered.
            rgb: uint8 (H, W, 3), its image.
            masks: bool (H, W) of each object; an empty one has no geometry.
            transform: what `locate` gave.
        """
        frame_id = settings.target_frame or frame.image.header.frame_id
        try:
            if isinstance(transform, NoGeometryError):
                raise transform
            registered = registered_depth(
                frame,
                (rgb.shape[0], rgb.shape[1]),
                use_depth=settings.use_depth,
                assume_registered=settings.assume_registered,
                resolve_topic=self._resolve_topic,
            )
        except NoGeometryError as error:
            return Lifted(frame_id, (None,) * len(masks), error, str(error))
        self._warn_of(registered.doubts)

        def scene() -> SceneCloud:
            cloud = scene_cloud(
                rgb,
                registered.depth,
                masks,
                registered.intrinsics,
                settings.geometry,
                organized=settings.scene_organized,
                include_objects=settings.scene_with_objects,
            )
            return cloud if transform is None else cloud.transformed(transform)

        try:
            objects = tuple(
                _geometry(rgb, registered, mask, transform, settings.geometry) for mask in masks
            )
        except GeometryError as error:
            wrong = NoGeometryError(Status.NO_DEPTH, f"the objects cannot be lifted: {error}")
            return Lifted(frame_id, (None,) * len(masks), wrong, str(wrong))
        note = _note(objects, settings.geometry)
        seen = [item for item in objects if item is not None]
        problem = None
        if seen and not any(item.is_valid for item in seen):
            problem = NoGeometryError(Status.NO_DEPTH, note)
        return Lifted(frame_id, objects, problem, note, scene)

    def _warn_of(self, doubts: Sequence[str]) -> None:
        for doubt in doubts:
            if doubt not in self._told:
                self._told.add(doubt)
                self._warn(doubt)


def _geometry(
    rgb: np.ndarray,
    registered: RegisteredDepth,
    mask: np.ndarray,
    transform: np.ndarray | None,
    settings: GeometrySettings,
) -> ObjectGeometry | None:
    if not mask.any():
        return None
    item = object_geometry(rgb, registered.depth, mask, registered.intrinsics, settings)
    return item if transform is None else item.transformed(transform)


def _note(objects: Sequence[ObjectGeometry | None], settings: GeometrySettings) -> str:
    """Which of the objects that have a mask have no geometry, and why."""
    reasons = [
        f"object {label} has it on {100 * item.depth_valid_share:.0f} % of its pixels"
        for label, item in enumerate(objects, start=1)
        if item is not None and not item.is_valid
    ]
    if not reasons:
        return ""
    return (
        f"too little depth between {settings.min_depth:g} and {settings.max_depth:g} m: "
        f"{', '.join(reasons)}, and fewer than geometry.min_points ({settings.min_points}) of them "
        "pass the filters; move the camera, or change geometry.*"
    )

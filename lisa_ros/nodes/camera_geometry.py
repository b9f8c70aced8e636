"""From the messages of a camera to depth on the image's pixels: intrinsics and registration.

Messages are read by their fields alone, so this runs where no ROS is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lisa_ros.model.errors import LisaError
from lisa_ros.nodes.frames import Frame
from lisa_ros.nodes.image_conversion import ConversionError, depth_to_array
from lisa_ros.perception import Status
from lisa_ros.perception.depth import GeometryError, Intrinsics, depth_in_metres, grid_ratio

_FOCAL_TOLERANCE = 0.01  # share; drivers round, and some calibrate each resolution by itself
_CENTRE_TOLERANCE = 1.0  # pixels of the depth image; conventions differ by half a pixel


class NoGeometryError(LisaError):
    """Why an answer has no 3D.

    Attributes:
        status: what a question that requires 3D ends as.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class RegisteredDepth:
    """Depth that lies on the pixels of an image.

    Attributes:
        depth: float32 (h, w) in metres, NaN unknown; as large as the image, or smaller by one
            whole ratio.
        intrinsics: of the image.
        doubts: what may make its points wrong, one sentence each, for who runs the node.
    """

    depth: np.ndarray
    intrinsics: Intrinsics
    doubts: tuple[str, ...] = ()


def registered_depth(
    frame: Frame,
    image_shape: tuple[int, int],
    *,
    use_depth: bool = True,
    assume_registered: bool = False,
    resolve_topic: Callable[[str], str] = lambda name: name,
) -> RegisteredDepth:
    """The depth of a frame, if it is known to be registered to the image.

    It is when its frame_id and size equal the image's, or, with a depth_camera_info, when frame_id
    is equal and the intrinsics are the image's scaled by one whole ratio. An equal size alone says
    nothing: the two pictures of a stereo camera have equal intrinsics as well.

    Args:
        frame: with depth and camera_info.
        image_shape: (H, W) of the image.
        use_depth: whether the node listens to depth, for the message where there is none.
        assume_registered: believe it without looking at frame_id and intrinsics.
        resolve_topic: from the node's name of a topic to that in the graph, for messages.

    Raises:
        NoGeometryError: NO_DEPTH or DEPTH_MISMATCH, with what mends it.
    """
    if frame.is_of_request and (frame.depth is None or frame.camera_info is None):
        missing = "depth" if frame.depth is None else "camera_info"
        raise NoGeometryError(
            Status.NO_DEPTH,
            f"expected depth and camera_info with the request's own image, got no {missing}; fill "
            "both, or leave the image empty to ask about the camera's",
        )
    if frame.depth is None and not use_depth:
        raise NoGeometryError(
            Status.NO_DEPTH,
            "expected use_depth true for 3D, got false; start the node with use_depth true and a "
            "depth topic, or ask without require_3d",
        )
    if frame.depth is None:
        raise NoGeometryError(
            Status.NO_DEPTH,
            f"no depth came with the image within sync_slop on {resolve_topic('depth')}; "
            "/diagnostics says what is wrong with the topic; set use_depth to false if there is "
            "no depth camera",
        )
    whose = "of the request" if frame.is_of_request else f"({resolve_topic('camera_info')})"
    name = f"camera_info {whose}"
    intrinsics = camera_intrinsics(frame.camera_info, image_shape, name)
    try:
        depth = depth_in_metres(depth_to_array(frame.depth))
    except (ConversionError, GeometryError) as error:
        raise NoGeometryError(Status.NO_DEPTH, f"depth cannot be read: {error}") from error
    shape = (depth.shape[0], depth.shape[1])
    reason = _why_unregistered(frame, image_shape, shape, intrinsics, assume_registered)
    if reason:
        image, colour_frame = _size(image_shape), frame.image.header.frame_id
        if not assume_registered:
            reason += "; if it is registered and only labelled wrongly, set assume_registered"
        if frame.is_of_request:
            mend = "send depth that lies on the image's pixels, under its frame_id"
        else:
            mend = f"let the driver align depth to colour, or {_registration(resolve_topic)}"
        raise NoGeometryError(
            Status.DEPTH_MISMATCH,
            f"depth ({_size(shape)}, frame_id {frame.depth.header.frame_id!r}) is not registered "
            f"to the image ({image}, frame_id {colour_frame!r}): {reason}; else {mend}",
        )
    return RegisteredDepth(depth, intrinsics, tuple(_doubts(frame, name)))


def camera_intrinsics(info: Any, image_shape: tuple[int, int], name: str) -> Intrinsics:
    """The intrinsics of an image, from P, or from K where P is zero.

    The region of interest and binning of the camera_info count, and so does an image that was
    resized as a whole.

    Args:
        info: sensor_msgs CameraInfo, or None.
        image_shape: (H, W) of the image.
        name: what the camera_info is called in messages.

    Raises:
        NoGeometryError: NO_DEPTH where there are no intrinsics, DEPTH_MISMATCH where they belong
            to an image of another shape.
    """
    if info is None:
        raise NoGeometryError(
            Status.NO_DEPTH, f"no {name} has come; publish it, or remap camera_info"
        )
    height, width = image_shape
    fx, cx, fy, cy = (info.p[i] for i in (0, 2, 5, 6))
    if not any(info.p):
        fx, cx, fy, cy = (info.k[i] for i in (0, 2, 4, 5))
    if fx <= 0 or fy <= 0:
        raise NoGeometryError(
            Status.NO_DEPTH,
            f"{name} holds no calibration: expected focal lengths above 0 in P, or in K where P is "
            f"zero, got fx {fx:g} and fy {fy:g}; calibrate the camera, or let its driver load the "
            "calibration",
        )
    region = info.roi
    columns, rows = region.width or info.width or width, region.height or info.height or height
    cx, cy = cx - region.x_offset, cy - region.y_offset
    across, down = info.binning_x or 1, info.binning_y or 1
    if (columns // across, rows // down) == (width, height):  # some drivers give them binned
        columns, rows, fx, fy = width, height, fx / across, fy / down
        cx, cy = (cx + 0.5) / across - 0.5, (cy + 0.5) / down - 0.5
    try:
        full = Intrinsics(columns, rows, fx, fy, cx, cy)
    except GeometryError as error:
        raise NoGeometryError(Status.NO_DEPTH, f"{name}: {error}") from error
    try:
        return full.scaled_to(width, height)
    except GeometryError as error:
        raise NoGeometryError(
            Status.DEPTH_MISMATCH, f"{name} belongs to another image: {error}"
        ) from error


def _doubts(frame: Frame, name: str) -> Iterator[str]:
    """What speaks against the camera_info of a frame, but is no proof."""
    if any(frame.camera_info.d):
        yield (
            f"{name} has distortion, which 3D ignores: points are right only if image and depth "
            "are rectified (image_proc makes image_rect); with raw ones they are off everywhere, "
            "by centimetres at a metre"
        )
    # Gazebo labels both pictures of one camera differently.
    camera, image = frame.camera_info.header.frame_id, frame.image.header.frame_id
    if camera and camera != image:
        yield (
            f"{name} has frame_id {camera!r}, its image has {image!r}: if they are two cameras', "
            "all points are wrong; remap camera_info to the topic of the image's camera"
        )


def _why_unregistered(
    frame: Frame,
    image_shape: tuple[int, int],
    depth_shape: tuple[int, int],
    intrinsics: Intrinsics,
    assume_registered: bool,
) -> str:
    """What speaks against it, in words; empty if depth is registered."""
    try:
        ratio = grid_ratio(image_shape, depth_shape)
    except GeometryError:
        return "its size is neither the image's nor smaller by one whole ratio"
    if assume_registered:
        return ""
    if not frame.image.header.frame_id:
        return "the image has no frame_id, so that nobody knows where its points lie"
    if frame.depth.header.frame_id != frame.image.header.frame_id:
        return "the frame_ids differ"
    if frame.depth_camera_info is None:
        return "" if ratio == 1 else "the sizes differ, and no depth_camera_info tells the scale"
    try:
        camera = camera_intrinsics(frame.depth_camera_info, depth_shape, "depth_camera_info")
    except NoGeometryError as error:
        is_uncalibrated = error.status is Status.NO_DEPTH
        return "" if ratio == 1 and is_uncalibrated else str(error)
    return _difference(camera, intrinsics.scaled_to(depth_shape[1], depth_shape[0]))


def _difference(got: Intrinsics, expected: Intrinsics) -> str:
    """How two cameras of one size differ; empty if they do not."""
    for name, tolerance in (
        ("fx", _FOCAL_TOLERANCE * expected.fx),
        ("fy", _FOCAL_TOLERANCE * expected.fy),
        ("cx", _CENTRE_TOLERANCE),
        ("cy", _CENTRE_TOLERANCE),
    ):
        is_, should_be = getattr(got, name), getattr(expected, name)
        if abs(is_ - should_be) > tolerance:
            return (
                f"by camera_info its {name} should be {should_be:.1f}, depth_camera_info "
                f"says {is_:.1f}"
            )
    return ""


def _registration(resolve_topic: Callable[[str], str]) -> str:
    """The line that registers depth, for a node whose topics are resolved so."""
    depth, info = resolve_topic("depth"), resolve_topic("camera_info")
    return (
        "run `ros2 run depth_image_proc register_node --ros-args "
        f"-r depth/image_rect:={depth} -r depth/camera_info:={resolve_topic('depth_camera_info')} "
        f"-r rgb/camera_info:={info}` (it needs tf between both frames) and remap depth to "
        "/depth_registered/image_rect, depth_camera_info to /depth_registered/camera_info"
    )


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"

"""Depth images of simple shapes, from the geometry of rays alone.

Each shape gives, for every pixel, the depth z of the first hit of the pixel's ray, float64 (H, W),
inf where it is missed.  `np.minimum` puts shapes into one scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lisa_ros.perception.depth import Intrinsics

VGA = Intrinsics(640, 480, 600.0, 605.0, 317.2, 243.9)
HD = Intrinsics(1280, 720, 910.0, 910.0, 640.3, 361.2)


def turned(axis, degrees):
    """Rotation matrix about an axis."""
    axis = np.asarray(axis, float)
    return cv2.Rodrigues(axis / np.linalg.norm(axis) * np.deg2rad(degrees))[0]


def pixel_rays(camera):
    """(H, W, 3): the point of each pixel's ray at z = 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1
    )


def points_at(camera, depth):
    """(H, W, 3) points of a depth image."""
    return pixel_rays(camera) * depth[..., None]


def plane(camera, normal, through):
    """The plane with this normal through this point."""
    with np.errstate(divide="ignore"):
        z = np.dot(normal, through) / (pixel_rays(camera) @ np.asarray(normal, float))
    return np.where(z > 0, z, np.inf)


def box(camera, center, rotation, size):
    """A box with its axes in the columns of `rotation`."""
    rays, eye = pixel_rays(camera) @ rotation, -(np.asarray(center) @ rotation)
    half = np.asarray(size) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-half - eye) / rays, (half - eye) / rays
    enter, leave = np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)
    return np.where(enter <= leave, enter, np.inf)


def sphere(camera, center, radius):
    rays, center = pixel_rays(camera), np.asarray(center, float)
    a, b = (rays**2).sum(-1), rays @ center
    root = b**2 - a * (center @ center - radius**2)
    return np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


def tube(camera, center, axis, radius, length):
    """A cylinder without its ends."""
    rays, center = pixel_rays(camera), np.asarray(center, float)
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    across = rays - (rays @ axis)[..., None] * axis
    offset = center - (center @ axis) * axis
    a, b = (across**2).sum(-1), across @ offset
    root = b**2 - a * (offset @ offset - radius**2)
    z = (b - np.sqrt(np.maximum(root, 0))) / a
    along = (rays * z[..., None] - center) @ axis
    return np.where((root >= 0) & (np.abs(along) <= length / 2), z, np.inf)


@dataclass(frozen=True)
class OnTable:
    """A box on a table, 6 m of depth at most.

    Attributes:
        depth: what an ideal camera measures.
        mask: where it sees the box.
        rotation: the box's axes, its height last.
    """

    depth: np.ndarray
    mask: np.ndarray
    rotation: np.ndarray


def box_on_table(camera, size, distance, *, elevation, yaw=25.0):
    """The camera looks down by `elevation` degrees at where the box stands."""
    c, s = np.cos(np.deg2rad(elevation)), np.sin(np.deg2rad(elevation))
    up, forward = np.array([0, -c, -s]), np.array([0, -s, c])
    foot = np.array([0, 0, distance])
    rotation = np.stack([[1, 0, 0], forward, up], 1) @ turned((0, 0, 1), yaw)
    own = box(camera, foot + up * size[2] / 2, rotation, size)
    table = np.minimum(plane(camera, up, foot), 6.0)
    return OnTable(np.minimum(own, table), np.isfinite(own), rotation)


def stereo_noise(depth, rng, subpixel=0.1, baseline_px=32.0):
    """Depth of a stereo camera: an error of `subpixel` in the disparity grows with z^2.

    `baseline_px` is focal length times baseline, in pixels times metres; 32 is that of a small
    camera, and gives 3 mm at 1 m.
    """
    return depth + rng.normal(size=depth.shape) * depth**2 * subpixel / baseline_px


def with_flying_pixels(depth):
    """Depth smeared over its edges: between two surfaces there are now pixels in mid-air."""
    return cv2.blur(depth.astype(np.float32), (3, 3))


def spilled(mask, pixels):
    """A mask that reaches beyond its object."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def as_float(depth):
    """As a 32FC1 message holds it."""
    return np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)


def as_millimetres(depth):
    """As a 16UC1 message holds it."""
    return np.round(np.where(np.isfinite(depth), depth, 0) * 1000).astype(np.uint16)

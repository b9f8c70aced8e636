"""The perception node's parameters: one table with defaults, ranges and meaning.

config/perception.yaml repeats the table for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from lisa_ros.model.conversation import CONVERSATIONS, INSTRUCTION_TEMPLATES
from lisa_ros.model.precision import Precision
from lisa_ros.nodes.answering import AnswerSettings
from lisa_ros.nodes.lifting import LiftSettings
from lisa_ros.nodes.parameter_table import ParameterSpec, ParameterTable
from lisa_ros.nodes.transforms import why_unavailable
from lisa_ros.perception.depth import GeometryError
from lisa_ros.perception.follow import FollowLimits
from lisa_ros.perception.objects import GeometrySettings


def _model_parameter(
    name: str, default: Any, description: str, choices: tuple[str, ...] = ()
) -> ParameterSpec:
    return ParameterSpec(name, default, description, choices, read_only=True)


_LIMITS = FollowLimits()
_GEOMETRY = GeometrySettings()

PARAMETERS: tuple[ParameterSpec, ...] = (
    _model_parameter(
        "model", "", "checkpoint: hub id or folder; empty: the small model of this package"
    ),
    _model_parameter("vision_tower", "", "CLIP: hub id or folder; empty: the checkpoint's"),
    _model_parameter("sam_config", "", "JSON file with SAM's sizes; empty: from the weights"),
    _model_parameter(
        "conversation",
        "",
        "conversation template; empty: the checkpoint's",
        ("", *CONVERSATIONS),
    ),
    _model_parameter(
        "precision",
        "",
        "how the weights are held; empty: bf16 on a GPU, else fp32",
        ("", *(precision.value for precision in Precision)),
    ),
    _model_parameter("device", "", "cpu, cuda or cuda:N; empty: a GPU if there is one"),
    _model_parameter("autostart", True, "configure and activate without a lifecycle manager"),
    _model_parameter(
        "image_transport", "raw", "raw images, or compressed ones", ("raw", "compressed")
    ),
    _model_parameter(
        "reliability",
        "offered",
        "of the camera's subscriptions: what its publishers offer, or always the same",
        ("offered", "reliable", "best_effort"),
    ),
    _model_parameter(
        "use_depth", True, "whether the camera has depth; false: no depth subscription"
    ),
    ParameterSpec(
        "assume_registered",
        False,
        "depth lies on the image's pixels whatever its frame_id and camera_info say",
    ),
    ParameterSpec(
        "target_frame",
        "",
        "frame of all 3D results, by tf2 at the image's stamp; empty: the image's frame",
        refusal=lambda value: why_unavailable() if value else "",
    ),
    ParameterSpec(
        "geometry.voxel_size",
        _GEOMETRY.voxel_size,
        "side of the cubes in which an object's points are averaged [m]; 0: no averaging",
        bounds=(0, 1),
    ),
    ParameterSpec(
        "geometry.min_points",
        _GEOMETRY.min_points,
        "an object with fewer pixels of depth has no geometry [px of the depth image]",
        bounds=(1, 1_000_000),
    ),
    ParameterSpec(
        "geometry.min_depth",
        _GEOMETRY.min_depth,
        "nearer depth counts as unknown [m]",
        bounds=(0, 1000),
    ),
    ParameterSpec(
        "geometry.max_depth",
        _GEOMETRY.max_depth,
        "farther depth counts as unknown [m]",
        bounds=(0, 1000),
    ),
    ParameterSpec(
        "geometry.mask_erosion",
        _GEOMETRY.mask_erosion,
        "taken off the mask's rim [px of the depth image]",
        bounds=(0, 100),
    ),
    ParameterSpec(
        "geometry.depth_filter",
        _GEOMETRY.depth_filter,
        "drop flying pixels and other surfaces in the depth image",
    ),
    ParameterSpec(
        "geometry.point_filter",
        _GEOMETRY.point_filter,
        "drop points that lie far from their neighbours",
    ),
    ParameterSpec(
        "geometry.scene_dilation",
        _GEOMETRY.scene_dilation,
        "how far around an object the scene cloud is cut out [px of the depth image]",
        bounds=(0, 1000),
    ),
    ParameterSpec(
        "scene_cloud.include_objects",
        False,
        "the scene cloud is the whole frame, objects labelled",
    ),
    ParameterSpec(
        "scene_cloud.organized",
        False,
        "the scene cloud has a point for each pixel of the depth, NaN where there is none",
    ),
    ParameterSpec(
        "prompt_template",
        "",
        "what turns an instruction into a question; empty: the model's default",
        ("", *INSTRUCTION_TEMPLATES),
    ),
    ParameterSpec("max_new_tokens", 256, "longest answer [tokens]", bounds=(1, 4096)),
    ParameterSpec(
        "mode",
        "once",
        "once: an instruction is answered on the newest image; continuous: answered again at "
        "`rate`; follow: its object is followed from image to image (experimental)",
        ("once", "continuous", "follow"),
    ),
    ParameterSpec("rate", 1.0, "answers per second in mode continuous [Hz]", bounds=(0.01, 60)),
    ParameterSpec(
        "busy_policy",
        "preempt",
        "what a new action goal or service call does to one that is being answered",
        ("preempt", "reject"),
    ),
    ParameterSpec(
        "publish",
        "final",
        "final: mask topics carry whole answers; early: provisional masks as well",
        ("final", "early"),
    ),
    ParameterSpec(
        "timeout", 60.0, "longest time of a question [s]; 0: no limit", bounds=(0, 86400)
    ),
    ParameterSpec(
        "image_timeout", 1.0, "how long a question waits for an image [s]", bounds=(0, 3600)
    ),
    ParameterSpec(
        "max_image_age",
        2.0,
        "oldest image, by its stamp, that is answered [s]; 0: no limit",
        bounds=(0, 86400),
    ),
    ParameterSpec(
        "sync_slop",
        0.02,
        "largest difference of the stamps of image and depth [s]",
        bounds=(0, 1),
    ),
    ParameterSpec(
        "keep_context",
        False,
        "instructions on the topic go on with the last conversation, about its image",
    ),
    ParameterSpec(
        "context_timeout",
        60.0,
        "after this long without a question a conversation is forgotten [s]",
        bounds=(0, 86400),
    ),
    ParameterSpec(
        "follow.min_iou",
        _LIMITS.min_iou,
        "follow mode asks again when the mask's IoU with the last one falls below",
        bounds=(0, 1),
    ),
    ParameterSpec(
        "follow.max_shift",
        _LIMITS.max_shift,
        "... when its centroid moves farther than this share of the diagonal",
        bounds=(0, 1),
    ),
    ParameterSpec(
        "follow.max_area_ratio",
        _LIMITS.max_area_ratio,
        "... when its area changes by a larger factor",
        bounds=(1, 100),
    ),
    ParameterSpec(
        "follow.min_similarity",
        _LIMITS.min_similarity,
        "... when the cosine of the image features under it falls below",
        bounds=(-1, 1),
    ),
    ParameterSpec(
        "follow.reground_interval",
        _LIMITS.reground_interval,
        "... and in any case after this long [s]",
        bounds=(0, 86400),
    ),
)


class NodeParameters(ParameterTable):
    """The table on a node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, PARAMETERS)

    def answer_settings(self) -> AnswerSettings:
        """The parameters that a question is answered by."""
        return AnswerSettings(
            template=self["prompt_template"],
            max_new_tokens=self["max_new_tokens"],
            image_timeout=self["image_timeout"],
            max_image_age=self["max_image_age"],
            context_timeout=self["context_timeout"],
            follow=FollowLimits(
                min_iou=self["follow.min_iou"],
                max_shift=self["follow.max_shift"],
                max_area_ratio=self["follow.max_area_ratio"],
                min_similarity=self["follow.min_similarity"],
                reground_interval=self["follow.reground_interval"],
            ),
            lift=LiftSettings(
                geometry=GeometrySettings(
                    **{item.name: self[f"geometry.{item.name}"] for item in fields(_GEOMETRY)}
                ),
                use_depth=self["use_depth"],
                assume_registered=self["assume_registered"],
                target_frame=self["target_frame"],
                scene_with_objects=self["scene_cloud.include_objects"],
                scene_organized=self["scene_cloud.organized"],
            ),
        )

    def refusal_of_all(self, parameters: Sequence[Parameter]) -> str:
        """Why the limits of geometry cannot be, or do not fit together; empty if they can."""
        new = {parameter.name: parameter.value for parameter in parameters}
        limits = {}
        for name in ("voxel_size", "min_depth", "max_depth"):
            full = f"geometry.{name}"
            if full not in new and not self._node.has_parameter(full):
                return ""  # they are being declared, one by one
            limits[name] = new[full] if full in new else self[full]
        try:
            GeometrySettings(**limits)
        except GeometryError as error:
            return str(error)
        return ""

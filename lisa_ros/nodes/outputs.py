"""The topics on which answers go out."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Sequence

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import String

from lisa_ros.msg import Answer as AnswerMessage
from lisa_ros.msg import ModelInfo
from lisa_ros.nodes.answer_messages import geometry_header, mask_image
from lisa_ros.nodes.detections import detection_types, detections_2d, detections_3d
from lisa_ros.nodes.geometry_messages import object_cloud, scene_message
from lisa_ros.nodes.image_conversion import array_to_image, array_to_png
from lisa_ros.nodes.markers import marker_array, marker_type
from lisa_ros.nodes.questions import Outcome
from lisa_ros.perception import SegmentedObject, Status
from lisa_ros.perception.overlay import draw_overlay

# Reliable, and only the last: an answer must arrive, an old one helps nobody.
_RESULT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
)
# Answers come in bursts (provisional ones, then the final one); none may push another out.
_ANSWER_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=20, reliability=ReliabilityPolicy.RELIABLE
)
_LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

# Statuses whose outcome says something about the image, so that the mask topics speak.
ABOUT_THE_IMAGE = (
    Status.FOUND,
    Status.NOT_FOUND,
    Status.TEXT_ONLY,
    Status.TRUNCATED,
    Status.NO_DEPTH,
    Status.DEPTH_MISMATCH,
    Status.TF_UNAVAILABLE,
    Status.LOST,
)


class Outputs:
    """Publishers of the perception node.

    All stamped outputs carry the stamp of the answered image, those in the image its frame_id too.
    Those of 3D are in `target_frame` where it is set.
    """

    def __init__(self, node: Node, callback_group: CallbackGroup) -> None:
        def publisher(message_type: type, topic: str, qos: QoSProfile) -> Publisher:
            return node.create_publisher(
                message_type,
                topic,
                copy.copy(qos),  # rclpy writes a topic's overrides into the object
                callback_group=callback_group,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )

        self._logger = node.get_logger()
        self._answer = publisher(AnswerMessage, "~/answer", _ANSWER_QOS)
        self._model_info = publisher(ModelInfo, "~/model_info", _LATCHED_QOS)
        self._explanation = publisher(String, "~/explanation", _RESULT_QOS)
        self._mask = publisher(Image, "~/mask", _RESULT_QOS)
        self._mask_png = publisher(CompressedImage, "~/mask/compressed", _RESULT_QOS)
        self._label_image = publisher(Image, "~/label_image", _RESULT_QOS)
        self._overlay = publisher(Image, "~/overlay", _RESULT_QOS)
        self._object_cloud = publisher(PointCloud2, "~/object_cloud", _RESULT_QOS)
        self._scene_cloud = publisher(PointCloud2, "~/scene_cloud", _RESULT_QOS)
        self._markers = self._detections_2d = self._detections_3d = None
        if (markers := marker_type()) is not None:
            self._markers = publisher(markers, "~/markers", _RESULT_QOS)
        else:
            node.get_logger().info("visualization_msgs is not installed: no markers")
        if (detections := detection_types()) is not None:
            self._detections_2d = publisher(detections[0], "~/detections_2d", _RESULT_QOS)
            self._detections_3d = publisher(detections[1], "~/detections_3d", _RESULT_QOS)
        else:
            node.get_logger().info("vision_msgs is not installed: no detections_2d, detections_3d")

    def publish_model_info(self, message: ModelInfo) -> None:
        """Say which model answers, to late joiners as well."""
        self._model_info.publish(message)

    @property
    def has_listener(self) -> bool:
        """Whether somebody subscribes to the answers."""
        return self._answer.get_subscription_count() > 0

    def publish_provisional(self, message: AnswerMessage) -> None:
        """What is known of an answer so far."""
        self._answer.publish(message)

    def publish_final(self, message: AnswerMessage, outcome: Outcome) -> None:
        """The final answer and what can be seen of it on the other topics.

        An output that fails is logged and left out: the answer itself always comes.
        """
        if outcome.status in ABOUT_THE_IMAGE and outcome.frame is not None:
            for publish in (
                self._publish_images,
                self._publish_3d,
                self._publish_detections,
                self._publish_explanation,
            ):
                try:
                    publish(message, outcome)
                except Exception:
                    self._logger.error(
                        f"outputs of question {message.question_id} are incomplete:\n"
                        f"{traceback.format_exc()}"
                    )
        self._answer.publish(message)

    def publish_early_mask(
        self, message: AnswerMessage, objects: Sequence[SegmentedObject]
    ) -> None:
        """The objects of a provisional answer, on the mask topics."""
        self._publish_mask(message, objects)

    def _publish_images(self, message: AnswerMessage, outcome: Outcome) -> None:
        header, answer = message.header, outcome.answer
        self._publish_mask(message, () if answer is None else answer.objects)
        if self._label_image.get_subscription_count():
            labels = None if answer is None else answer.label_image()
            if labels is None:
                labels = np.zeros(outcome.image_size, np.uint16)
            self._label_image.publish(array_to_image(labels, "mono16", header))
        if outcome.rgb is not None and self._overlay.get_subscription_count():
            # Without an answer the plain image, so that no old overlay stays.
            overlay = outcome.rgb if answer is None else draw_overlay(outcome.rgb, answer)
            self._overlay.publish(array_to_image(overlay, "rgb8", header))

    def _publish_3d(self, message: AnswerMessage, outcome: Outcome) -> None:
        """Clouds and markers; empty ones where there is no geometry, so that no old one stays."""
        header, lifted = geometry_header(outcome), outcome.lifted
        objects = () if lifted is None else lifted.objects
        if self._object_cloud.get_subscription_count():
            is_made = len(objects) == 1 and message.objects[0].has_geometry
            cloud = message.objects[0].cloud if is_made else object_cloud(objects, header)
            self._object_cloud.publish(cloud)
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(marker_array(objects, message.instruction, header))
        if self._scene_cloud.get_subscription_count():
            scene = None if lifted is None else lifted.scene
            empty = object_cloud((), header)
            self._scene_cloud.publish(empty if scene is None else scene_message(scene(), header))

    def _publish_explanation(self, message: AnswerMessage, outcome: Outcome) -> None:
        if outcome.answer is not None and outcome.answer.explanation:
            self._explanation.publish(String(data=outcome.answer.explanation))

    def _publish_detections(self, message: AnswerMessage, outcome: Outcome) -> None:
        instruction = message.instruction
        assert outcome.frame is not None  # it is about the image
        objects = () if outcome.answer is None else outcome.answer.objects
        if self._detections_2d is not None and self._detections_2d.get_subscription_count():
            header = outcome.frame.image.header
            self._detections_2d.publish(detections_2d(objects, instruction, header))
        if self._detections_3d is not None and self._detections_3d.get_subscription_count():
            lifted = outcome.lifted
            pairs = [] if lifted is None else list(zip(objects, lifted.objects, strict=True))
            header = geometry_header(outcome)
            self._detections_3d.publish(detections_3d(pairs, instruction, header))

    def _publish_mask(self, message: AnswerMessage, objects: Sequence[SegmentedObject]) -> None:
        """The union of the masks; that of a single object is in the message already."""
        if self._mask.get_subscription_count():
            if len(objects) == 1:
                mask = message.objects[0].mask
            else:
                mask = mask_image(_union(message, objects), message.header)
            self._mask.publish(mask)
        if self._mask_png.get_subscription_count():
            pixels = _union(message, objects).view(np.uint8) * np.uint8(255)
            self._mask_png.publish(array_to_png(pixels, message.header))


def _union(message: AnswerMessage, objects: Sequence[SegmentedObject]) -> np.ndarray:
    union = np.zeros((message.image_height, message.image_width), bool)
    for item in objects:
        union |= item.mask
    return union

"""Outcomes of questions as the messages of this package."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from lisa_ros import __version__
from lisa_ros.model.conversation import clean_explanation
from lisa_ros.model.loading import empty_model
from lisa_ros.msg import Answer as AnswerMessage
from lisa_ros.msg import ModelInfo
from lisa_ros.msg import Object as ObjectMessage
from lisa_ros.nodes.frames import Frame
from lisa_ros.nodes.geometry_messages import box_pose, object_cloud, point, vector
from lisa_ros.nodes.image_conversion import array_to_image
from lisa_ros.nodes.questions import Outcome, Progress, Question
from lisa_ros.perception import SegmentedObject, Segmenter, Status
from lisa_ros.perception.objects import ObjectGeometry

# Field of Answer.msg -> stages of the worker and the model that it sums up.
_TIMES = {
    "wait_time": ("wait",),
    "conversion_time": ("conversion", "preprocess"),
    "vision_tower_time": ("clip",),
    "image_encoder_time": ("sam_encoder",),
    "prefill_time": ("prefill",),
    "decode_time": ("decode",),
    "mask_decoder_time": ("mask_decoder", "upscale"),
    "geometry_time": ("geometry",),
    "first_mask_time": ("first_mask",),
    "total_time": ("total",),
}


def final_message(
    question: Question, outcome: Outcome, segmenter: Segmenter | None
) -> AnswerMessage:
    """The one message that ends a question."""
    message = _message(question, outcome.frame, segmenter)
    message.final = True
    message.status = status_constant(outcome.status)
    message.message = outcome.message
    message.context_kept = outcome.context_kept
    message.image_height, message.image_width = outcome.image_size
    answer = outcome.answer
    if answer is not None:
        message.explanation = answer.explanation
        message.objects = object_messages(question, answer.objects, message.header)
        message.language_view = _region(answer.language_view)
        if outcome.lifted is not None:
            header = geometry_header(outcome)
            for item, geometry in zip(message.objects, outcome.lifted.objects, strict=True):
                _add_geometry(item, geometry, header)
        message.generated_tokens = len(answer.answer_ids)
    for name, stages in _TIMES.items():
        setattr(message, name, sum(outcome.seconds.get(stage, 0.0) for stage in stages))
    message.total_time = outcome.seconds.get("total", question.age)
    return message


def provisional_message(
    question: Question, progress: Progress, segmenter: Segmenter | None
) -> AnswerMessage:
    """The masks and words so far of a question that is still being answered."""
    message = _message(question, progress.frame, segmenter)
    message.status = AnswerMessage.PENDING
    message.explanation = clean_explanation(progress.text)
    message.objects = object_messages(question, progress.objects, message.header)
    message.language_view = _region(progress.language_view)
    message.context_kept = progress.context_kept
    if progress.objects:
        message.image_height, message.image_width = progress.objects[0].mask.shape
    message.total_time = question.age
    return message


def object_messages(
    question: Question, objects: Sequence[SegmentedObject], header: Header
) -> list[ObjectMessage]:
    """A question's objects so far, without geometry; those that were there before are reused."""
    made: list[tuple[SegmentedObject, ObjectMessage]] = question.messages
    same = itertools.takewhile(lambda pair: pair[0][0] is pair[1], zip(made, objects, strict=False))
    count = sum(1 for _ in same)
    del made[count:]  # follow mode may reject what was found in between
    for item in objects[count:]:
        made.append((item, _object_message(len(made) + 1, item, header)))
    return [message for _, message in made]


def geometry_header(outcome: Outcome) -> Header:
    """Of all that is in 3D: the stamp of the image, the frame of the coordinates."""
    assert outcome.frame is not None  # only a frame can be answered
    image = outcome.frame.image.header
    frame_id = image.frame_id if outcome.lifted is None else outcome.lifted.frame_id
    return Header(stamp=image.stamp, frame_id=frame_id)


def mask_image(mask: np.ndarray, header: Header) -> Image:
    """A bool (H, W) mask as mono8, 0 or 255."""
    return array_to_image(mask.view(np.uint8) * np.uint8(255), "mono8", header)


def status_constant(status: Status) -> int:
    """A status as the constant of Answer.msg."""
    return int(getattr(AnswerMessage, status.name))


def model_info_message(segmenter: Segmenter, load_time: float) -> ModelInfo:
    """What is loaded; `load_time` in seconds."""
    model, config = segmenter.model, segmenter.model.config
    weights = [*model.parameters(), *model.buffers()]
    return ModelInfo(
        model=segmenter.model_id,
        package_version=__version__,
        precision=segmenter.precision,
        device=str(model.device),
        conversation=config.conversation,
        default_template=config.default_template,
        clip_view=config.clip_view,
        clip_image_size=config.clip_preprocessing.crop_size,
        image_tokens=config.num_image_tokens,
        context_length=config.context_length,
        # Of the shapes: a quantised weight no longer tells.
        parameters=sum(w.numel() for w in empty_model(config, model.tokenizer).parameters()),
        memory=sum(weight.nbytes for weight in weights),
        load_time=load_time,
    )


def _message(question: Question, frame: Frame | None, segmenter: Segmenter | None) -> AnswerMessage:
    message = AnswerMessage(
        question_id=question.id,
        source=int(question.source),
        instruction=question.instruction,
        prompt_template=question.template,
    )
    if frame is not None:
        message.header = frame.image.header
    if segmenter is not None:
        message.model = segmenter.model_id
        message.precision = segmenter.precision
    return message


def _object_message(label: int, item: SegmentedObject, header: Header) -> ObjectMessage:
    nan = math.nan
    message = ObjectMessage(
        header=header,
        label=label,
        mask=mask_image(item.mask, header),
        area=item.area,
        seg_probability=item.scores.seg_probability,
        mask_probability=item.scores.mask_probability,
        predicted_iou=item.scores.predicted_iou,
        object_score=nan if item.scores.object_score is None else item.scores.object_score,
        depth_valid_share=nan,
    )
    if item.box_xyxy is not None:
        message.box = _region(item.box_xyxy)
    point, position, size = message.centroid, message.box_pose.position, message.box_size
    point.x = point.y = point.z = position.x = position.y = position.z = nan
    size.x = size.y = size.z = nan
    return message


def _add_geometry(message: ObjectMessage, geometry: ObjectGeometry | None, header: Header) -> None:
    message.header = header
    if geometry is None:
        return
    message.depth_valid_share = geometry.depth_valid_share
    if geometry.box is None:
        return
    message.has_geometry = True
    message.centroid = point(geometry.centroid)
    message.box_pose = box_pose(geometry.box)
    message.box_size = vector(geometry.box.size)
    message.cloud = object_cloud([geometry], header, first_label=message.label)


def _region(box: tuple[int, int, int, int]) -> RegionOfInterest:
    x0, y0, x1, y1 = box
    return RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0)

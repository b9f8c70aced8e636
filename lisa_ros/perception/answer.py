"""What an instruction about one image is answered with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import torch

from lisa_ros.model.conversation import Turn
from lisa_ros.model.preprocessing import MaskGeometry, upscale_masks


class Status(str, Enum):
    """How a question ended.

    FOUND is what the model says, not proof: the published checkpoints seldom refuse.
    """

    # Given by the segmenter:
    FOUND = "FOUND"  # at least one mask with pixels
    NOT_FOUND = "NOT_FOUND"  # a mask was asked for; no [SEG], or masks empty or rated too low
    TEXT_ONLY = "TEXT_ONLY"  # no mask was asked for and none given
    TRUNCATED = "TRUNCATED"  # max_new_tokens or the context ended the answer; objects may lack
    CANCELLED = "CANCELLED"  # the caller cancelled; objects found until then are kept
    # Given on a robot, where a question also needs a frame, a place in 3D and its turn:
    NO_DEPTH = "NO_DEPTH"
    DEPTH_MISMATCH = "DEPTH_MISMATCH"
    TF_UNAVAILABLE = "TF_UNAVAILABLE"
    NO_IMAGE = "NO_IMAGE"
    STALE_IMAGE = "STALE_IMAGE"
    TIMEOUT = "TIMEOUT"
    PREEMPTED = "PREEMPTED"
    REJECTED = "REJECTED"
    NOT_ACTIVE = "NOT_ACTIVE"
    LOST = "LOST"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Scores:
    """Raw signs of confidence, each 0 to 1 and none calibrated.

    Attributes:
        seg_probability: probability that the language model gave to `[SEG]`; NaN where it was not
            asked (`Segmenter.decode`).
        mask_probability: mean of the mask's sigmoid over its pixels; 0 for an empty mask.
        predicted_iou: SAM's IoU estimate.  LISA never trains this head, so it says little.
        object_score: probability that what was asked for is in view at all; None if the model gives
            none (`SamConfig.object_score`), as the published ones.
    """

    seg_probability: float
    mask_probability: float
    predicted_iou: float
    object_score: float | None = None


@dataclass(frozen=True)
class SegmentedObject:
    """One `[SEG]` of an answer.

    Attributes:
        mask: bool (H, W) at the size of the image; empty where no logit is above 0, or if its
            object score is below `LisaConfig.min_object_score`.
        box_xyxy: (x0, y0, x1, y1) around the mask in pixels, x1 and y1 exclusive; None if empty.
        area: pixels of the mask.
        scores: see `Scores`.
        embedding: float32 (out_dim,), the prompt given to SAM.
        low_res_mask: float32 (s, s) logits of the mask decoder, on the host.
        geometry: how `low_res_mask` lies on the image.
    """

    mask: np.ndarray
    box_xyxy: tuple[int, int, int, int] | None
    area: int
    scores: Scores
    embedding: np.ndarray
    low_res_mask: torch.Tensor = field(repr=False)
    geometry: MaskGeometry = field(repr=False)

    def mask_logits(self) -> np.ndarray:
        """float32 (H, W) logits; a mask that is not empty is where they are above 0.

        Computed at each call.
        """
        return upscale_masks(self.low_res_mask[None], self.geometry)[0].numpy()


@dataclass(frozen=True)
class Answer:
    """The whole answer to one instruction.

    Attributes:
        status: how it ended.
        message: what the status means here and what can be done, for people.
        instruction: the words of the user.
        question: the words put to the model, template included.
        text: the model's words as generated, `[SEG]` included.
        explanation: the same for people, without control tokens.
        objects: one for each `[SEG]`, in order, empty ones included.
        prompt_ids: ids of the prompt; the image is -200.
        answer_ids: ids of the answer, the end of text included.
        language_view: box (x0, y0, x1, y1) of the image that the language model saw.
        timings_ms: milliseconds by stage; stages that were not needed again are absent.
        model_id: which model answered.
        precision: how its weights are held.
    """

    status: Status
    message: str
    instruction: str
    question: str
    text: str
    explanation: str
    objects: tuple[SegmentedObject, ...]
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    language_view: tuple[int, int, int, int]
    timings_ms: dict[str, float]
    model_id: str
    precision: str

    @property
    def turn(self) -> Turn:
        """This round as history for a follow-up question about the same image."""
        return Turn(self.question, self.text)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prompt and answer."""
        return self.prompt_ids + self.answer_ids

    @property
    def mask(self) -> np.ndarray | None:
        """Union of all masks, bool (H, W); None if the answer has no object."""
        if not self.objects:
            return None
        return np.logical_or.reduce([item.mask for item in self.objects])

    def label_image(self) -> np.ndarray | None:
        """uint16 (H, W): 0 background, k the k-th object; None if the answer has no object.

        Where masks overlap, the object with the higher logit has the pixel; one without a mask has
        none.
        """
        if not self.objects:
            return None
        labels = np.zeros(self.objects[0].mask.shape, np.uint16)
        covered, overlap = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
        for label, item in enumerate(self.objects, start=1):
            overlap |= covered & item.mask
            labels[item.mask & ~covered] = label
            covered |= item.mask
        if overlap.any():
            # Upsampled logits are large; only overlapping masks need them.
            logits = [
                np.where(item.mask[overlap], item.mask_logits()[overlap], -np.inf)
                for item in self.objects
            ]
            labels[overlap] = np.stack(logits).argmax(axis=0) + 1
        return labels

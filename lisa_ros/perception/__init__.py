"""A frame and an instruction in, an `Answer` out; knows no messages and no topics."""

from lisa_ros.model.conversation import Turn
from lisa_ros.model.generation import Sampling
from lisa_ros.perception.answer import Answer, Scores, SegmentedObject, Status
from lisa_ros.perception.segmenter import Finished, ObjectFound, Segmenter, StreamEvent, Words

__all__ = [
    "Answer",
    "Finished",
    "ObjectFound",
    "Sampling",
    "Scores",
    "SegmentedObject",
    "Segmenter",
    "Status",
    "StreamEvent",
    "Turn",
    "Words",
]

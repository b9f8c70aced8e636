"""A frame and an instruction in, an `Answer` out; knows no messages and no topics."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lisa_ros.model.conversation import Turn
    from lisa_ros.model.generation import Sampling
    from lisa_ros.perception.answer import Answer, Scores, SegmentedObject, Status
    from lisa_ros.perception.segmenter import Finished, ObjectFound, Segmenter, StreamEvent, Words

# Imported when first used: geometry alone must not wait seconds for torch.
_MODULES = {
    "Answer": "perception.answer",
    "Finished": "perception.segmenter",
    "ObjectFound": "perception.segmenter",
    "Sampling": "model.generation",
    "Scores": "perception.answer",
    "SegmentedObject": "perception.answer",
    "Segmenter": "perception.segmenter",
    "Status": "perception.answer",
    "StreamEvent": "perception.segmenter",
    "Turn": "model.conversation",
    "Words": "perception.segmenter",
}

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


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lisa_ros.{_MODULES[name]}"), name)

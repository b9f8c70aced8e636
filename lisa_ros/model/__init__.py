"""The LISA network: configuration, prompts, preprocessing, modules, generation, checkpoints.

This room knows torch, transformers and segment-anything, and nothing of ROS, depth or cameras.
"""

from typing import TYPE_CHECKING, Any

from lisa_ros.model.errors import (
    CheckpointError,
    DeviceError,
    InstructionError,
    LisaError,
    OutOfMemoryError,
)

if TYPE_CHECKING:
    from lisa_ros.model.config import LisaConfig, SamConfig
    from lisa_ros.model.lisa import Lisa
    from lisa_ros.model.loading import load

# Imported when first used: prompts and errors alone must not wait seconds for torch.
_MODULES = {"LisaConfig": "config", "SamConfig": "config", "Lisa": "lisa", "load": "loading"}

__all__ = [
    "CheckpointError",
    "DeviceError",
    "InstructionError",
    "Lisa",
    "LisaConfig",
    "LisaError",
    "OutOfMemoryError",
    "SamConfig",
    "load",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

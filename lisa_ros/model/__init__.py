"""The LISA network: configuration, prompts, preprocessing, modules, generation, checkpoints.

This room knows torch, transformers and segment-anything, and nothing of ROS, depth or cameras.
"""

from lisa_ros.model.config import LisaConfig, SamConfig
from lisa_ros.model.errors import (
    CheckpointError,
    DeviceError,
    InstructionError,
    LisaError,
    OutOfMemoryError,
)
from lisa_ros.model.lisa import Lisa
from lisa_ros.model.loading import load

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

"""The key/value cache of one generation."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class _PreallocatedLayer(DynamicLayer):
    """Keys and values of one decoder layer, written into buffers of their final size.

    transformers' own dynamic layer concatenates, which copies the whole cache for each token.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, head_dim = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        shape = (batch, heads, self.capacity, head_dim)
        self.key_buffer = key_states.new_empty(shape)
        self.value_buffer = value_states.new_empty(shape)
        self.keys = self.key_buffer[:, :, :0]
        self.values = self.value_buffer[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self.key_buffer[:, :, start:end] = key_states
        self.value_buffer[:, :, start:end] = value_states
        self.keys = self.key_buffer[:, :, :end]
        self.values = self.value_buffer[:, :, :end]
        return self.keys, self.values


class KVCache(Cache):
    """Room for `capacity` positions in each of `num_layers` decoder layers."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        super().__init__(layers=[_PreallocatedLayer(capacity) for _ in range(num_layers)])

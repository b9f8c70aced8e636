"""Keys and values of what the language model has read, in buffers of fixed size.

transformers' own dynamic cache concatenates, which copies all of it for each token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class _PreallocatedLayer(DynamicLayer):
    """Keys and values of one decoder layer, written behind one another into their buffers."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, head_dim = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        shape = (batch, heads, self.capacity, head_dim)
        # Zeros, since a masked NaN would still make a NaN.
        self.key_buffer = key_states.new_zeros(shape)
        self.value_buffer = value_states.new_zeros(shape)
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


class _SlotLayer(_PreallocatedLayer):
    """The same for a captured graph, in which no shape and no address may change.

    A prompt is written from the start.  One more token is written into the slot that a tensor
    names, and attention reads the whole buffer: the caller's mask says which slots count.
    """

    def __init__(self, capacity: int, slot: torch.Tensor) -> None:
        super().__init__(capacity)
        self._slot = slot

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = key_states.shape[-2]
        if length > 1:
            self.key_buffer[:, :, :length] = key_states
            self.value_buffer[:, :, :length] = value_states
            return key_states, value_states
        self.key_buffer.index_copy_(2, self._slot, key_states)
        self.value_buffer.index_copy_(2, self._slot, value_states)
        return self.key_buffer, self.value_buffer


class KVCache(Cache):
    """Room for `capacity` positions in each of `num_layers` decoder layers.

    Args:
        slot: int64 (1,), where the next token goes, for use in a captured graph; without it
            tokens are written behind one another.
    """

    def __init__(self, num_layers: int, capacity: int, slot: torch.Tensor | None = None) -> None:
        def layer() -> _PreallocatedLayer:
            return _PreallocatedLayer(capacity) if slot is None else _SlotLayer(capacity, slot)

        super().__init__(layers=[layer() for _ in range(num_layers)])

"""Keys and values of what the language model has read, in a buffer of fixed size.

transformers' own dynamic cache concatenates, which copies all of it for each token.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaForCausalLM
from transformers.cache_utils import Cache, DynamicLayer


def kv_buffer(language_model: LlamaForCausalLM, batch: int, capacity: int) -> torch.Tensor:
    """Room for `capacity` positions: (layers, 2, batch, heads, capacity, head_dim), keys first."""
    config = language_model.config
    shape = (
        config.num_hidden_layers,
        2,
        batch,
        config.num_key_value_heads,
        capacity,
        config.head_dim,
    )
    # Zeros, since a masked NaN would still make a NaN.
    return language_model.model.norm.weight.new_zeros(shape)


class _Layer(DynamicLayer):
    """Keys and values of one decoder layer, written behind one another."""

    def __init__(self, buffer: torch.Tensor, length: int) -> None:
        super().__init__()
        self.dtype, self.device = buffer.dtype, buffer.device
        self._buffer = buffer
        self.keys, self.values = buffer[..., :length, :]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self._buffer[0, :, :, start:end] = key_states
        self._buffer[1, :, :, start:end] = value_states
        self.keys, self.values = keys, values = self._buffer[..., :end, :]
        return keys, values


class _SlotLayer(DynamicLayer):
    """The same for a captured graph, in which no shape and no address may change.

    Keys and values are written into the slots that a tensor names, and attention reads the whole
    buffer: the caller's mask says which slots count.
    """

    def __init__(self, buffer: torch.Tensor, slots: torch.Tensor) -> None:
        super().__init__()
        self.dtype, self.device = buffer.dtype, buffer.device
        self._buffer = buffer
        self.keys, self.values = buffer
        self._slots = slots
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._buffer
        return (
            keys.index_copy_(2, self._slots, key_states),
            values.index_copy_(2, self._slots, value_states),
        )


class KVCache(Cache):
    """A `kv_buffer` as transformers' language models use it.

    Args:
        length: positions that the buffer holds already; what is read goes behind them.
        slots: int64 (T,), where the next T positions go instead, for use in a captured graph.
    """

    def __init__(
        self, buffer: torch.Tensor, *, length: int = 0, slots: torch.Tensor | None = None
    ) -> None:
        super().__init__(
            layers=[
                _Layer(layer, length) if slots is None else _SlotLayer(layer, slots)
                for layer in buffer
            ]
        )

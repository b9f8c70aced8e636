"""The language model, step by step: a prompt first, then one token at a time."""

from __future__ import annotations

from typing import Protocol

import torch
from transformers import LlamaForCausalLM

from lisa_ros.model.cache import KVCache
from lisa_ros.model.cuda_graphs import GraphedFunction
from lisa_ros.model.errors import UsageError
from lisa_ros.model.lisa import Lisa, Sequences

# Graphs are captured for rounded lengths, so that a few serve all questions.
_CAPACITY_STEP = 256
PROMPT_STEP = 64


class Decoder(Protocol):
    """Reads a prompt, then tokens; gives the last state (B, hidden) and its logits (B, vocab)."""

    def prefill(self, sequences: Sequences, budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the prompts, and make room for `budget` more tokens."""
        ...

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one more token (B,) int64 of each row."""
        ...


def make_decoder(model: Lisa) -> Decoder:
    """The fastest decoder that runs where the model is."""
    if model.has_cuda_graphs:
        return GraphDecoder(model)
    return EagerDecoder(model.language_model)


class EagerDecoder:
    """Runs the language model's modules as they are."""

    def __init__(self, language_model: LlamaForCausalLM) -> None:
        self._language_model = language_model

    def prefill(self, sequences: Sequences, budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        length = sequences.embeddings.shape[1]
        layers = self._language_model.config.num_hidden_layers
        self._cache = KVCache(layers, length + budget)
        self._mask = sequences.attention_mask
        self._position_ids = sequences.position_ids[:, -1:]
        return self._read(sequences.embeddings, sequences.position_ids)

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        self._position_ids = self._position_ids + 1
        if self._mask is not None:
            seen = self._mask.new_ones(len(token_ids), 1)
            self._mask = torch.cat([self._mask, seen], dim=1)
        embeddings = self._language_model.model.embed_tokens(token_ids)[:, None]
        return self._read(embeddings, self._position_ids)

    def _read(
        self, embeddings: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        states = self._language_model.model(
            inputs_embeds=embeddings,
            attention_mask=self._mask,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        hidden = states[:, -1]
        return hidden, self._language_model.lm_head(hidden).float()


class GraphDecoder:
    """Replays captured CUDA graphs, kept by the model for all its questions.

    Their buffers hold one answer at a time: the next `prefill`, of any decoder of the model, ends
    this one's.
    """

    def __init__(self, model: Lisa) -> None:
        self._model = model

    def prefill(self, sequences: Sequences, budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        batch, length = sequences.embeddings.shape[:2]
        self._graphs = self._graphs_for(batch, length + budget)
        self._graphs.owner = self
        return self._graphs.prefill(sequences)

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`.

        Raises:
            UsageError: another answer has taken the buffers.
        """
        if self._graphs.owner is not self:
            raise UsageError(
                "expected one answer of a model at a time on CUDA, got a second one before this "
                "one had ended; read each stream to its end before the next question, or set "
                "model.use_cuda_graphs = False"
            )
        return self._graphs.step(token_ids)

    def _graphs_for(self, batch: int, positions: int) -> _Graphs:
        """The graphs for so many rows, captured anew only where they lack room."""
        kept: dict[int, _Graphs] = self._model.decoder_graphs
        graphs = kept.get(batch)
        if graphs is None or graphs.capacity < positions:
            # Each holds keys and values: beside the one for single questions there is one more.
            for size in [size for size in kept if size > 1 or size == batch]:
                del kept[size]
            context = self._model.config.context_length
            capacity = min(_round_up(positions, _CAPACITY_STEP), _round_up(context, 8))
            graphs = kept[batch] = _Graphs(self._model.language_model, batch, capacity)
        return graphs


class _Graphs:
    """Graphs and buffers for one batch size and one capacity."""

    def __init__(self, language_model: LlamaForCausalLM, batch: int, capacity: int) -> None:
        device = language_model.model.norm.weight.device
        self.capacity = capacity
        self.owner: GraphDecoder | None = None  # whose answer the buffers hold
        self._language_model = language_model
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        self._mask = torch.zeros(batch, 1, 1, capacity, dtype=torch.bool, device=device)
        layers = language_model.config.num_hidden_layers
        self._cache = KVCache(layers, capacity, self._slot)
        self._prefill = GraphedFunction(self._run_prefill)
        self._step = GraphedFunction(self._run_step)

    def prefill(self, sequences: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        batch, length = sequences.embeddings.shape[:2]
        device = self._slot.device
        if sequences.attention_mask is None:
            # Behind the prompt stands padding that nothing attends to: it comes later, and its
            # slots are overwritten before the mask opens them.
            padded = min(_round_up(length, PROMPT_STEP), self.capacity)
            embeddings = torch.nn.functional.pad(sequences.embeddings, (0, 0, 0, padded - length))
            last = torch.full((1,), length - 1, device=device)
            hidden, logits = self._prefill(embeddings, last)
            seen = torch.ones(batch, length, dtype=torch.bool, device=device)
        else:
            states = self._read(
                sequences.embeddings, sequences.attention_mask, sequences.position_ids
            )
            hidden = states[:, -1]
            logits = self._language_model.lm_head(hidden).float()
            seen = sequences.attention_mask
        self._mask.zero_()
        self._mask[:, 0, 0, :length] = seen
        self._slot.fill_(length)
        self._positions.copy_(sequences.position_ids[:, -1:] + 1)
        # The graphs reuse the memory of their outputs.
        return hidden.clone(), logits.clone()

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._mask.index_fill_(3, self._slot, True)
        hidden, logits = self._step(token_ids, self._positions)
        self._slot += 1
        self._positions += 1
        # So that another answer, which ends this one, leaves the last state as it was.
        return hidden.clone(), logits.clone()

    def _run_prefill(
        self, embeddings: torch.Tensor, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        states = self._read(embeddings, None, positions)
        hidden = states.index_select(1, last)[:, 0]
        return hidden, self._language_model.lm_head(hidden).float()

    def _run_step(
        self, token_ids: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self._language_model.model.embed_tokens(token_ids)[:, None]
        hidden = self._read(embeddings, self._mask, positions)[:, -1]
        return hidden, self._language_model.lm_head(hidden).float()

    def _read(
        self,
        embeddings: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor,
    ) -> torch.Tensor:
        return self._language_model.model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state


def _round_up(length: int, step: int) -> int:
    return -(-length // step) * step

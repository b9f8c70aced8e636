"""The language model, step by step: the image, the questions about it, then a token at a time.

All questions to a model begin with the same words and an image.  What the language model makes of
that beginning is kept with the image's features: a second question about an image, and each
question of a batch, is read from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from transformers import LlamaForCausalLM

from lisa_ros.model.cache import KVCache, kv_buffer
from lisa_ros.model.cuda_graphs import GraphedFunction
from lisa_ros.model.errors import UsageError
from lisa_ros.model.lisa import Beginning, ImageFeatures, Lisa, Sequences
from lisa_ros.model.tokenizer import IMAGE_TOKEN_INDEX

# Graphs are captured for rounded lengths, so that a few serve all questions.
_CAPACITY_STEP = 256
PROMPT_STEP = 64


class Decoder(Protocol):
    """Reads prompts, then tokens; gives the last states (B, hidden) and their logits (B, vocab)."""

    def prefill(self, prompts: Sequence[Prompt], budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the prompts, and make room for `budget` more tokens."""
        ...

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Read one more token (B,) int64 of each row."""
        ...


@dataclass(frozen=True)
class Prompt:
    """A question about an image.

    Attributes:
        beginning: ids up to and with the image.
        question: ids behind it, at least one.
        image: what stands for the image in them.
    """

    beginning: tuple[int, ...]
    question: tuple[int, ...]
    image: ImageFeatures

    @classmethod
    def split(cls, ids: Sequence[int], image: ImageFeatures) -> Prompt:
        """From whole ids."""
        end = list(ids).index(IMAGE_TOKEN_INDEX) + 1
        return cls(tuple(ids[:end]), tuple(ids[end:]), image)


def prompt_length(model: Lisa, prompts: Sequence[Prompt]) -> int:
    """Positions that a batch takes: beginnings and questions are each padded to the longest."""
    beginning = max(len(prompt.beginning) for prompt in prompts)
    question = max(len(prompt.question) for prompt in prompts)
    return beginning - 1 + model.config.num_image_tokens + question


def make_decoder(model: Lisa) -> Decoder:
    """The fastest decoder that runs where the model is."""
    return GraphDecoder(model) if model.has_cuda_graphs else EagerDecoder(model)


class EagerDecoder:
    """Runs the language model's modules as they are."""

    def __init__(self, model: Lisa) -> None:
        self._model = model

    def prefill(self, prompts: Sequence[Prompt], budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        beginnings = [_beginning(prompt, self._read_beginning) for prompt in prompts]
        questions = _embed_questions(self._model, prompts, beginnings)
        capacity = prompt_length(self._model, prompts) + budget
        buffer = kv_buffer(self._model.language_model, len(prompts), capacity)
        _write(beginnings, buffer)
        self._cache = KVCache(buffer, length=_longest(beginnings))
        self._mask = questions.attention_mask
        self._position_ids = questions.position_ids[:, -1:]
        return self._read(questions.embeddings, questions.position_ids)

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        self._position_ids = self._position_ids + 1
        if self._mask is not None:
            seen = self._mask.new_ones(len(token_ids), 1)
            self._mask = torch.cat([self._mask, seen], dim=1)
        embeddings = self._model.language_model.model.embed_tokens(token_ids)[:, None]
        return self._read(embeddings, self._position_ids)

    def _read_beginning(self, prompt: Prompt) -> Beginning:
        sequences = self._model.embed([prompt.beginning], prompt.image.image_tokens)
        language_model = self._model.language_model
        buffer = kv_buffer(language_model, 1, sequences.embeddings.shape[1])
        _states(language_model, sequences, KVCache(buffer))
        return Beginning(prompt.beginning, buffer[:, :, 0], sequences.attention_mask)

    def _read(
        self, embeddings: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        language_model = self._model.language_model
        sequences = Sequences(embeddings, self._mask, position_ids)
        hidden = _states(language_model, sequences, self._cache)[:, -1]
        return hidden, language_model.lm_head(hidden).float()


class GraphDecoder:
    """Replays captured CUDA graphs, kept by the model for all its questions.

    Their buffers hold one answer at a time: the next `prefill`, of any decoder of the model, ends
    this one's.
    """

    def __init__(self, model: Lisa) -> None:
        self._model = model

    def prefill(self, prompts: Sequence[Prompt], budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        positions = prompt_length(self._model, prompts) + budget

        def read_beginning(prompt: Prompt) -> Beginning:
            sequences = self._model.embed([prompt.beginning], prompt.image.image_tokens)
            keys_values = self._graphs_for(1, positions).read_beginning(sequences)
            return Beginning(prompt.beginning, keys_values, sequences.attention_mask)

        beginnings = [_beginning(prompt, read_beginning) for prompt in prompts]
        questions = _embed_questions(self._model, prompts, beginnings)
        self._graphs = self._graphs_for(len(prompts), positions)
        self._graphs.owner = self
        return self._graphs.read_questions(beginnings, questions)

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
        self._buffer = kv_buffer(language_model, batch, capacity)
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        self._mask = torch.zeros(batch, 1, 1, capacity, dtype=torch.bool, device=device)
        self._beginning = GraphedFunction(self._run_beginning)
        self._questions = GraphedFunction(self._run_questions)
        self._step = GraphedFunction(self._run_step)

    def read_beginning(self, sequences: Sequences) -> torch.Tensor:
        """Keys and values (layers, 2, heads, T, head_dim) of one row."""
        self.owner = None
        if sequences.attention_mask is None:
            self._beginning(sequences.embeddings)
        else:
            _states(self._language_model, sequences, KVCache(self._buffer))
        return self._buffer[:, :, 0, :, : sequences.embeddings.shape[1]].clone()

    def read_questions(
        self, beginnings: Sequence[Beginning], questions: Sequences
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device = self._slot.device
        start, length = _longest(beginnings), questions.embeddings.shape[1]
        _write(beginnings, self._buffer)
        self._mask.zero_()
        seen = questions.attention_mask
        self._mask[:, 0, 0, : start + length] = True if seen is None else seen
        self._slot.fill_(start)
        # Behind the questions stands padding that nothing attends to: it comes later, and its
        # slots are overwritten before the mask opens them.
        padded = min(_round_up(length, PROMPT_STEP), self.capacity - start)
        padding = padded - length
        embeddings = torch.nn.functional.pad(questions.embeddings, (0, 0, 0, padding))
        positions = torch.nn.functional.pad(questions.position_ids, (0, padding))
        order = torch.arange(self.capacity, device=device)
        mask = self._mask & (order <= order[start : start + padded, None])
        last = torch.full((1,), length - 1, device=device)
        hidden, logits = self._questions(embeddings, mask, positions, last)
        self._slot.fill_(start + length)
        self._positions.copy_(questions.position_ids[:, -1:] + 1)
        # The graphs reuse the memory of their outputs.
        return hidden.clone(), logits.clone()

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._mask.index_fill_(3, self._slot, True)
        hidden, logits = self._step(token_ids, self._positions)
        self._slot += 1
        self._positions += 1
        # So that another answer, which ends this one, leaves the last state as it was.
        return hidden.clone(), logits.clone()

    def _run_beginning(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        sequences = Sequences(embeddings, None, positions)
        _states(self._language_model, sequences, KVCache(self._buffer))
        return ()  # what is wanted lies in the buffer

    def _run_questions(
        self,
        embeddings: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        last: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots = self._slot + torch.arange(embeddings.shape[1], device=embeddings.device)
        sequences = Sequences(embeddings, mask, positions)
        states = _states(self._language_model, sequences, KVCache(self._buffer, slots=slots))
        hidden = states.index_select(1, last)[:, 0]
        return hidden, self._language_model.lm_head(hidden).float()

    def _run_step(
        self, token_ids: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self._language_model.model.embed_tokens(token_ids)[:, None]
        sequences = Sequences(embeddings, self._mask, positions)
        cache = KVCache(self._buffer, slots=self._slot)
        hidden = _states(self._language_model, sequences, cache)[:, -1]
        return hidden, self._language_model.lm_head(hidden).float()


def _beginning(prompt: Prompt, read: Callable[[Prompt], Beginning]) -> Beginning:
    """That of a prompt, read only if it is not what the image has kept."""
    kept = prompt.image.beginning
    if kept is None or kept.ids != prompt.beginning:
        kept = prompt.image.beginning = read(prompt)
    return kept


def _longest(beginnings: Sequence[Beginning]) -> int:
    return max(beginning.length for beginning in beginnings)


def _write(beginnings: Sequence[Beginning], buffer: torch.Tensor) -> None:
    """Each row's keys and values into a `kv_buffer`."""
    for row, beginning in enumerate(beginnings):
        buffer[:, :, row, :, : beginning.length] = beginning.keys_values


def _embed_questions(
    model: Lisa, prompts: Sequence[Prompt], beginnings: Sequence[Beginning]
) -> Sequences:
    """The questions, aligned at their last ids; the mask covers the beginnings as well.

    Padding stands between a row's beginning and its question.
    """
    start = _longest(beginnings)
    longest = max(len(prompt.question) for prompt in prompts)
    ids = np.zeros((len(prompts), longest), np.int64)
    counts = np.zeros(ids.shape, bool)
    position_ids = np.zeros_like(ids)
    for row, (prompt, beginning) in enumerate(zip(prompts, beginnings, strict=True)):
        padding = longest - len(prompt.question)
        ids[row, padding:] = prompt.question
        counts[row, padding:] = ids[row, padding:] != model.tokenizer.unk_id  # see Lisa.embed
        position_ids[row, padding:] = beginning.length + np.arange(len(prompt.question))
    embeddings = model.language_model.model.embed_tokens(model.put(ids))
    mask = torch.zeros(len(prompts), start + longest, dtype=torch.bool, device=model.device)
    for row, beginning in enumerate(beginnings):
        mask[row, : beginning.length] = True if beginning.mask is None else beginning.mask[0]
    mask[:, start:] = model.put(counts)
    is_whole = counts.all() and all(b.length == start and b.mask is None for b in beginnings)
    return Sequences(embeddings, None if is_whole else mask, model.put(position_ids))


def _states(language_model: LlamaForCausalLM, sequences: Sequences, cache: KVCache) -> torch.Tensor:
    """Read on from what the cache holds: (B, T, hidden) after the final norm."""
    return language_model.model(
        inputs_embeds=sequences.embeddings,
        attention_mask=sequences.attention_mask,
        position_ids=sequences.position_ids,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state


def _round_up(length: int, step: int) -> int:
    return -(-length // step) * step

"""The language model, step by step: the image, the questions about it, then a token at a time.

All questions to a model begin with the same words and an image.  What the language model makes of
that beginning is kept with the image's features: further questions about the image, and those of a
batch, are read from there on.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F
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

    def embed(self, model: Lisa) -> Sequences:
        """All of it, with the image in its place."""
        return model.embed([[*self.beginning, *self.question]], self.image.image_tokens)


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
        model = self._model
        capacity = prompt_length(model, prompts) + budget
        buffer = kv_buffer(model.language_model, len(prompts), capacity)
        is_first = _is_first(prompts)
        if is_first:
            sequences = prompts[0].embed(model)
            self._cache = KVCache(buffer)
        else:
            beginnings = [_beginning(model, prompt) for prompt in prompts]
            sequences = _embed_questions(model, prompts, beginnings)
            _write(beginnings, buffer)
            self._cache = KVCache(buffer, length=_longest(beginnings))
        self._mask = sequences.attention_mask
        self._position_ids = sequences.position_ids[:, -1:]
        result = self._read(sequences.embeddings, sequences.position_ids)
        if is_first:
            _keep(model, prompts[0], buffer, sequences.attention_mask)
        return result

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        self._position_ids = self._position_ids + 1
        if self._mask is not None:
            seen = self._mask.new_ones(len(token_ids), 1)
            self._mask = torch.cat([self._mask, seen], dim=1)
        embeddings = self._model.language_model.model.embed_tokens(token_ids)[:, None]
        return self._read(embeddings, self._position_ids)

    def _read(
        self, embeddings: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        language_model = self._model.language_model
        sequences = Sequences(embeddings, self._mask, position_ids)
        hidden = _states(language_model, sequences, self._cache)[:, -1]
        return hidden, language_model.lm_head(hidden).float()


class GraphDecoder:
    """Replays captured CUDA graphs, kept by the model for all its questions.

    Their buffers hold one answer at a time: the next `prefill` of as many prompts, of any decoder
    of the model, ends this one's.
    """

    def __init__(self, model: Lisa) -> None:
        self._model = model

    def prefill(self, prompts: Sequence[Prompt], budget: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder`."""
        model, self._count = self._model, len(prompts)
        # Few sizes, since each is captured: the last row is read again to fill up.
        size = 1 << (len(prompts) - 1).bit_length()
        prompts = [*prompts, *[prompts[-1]] * (size - len(prompts))]
        self._graphs = self._graphs_for(size, prompt_length(model, prompts) + budget)
        self._graphs.owner = self
        if _is_first(prompts):
            sequences = prompts[0].embed(model)
            result = self._graphs.read_whole(sequences)
            _keep(model, prompts[0], self._graphs.buffer, sequences.attention_mask)
        else:
            beginnings = [_beginning(model, prompt) for prompt in prompts]
            questions = _embed_questions(model, prompts, beginnings)
            result = self._graphs.read_questions(beginnings, questions)
        return self._without_filling(result)

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
        filling = self._graphs.batch - self._count
        if filling:
            token_ids = torch.cat([token_ids, token_ids[-1:].expand(filling)])
        return self._without_filling(self._graphs.step(token_ids))

    def _without_filling(
        self, result: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, logits = result
        return hidden[: self._count], logits[: self._count]

    def _graphs_for(self, batch: int, positions: int) -> _Graphs:
        """The graphs for so many rows, captured anew only where they lack room."""
        kept: dict[int, _Graphs] = self._model.decoder_graphs
        graphs = kept.get(batch)
        if graphs is None or graphs.capacity < positions:
            # Each holds keys and values: beside the one for single questions there is one more.
            replaced, graphs = [size for size in kept if size > 1 or size == batch], None
            for size in replaced:
                del kept[size]
            if replaced:
                gc.collect()  # they refer to themselves; their memory is needed for the new ones
            context = self._model.config.context_length
            capacity = min(_round_up(positions, _CAPACITY_STEP), _round_up(context, 8))
            graphs = kept[batch] = _Graphs(self._model.language_model, batch, capacity)
        return graphs


class _Graphs:
    """Graphs and buffers for one batch size and one capacity."""

    def __init__(self, language_model: LlamaForCausalLM, batch: int, capacity: int) -> None:
        device = language_model.model.norm.weight.device
        self.batch, self.capacity = batch, capacity
        self.buffer = kv_buffer(language_model, batch, capacity)
        self.owner: GraphDecoder | None = None  # whose answer the buffers hold
        self._language_model = language_model
        self._slot = torch.zeros(1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        self._mask = torch.zeros(batch, 1, 1, capacity, dtype=torch.bool, device=device)
        self._whole = GraphedFunction(self._run_whole)
        self._questions = GraphedFunction(self._run_questions)
        self._step = GraphedFunction(self._run_step)

    def read_whole(self, sequences: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a prompt with its beginning."""
        length = sequences.embeddings.shape[1]
        if sequences.attention_mask is None:
            padding = min(_round_up(length, PROMPT_STEP), self.capacity) - length
            embeddings = F.pad(sequences.embeddings, (0, 0, 0, padding))
            hidden, logits = self._whole(embeddings, self._last(length))
        else:
            states = _states(self._language_model, sequences, KVCache(self.buffer))
            hidden = states[:, -1]
            logits = self._language_model.lm_head(hidden).float()
        self._begin_answer(length, sequences)
        # The graphs reuse the memory of their outputs.
        return hidden.clone(), logits.clone()

    def read_questions(
        self, beginnings: Sequence[Beginning], questions: Sequences
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read questions behind their beginnings."""
        start, length = _longest(beginnings), questions.embeddings.shape[1]
        _write(beginnings, self.buffer)
        self._begin_answer(start + length, questions)
        padded = min(_round_up(length, PROMPT_STEP), self.capacity - start)
        padding = padded - length
        embeddings = F.pad(questions.embeddings, (0, 0, 0, padding))
        positions = F.pad(questions.position_ids, (0, padding))
        order = torch.arange(self.capacity, device=embeddings.device)
        mask = self._mask & (order <= order[start : start + padded, None])
        self._slot.fill_(start)
        hidden, logits = self._questions(embeddings, mask, positions, self._last(length))
        self._slot.fill_(start + length)
        return hidden.clone(), logits.clone()

    def _begin_answer(self, length: int, sequences: Sequences) -> None:
        """Open the slots of what is read.

        Behind it stands padding that nothing attends to: it comes later, and its slots are
        overwritten before the mask opens them.
        """
        self._mask.zero_()
        seen = sequences.attention_mask
        self._mask[:, 0, 0, :length] = True if seen is None else seen
        self._slot.fill_(length)
        self._positions.copy_(sequences.position_ids[:, -1:] + 1)

    def _last(self, length: int) -> torch.Tensor:
        return torch.full((1,), length - 1, device=self._slot.device)

    def step(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._mask.index_fill_(3, self._slot, True)
        hidden, logits = self._step(token_ids, self._positions)
        self._slot += 1
        self._positions += 1
        # So that another answer, which ends this one, leaves the last state as it was.
        return hidden.clone(), logits.clone()

    def _run_whole(
        self, embeddings: torch.Tensor, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positions = torch.arange(embeddings.shape[1], device=embeddings.device)[None]
        sequences = Sequences(embeddings, None, positions)
        states = _states(self._language_model, sequences, KVCache(self.buffer))
        hidden = states.index_select(1, last)[:, 0]
        return hidden, self._language_model.lm_head(hidden).float()

    def _run_questions(
        self,
        embeddings: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        last: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots = self._slot + torch.arange(embeddings.shape[1], device=embeddings.device)
        sequences = Sequences(embeddings, mask, positions)
        states = _states(self._language_model, sequences, KVCache(self.buffer, slots=slots))
        hidden = states.index_select(1, last)[:, 0]
        return hidden, self._language_model.lm_head(hidden).float()

    def _run_step(
        self, token_ids: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self._language_model.model.embed_tokens(token_ids)[:, None]
        sequences = Sequences(embeddings, self._mask, positions)
        cache = KVCache(self.buffer, slots=self._slot)
        hidden = _states(self._language_model, sequences, cache)[:, -1]
        return hidden, self._language_model.lm_head(hidden).float()


def _is_kept(prompt: Prompt) -> bool:
    kept = prompt.image.beginning
    return kept is not None and kept.ids == prompt.beginning


def _is_first(prompts: Sequence[Prompt]) -> bool:
    """Whether it is one question about an image that has no beginning: read all at once."""
    return len(prompts) == 1 and not _is_kept(prompts[0])


def _keep(model: Lisa, prompt: Prompt, buffer: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Keep what the first row of a `kv_buffer` holds of the prompt's beginning."""
    length = len(prompt.beginning) - 1 + model.config.num_image_tokens
    prompt.image.beginning = Beginning(
        prompt.beginning,
        buffer[:, :, 0, :, :length].clone(),
        None if mask is None else mask[:, :length],
    )


def _beginning(model: Lisa, prompt: Prompt) -> Beginning:
    """That of a prompt, read only if it is not what the image has kept."""
    if not _is_kept(prompt):
        sequences = model.embed([prompt.beginning], prompt.image.image_tokens)
        buffer = kv_buffer(model.language_model, 1, sequences.embeddings.shape[1])
        _states(model.language_model, sequences, KVCache(buffer))
        _keep(model, prompt, buffer, sequences.attention_mask)
    assert prompt.image.beginning is not None
    return prompt.image.beginning


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

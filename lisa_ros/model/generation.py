"""From questions about images to a stream of events: tokens, masks, and the end.

Greedy decoding gives the tokens of the published `evaluate()`, which runs CLIP and the whole
sequence again for each token; here the image is encoded once and keys and values are cached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lisa_ros.model.conversation import SEG, Control
from lisa_ros.model.decoder import Prompt, make_decoder, prompt_length
from lisa_ros.model.errors import TooLongError, UsageError
from lisa_ros.model.lisa import ImageFeatures, Lisa
from lisa_ros.model.timing import StageTimer

EndReason = Literal["end_of_text", "length", "cancelled", "forced"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the defaults are greedy, as published.

    Attributes:
        temperature: 0 takes the most probable token.
        top_p: sample from the most probable tokens that hold this share of the probability.
        seed: makes sampling repeatable.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature: expected 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p: expected a share in (0, 1], got {self.top_p}")


@dataclass(frozen=True)
class TokenEvent:
    """The model chose a token.

    Attributes:
        row: index of the question.
        token_id: its id.
        text: what it adds to the words so far; empty while a character is incomplete.
    """

    row: int
    token_id: int
    text: str


@dataclass(frozen=True)
class MaskEvent:
    """The model chose `[SEG]`, and SAM has drawn the mask.

    Attributes:
        row: index of the question.
        embedding: (out_dim,) the prompt that SAM was given; decodes other frames as well.
        low_res_mask: (s, s) mask logits.
        seg_probability: () probability that the language model gave to `[SEG]` here.
        predicted_iou: () SAM's own estimate, which the published LISA never trains.
        object_score: () probability that what was asked for is in view; NaN if the model gives
            none, as the published ones.
    """

    row: int
    embedding: torch.Tensor
    low_res_mask: torch.Tensor
    seg_probability: torch.Tensor
    predicted_iou: torch.Tensor
    object_score: torch.Tensor


@dataclass(frozen=True)
class EndEvent:
    """A question's answer has ended."""

    row: int
    reason: EndReason


Event = TokenEvent | MaskEvent | EndEvent


class TextStream:
    """Turns a growing list of ids into text, piece by piece."""

    def __init__(self, model: Lisa) -> None:
        self._tokenizer = model.tokenizer
        self._ids: list[int] = []
        self._emitted = ""

    def push(self, token_id: int) -> str:
        """The text that this token adds."""
        self._ids.append(token_id)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        # A character of several bytes shows as U+FFFD until its last byte has come.
        if text.endswith("\ufffd") or not text.startswith(self._emitted):
            return ""
        added, self._emitted = text[len(self._emitted) :], text
        return added


def generate(
    model: Lisa,
    features: ImageFeatures | Sequence[ImageFeatures],
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 512,
    sampling: Sampling | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    timer: StageTimer | None = None,
) -> Iterator[Event]:
    """Answer questions about one image or several in one batch.

    Args:
        features: of the image that all questions are about, or of each question's image.
        prompts: ids of each question, with the image as `IMAGE_TOKEN_INDEX`.
        max_new_tokens: most tokens of an answer; the context may end it earlier.
        cancelled: asked between tokens; once true, every open answer ends as `cancelled`.

    Raises:
        TooLongError: a prompt leaves no room for an answer.
        UsageError: on CUDA, another answer was begun before this one had ended.
    """
    sampling = sampling or Sampling()
    timer = timer or StageTimer(model.device)
    batch = _split(prompts, features)
    budget = check_length(model, prompt_length(model, batch), max_new_tokens)
    with torch.inference_mode():
        choose = _chooser(model, sampling)
        with timer.stage("prefill"):
            decoder = make_decoder(model)
            hidden, logits = decoder.prefill(batch, budget)
    streams = [TextStream(model) for _ in prompts]
    running = set(range(len(prompts)))
    for count in range(1, budget + 1):
        if cancelled():
            break
        with torch.inference_mode(), timer.stage("decode"):
            chosen = choose(logits)  # (B,)
            token_ids = chosen.tolist()
        for row in sorted(running):
            token_id = token_ids[row]
            yield TokenEvent(row, token_id, streams[row].push(token_id))
            if token_id == model.tokenizer.seg_id:
                yield _segment(model, batch[row].image, row, hidden[row], logits[row], timer)
            if token_id == model.tokenizer.eos_id:
                running.discard(row)
                yield EndEvent(row, "end_of_text")
        if not running:
            return
        if count == budget:
            for row in sorted(running):
                yield EndEvent(row, "length")
            return
        with torch.inference_mode(), timer.stage("decode"):
            hidden, logits = decoder.step(chosen)
    for row in sorted(running):
        yield EndEvent(row, "cancelled")


def force_masks(
    model: Lisa,
    features: ImageFeatures | Sequence[ImageFeatures],
    prompts: Sequence[Sequence[int]],
    *,
    timer: StageTimer | None = None,
) -> Iterator[Event]:
    """Put the answer "[SEG]." into the model's mouth: one prefill, one mask for each question.

    This is the published evaluation protocol.  The model gives no words.  See `generate` for the
    arguments and errors.
    """
    timer = timer or StageTimer(model.device)
    batch = _split(prompts, features)
    check_length(model, prompt_length(model, batch), 1)
    with torch.inference_mode(), timer.stage("prefill"):
        hidden, logits = make_decoder(model).prefill(batch, 0)
    answer = model.tokenizer.encode([Control(SEG), "."], add_bos=False)
    for row in range(len(prompts)):
        stream = TextStream(model)
        for token_id in answer:
            yield TokenEvent(row, token_id, stream.push(token_id))
            if token_id == model.tokenizer.seg_id:
                yield _segment(model, batch[row].image, row, hidden[row], logits[row], timer)
        yield EndEvent(row, "forced")


def _split(
    prompts: Sequence[Sequence[int]], features: ImageFeatures | Sequence[ImageFeatures]
) -> list[Prompt]:
    images = [features] * len(prompts) if isinstance(features, ImageFeatures) else features
    with torch.inference_mode():
        for image in images:
            _ = image.image_tokens  # now, since CLIP's time is not the prompt's
    return [Prompt.split(ids, image) for ids, image in zip(prompts, images, strict=True)]


def check_length(model: Lisa, prompt_length: int, max_new_tokens: int) -> int:
    """How many tokens an answer may have behind a prompt of `prompt_length` positions.

    Raises:
        TooLongError: none.
        UsageError: `max_new_tokens` is not positive.
    """
    if not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        raise UsageError(f"max_new_tokens: expected 1 or more, got {max_new_tokens!r}")
    context = model.config.context_length
    if prompt_length >= context:
        raise TooLongError(
            f"the instruction is too long: with the image ({model.config.num_image_tokens} "
            f"positions) and the rounds before it takes {prompt_length} of the model's {context} "
            "positions and leaves none for the answer; shorten it, or begin a new conversation"
        )
    return min(max_new_tokens, context - prompt_length)


def _segment(
    model: Lisa,
    features: ImageFeatures,
    row: int,
    state: torch.Tensor,
    logits: torch.Tensor,
    timer: StageTimer,
) -> MaskEvent:
    with torch.inference_mode(), timer.stage("mask_decoder"):
        embedding = model.seg_embedding(state[None])
        masks, predicted_iou, object_score = model.decode_masks(features, embedding)
        probability = logits.softmax(dim=-1)[model.tokenizer.seg_id]
    return MaskEvent(
        row, embedding[0], masks[0], probability, predicted_iou[0].float(), object_score[0]
    )


def _chooser(model: Lisa, sampling: Sampling) -> Callable[[torch.Tensor], torch.Tensor]:
    """Logits (B, vocab) to token ids (B,)."""
    if sampling.temperature == 0:
        return lambda logits: logits.argmax(dim=-1)
    generator = torch.Generator(model.device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)

    def sample(logits: torch.Tensor) -> torch.Tensor:
        probabilities = (logits / sampling.temperature).softmax(dim=-1)
        ordered, ids = probabilities.sort(dim=-1, descending=True)
        # A token stays while the more probable ones hold less than top_p.
        ordered[ordered.cumsum(dim=-1) - ordered >= sampling.top_p] = 0
        picked = torch.multinomial(ordered, 1, generator=generator)
        return ids.gather(-1, picked)[:, 0]

    return sample

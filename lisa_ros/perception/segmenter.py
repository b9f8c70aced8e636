"""`Segmenter`: the public face of the model.

segmenter = Segmenter.from_pretrained("xinlai/LISA-7B-v1")  # (): the small model of this package
segmenter.set_image(rgb)
answer = segmenter.answer("change the TV channel")
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from lisa_ros.model import load
from lisa_ros.model.conversation import (
    Turn,
    apply_template,
    asks_for_mask,
    clean_explanation,
    conversation_pieces,
)
from lisa_ros.model.decoder import PROMPT_STEP
from lisa_ros.model.errors import InstructionError, OutOfMemoryError, UsageError
from lisa_ros.model.generation import (
    EndEvent,
    EndReason,
    Event,
    MaskEvent,
    Sampling,
    TokenEvent,
    check_length,
    force_masks,
    generate,
)
from lisa_ros.model.lisa import ImageFeatures, Lisa
from lisa_ros.model.loading import EMBEDDED_MODEL, empty_model
from lisa_ros.model.precision import Precision, required_bytes
from lisa_ros.model.preprocessing import upscale_masks
from lisa_ros.perception.answer import Answer, Scores, SegmentedObject, Status
from lisa_ros.perception.answer_clock import AnswerClock, EncodedImage

_PROMPT_STEPS = 3  # lengths of a prompt that are captured beforehand, `PROMPT_STEP` apart


@dataclass(frozen=True)
class Words:
    """Text that the model has just added to its answer."""

    text: str


@dataclass(frozen=True)
class ObjectFound:
    """The model has just chosen a `[SEG]`; more words may follow."""

    object: SegmentedObject


@dataclass(frozen=True)
class Finished:
    """The end of the stream."""

    answer: Answer


StreamEvent = Words | ObjectFound | Finished


class Segmenter:
    """Answers instructions about images.

    `set_image` computes an image's features once; any number of questions may follow.  An object
    of this class belongs to one thread.

    Attributes:
        model: the network.
        model_id: hub id or folder it came from.
    """

    def __init__(self, model: Lisa, *, model_id: str, precision: str) -> None:
        self.model = model
        self.model_id = model_id
        self.precision = precision
        self._image: EncodedImage | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        precision: str | None = None,
        device: str | None = None,
        vision_tower: str | Path | None = None,
        sam_config: str | Path | None = None,
        conversation: str | None = None,
    ) -> Segmenter:
        """Load a model by hub id or folder, by default the small one of this package.

        See `lisa_ros.model.load` for the arguments and errors.
        """
        model = load(
            EMBEDDED_MODEL if source is None else source,
            precision=precision,
            device=device,
            vision_tower=vision_tower,
            sam_config=sam_config,
            conversation=conversation,
        )
        if precision is None:
            precision = next(p.value for p in Precision if p.dtype == model.dtype)
        model_id = "lisa-tiny" if source is None else str(source)
        return cls(model, model_id=model_id, precision=precision)

    def warm_up(self, max_new_tokens: int = 512) -> None:
        """Capture the CUDA graphs for answers of this length, so that no question waits for it.

        Those for the prompt are captured for first and further questions of up to about 130
        tokens.  Does nothing on the CPU, where nothing is captured.
        """
        if not self.model.has_cuda_graphs:
            return
        # The longest first: where it has room, so have the others.  An "a" is one token.
        for steps in reversed(range(_PROMPT_STEPS)):
            self.set_image(np.zeros((720, 1280, 3), np.uint8))
            for _ in ("first", "further"):
                with suppress(InstructionError):  # the model's context may be shorter than that
                    self._say_little("a " * (1 + steps * PROMPT_STEP), max_new_tokens)
        self.answer("a", mask_only=True)
        self.reset_image()

    def _say_little(self, instruction: str, max_new_tokens: int) -> None:
        """The first tokens of an answer that could be as long as `max_new_tokens`."""
        tokens = itertools.count()
        self.answer(instruction, max_new_tokens=max_new_tokens, cancelled=lambda: next(tokens) > 2)

    def set_image(self, image: np.ndarray | EncodedImage) -> None:
        """Compute the features of the image that the next questions are about.

        Args:
            image: RGB uint8 (H, W, 3), any size and aspect ratio; or what `encode` made of it.

        Raises:
            ImageError: the image is not of that form.
        """
        self._image = image if isinstance(image, EncodedImage) else self.encode(image)

    @property
    def encodes_in_background(self) -> bool:
        """Whether `encode` returns while the encoder is at work, as on CUDA."""
        return self.model.device.type == "cuda"

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Compute the features of an image for later; the one that is set stays.

        Raises:
            ImageError: as for `set_image`.
        """
        started = time.perf_counter()
        with self._out_of_memory_explained():
            features = self.model.encode_image(image)
        return EncodedImage(features, 1000 * (time.perf_counter() - started))

    @property
    def language_view(self) -> tuple[int, int, int, int]:
        """Box (x0, y0, x1, y1) of the image, in pixels, that the language model sees of it.

        Raises:
            UsageError: no image is set.
        """
        return self._require_image().features.language_view

    def reset_image(self) -> None:
        """Let go of the image and of the memory that its features take."""
        self._image = None

    def answer(
        self,
        instruction: str,
        *,
        template: str | None = None,
        max_new_tokens: int = 512,
        mask_only: bool = False,
        sampling: Sampling | None = None,
        history: Sequence[Turn] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """The whole answer at once; see `stream` for the arguments."""
        for event in self.stream(
            instruction,
            template=template,
            max_new_tokens=max_new_tokens,
            mask_only=mask_only,
            sampling=sampling,
            history=history,
            cancelled=cancelled,
        ):
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("a stream ends with Finished")

    def stream(
        self,
        instruction: str,
        *,
        template: str | None = None,
        max_new_tokens: int = 512,
        mask_only: bool = False,
        sampling: Sampling | None = None,
        history: Sequence[Turn] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[StreamEvent]:
        """Answer word by word; each object comes the moment its `[SEG]` is chosen.

        Args:
            instruction: what the user says, inert text: control tokens in it mean nothing.
            template: `raw`, `mask`, `explain` or `phrase`; by default the model's.
            max_new_tokens: the answer is TRUNCATED after so many tokens.
            mask_only: force the answer "[SEG]." (the published evaluation protocol): fastest, but
                the model cannot explain, nor refuse unless it gives object scores.
            sampling: greedy by default.
            history: earlier rounds about this image (`Answer.turn`).
            cancelled: asked between tokens; the answer is CANCELLED once it is true.

        Yields:
            `Words` and `ObjectFound` as they come, and last one `Finished` with the answer.

        Raises:
            UsageError: no image is set.
            InstructionError: the instruction has no words, or is longer than the context.
        """
        # Not a generator itself, so that a wrong call fails here and not at the first event.
        image = self._require_image()
        question = self._question(instruction, template, history, max_new_tokens)
        events = self._run([question], [image], max_new_tokens, mask_only, sampling, cancelled)
        return (event for _, event in events)

    def decode(
        self, embedding: np.ndarray, *, mask_prompt: torch.Tensor | None = None
    ) -> SegmentedObject:
        """The object that a `[SEG]` embedding, also one from another view, means in this image.

        Neither CLIP nor the language model runs.

        Args:
            embedding: float32 (out_dim,), of `SegmentedObject.embedding`.
            mask_prompt: float32 (s, s) logits that SAM also gets, such as the `low_res_mask` of the
                frame before.  No LISA has learned to use them.

        Raises:
            UsageError: it is of another shape, or not finite.
        """
        if embedding.shape != (self.model.config.out_dim,) or not np.isfinite(embedding).all():
            raise UsageError(
                f"expected a finite embedding of shape ({self.model.config.out_dim},), got "
                f"{embedding.dtype} of shape {embedding.shape}"
            )
        features = self._require_image().features
        timer = features.timer
        with torch.inference_mode(), self._out_of_memory_explained():
            features.wait_for_sam()  # here, so that the encoder's time is not the decoder's too
            with timer.stage("mask_decoder"):
                prompt = torch.from_numpy(embedding)[None].to(self.model.device, self.model.dtype)
                masks, predicted_iou, object_score = self.model.decode_masks(
                    features,
                    prompt,
                    None if mask_prompt is None else mask_prompt[None].to(self.model.device),
                )
            event = MaskEvent(
                0,
                prompt[0],
                masks[0],
                predicted_iou.new_full((), torch.nan, dtype=torch.float32),
                predicted_iou[0].float(),
                object_score[0],
            )
            with timer.stage("upscale"):
                return self._segmented_object(event, features)

    def take_image_times(self) -> dict[str, float]:
        """Milliseconds by stage of encoding the image and of `decode` in it.

        Told once: empty if an answer has told them in its `timings_ms`, or this method before.

        Raises:
            UsageError: no image is set.
        """
        image = self._require_image()
        return {} if image.take_ms() is None else image.features.timer.milliseconds()

    def pooled_features(self, item: SegmentedObject) -> np.ndarray:
        """Mean of SAM's image features under an object's mask: what it looks like, (C,) float32."""
        features = self._require_image().features
        with torch.inference_mode():
            embedding = features.wait_for_sam()[0].float()  # (C, g, g)
            logits = item.low_res_mask.to(embedding.device)[None, None]
            weights = F.interpolate(logits.sigmoid(), embedding.shape[-2:], mode="area")[0, 0]
            # Nothing was learned about the mask on SAM's padding.
            cell = features.geometry.square // embedding.shape[-1]
            height, width = (-(-side // cell) for side in features.geometry.resized)
            weights[height:], weights[:, width:] = 0, 0
            pooled = (embedding * weights).sum((1, 2)) / weights.sum().clamp(min=1e-6)
            return pooled.cpu().numpy()

    def answer_batch(
        self,
        instructions: Sequence[str],
        *,
        images: Sequence[np.ndarray] | None = None,
        template: str | None = None,
        max_new_tokens: int = 512,
        mask_only: bool = False,
        sampling: Sampling | None = None,
    ) -> list[Answer]:
        """Several independent questions in one batched pass.

        Args:
            images: what each of them is about; by default all are about the image that is set,
                which stays.  An array that is given several times is encoded once.

        Raises:
            UsageError: no question, no image, or not as many images as questions.
            ImageError: an image is not of the form that `set_image` takes.
            InstructionError: as for `stream`.
        """
        if not instructions:
            raise UsageError("answer_batch: expected at least one instruction, got none")
        if images is not None and len(images) != len(instructions):
            raise UsageError(
                f"answer_batch: expected an image for each of {len(instructions)} instructions, "
                f"got {len(images)}"
            )
        questions = [self._question(words, template, (), max_new_tokens) for words in instructions]
        if images is None:
            image_of_each = [self._require_image()] * len(questions)
        else:
            arrays = list(images)
            by_id = {id(array): array for array in arrays}
            encoded = {key: self.encode(array) for key, array in by_id.items()}
            image_of_each = [encoded[id(array)] for array in arrays]
        answers: dict[int, Answer] = {}
        for row, event in self._run(
            questions, image_of_each, max_new_tokens, mask_only, sampling, lambda: False
        ):
            if isinstance(event, Finished):
                answers[row] = event.answer
        return [answers[row] for row in range(len(questions))]

    def _require_image(self) -> EncodedImage:
        if self._image is None:
            raise UsageError("no image is set; call set_image(image) before asking")
        return self._image

    def _question(
        self,
        instruction: str,
        template: str | None,
        history: Sequence[Turn],
        max_new_tokens: int,
    ) -> _Question:
        config = self.model.config
        words = apply_template(instruction, template or config.default_template)
        pieces = conversation_pieces(
            config.conversation,
            [*history, Turn(words)],
            use_im_start_end=config.use_im_start_end,
        )
        prompt_ids = self.model.tokenizer.encode(pieces)
        question = _Question(instruction, words, prompt_ids)
        check_length(self.model, self._length(question), max_new_tokens)
        return question

    def _run(
        self,
        questions: list[_Question],
        images: list[EncodedImage],
        max_new_tokens: int,
        mask_only: bool,
        sampling: Sampling | None,
        cancelled: Callable[[], bool],
    ) -> Iterator[tuple[int, StreamEvent]]:
        clock = AnswerClock(images, self.model.device)
        features = [image.features for image in images]
        prompts = [question.prompt_ids for question in questions]
        events: Iterator[Event]
        if mask_only:
            events = force_masks(self.model, features, prompts, timer=clock.timer)
        else:
            events = generate(
                self.model,
                features,
                prompts,
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                cancelled=cancelled,
                timer=clock.timer,
            )
        with self._out_of_memory_explained():
            for event in events:
                question = questions[event.row]
                if isinstance(event, TokenEvent):
                    question.answer_ids.append(event.token_id)
                    if event.text:
                        yield event.row, Words(event.text)
                elif isinstance(event, MaskEvent):
                    with clock.timer.stage("upscale"):
                        item = self._segmented_object(event, features[event.row])
                    clock.mask_is_out()
                    question.objects.append(item)
                    yield event.row, ObjectFound(item)
                else:
                    answer = self._finish(
                        question, event, features[event.row], clock.milliseconds()
                    )
                    yield event.row, Finished(answer)

    def _finish(
        self,
        question: _Question,
        end: EndEvent,
        features: ImageFeatures,
        timings_ms: dict[str, float],
    ) -> Answer:
        tokenizer = self.model.tokenizer
        decoded = tokenizer.decode(question.answer_ids, skip_special_tokens=True)
        text = decoded.replace("  ", " ").strip()
        status = _status(question, end.reason)
        return Answer(
            status=status,
            message=self._message(status, question),
            instruction=question.instruction,
            question=question.words,
            text=text,
            explanation=clean_explanation(text),
            objects=tuple(question.objects),
            prompt_ids=tuple(question.prompt_ids),
            answer_ids=tuple(question.answer_ids),
            language_view=features.language_view,
            timings_ms=timings_ms,
            model_id=self.model_id,
            precision=self.precision,
        )

    def _message(self, status: Status, question: _Question) -> str:
        if status is Status.NOT_FOUND and question.objects:
            best = max(item.scores.object_score or 0.0 for item in question.objects)
            least = self.model.config.min_object_score
            if least is not None and best < least:
                return (
                    f"the best object score is {best:.3f}, below the model's min_object_score of "
                    f"{least:.3f}: what was asked for is most likely not in view; ask in other "
                    "words, or look from elsewhere"
                )
        if (
            status is Status.TRUNCATED
            and self._length(question) >= self.model.config.context_length
        ):
            return (
                f"the conversation fills the model's {self.model.config.context_length} positions; "
                "objects may be missing, ask again in a new conversation or in fewer words"
            )
        return _MESSAGES[status]

    def _length(self, question: _Question) -> int:
        """Positions of a question with its image and answer."""
        image = self.model.config.num_image_tokens - 1  # is one id
        return len(question.prompt_ids) + image + len(question.answer_ids)

    def _segmented_object(self, event: MaskEvent, features: ImageFeatures) -> SegmentedObject:
        """Upscale a mask on its device, and bring only what is needed to the host."""
        least = self.model.config.min_object_score
        with torch.inference_mode():
            logits = upscale_masks(event.low_res_mask[None], features.geometry)[0]  # (H, W)
            inside = logits > 0
            if least is not None:
                inside = inside & (event.object_score >= least)
            mean_inside = (logits.sigmoid() * inside).sum() / inside.sum().clamp(min=1)
            numbers = torch.stack(
                [event.seg_probability, mean_inside, event.predicted_iou, event.object_score]
            )
            mask = inside.cpu().numpy()
            seg_probability, mask_probability, predicted_iou, object_score = numbers.tolist()
        area = int(np.count_nonzero(mask))
        return SegmentedObject(
            mask=mask,
            box_xyxy=_box(mask) if area else None,
            area=area,
            scores=Scores(
                seg_probability=seg_probability,
                mask_probability=mask_probability,
                predicted_iou=predicted_iou,
                object_score=None if math.isnan(object_score) else object_score,
            ),
            embedding=event.embedding.float().cpu().numpy(),
            low_res_mask=event.low_res_mask.float().cpu(),
            geometry=features.geometry,
        )

    @contextmanager
    def _out_of_memory_explained(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            # A quantised model no longer tells how many weights it has.
            empty = empty_model(self.model.config, self.model.tokenizer)
            sizes = ", ".join(
                f"{p.value} {required_bytes(empty, p) / 2**30:.1f} GiB" for p in Precision
            )
            raise OutOfMemoryError(
                f"{self.model.device} ran out of memory while answering in {self.precision} "
                f"({str(error).splitlines()[0]}). The weights alone need: {sizes}; load the model "
                "with a smaller precision, ask fewer questions at once, or free the memory that "
                "other programs hold"
            ) from None


@dataclass
class _Question:
    """A question on its way through the model."""

    instruction: str
    words: str
    prompt_ids: list[int]
    answer_ids: list[int] = field(default_factory=list)
    objects: list[SegmentedObject] = field(default_factory=list)


_MESSAGES = {
    Status.FOUND: "the model gave at least one mask",
    Status.NOT_FOUND: "the model gave no mask, or empty ones; read the explanation, ask in other "
    "words, or check that the object lies inside language_view",
    Status.TEXT_ONLY: "no mask was asked for and none given; ask with the template mask or explain "
    "to get one",
    Status.TRUNCATED: "the answer reached its longest length; objects may be missing, raise "
    "max_new_tokens",
    Status.CANCELLED: "the question was cancelled; objects found until then are kept",
}


def _status(question: _Question, reason: EndReason) -> Status:
    if reason == "cancelled":
        return Status.CANCELLED
    if reason == "length":
        return Status.TRUNCATED
    if any(item.area for item in question.objects):
        return Status.FOUND
    if question.objects or asks_for_mask(question.words):
        return Status.NOT_FOUND
    return Status.TEXT_ONLY


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

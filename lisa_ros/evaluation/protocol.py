"""How a model is asked: with `[SEG]` put into its mouth as published, or freely as on a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lisa_ros.data.files import need_package
from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import Case, EvaluationError, Picture
from lisa_ros.evaluation.scores import Result, compare
from lisa_ros.model.conversation import apply_template
from lisa_ros.model.errors import ImageError, InstructionError
from lisa_ros.perception import Answer, Segmenter


@dataclass(frozen=True)
class Protocol:
    """The question's words and who gives the answer's.

    Attributes:
        name: `forced`, the published one: the answer "[SEG]." is given to the model, which can so
            neither find several objects nor refuse, unless it gives object scores
            (`LisaConfig.min_object_score`); `generate`: the model answers freely.
        template: of the question, with `generate`; by default the published one, `mask` for a
            sentence and `phrase` for a phrase.
        max_new_tokens: longest answer, with `generate`.
    """

    name: Literal["forced", "generate"]
    template: str | None = None
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        if self.name == "forced" and self.template is not None:
            raise EvaluationError(
                "the published protocol `forced` has its own questions; leave out the template, or "
                "choose `generate`"
            )

    def question(self, case: Case) -> str:
        """The words put to the model.

        Raises:
            InstructionError: the instruction has no words.
        """
        question = apply_template(
            case.instruction, self.template or ("phrase" if case.is_phrase else "mask")
        )
        # The published space; it matters where no <im_end> stands before it.
        return f" {question}" if self.name == "forced" else question

    def values(self) -> dict[str, Any]:
        """What decides the answers, for a record."""
        if self.name == "forced":
            return {"name": self.name}
        template = self.template or "mask for sentences, phrase for phrases"
        return {
            "name": self.name,
            "template": template,
            "max_new_tokens": self.max_new_tokens,
        }


@dataclass(frozen=True)
class Outcome:
    """What a picture's questions gave.

    Attributes:
        picture: what was asked about.
        results: one for each case.
        milliseconds: by stage, of the picture and all its answers; where other pictures were asked
            about in the same batch, its share of that.
    """

    picture: Picture
    results: tuple[Result, ...]
    milliseconds: dict[str, float]


def ask(
    segmenter: Segmenter, pictures: Sequence[Picture], protocol: Protocol, *, batch_size: int
) -> list[Outcome]:
    """Ask everything about pictures.

    Args:
        pictures: one, or several with at most `batch_size` questions together.
        batch_size: questions that are asked at once.

    Raises:
        BadSampleError: a picture or a question cannot be asked; a picture alone is named.
    """
    try:
        if len(pictures) == 1:
            return [_ask(segmenter, pictures[0], protocol, batch_size)]
        return _ask_together(segmenter, pictures, protocol)
    except (ImageError, InstructionError) as error:
        name = pictures[0].name if len(pictures) == 1 else f"one of {len(pictures)} pictures"
        raise BadSampleError(f"{name}: {error}") from error


def _ask(segmenter: Segmenter, picture: Picture, protocol: Protocol, batch_size: int) -> Outcome:
    segmenter.set_image(picture.image)
    results: list[Result] = []
    milliseconds: dict[str, float] = {}
    for start in range(0, len(picture.cases), batch_size):
        cases = picture.cases[start : start + batch_size]
        answers = _answers(segmenter, cases, None, protocol)
        results += [
            _result(case, answer, protocol) for case, answer in zip(cases, answers, strict=True)
        ]
        for stage, took in _times(answers).items():
            milliseconds[stage] = milliseconds.get(stage, 0.0) + took
    return Outcome(picture, tuple(results), milliseconds)


def _ask_together(
    segmenter: Segmenter, pictures: Sequence[Picture], protocol: Protocol
) -> list[Outcome]:
    cases = [case for picture in pictures for case in picture.cases]
    if not cases:
        return [Outcome(picture, (), {}) for picture in pictures]
    images = [picture.image for picture in pictures for _ in picture.cases]
    answers = _answers(segmenter, cases, images, protocol)
    times = _times(answers)
    results = [_result(case, answer, protocol) for case, answer in zip(cases, answers, strict=True)]
    outcomes, end = [], 0
    for picture in pictures:
        start, end = end, end + len(picture.cases)
        share = (end - start) / len(cases)
        outcomes.append(
            Outcome(
                picture,
                tuple(results[start:end]),
                {stage: took * share for stage, took in times.items()},
            )
        )
    return outcomes


def _answers(
    segmenter: Segmenter,
    cases: Sequence[Case],
    images: Sequence[np.ndarray] | None,
    protocol: Protocol,
) -> list[Answer]:
    return segmenter.answer_batch(
        [protocol.question(case) for case in cases],
        images=images,
        template="raw",  # the template is in the question already
        mask_only=protocol.name == "forced",
        max_new_tokens=protocol.max_new_tokens,
    )


def _times(answers: Sequence[Answer]) -> dict[str, float]:
    """Of a batch, which runs as one: those of the answer that ended last."""
    times = dict(max((answer.timings_ms for answer in answers), key=lambda times: times["total"]))
    times.pop("first_mask", None)  # that of each question is not told
    return times


def _result(case: Case, answer: Answer, protocol: Protocol) -> Result:
    mask = None if answer.mask is None else encode_mask(answer.mask)
    result = compare(case, answer)
    # What was put into the model's mouth names nothing.
    named = None if protocol.name == "forced" else result.named
    return replace(result, mask=mask, named=named)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask, bool (H, W), as COCO's compressed run lengths."""
    coco = need_package("pycocotools.mask", "pycocotools")
    code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_mask(code: dict[str, Any] | None, size: tuple[int, int]) -> np.ndarray:
    """The mask that `encode_mask` was given, bool (H, W); an empty one for None."""
    if code is None:
        return np.zeros(size, bool)
    coco = need_package("pycocotools.mask", "pycocotools")
    return coco.decode({**code, "counts": code["counts"].encode("ascii")}).astype(bool)

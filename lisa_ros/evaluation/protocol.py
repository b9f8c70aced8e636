"""How a model is asked: with `[SEG]` put into its mouth as published, or freely as on a robot."""

from __future__ import annotations

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
            neither find several objects nor refuse, unless it rates its masks
            (`LisaConfig.min_predicted_iou`); `generate`: the model answers freely.
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
        return apply_template(
            case.instruction, self.template or ("phrase" if case.is_phrase else "mask")
        )

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


def ask(
    segmenter: Segmenter, picture: Picture, protocol: Protocol, *, batch_size: int
) -> tuple[tuple[Result, ...], dict[str, float]]:
    """Ask everything about a picture, `batch_size` questions at once.

    Returns:
        A result for each case, and milliseconds by stage: of the picture and all its answers.

    Raises:
        BadSampleError: the picture or a question cannot be asked.
    """
    try:
        return _ask(segmenter, picture, protocol, batch_size)
    except (ImageError, InstructionError) as error:
        raise BadSampleError(f"{picture.name}: {error}") from error


def _ask(
    segmenter: Segmenter, picture: Picture, protocol: Protocol, batch_size: int
) -> tuple[tuple[Result, ...], dict[str, float]]:
    segmenter.set_image(picture.image)
    results: list[Result] = []
    milliseconds: dict[str, float] = {}
    for start in range(0, len(picture.cases), batch_size):
        cases = picture.cases[start : start + batch_size]
        answers = segmenter.answer_batch(
            [protocol.question(case) for case in cases],
            template="raw",  # the template is in the question already
            mask_only=protocol.name == "forced",
            max_new_tokens=protocol.max_new_tokens,
        )
        results += [_result(case, answer) for case, answer in zip(cases, answers, strict=True)]
        # A batch runs as one; the answer that ended last has all of its time.
        times = max((answer.timings_ms for answer in answers), key=lambda times: times["total"])
        for stage, took in times.items():
            if stage != "first_mask" or start == 0:
                milliseconds[stage] = milliseconds.get(stage, 0.0) + took
    return tuple(results), milliseconds


def _result(case: Case, answer: Answer) -> Result:
    mask = None if answer.mask is None else encode_mask(answer.mask)
    return replace(compare(case, answer), mask=mask)


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

"""From an instruction to the prompt that LISA was trained on.

Two steps: an instruction template turns what a person says into a whole question (released
models were trained on whole questions only), and a conversation template wraps questions and
answers in the roles of the language model (LLaVA's `llava_v1` and `llava_llama_2`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lisa_ros.model.errors import InstructionError

IMAGE = "<image>"
IM_START = "<im_start>"
IM_END = "<im_end>"
IM_PATCH = "<im_patch>"
SEG = "[SEG]"
BOS = "<s>"
EOS = "</s>"
UNK = "<unk>"
CONTROL_TOKENS = (IMAGE, IM_START, IM_END, IM_PATCH, SEG, BOS, EOS, UNK)


@dataclass(frozen=True)
class Control:
    """One control token of a prompt; the only way in which one can get there."""

    token: str


Piece = str | Control


@dataclass(frozen=True)
class Turn:
    """One round of a conversation.

    Attributes:
        question: the words put to the model, template included.
        answer: the model's words; `[SEG]` in it is the control token.  None: not answered yet.
    """

    question: str
    answer: str | None = None


INSTRUCTION_TEMPLATES = {
    "raw": "{}",
    "mask": "{} Please output segmentation mask.",
    "explain": "{} Please output segmentation mask and explain why.",
    "phrase": "What is {} in this image? Please output segmentation mask.",
}


def apply_template(instruction: str, template: str) -> str:
    """Put an instruction into a question the model was trained on.

    Raises:
        InstructionError: the instruction is no text, holds no words, or the template is unknown.
    """
    if template not in INSTRUCTION_TEMPLATES:
        raise InstructionError(
            f"unknown template {template!r}; known are {', '.join(INSTRUCTION_TEMPLATES)}"
        )
    if not isinstance(instruction, str):
        raise InstructionError(f"expected an instruction as str, got {type(instruction).__name__}")
    try:
        instruction.encode()
    except UnicodeEncodeError:
        raise InstructionError(f"expected an instruction in UTF-8, got {instruction!a}") from None
    words = instruction
    for token in CONTROL_TOKENS:
        words = words.replace(token, "")
    if not words.strip():
        got = f"only control tokens ({instruction!r})" if instruction.strip() else "nothing"
        raise InstructionError(
            f"expected an instruction in words, such as 'the cup on the left', got {got}"
        )
    if template != "raw":
        instruction = instruction.strip()
    return INSTRUCTION_TEMPLATES[template].format(instruction)


def asks_for_mask(question: str) -> bool:
    """Whether a question wants a mask, so that an answer without one means "not found"."""
    return re.search(r"segment|\bmasks?\b", question, re.IGNORECASE) is not None


def clean_explanation(text: str) -> str:
    """The model's words for people: no control tokens, and none of the gaps that they leave.

    "Sure, [SEG] . The chair is safe." becomes "Sure. The chair is safe."
    """
    for token in CONTROL_TOKENS:
        text = text.replace(token, " ")
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (?=[.,;:!?])", "", text)
    text = re.sub(r"[,;:]+(?=[.!?])", "", text)
    return re.sub(r"^[\s.,;:!?]+", "", text).strip()


def conversation_pieces(
    name: str, turns: Sequence[Turn], *, use_im_start_end: bool = True
) -> list[Piece]:
    """The prompt of a conversation about one image, ending where the model goes on.

    Args:
        name: a key of `CONVERSATIONS`.
        turns: the rounds so far; the image belongs to the first question.
        use_im_start_end: wrap the image in `<im_start>` and `<im_end>`.
    """
    image = [Control(IMAGE)]
    if use_im_start_end:
        image = [Control(IM_START), Control(IMAGE), Control(IM_END)]
    pieces: list[Piece] = []
    for i, turn in enumerate(turns):
        question: list[Piece] = [turn.question]
        if i == 0:
            question = [*image, "\n", turn.question]
        answer = None if turn.answer is None else _with_seg_tokens(turn.answer)
        pieces += CONVERSATIONS[name](i == 0, question, answer)
    return pieces


def _llava_v1(first: bool, question: list[Piece], answer: list[Piece] | None) -> list[Piece]:
    system = (
        "A chat between a curious human and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the human's questions. "
    )
    pieces: list[Piece] = [system if first else "", "USER: ", *question, " ASSISTANT:"]
    if answer is not None:
        pieces += [" ", *answer, Control(EOS)]
    return pieces


def _llava_llama_2(first: bool, question: list[Piece], answer: list[Piece] | None) -> list[Piece]:
    system = (
        "<<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the "
        "visual content that the user provides, and assist the user with a variety of tasks using "
        "natural language.\n<</SYS>>\n\n"
    )
    pieces: list[Piece] = ["[INST] ", system] if first else [Control(BOS), "[INST] "]
    pieces += [*question, " [/INST]"]
    if answer is not None:
        pieces += [" ", *answer, " ", Control(EOS)]
    return pieces


# name -> (is this the first round?, question, answer) -> pieces of the round
CONVERSATIONS: dict[str, Callable[[bool, list[Piece], list[Piece] | None], list[Piece]]] = {
    "llava_v1": _llava_v1,
    "llava_llama_2": _llava_llama_2,
}


def _with_seg_tokens(answer: str) -> list[Piece]:
    pieces: list[Piece] = []
    for i, text in enumerate(answer.split(SEG)):
        if i > 0:
            pieces.append(Control(SEG))
        pieces.append(text)
    return pieces

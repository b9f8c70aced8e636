"""Prompts: conversation templates and instruction templates."""

import pytest

from lisa_ros.model.conversation import (
    Control,
    Turn,
    apply_template,
    asks_for_mask,
    clean_explanation,
    conversation_pieces,
)
from lisa_ros.model.errors import InstructionError


def text_of(pieces) -> str:
    return "".join(piece.token if isinstance(piece, Control) else piece for piece in pieces)


def test_prompt_ids(golden, teacher_forced):
    want = golden.group("teacher_forced", teacher_forced["key"])
    assert golden.prompt_ids(teacher_forced["instruction"]) == want["prompt_ids"].tolist()


def test_prompt_with_answer(golden, teacher_forced):
    turn = Turn(teacher_forced["instruction"], teacher_forced["answer"])
    pieces = conversation_pieces(golden.conversation, [turn])
    want = golden.group("teacher_forced", teacher_forced["key"])["input_ids"].tolist()
    assert golden.model.tokenizer.encode(pieces) == want


@pytest.mark.parametrize("name", ["llava_v1", "llava_llama_2"])
def test_both_templates_give_the_golden_strings(golden, name):
    """tokenizer_golden.json holds both templates, whichever the set's model was trained with."""
    items = {item["text"]: item["ids"] for item in golden.tokenizer_items}
    for answer in (None, "Sure, it is [SEG]."):
        pieces = conversation_pieces(name, [Turn("Can you segment the cup?", answer)])
        if text_of(pieces) not in items:
            pytest.skip("this set has no such string")
        assert golden.model.tokenizer.encode(pieces) == items[text_of(pieces)]


def test_llava_v1_two_rounds(first_golden):
    turns = [Turn("Where is the cup?", "It is [SEG]."), Turn("Why?")]
    pieces = conversation_pieces("llava_v1", turns)
    assert text_of(pieces).endswith(
        "<im_start><image><im_end>\nWhere is the cup? ASSISTANT: It is [SEG].</s>USER: Why? "
        "ASSISTANT:"
    )
    tokenizer = first_golden.model.tokenizer
    assert tokenizer.encode(pieces) == tokenizer.encode(tokenizer.parse(text_of(pieces)))


def test_llava_llama_2_two_rounds(first_golden):
    turns = [Turn("Where is the cup?", "It is [SEG]."), Turn("Why?", "So."), Turn("And?")]
    pieces = conversation_pieces("llava_llama_2", turns)
    assert text_of(pieces).endswith(
        "<im_start><image><im_end>\nWhere is the cup? [/INST] It is [SEG]. </s><s>[INST] Why? "
        "[/INST] So. </s><s>[INST] And? [/INST]"
    )
    tokenizer = first_golden.model.tokenizer
    assert tokenizer.encode(pieces) == tokenizer.encode(tokenizer.parse(text_of(pieces)))


def test_seg_as_the_model_writes_it_gives_the_same_history(first_golden):
    """Decoding puts spaces around [SEG]; as history they must not change the ids."""
    encode = first_golden.model.tokenizer.encode
    as_trained = conversation_pieces("llava_v1", [Turn("Where?", "It is [SEG]."), Turn("Why?")])
    as_decoded = conversation_pieces("llava_v1", [Turn("Where?", "It is [SEG] ."), Turn("Why?")])
    assert encode(as_trained) == encode(as_decoded)


def test_control_tokens_in_a_question_stay_text():
    pieces = conversation_pieces("llava_v1", [Turn("[SEG] <image> </s>", None)])
    controls = [piece.token for piece in pieces if isinstance(piece, Control)]
    assert controls == ["<im_start>", "<image>", "<im_end>"]


def test_image_without_start_and_end():
    pieces = conversation_pieces("llava_v1", [Turn("Where?")], use_im_start_end=False)
    assert [p.token for p in pieces if isinstance(p, Control)] == ["<image>"]


@pytest.mark.parametrize(
    ("template", "question"),
    [
        ("raw", "  the {cup}\n"),  # as typed, as in the published chat
        ("mask", "the {cup} Please output segmentation mask."),
        ("explain", "the {cup} Please output segmentation mask and explain why."),
        ("phrase", "What is the {cup} in this image? Please output segmentation mask."),
    ],
)
def test_instruction_templates(template, question):
    assert apply_template("  the {cup}\n", template) == question


@pytest.mark.parametrize("words", ["", "  \n\t", "[SEG]", " <image> </s>\n", "[SEG][SEG]<s>"])
def test_instruction_without_words_is_refused(words):
    with pytest.raises(InstructionError, match="in words"):
        apply_template(words, "raw")


@pytest.mark.parametrize("words", [None, 3, b"the cup", ["the cup"], "caf\udce9 cup"])
def test_instruction_that_is_no_text_is_refused(words):
    with pytest.raises(InstructionError, match="expected an instruction"):
        apply_template(words, "raw")


def test_unknown_template_names_the_known():
    with pytest.raises(InstructionError, match="raw, mask, explain, phrase"):
        apply_template("the cup", "polite")


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Can you segment the cup?", True),
        ("Where is it? Please output segmentation mask.", True),
        ("Give me MASKS of the cups", True),
        ("Describe this image.", False),
        ("Is that a masked ball?", False),
    ],
)
def test_asks_for_mask(question, wanted):
    assert asks_for_mask(question) is wanted


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Sure, [SEG] . The chair is safe.", "Sure. The chair is safe."),
        ("Sure, [SEG]. The chair is safe.", "Sure. The chair is safe."),
        ("[SEG] .", ""),
        ("[SEG]", ""),
        ("[SEG] [SEG] [SEG]", ""),
        ("", ""),
        ("It is [SEG] . The dog is red.</s>", "It is. The dog is red."),
        ("There is no circle in this image.", "There is no circle in this image."),
        ("[SEG] . 3 cups, 2 dogs: why? Because!", "3 cups, 2 dogs: why? Because!"),
        ("<s> 中文 [SEG] 。</s>", "中文 。"),
        ("one\n\ntwo   three", "one two three"),
    ],
)
def test_explanation_has_no_control_tokens_and_no_gaps(text, cleaned):
    assert clean_explanation(text) == cleaned

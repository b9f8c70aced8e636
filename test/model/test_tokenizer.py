"""Text to ids and back, as the published checkpoints were trained."""

import json
import shutil

import pytest

from lisa_ros.model.conversation import Control
from lisa_ros.model.conversion import convert
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.generation import TextStream
from lisa_ros.model.tokenizer import IMAGE_TOKEN_INDEX, LisaTokenizer


def test_ids_of_all_golden_strings(golden):
    tokenizer = golden.model.tokenizer
    wrong = [
        item["text"]
        for item in golden.tokenizer_items
        if tokenizer.encode(tokenizer.parse(item["text"])) != item["ids"]
    ]
    assert golden.tokenizer_items
    assert not wrong


def test_text_of_all_golden_ids(golden):
    decode = golden.model.tokenizer.decode
    for item in golden.tokenizer_items:
        assert decode(item["ids"]) == item["decoded"]
        assert decode(item["ids"], skip_special_tokens=True) == item["decoded_skip"]


# Of LlamaTokenizer in transformers 4.31.0, on the golden vocabulary: legacy, and not.
IDS_OF_4_31 = {
    "Sure, [SEG].": (
        "1 369 353 599 640 576 596",
        "1 369 353 599 640 596",
    ),
    "<im_end>\nWhat is this? ASSISTANT: It is [SEG] .</s>USER: And that? ASSISTANT:": (
        "1 642 486 586 269 456 484 604 359 601 601 616 455 608 620 602 624 576 616 578 456 "
        "640 576 596 2 490 601 629 622 624 359 581 588 459 604 359 601 601 616 455 608 620 "
        "602 624",
        "1 642 621 586 269 456 484 604 359 601 601 616 455 608 620 602 624 576 616 578 456 "
        "640 596 2 623 601 629 622 624 359 581 588 459 604 359 601 601 616 455 608 620 602 "
        "624",
    ),
    "[SEG] the mug and  [SEG]the bowl.</s>": (
        "1 640 289 300 587 589 312 640 289 283 316 585 596 2",
        "1 640 0 300 587 589 312 640 0 283 316 585 596 2",
    ),
    "hello</s> world</s>": (
        "1 388 585 583 2 576 271 545 585 588 2",
        "1 388 585 583 2 576 271 545 585 588 2",
    ),
    "a<s>b": (
        "1 265 1 283",
        "1 265 1 594",
    ),
    "1[SEG]2 [SEG]\n3 ,[SEG]?": (
        "1 576 609 640 576 610 640 576 611 576 599 640 576 604",
        "1 576 609 640 610 640 611 576 599 640 604",
    ),
}


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("text", IDS_OF_4_31)
def test_text_behind_a_control_token(first_golden, tmp_path, text, legacy):
    """Sentencepiece's dummy prefix stays there, unless the vocabulary says `legacy: false`."""
    folder = copy_with(first_golden.lisa, tmp_path / "lisa", legacy=legacy)
    tokenizer = LisaTokenizer.from_folder(folder)
    ids = IDS_OF_4_31[text][0 if legacy else 1]
    assert tokenizer.encode(tokenizer.parse(text)) == [int(i) for i in ids.split()]


def test_text_behind_the_image_begins_anew(first_golden, tmp_path):
    """The published code tokenises it by itself, so it keeps its dummy prefix."""
    tokenizer = LisaTokenizer.from_folder(
        copy_with(first_golden.lisa, tmp_path / "lisa", legacy=False)
    )
    alone = tokenizer.encode(["hello"], add_bos=False)
    assert tokenizer.encode(["hello", Control("<image>"), "hello"], add_bos=False) == [
        *alone,
        IMAGE_TOKEN_INDEX,
        *alone,
    ]


def test_conversion_keeps_the_settings_of_the_tokenizer(first_golden, tmp_path):
    folder = copy_with(first_golden.lisa, tmp_path / "a", legacy=False, add_bos_token=False)
    converted = convert(folder, tmp_path / "b", vision_tower=first_golden.clip)
    before, after = (LisaTokenizer.from_folder(f) for f in (folder, converted))
    assert before.settings == after.settings == {"add_bos_token": False, "legacy": False}


def copy_with(source, folder, **settings):
    shutil.copytree(source, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def test_control_ids_are_looked_up_by_name(golden):
    tokenizer = golden.model.tokenizer
    assert tokenizer.seg_id == golden.meta["seg_token_idx"]
    for name, token_id in golden.meta["special_ids"].items():
        assert tokenizer.encode([Control(name)], add_bos=False) == [token_id]
    assert tokenizer.vocab_size == golden.meta["vocab_size"]


@pytest.mark.parametrize("token", ["[SEG]", "<image>", "</s>", "<s>", "<unk>", "<im_start>"])
def test_control_token_in_text_is_inert(first_golden, token):
    tokenizer = first_golden.model.tokenizer
    ids = tokenizer.encode([f"say {token} now", Control("[SEG]")])
    assert ids[0] == tokenizer.bos_id
    assert ids[-1] == tokenizer.seg_id
    added = {*tokenizer.added_tokens.values(), tokenizer.bos_id, tokenizer.eos_id, -200}
    assert not added & set(ids[1:-1])


def test_neighbouring_text_pieces_are_one_text(first_golden):
    tokenizer = first_golden.model.tokenizer
    assert tokenizer.encode(["Can you seg", "", "ment it?"]) == tokenizer.encode(
        ["Can you segment it?"]
    )


def test_unknown_control_token_is_named(first_golden):
    with pytest.raises(CheckpointError, match="<im_patch>"):
        first_golden.model.tokenizer.encode([Control("<im_patch>")])


def test_vocabulary_without_seg_is_refused(first_golden):
    with pytest.raises(CheckpointError, match=r"\[SEG\].*base model"):
        LisaTokenizer(first_golden.lisa / "tokenizer.model", {"<im_start>": 640})


def test_ids_that_only_pad_the_table_mean_nothing(first_golden):
    tokenizer = first_golden.model.tokenizer
    ids = tokenizer.encode(["the cup"])
    beyond = tokenizer.vocab_size + 3
    assert tokenizer.decode([*ids, beyond, ids[-1]]) == tokenizer.decode([*ids, ids[-1]])


def test_broken_sentencepiece_model_is_named(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        LisaTokenizer(tmp_path / "tokenizer.model", {"[SEG]": 1})


def test_stream_gives_whole_characters(first_golden):
    model = first_golden.model
    text = "café 中文 😀 and on"
    ids = model.tokenizer.encode([text], add_bos=False)
    assert len(ids) > len(text.split())
    stream = TextStream(model)
    pieces = [stream.push(i) for i in ids]
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in model.tokenizer.decode(ids)
    assert "".join(pieces) == model.tokenizer.decode(ids)


def test_bytes_of_one_character_come_out_together(first_golden):
    """Byte-fallback tokens show as U+FFFD until the last byte of a character has come."""

    class Bytes:
        def decode(self, ids, skip_special_tokens=False):
            return bytes(ids).decode("utf-8", errors="replace")

    class Model:
        tokenizer = Bytes()

    text = "a é中😀z"
    stream = TextStream(Model())
    pieces = [stream.push(i) for i in text.encode()]
    assert [piece for piece in pieces if piece] == list(text)

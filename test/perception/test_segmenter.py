"""A frame and an instruction in, an `Answer` out."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_set import unpack_masks

from lisa_ros.model import lisa
from lisa_ros.model.errors import (
    ImageError,
    InstructionError,
    OutOfMemoryError,
    UsageError,
)
from lisa_ros.model.preprocessing import clip_input
from lisa_ros.perception import (
    Finished,
    ObjectFound,
    Sampling,
    Segmenter,
    Status,
    Turn,
    Words,
)
from lisa_ros.perception.answer_clock import EncodedImage


@pytest.fixture(scope="module")
def cases(first_golden):
    """Cases about one image, by the number of their [SEG]."""
    return {
        case["n_seg"]: case for case in first_golden.cases("generate") if "trunc" not in case["key"]
    }


@pytest.fixture
def about(first_golden, segmenter):
    """The segmenter with the image of a case."""

    def set_image(case) -> Segmenter:
        # As `set_image`, but each image is encoded only once in all tests.
        segmenter._image = EncodedImage(first_golden.features(case["image"]), None)
        return segmenter

    return set_image


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_answer_has_an_object_for_each_seg(first_golden, about, cases, count):
    case = cases[count]
    answer = about(case).answer(case["instruction"], template="raw")
    want = first_golden.group("generate", case["key"])
    assert answer.text == case["new_text"]
    assert list(answer.token_ids) == want["output_ids"].tolist()
    assert list(answer.prompt_ids) == want["input_ids"].tolist()
    assert answer.instruction == answer.question == case["instruction"]
    assert (answer.model_id, answer.precision) == ("golden", "fp32")
    assert answer.language_view == first_golden.features(case["image"]).language_view
    assert len(answer.objects) == count
    height, width, _ = first_golden.image(case["image"]).shape
    for item, mask in zip(answer.objects, unpack_masks(want) if count else [], strict=True):
        assert item.mask.dtype == bool
        assert item.mask.shape == (height, width)
        assert (item.mask != mask).mean() < 1e-3


def test_objects_agree_with_themselves(about, cases):
    for item in about(cases[3]).answer(cases[3]["instruction"], template="raw").objects:
        logits = item.mask_logits()
        assert logits.dtype == np.float32
        np.testing.assert_array_equal(logits > 0, item.mask)
        assert item.area == item.mask.sum() > 0
        x0, y0, x1, y1 = item.box_xyxy
        assert item.mask[y0:y1, x0:x1].sum() == item.area
        assert item.mask[y0].any()
        assert item.mask[y1 - 1].any()
        assert item.mask[:, x0].any()
        assert item.mask[:, x1 - 1].any()
        inside = 1 / (1 + np.exp(-logits[item.mask].astype(np.float64)))
        assert item.scores.mask_probability == pytest.approx(inside.mean(), abs=1e-4)
        assert 0.5 <= item.scores.mask_probability <= 1
        assert 0.5 < item.scores.seg_probability <= 1  # greedy, and by a wide margin
        assert isinstance(item.scores.predicted_iou, float)
        assert item.scores.object_score is None
        assert item.embedding.shape == (256,)
        assert item.embedding.dtype == np.float32


def test_union_and_label_image(about, cases):
    answer = about(cases[3]).answer(cases[3]["instruction"], template="raw")
    masks = np.stack([item.mask for item in answer.objects])
    logits = np.stack([item.mask_logits() for item in answer.objects])
    np.testing.assert_array_equal(answer.mask, masks.any(axis=0))
    labels = answer.label_image()
    assert labels.dtype == np.uint16
    want = np.where(masks.any(axis=0), np.where(masks, logits, -np.inf).argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(labels, want)
    assert (masks.sum(axis=0) > 1).any()  # else nothing was shown


def test_a_rejected_object_has_no_pixel_of_others(about, cases):
    answer = about(cases[3]).answer(cases[3]["instruction"], template="raw")
    # As `min_object_score` rejects: without a mask, but with its logits, here the highest of all.
    first = answer.objects[0]
    rejected = replace(
        first,
        mask=np.zeros_like(first.mask),
        box_xyxy=None,
        area=0,
        low_res_mask=torch.full_like(first.low_res_mask, 100.0),
    )
    labels = replace(answer, objects=(*answer.objects, rejected)).label_image()
    np.testing.assert_array_equal(labels, answer.label_image())


def test_answer_without_objects_has_no_mask(about, cases):
    answer = about(cases[0]).answer(cases[0]["instruction"], template="raw")
    assert answer.objects == ()
    assert answer.mask is None
    assert answer.label_image() is None


# --- status ------------------------------------------------------------------------------------


def test_found(about, cases):
    answer = about(cases[1]).answer(cases[1]["instruction"], template="raw")
    assert answer.status is Status.FOUND
    assert answer.message


def test_not_found_when_a_mask_was_asked_for(first_golden, about):
    case = first_golden.case("gen6")  # "... output segmentation mask." "There is no circle ..."
    answer = about(case).answer(case["instruction"], template="raw")
    assert answer.status is Status.NOT_FOUND
    assert answer.explanation == case["new_text"]
    assert "language_view" in answer.message


def test_text_only_when_none_was_asked_for(first_golden, about):
    case = first_golden.case("gen3")  # "Describe this image."
    answer = about(case).answer(case["instruction"], template="raw")
    assert answer.status is Status.TEXT_ONLY


def test_truncated_keeps_its_objects(first_golden, about):
    case = first_golden.case("gen5_trunc")
    limit = case["max_new_tokens"]
    answer = about(case).answer(case["instruction"], template="raw", max_new_tokens=limit)
    assert answer.status is Status.TRUNCATED
    assert len(answer.objects) == 1
    assert "max_new_tokens" in answer.message


def test_a_context_that_is_full_is_told_as_that(first_golden, about):
    """More new tokens would not help."""
    case = first_golden.case("gen5_trunc")
    segmenter = about(case)
    model, config = segmenter.model, segmenter.model.config
    answer = segmenter.answer(case["instruction"], template="raw", max_new_tokens=1)
    taken = len(answer.prompt_ids) - 1 + config.num_image_tokens
    llama = copy.deepcopy(config.llama)
    llama.max_position_embeddings = taken + 2
    model.config = replace(config, llama=llama)
    try:
        answer = segmenter.answer(case["instruction"], template="raw")
    finally:
        model.config = config
    assert answer.status is Status.TRUNCATED
    assert len(answer.answer_ids) == 2
    assert f"fills the model's {taken + 2} positions" in answer.message
    assert "max_new_tokens" not in answer.message


def test_cancelled_keeps_its_objects(about, cases):
    segmenter = about(cases[3])
    found = []

    def cancelled() -> bool:
        return len(found) == 2

    for event in segmenter.stream(cases[3]["instruction"], template="raw", cancelled=cancelled):
        if isinstance(event, ObjectFound):
            found.append(event.object)
    assert event.answer.status is Status.CANCELLED
    assert list(event.answer.objects) == found
    assert len(found) == 2


def test_empty_masks_are_kept_but_are_not_found(about, cases, monkeypatch):
    segmenter = about(cases[1])
    decode = segmenter.model.decode_masks

    def nothing(*args):
        low_res, *ratings = decode(*args)
        return torch.full_like(low_res, -5.0), *ratings

    monkeypatch.setattr(segmenter.model, "decode_masks", nothing)
    answer = segmenter.answer(cases[1]["instruction"], template="raw")
    assert answer.status is Status.NOT_FOUND
    (item,) = answer.objects
    assert (item.area, item.box_xyxy, item.scores.mask_probability) == (0, None, 0.0)
    assert not item.mask.any()
    assert not answer.label_image().any()


def test_a_model_with_object_scores_gives_no_mask_that_it_does_not_believe_in(
    about, cases, monkeypatch
):
    segmenter, instruction = about(cases[1]), cases[1]["instruction"]
    decode = segmenter.model.decode_masks

    def rated(*args):
        low_res, predicted_iou, object_score = decode(*args)
        return low_res, predicted_iou, torch.full_like(object_score, 0.5)

    monkeypatch.setattr(segmenter.model, "decode_masks", rated)
    believed = segmenter.answer(instruction, template="raw")
    assert believed.status is Status.FOUND

    def asks_for(least: float) -> None:
        config = segmenter.model.config
        sam = replace(config.sam, object_score=True)
        config = replace(config, sam=sam, min_object_score=least)
        monkeypatch.setattr(segmenter.model, "config", config)

    asks_for(0.49)
    again = segmenter.answer(instruction, template="raw")
    assert again.status is Status.FOUND
    np.testing.assert_array_equal(again.mask, believed.mask)
    asks_for(0.51)
    for choices in ({}, {"mask_only": True}):
        answer = segmenter.answer(instruction, template="raw", **choices)
        assert answer.status is Status.NOT_FOUND
        assert answer.objects[0].area == 0
    assert "object score is 0.500, below the model's min_object_score of 0.510" in answer.message
    assert answer.objects[0].scores.object_score == 0.5
    assert segmenter.decode(believed.objects[0].embedding).area == 0


# --- stream, batch, history --------------------------------------------------------------------


def test_stream_is_the_answer_in_pieces(about, cases):
    segmenter = about(cases[2])
    events = list(segmenter.stream(cases[2]["instruction"], template="raw"))
    answer = events[-1].answer
    words = "".join(event.text for event in events if isinstance(event, Words))
    assert words.replace("  ", " ").strip() == answer.text
    assert [e.object for e in events if isinstance(e, ObjectFound)] == list(answer.objects)
    assert sum(isinstance(event, Finished) for event in events) == 1
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("ObjectFound") < len(kinds) - 3  # long before the end


def test_batch_equals_single_answers(first_golden, about):
    own = [c for c in first_golden.cases("generate") if c["image"] == 2 and "trunc" not in c["key"]]
    instructions = [case["instruction"] for case in own]
    segmenter = about(own[0])
    batch = segmenter.answer_batch(instructions, template="raw")
    assert len(batch) > 1
    for instruction, got in zip(instructions, batch, strict=True):
        want = segmenter.answer(instruction, template="raw")
        assert (got.text, got.status, got.token_ids) == (want.text, want.status, want.token_ids)
        assert got.instruction == instruction
        for one, other in zip(got.objects, want.objects, strict=True):
            assert (one.mask != other.mask).mean() < 1e-3


def test_a_batch_about_several_images(first_golden, about, cases, monkeypatch):
    """Each question about its own image, encoded once; the image that is set stays."""
    own = [cases[1], cases[2], cases[1]]
    images = {case["image"]: first_golden.image(case["image"]) for case in own}
    segmenter = about(cases[1])
    want = [about(case).answer(case["instruction"], template="raw") for case in own]
    before = about(cases[3])._image
    encode, encoded = segmenter.model.encode_image, []
    monkeypatch.setattr(
        segmenter.model, "encode_image", lambda image: encoded.append(1) or encode(image)
    )
    got = segmenter.answer_batch(
        [case["instruction"] for case in own],
        images=[images[case["image"]] for case in own],
        template="raw",
    )
    for ours, alone in zip(got, want, strict=True):
        assert (ours.text, ours.token_ids) == (alone.text, alone.token_ids)
        assert ours.mask.shape == alone.mask.shape
        assert (ours.mask != alone.mask).mean() < 1e-3
        assert ours.timings_ms["sam_encoder"] > 0
    assert len(encoded) == len(images) == 2
    assert segmenter._image is before
    with pytest.raises(InstructionError):  # before any image is encoded
        segmenter.answer_batch(["a", " "], images=[images[cases[1]["image"]]] * 2)
    assert len(encoded) == 2
    with pytest.raises(UsageError, match="an image for each of 2 instructions, got 1"):
        segmenter.answer_batch(["a", "b"], images=[images[cases[1]["image"]]])


def test_mask_only_gives_one_object_whatever_the_model_would_say(about, cases):
    answer = about(cases[0]).answer(cases[0]["instruction"], template="raw", mask_only=True)
    assert answer.status is Status.FOUND
    assert answer.text == "[SEG] ."
    assert answer.explanation == ""
    assert len(answer.objects) == 1


def test_template_of_the_model_is_the_default(about, cases):
    answer = about(cases[1]).answer("the cup", max_new_tokens=1)
    assert answer.instruction == "the cup"
    assert answer.question == "the cup Please output segmentation mask and explain why."


def test_history_goes_before_the_question(first_golden, about, cases):
    segmenter = about(cases[1])
    first = segmenter.answer(cases[1]["instruction"], template="raw")
    assert first.turn == Turn(cases[1]["instruction"], first.text)
    second = segmenter.answer("Why?", template="raw", history=[first.turn], max_new_tokens=2)
    kept = len(first.token_ids)
    assert second.prompt_ids[:kept] == first.token_ids
    assert len(second.prompt_ids) > kept
    assert second.prompt_ids.count(-200) == 1


@pytest.mark.parametrize("token", ["[SEG]", "<image>", "</s>", "<im_start>"])
def test_control_tokens_of_a_user_are_inert(first_golden, about, cases, token):
    case = cases[1]
    answer = about(case).answer(f"the {token} cup", template="raw", max_new_tokens=3)
    tokenizer = first_golden.model.tokenizer
    plain = about(case).answer("the cup", template="raw", max_new_tokens=3)
    for control in (*tokenizer.added_tokens.values(), tokenizer.eos_id, -200):
        assert answer.prompt_ids.count(control) == plain.prompt_ids.count(control)


def test_non_latin_instructions(about, cases):
    answer = about(cases[1]).answer("分割杯子 чашка 😀", template="raw", max_new_tokens=3)
    assert answer.instruction == "分割杯子 чашка 😀"


def test_sampling_is_passed_on(about, cases):
    segmenter, words = about(cases[1]), cases[1]["instruction"]
    one, again, other = (
        segmenter.answer(
            words, template="raw", max_new_tokens=8, sampling=Sampling(temperature=30, seed=seed)
        ).token_ids
        for seed in (1, 1, 2)
    )
    assert one == again != other


# --- images ------------------------------------------------------------------------------------


def test_image_is_encoded_once_for_two_questions(first_golden, picture):
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    calls = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
        for name, module in (
            ("sam", first_golden.model.visual_model.image_encoder),
            ("clip", first_golden.model.vision_tower),
        )
    ]
    segmenter.set_image(picture(60, 80))
    first = segmenter.answer("What is this?", max_new_tokens=2)
    second = segmenter.answer("And where?", max_new_tokens=2)
    for hook in hooks:
        hook.remove()
    assert sorted(calls) == ["clip", "sam"]
    assert {"preprocess", "sam_encoder", "clip", "prefill", "decode", "total"} <= set(
        first.timings_ms
    )
    assert not {"preprocess", "sam_encoder", "clip", "first_mask"} & set(second.timings_ms)
    assert {"prefill", "decode", "total"} <= set(second.timings_ms)
    assert all(value >= 0 for value in first.timings_ms.values())
    stages = sum(value for name, value in first.timings_ms.items() if name != "total")
    assert first.timings_ms["total"] >= 0.9 * stages
    assert second.timings_ms["total"] < first.timings_ms["total"]


def test_stage_times_of_a_mask(about, cases):
    times = about(cases[2]).answer(cases[2]["instruction"], template="raw").timings_ms
    assert {"mask_decoder", "upscale", "first_mask"} <= set(times)
    assert times["first_mask"] < times["total"]


def test_new_image_replaces_the_old(first_golden, about):
    one, other = first_golden.case("gen0"), first_golden.case("gen7")
    assert about(one).answer(one["instruction"], template="raw").mask.shape == (240, 320)
    assert about(other).answer(other["instruction"], template="raw").mask.shape == (256, 256)


def test_caller_may_reuse_the_image_buffer(first_golden):
    """A camera driver writes the next frame into the same memory."""
    case = first_golden.case("gen0")
    prompt = case["instruction"]
    results = []
    for spoil in (False, True):
        segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
        image = first_golden.image(case["image"]).copy()
        segmenter.set_image(image)
        if spoil:
            image[:] = 255
        answer = segmenter.answer(prompt, template="raw", mask_only=True)
        results.append(answer.objects[0].embedding)
    np.testing.assert_array_equal(results[0], results[1])


def test_stream_belongs_to_the_image_it_was_asked_about(first_golden, picture):
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    segmenter.set_image(picture(30, 40))
    events = segmenter.stream("the cup", mask_only=True)
    segmenter.set_image(picture(50, 60))
    assert list(events)[-1].answer.mask.shape == (30, 40)


def test_set_image_does_not_change_the_image(segmenter, picture):
    image = picture(30, 40)
    before = image.copy()
    image.flags.writeable = False
    segmenter.set_image(image)
    segmenter.answer("the cup", mask_only=True)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 12000), (12000, 1)])
def test_extreme_pictures_get_an_answer(first_golden, size):
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    segmenter.set_image(np.full((*size, 3), 90, np.uint8))
    answer = segmenter.answer("the cup", mask_only=True)
    assert answer.objects[0].mask.shape == size


def test_embedding_decodes_in_the_same_image_to_the_same_object(about, cases):
    segmenter = about(cases[2])
    answer = segmenter.answer(cases[2]["instruction"], template="raw")
    for item in answer.objects:
        again = segmenter.decode(item.embedding)
        np.testing.assert_array_equal(again.mask, item.mask)
        assert again.box_xyxy == item.box_xyxy
        assert np.isnan(again.scores.seg_probability)  # nobody asked
        pooled = segmenter.pooled_features(item)
        assert pooled.shape == (256,)
        assert np.isfinite(pooled).all()
        # What a mask says of SAM's padding does not count.
        side = item.low_res_mask.shape[-1]
        padded = item.low_res_mask.clone()
        padded[-(-item.geometry.resized[0] * side // item.geometry.square) :] = 50
        same = segmenter.pooled_features(replace(item, low_res_mask=padded))
        np.testing.assert_allclose(same, pooled, atol=1e-6)


def test_decoding_an_embedding_never_prepares_clips_input(first_golden, picture, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return clip_input(*arguments)

    monkeypatch.setattr(lisa, "clip_input", counted)
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    segmenter.set_image(picture(60, 80))
    segmenter.decode(np.ones(256, np.float32))
    assert not calls
    segmenter.answer("the cup", mask_only=True)
    segmenter.answer("the dog", mask_only=True)
    assert len(calls) == 1


def test_times_of_an_image_are_told_once(first_golden, picture):
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    segmenter.set_image(picture(60, 80))
    segmenter.decode(np.ones(256, np.float32))
    times = segmenter.take_image_times()
    assert set(times) == {"preprocess", "sam_encoder", "mask_decoder", "upscale"}
    assert min(times.values()) > 0
    assert segmenter.take_image_times() == {}
    segmenter.set_image(picture(60, 80))
    segmenter.decode(np.ones(256, np.float32))
    assert "sam_encoder" in segmenter.answer("the cup", mask_only=True).timings_ms
    assert segmenter.take_image_times() == {}


# --- misuse ------------------------------------------------------------------------------------


@pytest.fixture
def fresh(first_golden):
    return Segmenter(first_golden.model, model_id="golden", precision="fp32")


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.answer("the cup"),
        lambda s: s.stream("the cup"),
        lambda s: s.answer_batch(["the cup"]),
        lambda s: s.decode(np.zeros(256, np.float32)),
    ],
)
def test_asking_without_an_image_says_what_to_call(fresh, picture, ask):
    with pytest.raises(UsageError, match="set_image"):
        ask(fresh)
    fresh.set_image(picture(4, 4))
    fresh.reset_image()
    with pytest.raises(UsageError, match="set_image"):
        ask(fresh)


@pytest.mark.parametrize("image", [None, np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8)])
def test_wrong_image_is_named_and_keeps_the_old_one(segmenter, picture, image):
    segmenter.set_image(picture(20, 30))
    with pytest.raises(ImageError, match="RGB uint8"):
        segmenter.set_image(image)
    assert segmenter.answer("the cup", mask_only=True).mask.shape == (20, 30)


@pytest.mark.parametrize("shape", [(3,), (1, 256), ()])
def test_embedding_of_another_shape(about, cases, shape):
    with pytest.raises(UsageError, match="embedding of shape"):
        about(cases[1]).decode(np.zeros(shape, np.float32))


def test_embedding_that_is_not_finite(about, cases):
    segmenter = about(cases[1])
    size = segmenter.model.config.out_dim
    with pytest.raises(UsageError, match="finite"):
        segmenter.decode(np.full(size, np.nan, np.float32))


@pytest.mark.parametrize("words", ["", " \n", "[SEG]", "<image></s>"])
def test_instruction_without_words(about, cases, words):
    segmenter = about(cases[1])
    for ask in (segmenter.answer, segmenter.stream, lambda w: segmenter.answer_batch(["a", w])):
        with pytest.raises(InstructionError, match="in words"):
            ask(words)


def test_instruction_longer_than_the_context(about, cases):
    with pytest.raises(InstructionError, match="too long"):
        about(cases[1]).answer("cup " * 6000)


def test_stream_of_a_wrong_question_fails_at_the_call(about, cases):
    """Not at the first event: a node wants to refuse before it starts."""
    segmenter = about(cases[1])
    with pytest.raises(InstructionError):
        segmenter.stream("cup " * 6000)
    with pytest.raises(ValueError, match="max_new_tokens"):
        segmenter.stream("the cup", max_new_tokens=0)


def test_unknown_template(about, cases):
    with pytest.raises(InstructionError, match="raw, mask, explain, phrase"):
        about(cases[1]).answer("the cup", template="polite")


def test_no_questions(about, cases):
    with pytest.raises(UsageError, match="at least one"):
        about(cases[1]).answer_batch([])


def test_no_model_given(picture):
    segmenter = Segmenter.from_pretrained(device="cpu")
    assert segmenter.model_id == "lisa-tiny"
    segmenter.set_image(picture(60, 80))
    answer = segmenter.answer("where is the mug?")
    assert answer.status in (Status.FOUND, Status.NOT_FOUND)


def test_segmenter_works_on_after_an_error(about, cases):
    segmenter = about(cases[1])
    with pytest.raises(InstructionError):
        segmenter.answer("")
    answer = segmenter.answer(cases[1]["instruction"], template="raw")
    assert answer.text == cases[1]["new_text"]


def test_out_of_memory_while_answering_is_explained(about, cases, monkeypatch):
    segmenter = about(cases[1])

    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(segmenter.model, "decode_masks", full)
    with pytest.raises(OutOfMemoryError, match=r"(?s)fp32.*bf16.*nf4"):
        segmenter.answer(cases[1]["instruction"], template="raw")


def test_from_pretrained(first_golden, picture):
    segmenter = Segmenter.from_pretrained(
        first_golden.lisa,
        vision_tower=first_golden.clip,
        conversation=first_golden.conversation,
        device="cpu",
    )
    segmenter.set_image(picture(20, 30))
    answer = segmenter.answer("the cup", mask_only=True)
    assert answer.model_id == str(first_golden.lisa)
    assert answer.precision == "fp32"

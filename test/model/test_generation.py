"""Batches, cancelling, sampling, limits, and how much work an answer takes."""

import collections
import gc
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lisa_ros.model.errors import InstructionError
from lisa_ros.model.generation import (
    EndEvent,
    MaskEvent,
    Sampling,
    TokenEvent,
    force_masks,
    generate,
)


@pytest.fixture(scope="module")
def model(first_golden):
    return first_golden.model


@pytest.fixture(scope="module")
def features(first_golden):
    return first_golden.features(1)


@pytest.fixture(scope="module")
def prompts(first_golden):
    """Questions of unequal length about image 1; answers of unequal length, [SEG] in some."""
    own = [c["instruction"] for c in first_golden.cases("generate") if c["image"] == 1]
    return [first_golden.prompt_ids(words) for words in [*own, "Why?"]]


def split(events, rows: int) -> list[list]:
    """Events of each question."""
    found = [[] for _ in range(rows)]
    for event in events:
        found[event.row].append(event)
    return found


def ids_of(events) -> list[int]:
    return [event.token_id for event in events if isinstance(event, TokenEvent)]


def masks_of(events) -> list[MaskEvent]:
    return [event for event in events if isinstance(event, MaskEvent)]


def assert_same_answer(got, want) -> None:
    assert ids_of(got) == ids_of(want)
    for one, other in zip(masks_of(got), masks_of(want), strict=True):
        torch.testing.assert_close(one.embedding, other.embedding, atol=1e-4, rtol=0)
        torch.testing.assert_close(one.low_res_mask, other.low_res_mask, atol=2e-3, rtol=0)
        torch.testing.assert_close(one.seg_probability, other.seg_probability, atol=1e-4, rtol=0)
    assert [type(event) for event in got] == [type(event) for event in want]
    assert got[-1].reason == want[-1].reason


@pytest.mark.parametrize("limit", [3, 64])
def test_batch_equals_single_answers(model, features, prompts, limit):
    batch = split(generate(model, features, prompts, max_new_tokens=limit), len(prompts))
    assert len({len(prompt) for prompt in prompts}) > 1
    for prompt, got in zip(prompts, batch, strict=True):
        want = list(generate(model, features, [prompt], max_new_tokens=limit))
        assert_same_answer(got, want)
        assert sum(isinstance(event, EndEvent) for event in got) == 1


def test_batch_with_seg_in_each_row(model, first_golden, other_model, other_answers, picture):
    """Also with other sizes and with masks that come at different steps."""
    features = other_model.encode_image(picture(90, 160))
    prompts = [prompt for prompt, _ in other_answers]
    batch = split(generate(other_model, features, prompts, max_new_tokens=6), len(prompts))
    for (prompt, answer), got in zip(other_answers, batch, strict=True):
        assert ids_of(got) == answer
        want = list(generate(other_model, features, [prompt], max_new_tokens=6))
        assert_same_answer(got, want)


def test_batch_about_several_images_equals_single_ones(model, first_golden, prompts):
    """Each question about its image: some read before, one asked about twice."""
    images = [first_golden.features(k) for k in (0, 1)]
    rows = [(prompts[0], images[0]), (prompts[1], images[1]), (prompts[2], images[0])]
    want = [list(generate(model, image, [prompt], max_new_tokens=64)) for prompt, image in rows]
    assert ids_of(want[0]) != ids_of(list(generate(model, images[1], [prompts[0]])))
    images[1].beginning = None
    batch = generate(
        model, [image for _, image in rows], [prompt for prompt, _ in rows], max_new_tokens=64
    )
    for got, single in zip(split(batch, len(rows)), want, strict=True):
        assert_same_answer(got, single)


def test_unknown_token_before_the_image(model, first_golden, prompts):
    """The published mask passes over a place beside it, in further questions and batches too."""
    rows = [[prompts[0][0], 0, *prompts[0][1:]], prompts[1]]
    fresh = replace(first_golden.features(1), beginning=None)
    with torch.inference_mode():
        want = model([rows[0]], fresh.image_tokens).logits[0, -1].softmax(0)
    seg = model.tokenizer.seg_id
    for about, batch in ((fresh, rows[:1]), (fresh, rows[:1]), (fresh, rows)):
        event = masks_of(force_masks(model, about, batch))[0]
        torch.testing.assert_close(event.seg_probability, want[seg], atol=1e-7, rtol=1e-3)


def test_batch_of_forced_masks_equals_single_ones(model, features, prompts):
    batch = split(force_masks(model, features, prompts), len(prompts))
    for prompt, got in zip(prompts, batch, strict=True):
        assert_same_answer(got, list(force_masks(model, features, [prompt])))


def test_unknown_token_in_a_prompt_is_not_attended(model, features, prompts):
    """<unk> is also the padding id, so the published mask passes over it."""
    prompt = [*prompts[0][:-3], 0, *prompts[0][-3:]]
    at = prompt.index(-200)
    embed = model.language_model.model.embed_tokens
    with torch.inference_mode():
        words = embed(torch.tensor(prompt).clamp(min=0))
        inputs = torch.cat([words[:at], features.image_tokens[0], words[at + 1 :]])[None]
        mask = torch.ones(inputs.shape[:2], dtype=torch.long)
        open_logits = model.language_model(inputs_embeds=inputs, attention_mask=mask).logits
        mask[0, -4] = 0
        want = model.language_model(inputs_embeds=inputs, attention_mask=mask).logits[0, -1]
        got = model([prompt], features.image_tokens).logits[0, -1]
    torch.testing.assert_close(got, want, atol=5e-5, rtol=0)
    assert (open_logits[0, -1] - want).abs().max() > 1e-3  # else nothing was shown


def test_unknown_token_in_a_prompt_with_a_cache(model, features, prompts):
    prompt = [*prompts[0][:-3], 0, *prompts[0][-3:]]
    new_ids = ids_of(generate(model, features, [prompt], max_new_tokens=12))
    with torch.inference_mode():
        logits = model([prompt + new_ids], features.image_tokens).logits[0]
    start = len(logits) - len(new_ids) - 1
    assert logits[start:-1].argmax(dim=-1).tolist() == new_ids


# --- cancelling and limits ---------------------------------------------------------------------


def test_cancel_before_the_first_token(model, features, prompts):
    events = list(generate(model, features, prompts[:2], cancelled=lambda: True))
    assert events == [EndEvent(0, "cancelled"), EndEvent(1, "cancelled")]


def test_cancel_between_tokens(model, features, prompts):
    asked = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) > 3

    whole = ids_of(generate(model, features, [prompts[0]], max_new_tokens=64))
    events = list(generate(model, features, [prompts[0]], cancelled=cancelled))
    assert ids_of(events) == whole[:3]
    assert events[-1] == EndEvent(0, "cancelled")


def test_leaving_a_stream_early_harms_nothing(model, features, prompts):
    want = list(generate(model, features, [prompts[0]], max_new_tokens=64))
    stream = generate(model, features, [prompts[0]], max_new_tokens=64)
    next(stream)
    stream.close()
    assert not torch.is_inference_mode_enabled()
    assert_same_answer(list(generate(model, features, [prompts[0]], max_new_tokens=64)), want)


def test_two_streams_at_once(model, features, prompts):
    """Taking turns, neither sees the other's cache."""
    streams = [generate(model, features, [prompt], max_new_tokens=64) for prompt in prompts]
    found = [[] for _ in streams]
    while streams_left := [i for i, stream in enumerate(streams) if stream is not None]:
        for i in streams_left:
            event = next(streams[i], None)
            if event is None:
                streams[i] = None
            else:
                found[i].append(event)
    for prompt, got in zip(prompts, found, strict=True):
        assert_same_answer(got, list(generate(model, features, [prompt], max_new_tokens=64)))


def test_inference_mode_does_not_leak_out_of_a_stream(model, features, prompts):
    for _ in generate(model, features, [prompts[0]], max_new_tokens=4):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("limit", [0, -1, None, 2.0, "3"])
def test_no_new_tokens_make_no_sense(model, features, prompts, limit):
    with pytest.raises(ValueError, match="max_new_tokens"):
        list(generate(model, features, prompts[:1], max_new_tokens=limit))


def test_context_ends_an_answer(other_model, picture):
    """768 positions, 576 of them for the image."""
    features = other_model.encode_image(picture(20, 20))
    prompt = [1, *([50] * 185), 641, -200, 642]  # 764 positions
    events = list(generate(other_model, features, [prompt], max_new_tokens=100))
    assert len(ids_of(events)) <= 4
    assert events[-1].reason == ("length" if len(ids_of(events)) == 4 else "end_of_text")


@pytest.mark.parametrize("run", [generate, force_masks])
def test_too_long_a_prompt_says_by_how_much(other_model, picture, run):
    features = other_model.encode_image(picture(20, 20))
    prompt = [1, *([50] * 200), 641, -200, 642]
    with pytest.raises(InstructionError, match=r"779 of the model's 768 positions"):
        list(run(other_model, features, [prompt]))


# --- sampling ----------------------------------------------------------------------------------


def sample(model, features, prompt, **choices) -> list[int]:
    sampling = Sampling(**choices)
    events = generate(model, features, [prompt], max_new_tokens=24, sampling=sampling)
    return ids_of(events)


def test_seed_repeats_and_other_seeds_differ(model, features, prompts):
    one = sample(model, features, prompts[0], temperature=30.0, seed=1)
    again = sample(model, features, prompts[0], temperature=30.0, seed=1)
    others = [sample(model, features, prompts[0], temperature=30.0, seed=i) for i in (2, 3)]
    assert one == again
    assert one not in others


def test_seed_leaves_the_global_generator_alone(model, features, prompts):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    sample(model, features, prompts[0], temperature=2.0, seed=1)
    assert torch.equal(torch.rand(3), want)


def test_smallest_top_p_is_greedy(model, features, prompts):
    greedy = sample(model, features, prompts[0])
    assert sample(model, features, prompts[0], temperature=9.0, top_p=1e-6, seed=1) == greedy


def test_low_temperature_is_greedy(model, features, prompts):
    greedy = sample(model, features, prompts[0])
    assert sample(model, features, prompts[0], temperature=0.01, seed=1) == greedy


def test_top_p_keeps_only_the_likely(model, features, prompts):
    """Of the first token's distribution, nothing outside the smallest set that holds 0.5."""
    with torch.inference_mode():
        logits = model([prompts[0]], features.image_tokens).logits[0, -1] / 8
    probabilities, order = logits.softmax(dim=-1).sort(descending=True)
    kept = int((probabilities.cumsum(0) < 0.5).sum()) + 1
    allowed = set(order[:kept].tolist())
    assert 1 < kept < len(order)
    drawn = set()
    for seed in range(40):
        sampling = Sampling(temperature=8.0, top_p=0.5, seed=seed)
        events = generate(model, features, prompts[:1], max_new_tokens=1, sampling=sampling)
        drawn.update(ids_of(events))
    assert drawn <= allowed
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "choices",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": -1.0},
    ],
)
def test_senseless_sampling_is_refused(choices):
    (name,) = choices
    with pytest.raises(ValueError, match=name):
        Sampling(**choices)


# --- work and memory ---------------------------------------------------------------------------


@contextmanager
def counted(module, shape_of):
    """Shapes of what the module is called with."""
    calls = []
    hook = module.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(shape_of(args, kwargs)), with_kwargs=True
    )
    try:
        yield calls
    finally:
        hook.remove()


def test_each_position_is_read_once(model, prompts, first_golden):
    """The prompt with the image in one pass, then one position for each token but the last."""
    features = replace(first_golden.features(1), beginning=None)
    _ = features.image_tokens
    llama = model.language_model
    with (
        counted(llama.model, lambda a, k: k["inputs_embeds"].shape[1]) as read,
        counted(llama.lm_head, lambda a, k: a[0].shape) as heads,
        counted(model.vision_tower, lambda a, k: 1) as clip,
        counted(model.visual_model.image_encoder, lambda a, k: 1) as sam,
    ):
        tokens = ids_of(generate(model, features, [prompts[0]], max_new_tokens=64))
        again = ids_of(generate(model, features, [prompts[1]], max_new_tokens=64))
    start = prompts[0].index(-200) + 1
    assert read == [
        len(prompts[0]) - 1 + model.config.num_image_tokens,
        *[1] * (len(tokens) - 1),
        len(prompts[1]) - start,  # of a second question about the image no more than this
        *[1] * (len(again) - 1),
    ]
    assert len(heads) == len(tokens) + len(again)
    assert all(shape.numel() == model.config.llama.hidden_size for shape in heads)
    assert clip == []
    assert sam == []


def test_mask_decoder_runs_once_for_each_seg(model, features, prompts):
    with counted(model.visual_model.mask_decoder, lambda a, k: 1) as calls:
        events = list(generate(model, features, [prompts[0]], max_new_tokens=64))
    assert len(calls) == len(masks_of(events)) > 0


def test_forced_masks_need_one_pass(model, features, prompts):
    list(force_masks(model, features, prompts[:1]))
    with counted(model.language_model.model, lambda a, k: k["inputs_embeds"].shape[:2]) as read:
        list(force_masks(model, features, prompts))
    start = prompts[0].index(-200) + 1
    assert read == [(len(prompts), max(map(len, prompts)) - start)]


def test_keys_and_values_stay_where_they_are(model, features, prompts):
    """No step copies what was read before: each layer has one place for all of it."""
    with counted(
        model.language_model.model,
        lambda a, k: [
            tensor.untyped_storage().data_ptr()
            for layer in k["past_key_values"].layers
            for tensor in (layer.keys, layer.values)
        ],
    ) as places:
        list(generate(model, features, [prompts[0]], max_new_tokens=3))
        places.clear()
        list(generate(model, features, [prompts[0]], max_new_tokens=24))
    assert len(places) > 10
    assert len(set(places[0])) == 1
    assert all(place == places[0] for place in places)


class Counter(TorchDispatchMode):
    """How often an operator of aten runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = collections.Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.calls[operator.overloadpacket] += 1
        return operator(*args, **(kwargs or {}))


def test_a_token_converts_and_concatenates_as_little_as_it_must(model, features, prompts):
    """Work that grows with the answer: none of it moves weights or what was read before."""
    calls = []
    for length in (12, 20):  # none of these tokens is [SEG]
        with Counter() as counter:
            tokens = ids_of(generate(model, features, [prompts[-1]], max_new_tokens=length))
        assert len(tokens) == length
        assert model.tokenizer.seg_id not in tokens
        calls.append(counter.calls)
    more = calls[1] - calls[0]  # of 8 tokens
    layers, aten = model.config.llama.num_hidden_layers, torch.ops.aten
    assert more[aten._to_copy] == more[aten.clone] == 0
    # The two halves of the rotary embedding, of queries and of keys, and its angles.
    assert more[aten.cat] == 8 * (2 * layers + 1)
    assert more[aten.copy_] == 8 * 2 * layers  # keys and values to their places
    assert more[aten.linear] == 8 * (7 * layers + 1)


def live_bytes() -> int:
    gc.collect()
    storages = {}
    for item in gc.get_objects():
        if issubclass(type(item), torch.Tensor) and item.device.type == "cpu":
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_memory_does_not_grow_with_the_answer(model, features, prompts):
    """States that are thrown away are gone; keys and values have their room from the start."""
    sizes, count = [], 0
    for event in generate(model, features, [prompts[0]], max_new_tokens=64):
        if isinstance(event, TokenEvent):
            count += 1
            if count in (4, 8, 16, 24, 30):
                sizes.append(live_bytes())
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) < 4096


def test_memory_does_not_grow_with_the_number_of_answers(model, features, prompts):
    list(generate(model, features, [prompts[0]], max_new_tokens=64))
    before = live_bytes()
    for _ in range(3):
        list(generate(model, features, [prompts[0]], max_new_tokens=64))
    assert live_bytes() <= before


def test_conversations_that_share_a_beginning_are_read_as_if_alone(model, features, prompts):
    """Branches: another conversation of the row, <unk> in one and padding behind change nothing."""
    start = prompts[0].index(-200) + 1
    tails = [
        prompts[0][start:],
        [*prompts[1][start:-2], 0, *prompts[1][start:], model.tokenizer.seg_id],
    ]
    together = prompts[0][:start] + tails[0] + tails[1]
    rows = [together, prompts[2]]
    branches = [
        [0] * start + [1] * len(tails[0]) + [2] * len(tails[1]),
        [0] * start + [1] * (len(prompts[2]) - start),
    ]
    shared = start + features.image_tokens.shape[1] - 1
    with torch.inference_mode():
        got = model(rows, features.image_tokens, branches)
        at = shared
        for tail in tails:
            want = model([[*prompts[0][:start], *tail]], features.image_tokens)
            end = at + len(tail)
            torch.testing.assert_close(
                got.hidden_states[0, at:end], want.hidden_states[0, shared:], atol=5e-5, rtol=0
            )
            at = end
        torch.testing.assert_close(got.seg_embeddings[0], want.seg_embeddings[0], atol=5e-5, rtol=0)
        want = model([prompts[2]], features.image_tokens)
        length = want.hidden_states.shape[1]
        torch.testing.assert_close(
            got.hidden_states[1, :length], want.hidden_states[0], atol=5e-5, rtol=0
        )

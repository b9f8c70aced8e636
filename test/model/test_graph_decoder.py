"""The decoder of captured CUDA graphs, on the CPU: each capture is counted, and runs as it is.

That graphs give the same numbers as their functions is for a GPU to show (test/gpu).
"""

from dataclasses import replace

import pytest
import torch
from test_generation import assert_same_answer, ids_of, masks_of, split

from lisa_ros.model import decoder
from lisa_ros.model.decoder import EagerDecoder, GraphDecoder
from lisa_ros.model.errors import UsageError
from lisa_ros.model.generation import force_masks, generate
from lisa_ros.model.lisa import Lisa
from lisa_ros.perception import Segmenter


@pytest.fixture(scope="module")
def features(first_golden):
    return first_golden.features(1)


@pytest.fixture(scope="module")
def prompts(first_golden):
    """Questions of unequal length about image 1."""
    own = [c["instruction"] for c in first_golden.cases("generate") if c["image"] == 1]
    return [first_golden.prompt_ids(words) for words in [*own, "Why?"]]


@pytest.fixture(scope="module")
def eager(first_golden, features, prompts):
    """Each question's answer without graphs."""
    assert isinstance(decoder.make_decoder(first_golden.model), EagerDecoder)
    return [list(generate(first_golden.model, features, [p], max_new_tokens=64)) for p in prompts]


@pytest.fixture
def captures(monkeypatch):
    """Names of the functions that would be captured, one for each shape of their inputs.

    As those of a graph, a function's outputs lie where the call before put them.
    """
    captured = []

    class PassThrough:
        def __init__(self, function) -> None:
            self._function = function
            self._outputs = {}

        def __call__(self, *inputs):
            outputs = self._function(*inputs)
            shapes = tuple(tensor.shape for tensor in inputs)
            if shapes not in self._outputs:
                captured.append(self._function.__name__.removeprefix("_run_"))
            kept = self._outputs.setdefault(shapes, outputs)
            for target, source in zip(kept, outputs, strict=True):
                target.copy_(source)
            return kept

    monkeypatch.setattr(decoder, "GraphedFunction", PassThrough)
    return captured


@pytest.fixture
def model(first_golden, captures, monkeypatch):
    """The golden model, which believes that it has CUDA graphs."""
    monkeypatch.setattr(Lisa, "has_cuda_graphs", True)
    monkeypatch.setattr(first_golden.model, "decoder_graphs", {})
    assert isinstance(decoder.make_decoder(first_golden.model), GraphDecoder)
    return first_golden.model


def test_graphs_give_the_tokens_of_the_eager_decoder(model, features, prompts, eager):
    for _ in range(2):  # the second time in buffers that are not empty
        fresh = replace(features, beginning=None)
        for prompt, want in zip(prompts, eager, strict=True):
            for about in (fresh, replace(features, beginning=None)):
                assert_same_answer(list(generate(model, about, [prompt], max_new_tokens=64)), want)


def test_a_batch_gives_the_tokens_of_single_answers(model, features, prompts, eager):
    batch = split(generate(model, features, prompts, max_new_tokens=64), len(prompts))
    for got, want in zip(batch, eager, strict=True):
        assert_same_answer(got, want)


def test_a_batch_about_several_images_gives_the_tokens_of_single_answers(
    model, first_golden, prompts, eager
):
    """Beginnings that are read here; three rows in graphs of four."""
    images = [replace(first_golden.features(k), beginning=None) for k in (1, 0, 1)]
    rows = [prompts[0], prompts[1], prompts[1]]
    batch = split(generate(model, images, rows, max_new_tokens=64), len(rows))
    assert_same_answer(batch[0], eager[0])
    assert_same_answer(batch[2], eager[1])
    other = replace(first_golden.features(0), beginning=None)
    assert_same_answer(batch[1], list(generate(model, other, [rows[1]], max_new_tokens=64)))


def test_what_warm_up_captures_serves_the_questions(model, captures, picture):
    segmenter = Segmenter(model, model_id="golden", precision="fp32")
    segmenter.warm_up(max_new_tokens=64)
    assert sorted(captures) == ["questions"] * 3 + ["step"] + ["whole"] * 3
    captures.clear()
    segmenter.set_image(picture(60, 80))
    segmenter.answer("the cup", max_new_tokens=64)
    segmenter.answer("the cup", mask_only=True)
    segmenter.answer("the cup " * 40, max_new_tokens=3)
    segmenter.set_image(picture(60, 80))
    segmenter.answer("the cup " * 40, max_new_tokens=3)
    assert captures == []


def test_a_second_question_reads_no_image_again(model, prompts, eager, first_golden):
    """Nor does one about an image from before, though another took the buffers meanwhile."""
    images = [first_golden.features(1), first_golden.features(0)]
    for image in images:
        list(generate(model, image, [prompts[0]], max_new_tokens=8))
    read = []
    hook = model.language_model.model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["inputs_embeds"].shape[1]),
        with_kwargs=True,
    )
    try:
        got = list(generate(model, images[0], [prompts[1]], max_new_tokens=64))
    finally:
        hook.remove()
    assert_same_answer(got, eager[1])
    assert max(read) == decoder.PROMPT_STEP


def test_larger_graphs_serve_smaller_answers(model, features, prompts, captures):
    [prompt] = prompts[:1]
    features = replace(features, beginning=None)
    for limit, names in ((400, ["questions", "step", "whole"]), (3, []), (64, [])):
        captures.clear()
        next(generate(model, features, [prompt], max_new_tokens=limit))
        list(generate(model, features, [prompt], max_new_tokens=3))
        assert sorted(captures) == names
    assert len(model.decoder_graphs) == 1


def test_graphs_of_few_batch_sizes_are_kept(model, features, prompts):
    for count, size in ((1, 1), (2, 2), (3, 4), (4, 4), (2, 2)):
        list(force_masks(model, features, [prompts[0]] * count))
        assert set(model.decoder_graphs) == {1, size}


def test_a_second_stream_ends_the_first_one_with_words(model, features, prompts, eager):
    first = generate(model, features, [prompts[0]], max_new_tokens=64)
    next(first)
    second = generate(model, features, [prompts[1]], max_new_tokens=64)
    got = [next(second)]
    with pytest.raises(UsageError, match="read each stream to its end"):
        list(first)
    got += second
    assert ids_of(got) == ids_of(eager[1])


def test_a_second_stream_leaves_the_firsts_last_mask_alone(model, features, prompts, eager):
    row = next(i for i, events in enumerate(eager) if masks_of(events))
    [want, *_] = masks_of(eager[row])
    first = generate(model, features, [prompts[row]], max_new_tokens=64)
    while next(first).token_id != model.tokenizer.seg_id:
        pass
    list(generate(model, features, [prompts[-1]], max_new_tokens=8))
    got = next(first)
    torch.testing.assert_close(got.embedding, want.embedding, atol=1e-4, rtol=0)
    torch.testing.assert_close(got.seg_probability, want.seg_probability, atol=1e-4, rtol=0)

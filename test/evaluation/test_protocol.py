"""The two protocols: what is asked, who answers, in which batches."""

import numpy as np
import pytest

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import Case, EvaluationError, Picture
from lisa_ros.evaluation.protocol import Outcome, Protocol, ask, decode_mask, encode_mask
from lisa_ros.evaluation.sources import open_source


@pytest.fixture(scope="module")
def val(first_golden):
    return open_source("reason_seg/val", first_golden.folder / "dataset")


def test_forced_questions_are_the_published_prompts(first_golden, val):
    arrays = first_golden.arrays("reasonseg")
    protocol = Protocol("forced")
    for index in range(len(val)):
        picture = val.read(index)
        (case,) = picture.cases
        prompt = first_golden.prompt_ids(protocol.question(case))
        # Behind the prompt stand the forced answer and the end of text.
        assert prompt == arrays[f"{picture.name}/input_ids"].tolist()[: len(prompt)]
        assert np.array_equal(case.target, arrays[f"{picture.name}/mask"])


def test_a_template_is_for_free_answers(val):
    case = val.read(1).cases[0]
    assert case.is_phrase
    assert "What is" in Protocol("generate").question(case)
    question = Protocol("generate", "explain").question(case)
    assert question == f"{case.instruction} Please output segmentation mask and explain why."
    with pytest.raises(EvaluationError, match="has its own questions"):
        Protocol("forced", "explain")


def test_batches_change_nothing(segmenter, val):
    picture = val.read(0)
    target = picture.cases[0].target
    cases = tuple(Case((), words, target) for words in ("the red cup", "Who sits?"))
    picture = Picture("many", picture.image, cases)
    protocol = Protocol("forced")
    [one_by_one] = ask(segmenter, [picture], protocol, batch_size=1)
    [together] = ask(segmenter, [picture], protocol, batch_size=8)
    assert [r.instruction for r in together.results] == [c.instruction for c in cases]
    _same_masks(together, one_by_one)
    times = one_by_one.milliseconds
    assert 0 < times["prefill"] < times["total"]


@pytest.mark.parametrize("name", ["forced", "generate"])
def test_pictures_are_asked_about_together_as_alone(segmenter, val, name):
    pictures = [val.read(index) for index in range(len(val))]
    assert len({picture.image.shape for picture in pictures}) > 1
    protocol = Protocol(name, max_new_tokens=32)
    together = ask(segmenter, pictures, protocol, batch_size=8)
    alone = [ask(segmenter, [picture], protocol, batch_size=8)[0] for picture in pictures]
    for a, b in zip(together, alone, strict=True):
        assert a.picture is b.picture
        _same_masks(a, b)
    shares = [outcome.milliseconds["total"] for outcome in together]
    assert shares == pytest.approx([sum(shares) / len(val)] * len(val))  # a question each


def _same_masks(a: Outcome, b: Outcome) -> None:
    for one, other in zip(a.results, b.results, strict=True):
        size = a.picture.image.shape[:2]
        assert (decode_mask(one.mask, size) != decode_mask(other.mask, size)).mean() < 1e-3
        assert one.text == other.text


def test_a_question_without_words_is_refused(segmenter, val):
    picture = val.read(0)
    empty = Picture("empty", picture.image, (Case((), " ", picture.cases[0].target),))
    with pytest.raises(BadSampleError, match=r"^empty: .*got nothing"):
        ask(segmenter, [empty], Protocol("forced"), batch_size=1)


def test_pictures_without_questions_have_no_results(segmenter, val):
    picture = Picture("bare", val.read(0).image, ())
    outcomes = ask(segmenter, [picture, picture], Protocol("forced"), batch_size=8)
    assert [outcome.results for outcome in outcomes] == [(), ()]


def test_masks_survive_their_run_lengths():
    mask = np.random.default_rng(0).random((13, 29)) < 0.3
    code = encode_mask(mask)
    assert code["size"] == [13, 29]
    assert np.array_equal(decode_mask(code, mask.shape), mask)
    assert not decode_mask(None, (13, 29)).any()

"""The two protocols: what is asked, who answers, in which batches."""

import numpy as np
import pytest

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import Case, EvaluationError, Picture
from lisa_ros.evaluation.protocol import Protocol, ask, decode_mask, encode_mask
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
    one_by_one, times = ask(segmenter, picture, protocol, batch_size=1)
    together, _ = ask(segmenter, picture, protocol, batch_size=8)
    assert [r.instruction for r in together] == [c.instruction for c in cases]
    for a, b in zip(together, one_by_one, strict=True):
        masks = [decode_mask(r.mask, target.shape) for r in (a, b)]
        assert (masks[0] != masks[1]).mean() < 1e-3
    assert times["total"] > 0
    assert times["first_mask"] < times["total"]


def test_a_question_without_words_is_refused(segmenter, val):
    picture = val.read(0)
    empty = Picture("empty", picture.image, (Case((), " ", picture.cases[0].target),))
    with pytest.raises(BadSampleError, match=r"^empty: .*got nothing"):
        ask(segmenter, empty, Protocol("forced"), batch_size=1)


def test_masks_survive_their_run_lengths():
    mask = np.random.default_rng(0).random((13, 29)) < 0.3
    code = encode_mask(mask)
    assert code["size"] == [13, 29]
    assert np.array_equal(decode_mask(code, mask.shape), mask)
    assert not decode_mask(None, (13, 29)).any()

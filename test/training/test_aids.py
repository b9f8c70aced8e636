"""What the embedded model learns beyond LISA's losses: to point, and to rate its masks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lisa_ros.evaluation.cases import Case
from lisa_ros.model.conversation import Turn
from lisa_ros.model.preprocessing import clip_input, sam_input
from lisa_ros.model.sam import Sam
from lisa_ros.perception import Segmenter
from lisa_ros.training.batch import Batch, Conversation, Reading, training_losses
from lisa_ros.training.calibration import calibrate
from lisa_ros.training.embedded import EmbeddedSizes, embedded_config
from lisa_ros.training.losses import LossWeights, probability_bce
from lisa_ros.training.pointing import Pointing
from lisa_ros.training.scene_batch import SceneBatch

PATCHES, IMAGE_AT = 4, 3
CONFIG = embedded_config(EmbeddedSizes())


def pointed(asked: list[tuple[int, ...] | None], at: list[int]) -> float:
    """The loss of questions about one picture that point to these places, 0 being nowhere.

    Thing 1 is the upper left quarter of the picture, thing 2 its lower right one.
    """
    ids = torch.zeros(1, 24, 32, dtype=torch.uint8)
    ids[:, :12, :16], ids[:, 12:, 16:] = 1, 2
    table = torch.zeros(1, 256, dtype=torch.int64)
    scenes = SceneBatch(ids[..., None], ids, [], [0] * len(asked), asked, [], table, table)
    places = 1 + PATCHES**2
    hidden = torch.zeros(1, IMAGE_AT + PATCHES**2 + 5, places)
    hidden[0, [0, *range(IMAGE_AT, IMAGE_AT + PATCHES**2)]] = torch.eye(places)
    states = 100 * torch.eye(places)[at]
    head = Pointing(places, PATCHES)
    for layer in (head.query, head.key):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    output = SimpleNamespace(hidden_states=hidden)
    reading = Reading(output, torch.zeros(()), [0] * len(asked), IMAGE_AT, states)
    return head(reading, scenes).item()


# The picture lies in the middle of CLIP's square: patches 0, 4 and 12 are half above it.
UPPER_LEFT = 1 + 4  # row 1, column 0
LOWER_RIGHT = 1 + 10  # row 2, column 2
FAR_CORNER = 1 + 15


def test_pointing_to_the_thing_costs_least():
    right = pointed([(1,), (2,)], [UPPER_LEFT, LOWER_RIGHT])
    assert right < pointed([(1,), (2,)], [LOWER_RIGHT, UPPER_LEFT]) - 5
    assert right < pointed([(1,), (2,)], [0, 0]) - 5


def test_what_is_not_there_is_pointed_to_nowhere():
    assert pointed([()], [0]) == pytest.approx(0, abs=1e-6)
    assert pointed([()], [UPPER_LEFT]) > 5


def test_several_things_are_all_pointed_to():
    one, both = pointed([(1,)], [UPPER_LEFT]), pointed([(1, 2)], [UPPER_LEFT])
    assert both > one
    assert both == pytest.approx(pointed([(1, 2)], [LOWER_RIGHT]), abs=1e-4)


def test_questions_that_words_answer_point_nowhere():
    assert pointed([None], [FAR_CORNER]) == 0
    assert pointed([None, ()], [FAR_CORNER, 0]) == pytest.approx(0, abs=1e-6)


def two_answers(segmenter: Segmenter, picture: np.ndarray) -> tuple[Batch, np.ndarray]:
    """One thing that is there, and one that an answer wrongly finds.  Also gives the true mask."""
    model = segmenter.model
    config = model.config
    sam, geometry = sam_input(picture, config.sam.image_size)
    clip = clip_input(picture, config.clip_preprocessing, config.clip_view)
    there, absent = (
        Conversation.encode(
            model.tokenizer,
            [Turn(words, "[SEG].")],
            template=config.conversation,
            use_im_start_end=config.use_im_start_end,
        )
        for words in ("the mug", "the cap")
    )
    true = np.zeros(picture.shape[:2], bool)
    true[:40] = True
    target = torch.from_numpy(true)[None].float()
    batch = Batch(sam[None], clip[None], [geometry], [absent, there], [0, 0], [target], absent=[0])
    return batch, true


def test_masks_are_rated_by_their_iou_and_doubted_where_nothing_is():
    segmenter = Segmenter.from_pretrained(device="cpu")
    model = segmenter.model
    # Rated, not judged: what is doubted would be empty.
    model.config = replace(model.config, min_object_score=0.0)
    picture = np.random.default_rng(0).integers(0, 255, (288, 384, 3), np.uint8)
    batch, true = two_answers(segmenter, picture)
    segmenter.set_image(picture)
    (found,) = segmenter.answer("the mug", template="raw", mask_only=True).objects
    (missing,) = segmenter.answer("the cap", template="raw", mask_only=True).objects
    iou = (found.mask & true).sum() / (found.mask | true).sum()

    def bce(estimate: float, wanted: float) -> float:
        return -(wanted * np.log(estimate) + (1 - wanted) * np.log(1 - estimate))

    with torch.no_grad():
        losses = training_losses(model, batch, LossWeights(quality=3.0, object_score=5.0))
    quality = bce(found.scores.predicted_iou, iou) + bce(missing.scores.predicted_iou, 0.0)
    assert float(losses.quality) == pytest.approx(3 * quality / 2, rel=1e-3)
    doubt = bce(found.scores.object_score, 1.0) + bce(missing.scores.object_score, 0.0)
    assert float(losses.object_score) == pytest.approx(5 * doubt / 2, rel=1e-3)


def test_published_models_learn_no_ratings_and_wrong_answers_have_no_mask(first_golden):
    segmenter = Segmenter(first_golden.model, model_id="golden", precision="fp32")
    batch, _ = two_answers(segmenter, first_golden.image(0))
    alone = replace(batch, conversations=batch.conversations[1:], image_index=[0], absent=[])
    with torch.no_grad():
        both, without = (training_losses(segmenter.model, each) for each in (batch, alone))
    assert both.quality is both.object_score is None
    assert float(both.bce) == pytest.approx(float(without.bce), rel=1e-4)
    assert float(both.dice) == pytest.approx(float(without.dice), rel=1e-4)


@pytest.mark.parametrize(("false_refusals", "least"), [(0.0, 0.0), (0.26, 0.2), (0.51, 0.6)])
def test_calibration_refuses_the_share_that_it_may(false_refusals, least):
    """Four questions for things that are there: one is refused in words, three are rated."""
    rated = {"refused": [], "poor": [0.2], "fair": [0.1, 0.6], "good": [0.9], "absent": [0.0]}

    def answer(instruction: str) -> SimpleNamespace:
        scores = [SimpleNamespace(object_score=score) for score in rated[instruction]]
        return SimpleNamespace(objects=[SimpleNamespace(scores=s, area=9) for s in scores])

    segmenter = SimpleNamespace(
        model=SimpleNamespace(config=CONFIG),
        set_image=lambda image: None,
        reset_image=lambda: None,
        answer_batch=lambda instructions, template: [answer(i) for i in instructions],
    )
    full, empty = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    cases = [Case((), words, empty if words == "absent" else full) for words in rated]
    picture = np.zeros((2, 2, 3), np.uint8)
    assert calibrate(segmenter, [(picture, cases)], false_refusals=false_refusals) == least
    assert segmenter.model.config.min_object_score == least


def test_estimates_learn_to_tell_seldom_from_never():
    likely = [
        float(probability_bce(torch.tensor([p]), torch.tensor([0.01]))) for p in (0.001, 0.01, 0.05)
    ]
    assert likely[1] < min(likely[0], likely[2])
    certain = torch.tensor([0.0, 1.0], requires_grad=True)
    probability_bce(certain, torch.tensor([1.0, 0.0])).backward()
    assert certain.grad.isfinite().all()
    assert float(probability_bce(torch.zeros(0), torch.zeros(0))) == 0


def test_estimates_of_a_sigmoid_are_between_nothing_and_all():
    config = replace(embedded_config(EmbeddedSizes()).sam, iou_sigmoid=False)
    torch.manual_seed(0)
    sam = Sam(config)
    embedding, prompts = torch.randn(1, 128, 24, 24), 30 * torch.randn(4, 128)
    with torch.no_grad():
        _, raw, _ = sam.decode(embedding, prompts)
        sam.config = replace(config, iou_sigmoid=True)
        _, probable, _ = sam.decode(embedding, prompts)
    assert torch.allclose(probable, raw.sigmoid())

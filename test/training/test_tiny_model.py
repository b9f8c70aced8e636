"""The embedded model's recipe, in toy sizes: rendering, vocabulary, both stages, the checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_recipe import small_recipe

from lisa_ros.evaluation.metrics import MaskMetrics
from lisa_ros.model.conversation import INSTRUCTION_TEMPLATES
from lisa_ros.model.preprocessing import clip_input, sam_input
from lisa_ros.perception import Segmenter, Status
from lisa_ros.sim.instructions import Question
from lisa_ros.training.embedded import EmbeddedSizes, embedded_config, new_model, num_weights
from lisa_ros.training.scene_batch import SceneBatch, as_turn, to_device, vary
from lisa_ros.training.scene_set import SceneSet, render_scenes
from lisa_ros.training.tiny_model import train

pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which the toy recipe was run: about a minute."""
    folder = tmp_path_factory.mktemp("tiny")
    recipe = small_recipe(encoder_steps=60, steps=180)
    train(recipe, folder, device=torch.device("cpu"), workers=1)
    return folder


@pytest.mark.slow
def test_eight_scenes_can_be_learned_by_heart(trained):
    segmenter = Segmenter.from_pretrained(trained / "model", device="cpu")
    assert segmenter.precision == "fp32"
    metrics, right_words, questions = MaskMetrics(), 0, 0
    for example in SceneSet(trained / "scenes"):
        segmenter.set_image(example.rgb)
        for question in example.questions:
            questions += 1
            template = "explain" if question.wants_mask else "raw"
            answer = segmenter.answer(question.instruction, template=template)
            right_words += question.answer.split("[SEG]")[0].strip() in answer.text
            if question.targets:
                target = np.isin(example.ids, question.targets)
                found = answer.mask if answer.mask is not None else np.zeros_like(target)
                metrics.add(found, target)
            elif question.wants_mask:
                assert answer.status in (Status.NOT_FOUND, Status.FOUND)
    assert metrics.count >= 8
    assert metrics.giou > 0.8
    assert right_words / questions > 0.8


def test_rendering_goes_on_where_it_stopped(tmp_path):
    settings = small_recipe().settings
    assert list(render_scenes(tmp_path, settings, count=3)) == [0, 3]
    before = [example.rgb.copy() for example in SceneSet(tmp_path)]
    assert list(render_scenes(tmp_path, settings, count=3)) == [3]
    for example, rgb in zip(SceneSet(tmp_path), before, strict=True):
        assert np.array_equal(example.rgb, rgb)
        assert {t for q in example.questions for t in q.targets} <= set(np.unique(example.ids))
    with pytest.raises(ValueError, match="other settings"):
        list(render_scenes(tmp_path, settings, count=3, first_seed=7))


def test_the_shipped_size_stays_below_20_mb(trained):
    from lisa_ros.model.tokenizer import LisaTokenizer

    sizes = EmbeddedSizes(vocabulary=1200)
    tokenizer = LisaTokenizer.from_folder(trained / "model")
    model = new_model(embedded_config(sizes), tokenizer, seed=0)
    more_words = 2 * (EmbeddedSizes().vocabulary - 1200) * sizes.hidden
    assert 2 * (num_weights(model) + more_words) < 19.9e6


def test_pixels_are_those_that_the_model_gets_in_use():
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    scenes = SceneBatch(
        rgb=torch.from_numpy(rgb)[None],
        ids=torch.zeros(1, 96, 128, dtype=torch.uint8),
        conversations=[],
        image_index=[],
        targets=[()],
        classes=torch.zeros(1, 256, dtype=torch.int64),
        colours=torch.zeros(1, 256, dtype=torch.int64),
    )
    config = embedded_config(small_recipe().sizes)
    batch = to_device(scenes, config, torch.device("cpu"), varied=False)
    sam, geometry = sam_input(rgb, config.sam.image_size)
    assert batch.geometry == [geometry]
    torch.testing.assert_close(batch.sam_pixels[0], sam, rtol=0, atol=1e-5)
    clip = clip_input(rgb, config.clip_preprocessing, config.clip_view)
    # PIL rounds to whole levels on its way, and overshoots are cut there as well.
    assert (batch.clip_pixels[0] - clip).abs().mean() < 0.02


def test_variation_keeps_pictures_pictures():
    pixels = torch.rand(4, 3, 24, 32)
    varied = vary(pixels)
    assert varied.shape == pixels.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert not torch.equal(varied, pixels)


def test_questions_are_put_as_the_package_puts_them():
    rng = np.random.default_rng(0)
    asked = Question("class", "the mug", (1,), "It is the mug [SEG].", "A mug.", True, False)
    turns = [as_turn(asked, rng) for _ in range(40)]
    forms = {INSTRUCTION_TEMPLATES[t].format("the mug") for t in ("raw", "mask", "explain")}
    assert {turn.question for turn in turns} == forms
    for turn in turns:
        assert (turn.answer == "It is the mug [SEG]. A mug.") == ("explain" in turn.question)
    refused = Question(
        "absent", "the cap", (), "There is no cap here.", "I see a mug.", True, False
    )
    assert as_turn(refused, rng).answer == "There is no cap here. I see a mug."

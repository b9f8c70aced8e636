"""The embedded model's recipe, in toy sizes: rendering, vocabulary, both stages, the checkpoint."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_recipe import SIZES, small_recipe

from lisa_ros.evaluation.generated import Case, score_answers
from lisa_ros.model.conversation import INSTRUCTION_TEMPLATES, SEG, Control
from lisa_ros.model.errors import CheckpointError
from lisa_ros.model.loading import load
from lisa_ros.model.preprocessing import clip_input, sam_input
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.perception import Segmenter, Status
from lisa_ros.sim.catalog import CLASS_NAMES, COLOURS
from lisa_ros.sim.instructions import Question
from lisa_ros.training import scene_batch, scene_set, tiny_model
from lisa_ros.training.config import ConfigError
from lisa_ros.training.embedded import EmbeddedSizes, embedded_config, new_model, num_weights
from lisa_ros.training.losses import IGNORE
from lisa_ros.training.scene_batch import (
    SceneBatch,
    as_turn,
    crowd,
    make_scene_batch,
    mottled,
    to_device,
    vary,
)
from lisa_ros.training.scene_set import Example, SceneSet, render_scenes
from lisa_ros.training.tiny_model import TEST_SETS, Recipe, scene_cases, start_from, train

pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which the toy recipe was run: about a minute."""
    folder = tmp_path_factory.mktemp("tiny")
    recipe = small_recipe(encoder_steps=80, steps=300)
    train(recipe, folder, device=torch.device("cpu"), workers=1)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # the training, and its model's long answers about what it never saw
def test_eight_scenes_can_be_learned_by_heart(trained):
    segmenter = Segmenter.from_pretrained(trained / "model", device="cpu")
    scores = score_answers(segmenter, scene_cases(SceneSet(trained / "scenes")), template="mask")
    assert scores.present.count >= 8
    assert scores.present.giou > 0.8
    assert scores.named / scores.to_name > 0.8
    assert scores.falsely_refused == 0
    assert scores.refused == scores.absent


def test_the_card_scores_scenes_that_were_not_learned(trained):
    card = json.loads((trained / "model" / "card.json").read_text())
    assert card["recipe"]["steps"] == 300
    for name in TEST_SETS:
        assert card[name]["cases_present"] > 0
        assert 0 <= card[name]["giou"] < 0.6  # eight scenes teach nothing about others
    assert card["giou_with_another_question"] < 0.6
    for name, other in TEST_SETS.items():
        questions = [q for e in SceneSet(trained / f"test-{name}") for q in e.questions]
        assert {q.held_out for q in questions} == {"held_out_words" in other}


def test_things_count_as_central_and_named_one_by_one():
    """Two mugs, one at either side, are not in the middle; each has a name to be told."""
    ids = np.zeros((30, 40), np.uint8)
    ids[10:20, :4], ids[10:20, 36:], ids[10:20, 18:22] = 1, 2, 3
    both = "There are two: [SEG] the left mug and [SEG] the right mug."
    questions = (
        Question("several", "all mugs", (1, 2), both, "", True, False),
        Question(
            "several", "all cans", (1, 3), "There are two: [SEG] a, [SEG] b.", "", True, False
        ),
        Question("class", "the can", (3,), "Sure, [SEG] the can.", "", True, False),
    )
    example = Example(np.zeros((30, 40, 3), np.uint8), ids, {}, {}, questions)
    ((_, (mugs, mixed, can)),) = scene_cases([example])
    assert mugs.groups == ("several", "outside the centre square")
    assert mugs.names == ("the left mug", "the right mug")
    assert mixed.groups == ("several", "outside the centre square")
    assert mixed.names == ("a", "b")
    assert can.groups == ("class", "centre square")
    assert can.names == ("the can",)


def test_encoders_learn_along_but_for_their_convolutions(trained):
    """And what each patch and cell shows stays one of the losses."""
    before, after = (
        torch.load(trained / stage / "last.pt", weights_only=True)["module"]
        for stage in ("encoders", "everything")
    )
    encoders = [n for n in before if "vision_tower." in n or "image_encoder." in n]
    stems = [name for name in encoders if "patch_embed" in name]
    assert stems
    assert not set(stems) & set(after)  # a checkpoint holds what learns
    layers = [n for n in encoders if n.endswith(("fc1.weight", "lin1.weight"))]
    for name in [*layers, "heads.background", "heads.sam_head.weight"]:
        assert not torch.equal(before[name], after[name]), name
    assert len(layers) == 4  # two layers of each encoder


def test_a_start_of_other_sizes_is_refused(trained):
    """A stride and a sigmoid show in no weight, and would be taken over in silence."""
    start = load(trained / "model", device="cpu", precision="fp32")
    for sizes in (replace(SIZES, clip_patch=24), SIZES):
        config = embedded_config(sizes)
        if sizes == SIZES:
            config = replace(config, sam=replace(config.sam, iou_sigmoid=False))
        with pytest.raises(CheckpointError, match="of other sizes than the recipe"):
            start_from(new_model(config, start.tokenizer, 0), trained / "model")
    model = new_model(start.config, start.tokenizer, 0)
    start_from(model, trained / "model")
    for name, weight in start.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)


def test_sets_differ_in_meshes_and_words_alone(trained):
    seen, held_out_words, held_out_meshes, held_out, close_ups = (
        SceneSet(trained / f"test-{name}")[0].rgb for name in TEST_SETS
    )
    assert np.array_equal(seen, held_out_words)
    assert np.array_equal(held_out_meshes, held_out)
    assert not np.array_equal(seen, held_out)
    assert not np.array_equal(seen, close_ups)


def test_scores_tell_refusals_from_misses():
    class Refuses:
        def set_image(self, image):
            self.shape = image.shape[:2]

        def answer_batch(self, instructions, *, template):
            return [self.answer(instruction) for instruction in instructions]

        def answer(self, instruction):
            found = instruction != "nothing"
            mask = np.ones(self.shape, bool) if found else None
            return SimpleNamespace(
                status=Status.FOUND if found else Status.NOT_FOUND,
                mask=mask,
                text="The Mug [SEG].",
                explanation="The Mug.",
            )

    half = np.zeros((4, 6), np.uint8)
    half[:2] = 1
    cases = [
        Case(("class", "centre"), "all", half, ("mug",)),
        Case(("class",), "nothing", half, ("cap",)),
        Case(("absent",), "nothing", 0 * half),
        Case(("absent",), "all", 0 * half),
    ]
    picture = np.zeros((4, 6, 3), np.uint8)
    scores = score_answers(Refuses(), [(picture, cases), (picture, [])])
    assert scores.as_dict() == {
        "cases_present": 2,
        "cases_absent": 2,
        "giou": 0.25,
        "ciou": 0.3333,
        "falsely_refused": 0.5,
        "giou_by_group": {"centre": 0.5, "class": 0.25},
        "refused": 0.5,
        "named": 0.5,
    }


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


def test_more_scenes_fill_a_file_up_and_fewer_remove_none(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_set, "_SHARD", 3)
    settings = small_recipe().settings
    assert list(render_scenes(tmp_path, settings, count=2)) == [0, 2]
    before = SceneSet(tmp_path)
    assert list(render_scenes(tmp_path, settings, count=5)) == [2, 3, 5]
    after = SceneSet(tmp_path)
    assert len(after) == 5
    for old, new in zip(before, after, strict=False):  # the old ones are in use
        assert np.array_equal(old.rgb, new.rgb)
        assert old.questions == new.questions
    assert list(render_scenes(tmp_path, settings, count=4)) == [4]
    assert len(SceneSet(tmp_path)) == 5


def test_the_shipped_size_stays_below_20_mb(trained):
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
        asked=[],
        absent=[],
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


def crowded(count: int, layers: int) -> tuple[SceneBatch, SceneBatch]:
    """Scenes with a thing of a grey of its own in the middle of each, and what comes of them."""
    ids = torch.zeros(count, 40, 60, dtype=torch.uint8)
    ids[:, 15:25, 20:40] = 3
    rgb = torch.where(ids > 0, 100 + torch.arange(count)[:, None, None], 0).to(torch.uint8)
    table = torch.zeros(count, 256, dtype=torch.int64)
    table[:, 3] = 1 + torch.arange(count)
    scenes = SceneBatch(rgb[..., None].expand(-1, -1, -1, 3), ids, [], [], [], [], table, table)
    return scenes, crowd(scenes, np.random.default_rng(0), layers=layers)


def test_a_crowd_keeps_pixels_instances_and_names_together():
    scenes, result = crowded(count=32, layers=3)
    assert result.rgb.shape == (8, 40, 60, 3)
    names = result.classes.gather(1, result.ids.flatten(1).long()).view_as(result.ids)
    assert torch.equal(result.rgb[..., 0], torch.where(names > 0, 99 + names, 0).to(torch.uint8))
    assert torch.equal(result.colours, result.classes)
    shown = [set(np.unique(ids)) - {0} for ids in result.ids.numpy()]
    assert max(map(len, shown)) == 4
    assert min(map(len, shown)) < 4  # a scene as it was rendered is learned from as well
    assert set().union(*shown) == {3, 64 + 3, 128 + 3, 192 + 3}
    assert not torch.equal(result.ids > 0, scenes.ids[:8] > 0)


def test_without_layers_a_crowd_is_the_scenes():
    scenes, result = crowded(count=2, layers=0)
    assert torch.equal(result.rgb, scenes.rgb)
    assert torch.equal(result.ids, scenes.ids)


def test_a_training_goes_on_from_another_model(trained, tmp_path):
    start = trained / "model"
    recipe = small_recipe(start=str(start), encoder_steps=1, steps=1, learning_rate=0.0)
    result = train(recipe, tmp_path, device=torch.device("cpu"), workers=1)
    for name in ("tokenizer.model", "added_tokens.json"):
        assert (result / name).read_bytes() == (start / name).read_bytes()
    before, after = (load(f, device="cpu", precision="fp32").state_dict() for f in (start, result))
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_some_answers_are_put_into_the_models_mouth(trained, monkeypatch):
    """As `mask_only` and the published evaluation do; a mask is learned, and no words."""
    monkeypatch.setattr(scene_batch, "_FORCED_SHARE", 1.0)
    tokenizer = LisaTokenizer.from_folder(trained / "model")
    examples = list(SceneSet(trained / "scenes"))
    batch = make_scene_batch(
        examples,
        tokenizer,
        embedded_config(small_recipe().sizes),
        np.random.default_rng(0),
        questions=3,
        class_names=CLASS_NAMES,
        colour_names=tuple(COLOURS),
    )
    answer = tokenizer.encode([Control(SEG), "."])[1:]
    forced = 0
    for k, conversation in enumerate(batch.conversations):
        if k in batch.absent:
            continue
        segs = conversation.ids.count(tokenizer.seg_id)
        learned = [label for label in conversation.labels if label != IGNORE]
        assert bool(learned) == (segs != 1)
        if segs == 1:
            forced += 1
            assert list(conversation.ids[-len(answer) - 1 : -1]) == answer
    assert forced > 4
    assert sum(len(asked or ()) for asked in batch.asked) + len(batch.absent) == sum(
        conversation.ids.count(tokenizer.seg_id) for conversation in batch.conversations
    )


def test_what_is_not_there_is_also_found_wrongly(trained):
    """Such an answer follows each refusal; neither its words nor a mask of it are learned."""
    tokenizer = LisaTokenizer.from_folder(trained / "model")
    config = embedded_config(small_recipe().sizes)
    examples = list(SceneSet(trained / "scenes"))
    choices = {"questions": 3, "class_names": CLASS_NAMES, "colour_names": tuple(COLOURS)}
    rng = np.random.default_rng(0)
    batch = make_scene_batch(examples, tokenizer, config, rng, **choices)
    refused = [q for example in examples for q in example.questions if q.wrong_answer]
    refusals = [k for k, asked in enumerate(batch.asked) if asked == ()]
    assert refusals
    assert batch.absent == [k + 1 for k in refusals]
    for k in batch.absent:
        wrong, refusal = batch.conversations[k], batch.conversations[k - 1]
        assert wrong.ids[: wrong.answer_at] == refusal.ids[: refusal.answer_at]
        assert wrong.ids.count(tokenizer.seg_id) in (1, 2)  # two where all of a class are asked for
        assert refusal.ids.count(tokenizer.seg_id) == 0
        assert set(wrong.labels) == {IGNORE}
        # In the words of a right answer to this question: others would give the wrong one away.
        words = tokenizer.decode([i for i in wrong.ids[: wrong.answer_at] if i >= 0])
        right = {
            q.wrong_answer.split("[SEG]")[0].strip() for q in refused if q.instruction in words
        }
        assert right
        opening = tokenizer.decode(wrong.ids[wrong.answer_at :]).split("[SEG]")[0].strip()
        assert opening in ("", *right)
    for_network = to_device(batch, config, torch.device("cpu"), varied=False)
    assert sum(map(len, for_network.masks)) == sum(len(asked or ()) for asked in batch.asked)


def test_places_are_asked_twice_as_often_as_names():
    rng = np.random.default_rng(0)
    asked = [
        Question(kind, f"{kind} {k}", (1,), "", "", True, False)
        for kind in ("spatial", "class")
        for k in range(20)
    ]
    kinds = [question.kind for _ in range(300) for question in scene_batch._drawn(asked, 2, rng)]
    assert len(kinds) == 600
    assert 1.6 < kinds.count("spatial") / kinds.count("class") < 2.4
    assert sorted(map(id, scene_batch._drawn(asked, 99, rng))) == sorted(map(id, asked))


def test_variation_keeps_pictures_pictures():
    pixels = torch.rand(4, 3, 24, 32)
    varied = vary(pixels)
    assert varied.shape == pixels.shape
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert not torch.equal(varied, pixels)


def test_only_what_is_behind_the_things_is_put_elsewhere(monkeypatch):
    """And in about the share of the pictures that is meant."""
    monkeypatch.setattr(scene_batch, "vary", lambda pixels: pixels)
    torch.manual_seed(0)
    rgb = torch.full((400, 12, 16, 3), 51, dtype=torch.uint8)
    ids = torch.zeros(400, 12, 16, dtype=torch.uint8)
    ids[:, 3:9, 4:12] = 1
    scenes = SceneBatch(rgb, ids, [], [], [], [], torch.zeros(400, 256), torch.zeros(400, 256))
    config = embedded_config(replace(SIZES, sam_image=16))
    batch = to_device(scenes, config, torch.device("cpu"), varied=True)
    plain = to_device(scenes, config, torch.device("cpu"), varied=False)
    moved = (batch.sam_pixels != plain.sam_pixels).any(1)[:, :12]
    assert not moved[ids > 0].any()
    assert 0.15 < moved.flatten(1).any(1).float().mean() < 0.35


def test_a_mottled_ground_is_a_picture_and_never_the_same():
    ground = mottled(torch.zeros(6, 3, 96, 128))
    assert ground.min() >= 0
    assert ground.max() <= 1
    assert (ground.std(dim=(2, 3)) > 0.005).all()
    assert not torch.equal(ground[0], ground[1])


def test_questions_are_put_as_the_package_puts_them():
    rng = np.random.default_rng(0)
    asked = Question("class", "the mug", (1,), "It is [SEG] the mug.", "A mug.", True, False)
    turns = [as_turn(asked, rng) for _ in range(40)]
    forms = {INSTRUCTION_TEMPLATES[t].format("the mug") for t in ("raw", "mask", "explain")}
    assert {turn.question for turn in turns} == forms
    for turn in turns:
        assert (turn.answer == "It is [SEG] the mug. A mug.") == ("explain" in turn.question)
    refused = Question(
        "absent", "the cap", (), "There is no cap here.", "I see a mug.", True, False
    )
    assert as_turn(refused, rng).answer == "There is no cap here. I see a mug."


def test_another_recipe_is_no_continuation(tmp_path):
    tiny_model._claim(tmp_path, Recipe(steps=10))
    tiny_model._claim(tmp_path, Recipe(steps=20))  # nothing was begun
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "last.pt").touch()
    tiny_model._claim(tmp_path, Recipe(steps=20))
    with pytest.raises(ConfigError, match=r"start was None and is 'lisa'\. Undo the change"):
        tiny_model._claim(tmp_path, Recipe(steps=20, start="lisa"))

"""How a question becomes an outcome: frames, ends, 3D, conversations."""

import time
from dataclasses import replace

import pytest
from conftest import wait_until
from worker_bench import HEIGHT, WIDTH, image

from lisa_ros.model.conversation import Turn
from lisa_ros.nodes.answering import AnswerSettings
from lisa_ros.nodes.camera_geometry import NoGeometryError
from lisa_ros.nodes.frames import Frame
from lisa_ros.nodes.lifting import LiftSettings
from lisa_ros.perception import (
    Status,
)

# --- one question ---


def test_a_question_and_its_progress(ready):
    question = ready.submit("the cup")
    outcome = ready.end(question)
    assert (outcome.status, outcome.message) == (Status.FOUND, "")
    assert outcome.frame is ready.frames.newest()
    assert outcome.image_size == (HEIGHT, WIDTH)
    assert not outcome.context_kept
    stages = [event.stage for event in ready.progress[question.id]]
    assert stages == ["encoding", "answering", "answering"]
    words, mask = ready.progress[question.id][1:]
    assert (words.text, words.objects, words.is_new_object) == ("It is ", (), False)
    assert (mask.objects, mask.is_new_object) == ((ready.segmenter.object,), True)
    assert mask.frame is outcome.frame
    seconds = outcome.seconds
    assert seconds["prefill"] == 0.001
    assert 0 <= seconds["wait"] <= seconds["first_mask"] <= seconds["total"] < 10
    assert ready.segmenter.images[0].shape == (HEIGHT, WIDTH, 3)


def test_settings_are_read_for_each_question(ready):
    question = ready.submit("the cup")
    ready.end(question)
    assert question.template == "explain"  # the model's
    ready.settings = AnswerSettings(template="mask", max_new_tokens=7)
    ready.ask("the cup")
    ready.ask("the cup", template="phrase")
    templates = [asked.template for asked in ready.segmenter.asked]
    assert templates == ["explain", "mask", "phrase"]
    assert [asked.max_new_tokens for asked in ready.segmenter.asked] == [512, 7, 7]


@pytest.mark.parametrize(
    ("instruction", "status", "has_message"),
    [("nothing", Status.NOT_FOUND, True), ("describe", Status.TEXT_ONLY, False)],
)
def test_answers_without_a_mask(ready, instruction, status, has_message):
    outcome = ready.ask(instruction)
    assert outcome.status is status
    assert bool(outcome.message) is has_message
    assert outcome.image_size == (HEIGHT, WIDTH)


def test_a_second_question_about_a_frame_encodes_nothing(ready):
    ready.ask("the cup")
    second = ready.ask("the dog")
    assert len(ready.segmenter.images) == 1
    assert "conversion" not in second.seconds
    assert second.image_size == (HEIGHT, WIDTH)
    ready.frames.add_image(image())
    ready.ask("the dog")
    assert len(ready.segmenter.images) == 2


def test_a_question_brings_its_own_image(bench):
    bench.start()
    own = Frame(image(stamp_ns=5))
    outcome = bench.ask("the cup", frame=own)
    assert outcome.status is Status.FOUND
    assert outcome.frame is own


# --- frames ---


def test_no_image(bench):
    bench.start()
    outcome = bench.ask("the cup")
    assert outcome.status is Status.NO_IMAGE
    assert outcome.message.startswith("no image arrived within 0.1 s; check the image topic")
    assert outcome.frame is None


def test_a_stale_image(bench):
    bench.start()
    bench.frames.add_image(image(time.time_ns() - 5 * 10**9))
    outcome = bench.ask("the cup")
    assert outcome.status is Status.STALE_IMAGE
    assert outcome.message.startswith("the newest image is 5.")
    assert "max_image_age is 2 s" in outcome.message
    assert not bench.segmenter.asked
    bench.settings = AnswerSettings(max_image_age=0)  # no limit
    assert bench.ask("the cup").status is Status.FOUND


def test_an_image_from_the_future_is_no_fresh_one(bench):
    """Of a clock that is behind: with use_sim_time and without /clock it shows 0."""
    bench.start()
    bench.frames.add_image(image(time.time_ns() + 5 * 10**9))
    outcome = bench.ask("the cup")
    assert outcome.status is Status.STALE_IMAGE
    assert "s ahead of this node's clock, max_image_age is 2 s" in outcome.message
    assert "/clock" in outcome.message
    bench.settings = AnswerSettings(max_image_age=0)
    assert bench.ask("the cup").status is Status.FOUND


def test_an_image_without_a_stamp_is_never_after_a_motion(bench):
    bench.start()
    bench.settings = AnswerSettings(max_image_age=0, image_timeout=0.1)
    bench.frames.add_image(image(0))
    outcome = bench.ask("the cup", not_before=time.time_ns())
    assert outcome.status is Status.STALE_IMAGE
    assert outcome.message.endswith("let the driver set it, or ask without not_before")


def test_a_question_waits_for_a_fresh_image(bench):
    bench.start()
    bench.settings = AnswerSettings(image_timeout=5)
    question = bench.submit("the cup")
    time.sleep(0.1)
    fresh = image()
    bench.frames.add_image(fresh)
    assert bench.end(question).frame.image is fresh


def test_an_image_from_before_the_end_of_a_motion_does_not_count(bench):
    bench.start()
    bench.frames.add_image(image())
    end_of_motion = time.time_ns()
    outcome = bench.ask("the cup", not_before=end_of_motion)
    assert outcome.status is Status.STALE_IMAGE
    assert outcome.message.startswith("expected an image stamped at not_before or later, got one")
    question = bench.submit("the cup", not_before=end_of_motion)
    fresh = image(end_of_motion)
    bench.frames.add_image(fresh)
    outcome = bench.end(question)
    assert (outcome.status, outcome.frame.image) == (Status.FOUND, fresh)
    assert bench.ask("and the dog", keep_context=True, not_before=time.time_ns()).context_kept


@pytest.mark.parametrize(
    "fields",
    [
        {"height": 0, "width": 0, "step": 0, "data": b""},
        {"step": WIDTH},
        {"encoding": "nv77"},
        {"data": b"123"},
    ],
)
def test_an_image_that_cannot_be_read(ready, fields):
    good = ready.frames.newest()
    outcome = ready.ask("the cup", frame=Frame(image(**fields)))
    assert outcome.status is Status.NO_IMAGE
    assert "expected" in outcome.message
    assert "got" in outcome.message
    assert outcome.image_size == (0, 0)
    assert ready.ask("the cup", frame=good).status is Status.FOUND


# --- 3D ---

MISMATCH = NoGeometryError(Status.DEPTH_MISMATCH, "not registered")


def test_masks_are_lifted_before_the_question_ends(ready, lifter):
    question = ready.submit("the cup")
    outcome = ready.end(question)
    assert (outcome.status, outcome.message) == (Status.FOUND, "")
    assert outcome.lifted.frame_id == "camera"
    [(frame, rgb, masks)] = lifter.lifted
    assert frame is outcome.frame
    assert lifter.located == [frame]
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    assert masks[0] is outcome.answer.objects[0].mask
    stages = [progress.stage for progress in ready.progress[question.id]]
    assert stages[-2:] == ["answering", "lifting"]
    assert 0 <= outcome.seconds["geometry"] < outcome.seconds["total"]


def test_why_there_is_no_3d(ready, lifter):
    lifter.problem, lifter.note = MISMATCH, "not registered"
    outcome = ready.ask("the cup")
    assert (outcome.status, outcome.message) == (Status.FOUND, "not registered")
    outcome = ready.ask("the cup", require_3d=True)
    assert (outcome.status, outcome.message) == (Status.DEPTH_MISMATCH, "not registered")
    assert outcome.answer.objects
    outcome = ready.ask("nothing", require_3d=True)
    assert outcome.status is Status.NOT_FOUND
    assert "registered" not in outcome.message


def test_some_objects_without_3d_are_no_failure(ready, lifter):
    lifter.note = "object 2 has none"
    outcome = ready.ask("the cup", require_3d=True)
    assert (outcome.status, outcome.message) == (Status.FOUND, "object 2 has none")


def test_who_wants_no_3d_hears_nothing_of_it(ready, lifter):
    lifter.problem, lifter.note = MISMATCH, "no depth"
    own = Frame(image(), is_of_request=True)
    assert ready.ask("the cup", frame=own).message == ""
    ready.settings = replace(ready.settings, lift=LiftSettings(use_depth=False))
    assert ready.ask("the cup").message == ""
    assert lifter.lifted == []
    assert ready.ask("the cup", frame=own, require_3d=True).status is Status.DEPTH_MISMATCH
    own = Frame(image(), depth=image(), is_of_request=True)
    assert ready.ask("the cup", frame=own).message == "no depth"


def test_a_follow_up_on_a_requests_image_keeps_its_camera(ready, lifter):
    ready.frames.add_camera_info(image())
    ready.frames.add_depth_camera_info(image())
    own = Frame(image(), depth=image(), is_of_request=True)
    ready.ask("the cup", frame=own)
    ready.ask("no, the other one", keep_context=True)
    assert [frame for frame, *_ in lifter.lifted] == [own, own]


def test_a_question_that_needs_3d_waits_for_the_depth_of_its_image(ready, lifter):
    ready.frames.clear()
    question = ready.submit("the cup", require_3d=True)
    shot, depth = image(), image()
    ready.frames.add_image(shot)  # of a camera that has never given depth before
    time.sleep(0.1)
    ready.frames.add_depth(depth)
    outcome = ready.end(question)
    assert (outcome.frame.image, outcome.frame.depth) == (shot, depth)


def test_a_question_that_waits_for_camera_info_can_be_stopped(ready, lifter):
    ready.settings = replace(ready.settings, image_timeout=30.0)
    ready.frames.add_image(shot := image())
    ready.frames.add_depth(shot)
    question = ready.submit("the cup")
    assert wait_until(lambda: any(p.stage == "lifting" for p in ready.progress[question.id]))
    question.stop(Status.CANCELLED)
    assert ready.end(question).status is Status.FOUND  # the model had answered


def test_nobody_waits_for_depth_for_ever(ready, lifter):
    ready.frames.add_image(image())
    assert ready.ask("the cup").seconds["total"] < 0.5
    assert ready.ask("the cup", require_3d=True).frame.depth is None
    assert ready.ask("the cup", require_3d=True).seconds["total"] < 0.5  # nothing will come now


def test_a_cancelled_question_is_not_lifted(ready, lifter):
    question = ready.submit("forever")
    assert ready.talks(question)
    question.stop(Status.CANCELLED)
    assert ready.end(question).status is Status.CANCELLED
    assert lifter.lifted == []


# --- conversations ---


def test_keep_context_pins_the_frame_and_sends_the_rounds_before(ready):
    pinned = ready.ask("the cup").frame
    ready.frames.add_image(image())
    ready.settings = AnswerSettings(max_image_age=1e-9, image_timeout=0)  # the pin is exempt
    second = ready.ask("no, the other one", keep_context=True)
    third = ready.ask("and the dog", keep_context=True)
    assert [second.context_kept, third.context_kept] == [True, True]
    assert second.frame is pinned
    assert third.frame is pinned
    assert len(ready.segmenter.images) == 1
    assert list(ready.segmenter.asked[1].history) == [Turn("the cup?", "It is [SEG].")]
    rounds = [turn.question for turn in ready.segmenter.asked[2].history]
    assert rounds == ["the cup?", "no, the other one?"]


def test_a_conversation_that_is_too_long_is_forgotten(ready):
    """Else no further question could go on, however short."""
    ready.ask("the cup")
    assert ready.ask("[SEG]", keep_context=True).status is Status.REJECTED
    assert ready.ask("the dog", keep_context=True).context_kept
    assert ready.ask("long", keep_context=True).status is Status.REJECTED
    outcome = ready.ask("long", keep_context=True)
    assert outcome.status is Status.FOUND
    assert not outcome.context_kept


def test_a_question_without_keep_context_forgets(ready):
    ready.ask("the cup")
    ready.frames.add_image(image())
    ready.frames.clear()  # it finds no image, and still ends the conversation
    assert ready.ask("the dog").status is Status.NO_IMAGE
    outcome = ready.ask("no, the other one", keep_context=True)
    assert (outcome.status, outcome.context_kept) == (Status.NO_IMAGE, False)


def test_a_cancelled_round_is_not_remembered(ready):
    ready.ask("the cup")
    assert ready.ask("forever", keep_context=True, timeout=0.05).status is Status.TIMEOUT
    assert ready.ask("the dog", keep_context=True).context_kept
    assert len(ready.segmenter.asked[-1].history) == 1


def test_context_timeout_and_unload_forget(ready):
    ready.ask("the cup")
    ready.settings = AnswerSettings(context_timeout=0.05)
    time.sleep(0.1)
    assert not ready.ask("no, the other one", keep_context=True).context_kept
    assert ready.ask("and that?", keep_context=True).context_kept
    ready.worker.unload()
    ready.worker.load(lambda: ready.segmenter)
    assert not ready.ask("and that?", keep_context=True).context_kept


# --- the real model ---


def test_with_the_golden_model(bench, segmenter, first_golden):
    case = next(c for c in first_golden.cases("generate") if c["key"] == "gen0")
    rgb = first_golden.image(case["image"])
    height, width = rgb.shape[:2]
    shown = Frame(image(height=height, width=width, step=3 * width, data=rgb.tobytes()))
    bench.settings = AnswerSettings(template="raw")
    bench.worker.load(lambda: segmenter)
    bench.worker.active = True
    first = bench.ask(case["instruction"], frame=shown)
    assert first.status is Status.FOUND
    assert first.answer.objects[0].area == pytest.approx(case["mask_area"][0], rel=0.01)
    assert {"clip", "sam_encoder", "prefill", "decode"} <= set(first.seconds)
    second = bench.ask(case["instruction"], frame=shown)
    assert not {"clip", "sam_encoder", "preprocess", "conversion"} & set(second.seconds)
    assert second.answer.text == first.answer.text
    third = bench.ask(case["instruction"], keep_context=True)
    assert third.context_kept
    assert len(third.answer.prompt_ids) > len(first.answer.prompt_ids)

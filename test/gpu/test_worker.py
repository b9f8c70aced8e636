"""The node's worker with LISA-7B's shapes and random weights, as a robot uses it."""

import gc
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from lisa_ros.model.random_weights import named_config, random_model
from lisa_ros.nodes.answering import Answerer, AnswerSettings
from lisa_ros.nodes.frames import Frame, FrameBuffer
from lisa_ros.nodes.image_conversion import image_to_rgb
from lisa_ros.nodes.questions import Question, QuestionDesk, Source
from lisa_ros.nodes.worker import Worker
from lisa_ros.perception import Segmenter, Status
from lisa_ros.perception.follow import FollowLimits
from lisa_ros.perception.overlay import draw_overlay

WORDS_BEFORE_SEG, ANSWER_LENGTH = 4, 32
FOLLOWED_FRAMES, CAMERA_RATE = 60, 60.0  # Hz; faster than the encoder
NEVER_IN_DOUBT = FollowLimits(0.0, 1.0, float("inf"), -1.0, float("inf"))


@pytest.fixture(scope="module", params=["bf16", "int8", "nf4"])
def precision(request):
    if request.param in ("int8", "nf4"):
        pytest.importorskip("bitsandbytes", reason="int8 and nf4 need bitsandbytes")
    return request.param


@pytest.fixture(scope="module")
def make_segmenter(first_golden, precision):
    def make() -> Segmenter:
        model = random_model(
            named_config("7b"),
            first_golden.model.tokenizer,
            precision=precision,
            device="cuda",
            seg_at=WORDS_BEFORE_SEG,
            answer_length=ANSWER_LENGTH,
        )
        return Segmenter(model, model_id="7b, random weights", precision=precision)

    return make


@pytest.fixture(scope="module")
def worker(make_segmenter):
    worker = Worker(QuestionDesk(), FrameBuffer())
    worker.load(make_segmenter)
    worker.active = True
    yield worker
    worker.shutdown()


def frame(height: int = 720, width: int = 1280, seed: int = 0) -> Frame:
    """A frame with a plain rgb8 image, as a camera driver sends it."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    now = time.time_ns()
    stamp = SimpleNamespace(sec=now // 10**9, nanosec=now % 10**9)
    image = SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="camera"),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.tobytes(),
    )
    return Frame(image)


def ask(worker: Worker, shown: Frame, on_progress=lambda question, progress: None):
    """Ask, wait, and give the outcome and all progress."""
    outcomes, events = [], []

    def progress(question, event):
        events.append(event)
        on_progress(question, event)

    question = Question(
        worker._desk.next_id(),
        Source.ACTION,
        "change the TV channel",
        frame=shown,
        on_progress=progress,
        on_end=lambda question, outcome: outcomes.append(outcome),
    )
    worker._desk.submit(question)
    assert question.wait(120)
    assert len(outcomes) == 1
    return outcomes[0], events


def test_question_with_a_provisional_mask(worker, record):
    torch.cuda.reset_peak_memory_stats()
    shown = frame()
    ask(worker, shown)  # warms up
    times, firsts = [], []
    for seed in range(5):
        outcome, events = ask(worker, frame(seed=seed + 1))
        assert outcome.status in (Status.FOUND, Status.NOT_FOUND)
        assert len(outcome.answer.answer_ids) == ANSWER_LENGTH
        assert len(outcome.answer.objects) == 1
        new = [event for event in events if event.is_new_object]
        assert len(new) == 1
        assert events.index(new[0]) < len(events) - 1  # words go on behind the mask
        times.append(outcome.seconds["total"])
        firsts.append(outcome.seconds["first_mask"])
    record("answer of 32 tokens, median [s]", round(float(np.median(times)), 4))
    record("first mask, median [s]", round(float(np.median(firsts)), 4))
    record("stages [s]", {k: round(v, 4) for k, v in outcome.seconds.items()})
    record("memory allocated [GiB]", round(torch.cuda.memory_allocated() / 2**30, 2))
    record("peak memory [GiB]", round(torch.cuda.max_memory_allocated() / 2**30, 2))


def test_second_question_about_a_frame_encodes_nothing(worker, record):
    shown = frame(seed=9)
    ask(worker, shown)
    outcome, _ = ask(worker, shown)
    assert not {"sam_encoder", "clip", "preprocess"} & set(outcome.seconds)
    record("answer [s]", round(outcome.seconds["total"], 4))
    record("first mask [s]", round(outcome.seconds["first_mask"], 4))


def test_cancel_between_two_tokens(worker, record):
    stopped_at = []

    def stop_at_the_first_word(question, event):
        if event.text and not stopped_at:
            stopped_at.append(time.monotonic())
            question.stop(Status.CANCELLED)

    outcome, _ = ask(worker, frame(), stop_at_the_first_word)
    assert outcome.status is Status.CANCELLED
    assert len(outcome.answer.answer_ids) < WORDS_BEFORE_SEG + 1
    record("from cancel to end [s]", round(time.monotonic() - stopped_at[0], 4))


def test_pre_emption_ends_both_questions_once(worker):
    ended = []
    started = threading.Event()
    first = Question(
        worker._desk.next_id(),
        Source.TOPIC,
        "first",
        frame=frame(),
        on_progress=lambda question, event: started.set(),
        on_end=lambda question, outcome: ended.append(outcome.status),
    )
    worker._desk.submit(first)
    assert started.wait(30)
    outcome, _ = ask(worker, frame())
    assert outcome.status in (Status.FOUND, Status.NOT_FOUND)
    assert first.wait(30)
    assert ended == [Status.PREEMPTED]


@pytest.mark.parametrize("is_ahead", [True, False], ids=["encoded ahead", "in turn"])
def test_follow_mode(worker, is_ahead, record, monkeypatch):
    """Each frame has its own mask, also where it was encoded beside the work on the one before."""
    if not is_ahead:
        monkeypatch.setattr(Segmenter, "encodes_in_background", False)
    desk, frames, found, ages, ahead, failed = QuestionDesk(), FrameBuffer(), {}, [], [], []
    begin_ahead = Answerer.encode_ahead

    def counted(answerer):
        ahead.append(begin_ahead(answerer))
        return ahead[-1]

    monkeypatch.setattr(Answerer, "encode_ahead", counted)

    def end(question, outcome):
        if outcome.status is not Status.FOUND:  # an assertion would be the worker's, who goes on
            failed.append(outcome)
            return
        cv2.imencode(".png", draw_overlay(outcome.rgb, outcome.answer))  # the work of a node
        found[outcome.frame.stamp_ns] = outcome.answer.objects[0]
        ages.append((time.time_ns() - outcome.frame.stamp_ns) / 1e9)

    follower = Worker(
        desk,
        frames,
        settings=lambda: AnswerSettings(follow=NEVER_IN_DOUBT),
        new_follow_question=lambda followed: Question(
            desk.next_id(), Source.FOLLOW, followed.instruction, on_end=end
        ),
    )
    follower.load(lambda: worker.segmenter)
    follower.active = True
    frames.add_image(frame().image)
    question = Question(desk.next_id(), Source.ACTION, "change the TV channel", follow=True)
    desk.submit(question)
    assert question.wait(120)
    shown, began = [], time.monotonic()
    while len(shown) < FOLLOWED_FRAMES:
        shown.append(frame(seed=len(shown) + 1))
        frames.add_image(shown[-1].image)
        time.sleep(1 / CAMERA_RATE)
    while shown[-1].stamp_ns not in found and time.monotonic() < began + 60:
        time.sleep(0.01)
    seconds = time.monotonic() - began
    assert follower.shutdown(10)
    assert not failed
    assert any(ahead) == is_ahead
    assert shown[-1].stamp_ns in found
    for each in (each for each in shown if each.stamp_ns in found):
        worker.segmenter.set_image(image_to_rgb(each.image))
        item = found[each.stamp_ns]
        again = worker.segmenter.decode(item.embedding)
        assert torch.equal(item.low_res_mask, again.low_res_mask)
    record("masks a second", round(len(found) / seconds, 1))
    record("from stamp to the end, median [s]", round(float(np.median(ages)), 4))


def test_out_of_memory_is_an_answer_and_the_next_question_works(worker):
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    ballast = torch.empty(free - (200 << 20), dtype=torch.uint8, device="cuda")
    # A mask of 48 megapixels; small pictures need no memory that is not there already.
    outcome, _ = ask(worker, frame(6000, 8000))
    assert outcome.status is Status.ERROR
    assert "ran out of memory" in outcome.message
    assert "nf4" in outcome.message
    del ballast
    torch.cuda.empty_cache()
    outcome, _ = ask(worker, frame(seed=3))
    assert outcome.status in (Status.FOUND, Status.NOT_FOUND)


def test_cleanup_returns_all_memory_twice(worker, make_segmenter, record):
    for _ in range(2):
        worker.unload()
        gc.collect()
        assert torch.cuda.memory_allocated() == 0
        started = time.monotonic()
        worker.load(make_segmenter)
        outcome, _ = ask(worker, frame())
        assert outcome.status in (Status.FOUND, Status.NOT_FOUND)
    record("load to first answer [s]", round(time.monotonic() - started, 2))
    worker.unload()
    record("memory after cleanup [bytes]", torch.cuda.memory_allocated())
    assert torch.cuda.memory_allocated() == 0

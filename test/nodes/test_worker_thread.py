"""The worker's thread: stops, failures, storms of questions, loading and its end."""

import threading
import time

import numpy as np
import pytest
import torch
from conftest import wait_until
from worker_bench import image

from lisa_ros.model.errors import OutOfMemoryError
from lisa_ros.nodes.answering import AnswerSettings
from lisa_ros.nodes.questions import Outcome, Question, Source
from lisa_ros.nodes.worker import leave_a_core
from lisa_ros.perception import (
    Status,
)

# --- ends before the end ---


def test_cancel_between_two_words(ready):
    question = ready.submit("forever")
    assert ready.talks(question)
    question.stop(Status.CANCELLED)
    outcome = ready.end(question)
    assert outcome.status is Status.CANCELLED
    assert outcome.message == "whoever asked it cancelled it"
    assert len(outcome.answer.objects) == 1
    assert ready.ask("the cup").status is Status.FOUND


def test_timeout_between_two_words(ready):
    started = time.monotonic()
    outcome = ready.ask("forever", timeout=0.1)
    assert outcome.status is Status.TIMEOUT
    assert "timeout of 0.1 s" in outcome.message
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("reason", ["timeout", "cancel"])
def test_a_stop_while_the_image_is_missing(bench, reason):
    bench.start()
    bench.settings = AnswerSettings(image_timeout=30)
    question = bench.submit("the cup", timeout=0.05 if reason == "timeout" else None)
    if reason == "cancel":
        question.stop(Status.CANCELLED)
    expected = {"timeout": Status.TIMEOUT, "cancel": Status.CANCELLED}[reason]
    assert bench.end(question).status is expected


def test_pre_emption_ends_both(ready):
    first = ready.submit("forever")
    assert ready.talks(first)
    second = ready.submit("the cup")
    assert ready.end(first).status is Status.PREEMPTED
    assert (
        ready.outcomes[first.id].message == f"question {second.id} (source action) took its place"
    )
    assert ready.end(second).status is Status.FOUND


@pytest.mark.parametrize(
    ("instruction", "status", "words"),
    [
        ("crash", Status.ERROR, "RuntimeError: boom"),
        ("memory", Status.ERROR, "cuda:0 ran out of memory"),
        ("[SEG]", Status.REJECTED, "expected an instruction in words"),
    ],
)
def test_a_failure_is_an_answer_and_the_next_question_works(ready, instruction, status, words):
    outcome = ready.ask(instruction)
    assert outcome.status is status
    assert words in outcome.message
    # After an error the image's features are not trusted.
    is_error = status is Status.ERROR
    assert ready.segmenter.resets == int(is_error)
    assert ready.ask("the cup").status is Status.FOUND
    assert len(ready.segmenter.images) == 1 + int(is_error)


def test_a_callback_that_fails_costs_its_own_question_alone(ready):
    def fail(question, event):
        raise RuntimeError("cannot publish")

    question = Question(99, Source.ACTION, "the cup", on_end=fail)
    ready.desk.submit(question)
    assert question.wait(5)
    question = Question(98, Source.ACTION, "the cup", on_progress=fail)
    ready.desk.submit(question)
    assert question.wait(5)
    assert ready.ask("the cup").status is Status.FOUND


def test_a_storm_of_questions(ready):
    questions, lock = [], threading.Lock()

    def storm(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            words = rng.choice(["the cup", "forever", "crash", "nothing"])
            source = Source(int(rng.integers(1, 4)))
            with lock:
                questions.append(ready.submit(str(words), source, timeout=0.05))
            if rng.random() < 0.3:
                questions[-1].stop(Status.CANCELLED)
            time.sleep(rng.random() * 0.01)

    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for question in questions:
        ready.end(question)
    assert len(ready.outcomes) == 160
    assert ready.ask("the cup").status is Status.FOUND


# --- loading ---


def test_load_and_unload_twice(bench):
    bench.frames.add_image(image())
    for _ in range(2):
        bench.worker.active = True
        assert bench.ask("the cup").status is Status.NOT_ACTIVE
        bench.worker.load(lambda: bench.segmenter)
        assert bench.worker.segmenter is bench.segmenter
        assert bench.ask("the cup").status is Status.FOUND
        bench.worker.unload()
        assert bench.worker.segmenter is None


def test_a_model_that_cannot_be_loaded(bench):
    def fail():
        raise OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError, match="too large"):
        bench.worker.load(fail)
    bench.start()
    bench.frames.add_image(image())
    assert bench.ask("the cup").status is Status.FOUND


@pytest.mark.parametrize("source", [Source.TOPIC, Source.ACTION])
def test_pause_ends_open_questions(ready, source):
    running = ready.submit("forever", source)
    assert ready.talks(running)
    waiting = ready.submit("the cup", source)
    ready.worker.pause(Outcome(Status.NOT_ACTIVE, "deactivated"))
    assert ready.outcomes[waiting.id] == Outcome(Status.NOT_ACTIVE, "deactivated")
    assert ready.outcomes[running.id].status is Status.PREEMPTED  # it was before
    assert ready.ask("the cup").status is Status.NOT_ACTIVE
    ready.worker.active = True
    assert ready.ask("the cup").status is Status.FOUND


def test_shutdown_ends_open_questions_and_takes_no_more(bench):
    bench.start()
    bench.frames.add_image(image())
    running = bench.submit("forever")
    assert bench.talks(running)
    assert bench.worker.shutdown(5)
    assert bench.outcomes[running.id].status is Status.NOT_ACTIVE
    assert bench.outcomes[running.id].message == "the node is shutting down"
    assert bench.ask("the cup").status is Status.NOT_ACTIVE
    with pytest.raises(RuntimeError, match="shutting down"):
        bench.worker.unload()


def test_shutdown_does_not_wait_for_a_model_that_is_being_loaded(bench):
    may_end = threading.Event()
    thread = threading.Thread(target=lambda: bench.worker.load(may_end.wait))
    thread.start()
    time.sleep(0.1)
    assert not bench.worker.shutdown(0.1)
    may_end.set()
    thread.join(5)
    assert not thread.is_alive()


def test_idle_is_called_only_while_active_and_unasked(ready):
    assert wait_until(lambda: ready.idle_calls > 2)
    question = ready.submit("forever")
    assert ready.talks(question)
    calls = ready.idle_calls
    time.sleep(0.1)
    assert ready.idle_calls == calls
    ready.worker.pause(Outcome(Status.NOT_ACTIVE))
    calls = ready.idle_calls
    time.sleep(0.1)
    assert ready.idle_calls == calls


# --- cores ---


@pytest.mark.parametrize(("cores", "threads", "left"), [(8, 8, 7), (8, 4, 4), (1, 1, 1)])
def test_a_core_is_left_to_the_rest(monkeypatch, cores, threads, left):
    chosen = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    leave_a_core()
    assert chosen == [left]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # its user has chosen
    leave_a_core()
    assert chosen == [left]

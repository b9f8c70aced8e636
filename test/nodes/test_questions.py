"""The rules of the desk: who gives way to whom, and that every question ends exactly once."""

import random
import threading
import time

import pytest
from conftest import wait_until

from lisa_ros.nodes.questions import Outcome, Question, QuestionDesk, Source
from lisa_ros.perception import Status

TOPIC, ACTION, SERVICE, FOLLOW = Source.TOPIC, Source.ACTION, Source.SERVICE, Source.FOLLOW
DONE = Outcome(Status.FOUND)


class Desk(QuestionDesk):
    """A desk that remembers how its questions ended."""

    def __init__(self, busy_policy: str = "preempt") -> None:
        super().__init__(busy_policy)
        self.ends: dict[int, list[Outcome]] = {}

    def ask(self, source: Source, **options) -> Question:
        question = self.question(source, **options)
        self.submit(question)
        return question

    def question(self, source: Source, **options) -> Question:
        number = self.next_id()
        ends = self.ends[number] = []
        return Question(
            number, source, "the cup", on_end=lambda q, outcome: ends.append(outcome), **options
        )

    def status(self, question: Question) -> Status | None:
        ends = self.ends[question.id]
        assert len(ends) <= 1
        return ends[0].status if ends else None

    def finish(self, question: Question, outcome: Outcome = DONE) -> None:
        self.done(question)
        question.end(outcome)


def stop_status(question: Question) -> Status | None:
    stopped = question.stopped()
    return stopped and stopped.status


def test_one_question_at_a_time_in_the_order_of_arrival():
    desk = Desk()
    assert desk.take(0) is None
    first = desk.ask(ACTION)
    assert desk.take(0) is first
    assert desk.take(0) is None
    desk.finish(first)
    second = desk.ask(SERVICE)
    assert desk.take(0) is second
    assert (first.id, second.id) == (1, 2)


@pytest.mark.parametrize("policy", ["preempt", "reject"])
@pytest.mark.parametrize("running", [ACTION, SERVICE])
@pytest.mark.parametrize("is_taken", [True, False])
def test_the_topic_never_pre_empts_a_goal_or_a_call(policy, running, is_taken):
    desk = Desk(policy)
    first = desk.ask(running)
    if is_taken:
        assert desk.take(0) is first
    second = desk.ask(TOPIC)
    assert desk.status(second) is Status.REJECTED
    assert desk.status(first) is None
    assert first.stopped() is None
    message = desk.ends[second.id][0].message
    assert message.startswith(f"question 1 (source {running.name.lower()}) is being answered")
    assert "ask again later" in message


@pytest.mark.parametrize("policy", ["preempt", "reject"])
@pytest.mark.parametrize("newer", [TOPIC, ACTION, SERVICE])
@pytest.mark.parametrize("older", [TOPIC, FOLLOW])
def test_all_pre_empt_the_topic_and_follow_mode(policy, older, newer):
    desk = Desk(policy)
    first = desk.question(older)
    assert desk.start(first)
    second = desk.ask(newer)
    assert stop_status(first) is Status.PREEMPTED
    assert first.stopped().message == f"question 2 (source {newer.name.lower()}) took its place"
    assert desk.status(first) is None  # it is for the worker to end it
    desk.finish(first, first.stopped())
    assert desk.take(0) is second


@pytest.mark.parametrize("newer", [ACTION, SERVICE])
@pytest.mark.parametrize("older", [ACTION, SERVICE])
def test_busy_policy(older, newer):
    desk = Desk("preempt")
    first = desk.ask(older)
    assert desk.take(0) is first
    second = desk.ask(newer)
    assert stop_status(first) is Status.PREEMPTED
    assert desk.status(second) is None

    desk = Desk("reject")
    first = desk.ask(older)
    assert desk.take(0) is first
    second = desk.ask(newer)
    assert desk.status(second) is Status.REJECTED
    assert "busy_policy is reject" in desk.ends[second.id][0].message
    assert first.stopped() is None


def test_a_waiting_question_that_is_replaced_ends_as_pre_empted():
    desk = Desk()
    running, waiting = desk.ask(TOPIC), None
    assert desk.take(0) is running
    waiting = desk.ask(TOPIC)
    newest = desk.ask(ACTION)
    assert desk.status(waiting) is Status.PREEMPTED
    assert desk.ends[waiting.id][0].message == "question 3 (source action) took its place"
    assert desk.status(running) is None
    desk.finish(running)
    assert desk.take(0) is newest


def test_a_stopped_question_gives_way_to_all():
    desk = Desk("reject")
    cancelled = desk.ask(ACTION)
    assert desk.take(0) is cancelled
    cancelled.stop(Status.CANCELLED)
    waiting = desk.ask(TOPIC)
    assert desk.status(waiting) is None
    late = desk.ask(SERVICE, timeout=0.0)
    time.sleep(0.001)
    assert stop_status(late) is Status.TIMEOUT
    assert desk.status(desk.ask(ACTION)) is None
    # Whatever comes later, the first reason counts.
    assert stop_status(cancelled) is Status.CANCELLED
    assert desk.status(waiting) is Status.PREEMPTED
    assert desk.status(late) is Status.TIMEOUT


def test_a_timeout_says_how_long_it_was():
    question = Question(1, ACTION, "the cup", timeout=0.001)
    assert wait_until(question.stopped, 1)
    assert question.stopped().message.startswith("no answer within its timeout of 0.001 s")
    assert Question(1, ACTION, "the cup", timeout=None).stopped() is None


def test_follow_mode_starts_only_when_nobody_waits():
    desk = Desk()
    waiting = desk.ask(TOPIC)
    assert not desk.start(desk.question(FOLLOW))
    assert desk.take(0) is waiting


def test_what_interrupts_nobody_waits_for_a_free_desk():
    desk = Desk()
    repetition, fresh = desk.question(TOPIC), desk.ask(TOPIC)
    assert not desk.submit_if_free(repetition)  # an instruction has come
    assert desk.take(0) is fresh
    assert not desk.submit_if_free(repetition)  # and runs
    desk.done(fresh)
    assert desk.submit_if_free(repetition)
    assert desk.take(0) is repetition
    assert desk.status(fresh) is None
    desk.close(DONE)
    assert not desk.submit_if_free(desk.question(TOPIC))


def test_stop_all_and_close():
    desk = Desk()
    running = desk.ask(ACTION)
    assert desk.take(0) is running
    waiting = desk.ask(ACTION)
    desk.stop_all(Outcome(Status.NOT_ACTIVE, "deactivated"))
    # Its first reason was that a newer one came.
    assert stop_status(running) is Status.PREEMPTED
    assert desk.ends[waiting.id] == [Outcome(Status.NOT_ACTIVE, "deactivated")]
    desk.finish(running)

    again = desk.ask(ACTION)
    assert desk.take(0) is again
    desk.close(Outcome(Status.NOT_ACTIVE, "shutting down"))
    assert again.stopped() == Outcome(Status.NOT_ACTIVE, "shutting down")
    assert desk.status(desk.ask(ACTION)) is Status.NOT_ACTIVE
    assert not desk.start(desk.question(FOLLOW))


def test_a_question_ends_once_and_wait_knows_it():
    ends = []
    question = Question(1, TOPIC, "the cup", on_end=lambda q, outcome: ends.append(outcome))
    assert not question.wait(0)
    threads = [threading.Thread(target=question.end, args=(DONE,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [DONE]
    assert question.wait(0)


def test_who_waits_is_set_free_when_telling_the_end_fails():
    def fail(question, outcome):
        raise RuntimeError("cannot publish")

    question = Question(1, TOPIC, "the cup", on_end=fail)
    with pytest.raises(RuntimeError, match="cannot publish"):
        question.end(DONE)
    assert question.wait(0)


def test_under_a_storm_of_threads_each_question_ends_exactly_once():
    desk = Desk()
    asked: list[Question] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set() or desk._waiting is not None:
            question = desk.take(0.001)
            if question is not None:
                deadline = time.monotonic() + 0.002
                while question.stopped() is None and time.monotonic() < deadline:
                    time.sleep(0.0002)
                desk.finish(question, question.stopped() or DONE)

    def storm(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(150):
            desk.busy_policy = rng.choice(["preempt", "reject"])
            question = desk.ask(rng.choice([TOPIC, ACTION, SERVICE]), timeout=rng.choice([None, 0]))
            asked.append(question)
            if rng.random() < 0.3:
                rng.choice(asked[-5:]).stop(Status.CANCELLED)
            if rng.random() < 0.02:
                desk.stop_all(Outcome(Status.NOT_ACTIVE))
            if rng.random() < 0.3:
                time.sleep(rng.random() * 0.003)

    worker = threading.Thread(target=work)
    threads = [threading.Thread(target=storm, args=(seed,)) for seed in range(6)]
    for thread in (worker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    worker.join()
    assert len(asked) == 900
    assert len({question.id for question in asked}) == 900
    assert all(question.wait(0) for question in asked)
    statuses = {desk.status(question) for question in asked}
    expected = {Status.FOUND, Status.PREEMPTED, Status.REJECTED, Status.CANCELLED, Status.TIMEOUT}
    assert expected <= statuses
    assert None not in statuses

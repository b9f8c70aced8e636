"""Follow mode on a robot: each frame has an outcome of its own."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import wait_until
from worker_bench import HEIGHT, WIDTH, Bench, found, image

from lisa_ros.model.errors import OutOfMemoryError
from lisa_ros.nodes.answering import Answerer, AnswerSettings
from lisa_ros.nodes.questions import Outcome, Source
from lisa_ros.perception import Finished, Status, follow
from lisa_ros.perception.follow import FollowLimits


def next_followed(bench: Bench) -> Outcome:
    """Show a new image, and give the answer of follow mode about it."""
    count = len(bench.followed)
    shown = image()
    bench.frames.add_image(shown)
    assert wait_until(lambda: len(bench.followed) > count and bench.followed[-1].wait(0))
    outcome = bench.outcomes[bench.followed[-1].id]
    assert outcome.frame is None or outcome.frame.image is shown
    return outcome


def test_follow_finds_the_object_without_asking(ready):
    assert ready.ask("the cup", follow=True).status is Status.FOUND
    for x in (11, 12, 13):
        ready.segmenter.followed = found(x)
        outcome = next_followed(ready)
        assert outcome.status is Status.FOUND
        assert outcome.answer.objects == (ready.segmenter.followed,)
        assert outcome.answer.explanation == ""
        assert outcome.image_size == (HEIGHT, WIDTH)
        assert outcome.seconds["sam_encoder"] == 0.003
        assert outcome.seconds["mask_decoder"] == 0.002
        assert "prefill" not in outcome.seconds
    assert len(ready.segmenter.asked) == 1
    assert len(ready.segmenter.images) == 4


@pytest.mark.parametrize(
    ("limits", "change"),
    [
        # Each with the other limits off, which would doubt it as well.
        ({"max_shift": 1}, lambda s: setattr(s, "followed", found(x=40))),
        ({"min_iou": 0}, lambda s: setattr(s, "followed", found(x=40))),
        ({"min_iou": 0, "max_shift": 1}, lambda s: setattr(s, "followed", found(size=6))),
        ({}, lambda s: setattr(s, "followed", found(size=0))),
        ({}, lambda s: setattr(s, "looks", -s.looks)),
        ({"reground_interval": 0.0}, lambda s: None),
    ],
    ids=["iou", "shift", "area", "empty", "looks", "time"],
)
def test_in_doubt_it_asks_again(ready, limits, change):
    ready.settings = AnswerSettings(follow=FollowLimits(**limits))
    ready.ask("the cup", follow=True, template="phrase")
    ready.segmenter.object = found(x=30)  # where it really is
    change(ready.segmenter)
    outcome = next_followed(ready)
    assert outcome.status is Status.FOUND
    assert outcome.answer.objects == (ready.segmenter.object,)
    assert len(ready.segmenter.asked) == 2
    ready.settings = AnswerSettings()
    ready.segmenter.followed = found(x=30)  # trusted from there on
    assert next_followed(ready).status is Status.FOUND


def test_what_is_followed_comes_alone_where_asking_again_finds_more(ready):
    ready.ask("the cup", follow=True)
    asks = ready.segmenter.stream

    def finds_two(words, **options):
        for event in asks(words, **options):
            if isinstance(event, Finished):
                both = (*event.answer.objects, found(x=40))
                event = Finished(replace(event.answer, objects=both))
            yield event

    ready.segmenter.stream = finds_two
    ready.segmenter.followed = ready.segmenter.object = found(x=30, size=6)
    outcome = next_followed(ready)
    assert len(ready.segmenter.asked) == 2
    assert outcome.answer.objects == (ready.segmenter.object,)
    assert outcome.answer.explanation


def test_lost_and_found_again(ready):
    limits = FollowLimits(reground_interval=0.2)
    ready.settings = AnswerSettings(follow=limits)
    ready.ask("the cup", follow=True)
    ready.segmenter.followed = ready.segmenter.object = found(size=0)
    outcome = next_followed(ready)
    assert outcome.status is Status.LOST
    assert {"conversion", "sam_encoder", "prefill", "total"} <= set(outcome.seconds)
    assert outcome.message.startswith("there is no mask, and asking again did not find it")
    assert outcome.image_size == (HEIGHT, WIDTH)
    outcome = next_followed(ready)
    assert outcome.status is Status.LOST  # and does not ask for each image
    assert "asked again in 0." in outcome.message
    assert len(ready.segmenter.asked) == 2
    time.sleep(0.25)
    ready.segmenter.object = found(x=30)
    assert next_followed(ready).status is Status.FOUND
    assert len(ready.segmenter.asked) == 3


def test_what_is_found_again_must_look_the_same(ready):
    """Where the object has left the view, a model may point at something else."""
    ready.ask("the cup", follow=True)
    ready.segmenter.followed = found(size=0)
    ready.segmenter.looks_found = -ready.segmenter.looks_found
    outcome = next_followed(ready)
    assert outcome.status is Status.LOST
    assert "asking again found what looks different (cosine -1.00)" in outcome.message
    assert len(ready.segmenter.asked) == 2


def test_a_mask_without_doubt_stays_where_asking_after_a_while_finds_nothing(ready):
    ready.settings = AnswerSettings(follow=FollowLimits(reground_interval=0.0))
    ready.ask("the cup", follow=True)
    ready.segmenter.object = found(size=0)
    outcome = next_followed(ready)
    assert outcome.status is Status.FOUND
    assert outcome.answer.objects == (ready.segmenter.followed,)
    assert len(ready.segmenter.asked) == 2


def test_an_object_is_known_by_its_later_views(ready):
    """Each view is like the one before, and the last one unlike the first."""
    first, turned = np.eye(len(ready.segmenter.looks))[:2]
    ready.segmenter.looks = ready.segmenter.looks_found = first
    ready.ask("the cup", follow=True)
    for angle in np.radians((25, 50, 75, 90)):
        ready.segmenter.looks = np.cos(angle) * first + np.sin(angle) * turned
        assert next_followed(ready).status is Status.FOUND
    assert len(ready.segmenter.asked) == 1


def test_what_looks_like_the_lost_object_is_asked_about_before_the_interval_ends(
    ready, monkeypatch
):
    monkeypatch.setattr(follow, "_RETRY", 0.2)
    ready.ask("the cup", follow=True)
    ready.segmenter.followed = ready.segmenter.object = found(size=0)
    assert next_followed(ready).status is Status.LOST
    ready.segmenter.followed = ready.segmenter.object = found(x=40)  # far from where it was
    time.sleep(0.25)
    assert next_followed(ready).status is Status.FOUND
    assert len(ready.segmenter.asked) == 3


class Arriving:
    """Images that come while the model looks for the object in the frame before."""

    def __init__(self, bench: Bench, *images) -> None:
        self._bench, self._coming = bench, [list(group) for group in images]
        self._decode = bench.segmenter.decode
        bench.segmenter.decode = self.decode
        bench.segmenter.encodes_in_background = True

    def decode(self, embedding):
        for shown in self._coming.pop(0) if self._coming else ():
            self._bench.frames.add_image(shown)
        return self._decode(embedding)


def followed_frames(bench: Bench, count: int) -> list[Outcome]:
    """The outcomes of so many frames."""
    assert wait_until(lambda: len(bench.followed) >= count and bench.followed[count - 1].wait(0))
    return [bench.outcomes[question.id] for question in bench.followed[:count]]


def test_on_cuda_the_next_frame_is_encoded_beside_the_work_on_this_one(ready, monkeypatch):
    first, second, third = (image(data=bytes([k] * 3 * WIDTH * HEIGHT)) for k in (1, 2, 3))
    order = []
    encode, finish = ready.segmenter.encode, Answerer.finish
    ready.segmenter.encode = lambda rgb: order.append(f"encode {rgb[0, 0, 0]}") or encode(rgb)

    def noted(answerer, question, frame, *rest):
        order.append(f"finish {frame.image.data[0]}")
        return finish(answerer, question, frame, *rest)

    monkeypatch.setattr(Answerer, "finish", noted)
    ready.ask("the cup", follow=True)
    Arriving(ready, [second], [third])
    ready.frames.add_image(first)
    outcomes = followed_frames(ready, 3)
    assert [o.frame.image for o in outcomes] == [first, second, third]
    assert [o.rgb[0, 0, 0] for o in outcomes] == [1, 2, 3]
    assert all(o.status is Status.FOUND and "conversion" in o.seconds for o in outcomes)
    assert order[2:] == [
        *("encode 1", "encode 2", "finish 1"),
        *("encode 3", "finish 2", "finish 3"),
    ]


def test_a_frame_that_was_encoded_ahead_comes_before_a_newer_one(ready, monkeypatch):
    first, second, third = image(), image(), image()
    ready.ask("the cup", follow=True)
    finish = Answerer.finish

    def third_arrives(answerer, question, frame, *rest):
        if frame.image is first:
            ready.frames.add_image(third)
        return finish(answerer, question, frame, *rest)

    monkeypatch.setattr(Answerer, "finish", third_arrives)
    Arriving(ready, [second])
    ready.frames.add_image(first)
    outcomes = followed_frames(ready, 3)
    assert [o.frame.image for o in outcomes] == [first, second, third]
    assert len(ready.segmenter.images) == 4


def test_a_bad_image_is_told_when_it_is_its_turn(ready):
    first, bad, good = image(), image(encoding="no encoding"), image()
    ready.ask("the cup", follow=True)
    Arriving(ready, [bad])
    ready.frames.add_image(first)
    assert [o.status for o in followed_frames(ready, 2)] == [Status.FOUND, Status.NO_IMAGE]
    ready.frames.add_image(good)
    assert followed_frames(ready, 3)[-1].frame.image is good


def test_no_memory_for_the_next_frame_costs_this_one_nothing(ready):
    first, second = image(), image()
    ready.ask("the cup", follow=True)
    encode, failures = ready.segmenter.encode, [OutOfMemoryError("cuda:0 ran out of memory")]

    def short_of_memory(rgb):
        if len(ready.segmenter.images) == 2 and failures:
            raise failures.pop()
        return encode(rgb)

    ready.segmenter.encode = short_of_memory
    Arriving(ready, [second])
    ready.frames.add_image(first)
    outcomes = followed_frames(ready, 2)
    assert not failures
    assert [o.frame.image for o in outcomes] == [first, second]
    assert all(o.status is Status.FOUND for o in outcomes)


def test_a_users_question_takes_what_was_encoded_ahead(ready, monkeypatch):
    first, second = image(), image()
    asked = []
    ready.ask("the cup", follow=True)
    finish = Answerer.finish

    def somebody_asks(answerer, question, frame, *rest):
        if frame.image is first:
            asked.append(ready.submit("the dog"))
        return finish(answerer, question, frame, *rest)

    monkeypatch.setattr(Answerer, "finish", somebody_asks)
    Arriving(ready, [second])
    ready.frames.add_image(first)
    followed_frames(ready, 1)
    outcome = ready.end(asked[0])
    assert outcome.frame.image is second
    assert len(ready.followed) == 1
    assert len(ready.segmenter.images) == 3


def test_an_old_image_is_stale_in_follow_mode_too(ready):
    ready.ask("the cup", follow=True)
    ready.frames.add_image(image(time.time_ns() + 1_000_000))
    assert followed_frames(ready, 1)[0].status is Status.FOUND
    ready.worker._answerer._now_ns = lambda: time.time_ns() + 3600 * 10**9
    outcome = next_followed(ready)
    assert outcome.status is Status.STALE_IMAGE
    assert "3600" in outcome.message
    ready.worker._answerer._now_ns = time.time_ns
    assert next_followed(ready).status is Status.FOUND


def test_a_camera_that_falls_silent_is_told_once(ready):
    ready.ask("the cup", follow=True)
    assert next_followed(ready).status is Status.FOUND
    outcome = followed_frames(ready, 2)[-1]
    assert outcome.status is Status.STALE_IMAGE
    assert outcome.message.startswith("no new image has come for 0.")
    time.sleep(0.3)
    assert len(ready.followed) == 2
    assert next_followed(ready).status is Status.FOUND
    assert followed_frames(ready, 4)[-1].status is Status.STALE_IMAGE


def test_a_users_question_ends_following(ready):
    ready.ask("the cup", follow=True)
    next_followed(ready)
    assert ready.ask("the dog", Source.TOPIC).status is Status.FOUND
    count = len(ready.followed)
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert len(ready.followed) == count


def test_a_users_question_interrupts_follow_modes_own(ready):
    ready.settings = AnswerSettings(follow=FollowLimits(reground_interval=0.0))
    ready.ask("the cup", follow=True)
    asks = ready.segmenter.stream
    ready.segmenter.stream = lambda words, **options: asks("forever", **options)
    ready.frames.add_image(image())
    assert wait_until(lambda: ready.followed and ready.talks(ready.followed[-1]))
    ready.segmenter.stream = asks
    assert ready.ask("the dog", Source.TOPIC).status is Status.FOUND
    assert ready.end(ready.followed[-1]).status is Status.PREEMPTED


@pytest.mark.parametrize("is_waiting", [True, False])
def test_what_is_to_be_followed_can_be_stopped_before_it_is(ready, is_waiting):
    go_on, show = threading.Event(), ready.segmenter.set_image
    ready.segmenter.set_image = lambda rgb: go_on.wait(10) and show(rgb)
    first = ready.submit("the dog", follow=not is_waiting)
    assert wait_until(lambda: ready.progress[first.id])
    wanted = ready.submit("the cup", follow=True) if is_waiting else first
    assert ready.worker.stop_following() is wanted
    assert ready.worker.stop_following() is None
    go_on.set()
    assert ready.end(wanted).status is Status.FOUND
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert ready.followed == []


@pytest.mark.parametrize("how", ["pause", "node", "error", "stop"])
def test_what_ends_following(ready, how):
    ready.ask("the cup", follow=True)
    if how == "pause":
        ready.worker.pause(Outcome(Status.NOT_ACTIVE))
        ready.worker.active = True
    elif how == "node":
        ready.may_follow = False
    elif how == "stop":
        assert ready.worker.stop_following().instruction == "the cup"
        assert ready.worker.stop_following() is None
    else:
        ready.segmenter.followed = None
        assert next_followed(ready).status is Status.ERROR
        ready.segmenter.followed = found()
    count = len(ready.followed)
    ready.frames.add_image(image())
    time.sleep(0.1)
    ready.may_follow = True
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert len(ready.followed) == count


def test_nothing_found_or_cancelled_is_not_followed(ready):
    ready.ask("nothing", follow=True)
    ready.ask("forever", follow=True, timeout=0.05)
    ready.frames.add_image(image())
    time.sleep(0.1)
    assert not ready.followed


def test_each_followed_image_is_lifted(ready, lifter):
    assert ready.ask("the cup", follow=True).status is Status.FOUND
    lifter.note = "object 1 has none"
    outcome = next_followed(ready)
    assert (outcome.status, outcome.message) == (Status.FOUND, "object 1 has none")
    assert outcome.seconds["geometry"] >= 0
    assert lifter.lifted[-1][0].image is outcome.frame.image
    assert lifter.lifted[-1][2][0] is ready.segmenter.followed.mask

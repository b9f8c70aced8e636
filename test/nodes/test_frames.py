"""FrameBuffer: which image is answered, with which depth, and what is counted."""

import threading
import time
from types import SimpleNamespace

import pytest

from lisa_ros.nodes.frames import FrameBuffer, stamp_ns

MS = 1_000_000
START = 1_700_000_000_000_000_000  # nanoseconds, as a camera's clock has them


def message(ms: float, name: str = ""):
    """A message stamped `ms` milliseconds after START."""
    ns = START + round(ms * MS)
    stamp = SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp), name=name)


@pytest.fixture
def frames() -> FrameBuffer:
    return FrameBuffer(sync_slop=0.02)


def accounted(frames: FrameBuffer) -> int:
    """Images of which the counts say what became of them."""
    counts = frames.counts
    return counts.frames + counts.unmatched + counts.out_of_order


def test_stamps_keep_their_nanoseconds():
    stamp = SimpleNamespace(sec=1_700_000_000, nanosec=123_456_789)
    assert stamp_ns(SimpleNamespace(header=SimpleNamespace(stamp=stamp))) == 1700000000123456789


def test_nothing_has_come(frames):
    assert frames.newest() is None
    started = time.monotonic()
    assert frames.wait_newer(None, 0.05) is None
    assert 0.04 < time.monotonic() - started < 1


def test_images_alone_are_frames_at_once(frames):
    first, second = message(0), message(33)
    frames.add_image(first)
    assert frames.newest().image is first
    frames.add_image(second)
    frame = frames.newest()
    assert frame.image is second
    assert frame.depth is None
    assert frame.stamp_ns == START + 33 * MS


@pytest.mark.parametrize("depth_comes_first", [True, False])
def test_exact_stamp_wins_over_what_is_near(frames, depth_comes_first):
    frames.add_depth(message(-500))  # there is a depth camera
    image, exact = message(100), message(100, "exact")
    if depth_comes_first:
        frames.add_depth(message(99))
        frames.add_depth(exact)
        frames.add_depth(message(101))
        frames.add_image(image)
    else:
        frames.add_image(image)
        assert frames.newest() is None  # waits for its depth
        frames.add_depth(exact)
    assert frames.newest().image is image
    assert frames.newest().depth is exact


def test_nearest_within_the_slop(frames):
    for ms in (75, 88, 115):
        frames.add_depth(message(ms, f"{ms}"))
    frames.add_image(message(100))
    assert frames.newest().depth.name == "88"


@pytest.mark.parametrize("offset", [20, -20])
def test_the_slop_itself_still_matches(frames, offset):
    frames.add_depth(message(100 + offset, "edge"))
    frames.add_image(message(100))
    assert frames.newest().depth.name == "edge"


@pytest.mark.parametrize("offset", [20.001, -20.001])
def test_beyond_the_slop_does_not_match(frames, offset):
    frames.add_depth(message(100 + offset))
    frames.add_image(message(100))
    newest = frames.newest()
    assert newest is None or newest.depth is None


def test_slop_can_be_changed_while_running(frames):
    frames.sync_slop = 0.1
    frames.add_depth(message(40, "far"))
    frames.add_image(message(100))
    assert frames.newest().depth.name == "far"


def test_no_image_waits_for_depth_that_is_past_it(frames):
    frames.add_depth(message(150))
    frames.add_image(message(100))
    assert frames.newest().image is not None
    assert frames.newest().depth is None


def test_a_depth_camera_that_stops_does_not_stop_the_frames(frames):
    frames.add_depth(message(0))
    frames.add_image(message(0))
    for ms in range(33, 1500, 33):
        frames.add_image(message(ms))
    newest = frames.newest()
    assert newest.stamp_ns > START + 1000 * MS
    assert newest.depth is None
    frames.add_depth(message(1518, "again"))
    frames.add_image(message(1518))
    assert frames.newest().depth.name == "again"


def test_slow_depth_gives_frames_with_depth(frames):
    """Image at 30 Hz, depth at 10 Hz: each frame has its depth, images between are given up."""
    seen = []
    for i in range(90):
        stamp = round(i * 1000 / 30)
        if i % 3 == 0:
            frames.add_depth(message(stamp))
        frames.add_image(message(stamp))
        frame = frames.newest()
        if frame is not None and (not seen or frame is not seen[-1]):
            seen.append(frame)
    assert len(seen) >= 25
    assert all(stamp_ns(f.depth) == f.stamp_ns for f in seen if f.depth is not None)
    assert sum(f.depth is not None for f in seen) >= 29


@pytest.mark.parametrize("before", [True, False])
def test_a_frame_with_depth_stays_where_the_next_image_has_none(frames, before):
    """Image at 30 Hz, depth at 15 Hz: also while a depth has come before its image, or is lost."""
    for i in range(30):
        stamp = round(i * 1000 / 30)
        if not before:
            frames.add_image(message(stamp))
        if i % 2 == 0 and i != 10:
            frames.add_depth(message(stamp))
            assert frames.newest() is None or frames.newest().depth is not None
        if before:
            frames.add_image(message(stamp))
        assert frames.newest().depth is not None
    assert frames.newest().stamp_ns >= START + 900 * MS
    assert accounted(frames) + 1 >= frames.counts.images


def test_a_triggered_camera(frames):
    """One picture in ten seconds, each with a depth that comes a little later."""
    for ms in (0, 10_000, 20_000):
        frames.add_image(message(ms))
        if ms:
            assert frames.newest().stamp_ns == START + (ms - 10_000) * MS
        frames.add_depth(message(ms))
        assert frames.newest().stamp_ns == START + ms * MS
        assert frames.newest().depth is not None


def test_a_triggered_camera_whose_depth_is_lost(frames, monkeypatch):
    monkeypatch.setattr("lisa_ros.nodes.frames.DEPTH_PATIENCE", 0.05)
    frames.add_image(message(0))
    frames.add_depth(message(0))
    frames.add_image(message(10_000))
    assert frames.newest().depth is not None
    time.sleep(0.06)
    assert frames.newest().stamp_ns == START + 10_000 * MS  # no further message has come
    assert frames.newest().depth is None


def test_late_depth_completes_an_older_image(frames):
    """Depth that takes 100 ms longer than its image still finds it."""
    frames.add_depth(message(-1000 / 30))
    images = [message(round(i * 1000 / 30)) for i in range(10)]
    for i, image in enumerate(images):
        frames.add_image(image)
        if i >= 3:
            frames.add_depth(message(round((i - 3) * 1000 / 30)))
            assert frames.newest().image is images[i - 3]
            assert stamp_ns(frames.newest().depth) == stamp_ns(images[i - 3])


@pytest.mark.parametrize("late", [100, 400, 900])
@pytest.mark.parametrize("rate", [30, 60])
def test_depth_that_comes_late_still_completes_its_image(frames, rate, late):
    """Late in ms: by as much the newest frame is behind, and never by more."""
    behind = round(late * rate / 1000)
    frames.sync_slop = 0.4 / rate
    for i in range(3 * rate):
        frames.add_image(message(i * 1000 / rate))
        if i >= behind:
            frames.add_depth(message((i - behind) * 1000 / rate))
        if i > 2 * behind:
            frame = frames.newest()
            assert (
                stamp_ns(frame.depth)
                == frame.stamp_ns
                == stamp_ns(message((i - behind) * 1000 / rate))
            )
    assert accounted(frames) == frames.counts.images - behind


def test_depth_at_60_hz_that_comes_after_its_image(frames):
    """The depth before is within the slop too, but the exact one is what belongs to the image."""
    frames.add_depth(message(-1000 / 60))
    for i in range(10):
        frames.add_image(message(i * 1000 / 60))
        frames.add_depth(message(i * 1000 / 60))
        frame = frames.newest()
        assert stamp_ns(frame.depth) - frame.stamp_ns == 0


def test_at_60_hz_an_image_waits_for_its_own_depth(frames):
    for i in range(10):
        frames.add_image(message(i * 1000 / 60))
        if i > 1:  # asked for between the image and its depth
            assert frames.newest().stamp_ns == stamp_ns(message((i - 1) * 1000 / 60))
            assert stamp_ns(frames.newest().depth) == frames.newest().stamp_ns
        frames.add_depth(message(i * 1000 / 60))


def test_depth_that_is_always_a_little_before_its_image_is_not_doubted(frames):
    for i in range(10):
        frames.add_depth(message(i * 1000 / 30 - 10))
        frames.add_image(message(i * 1000 / 30))
        assert frames.newest().stamp_ns == stamp_ns(message(i * 1000 / 30))
        assert frames.newest().depth is not None


@pytest.mark.parametrize("lead", [100, 400, 900])
def test_depth_that_comes_long_before_its_image(frames, lead):
    """Lead in ms: of a large image over a slow network."""
    ahead = round(lead * 30 / 1000)
    for i in range(90):
        frames.add_depth(message(i * 1000 / 30))
        if i >= ahead:
            frames.add_image(message((i - ahead) * 1000 / 30))
            assert stamp_ns(frames.newest().depth) == frames.newest().stamp_ns


def test_images_without_a_stamp_are_still_new_ones(frames):
    """A driver that leaves the stamp at zero: the next image is another one all the same."""
    first, second = (
        SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0)))
        for _ in range(2)
    )
    frames.add_image(first)
    frame = frames.newest()
    frames.add_image(second)
    assert frames.wait_newer(frame, 0.02).image is second
    for _ in range(12):
        image, depth, info = (SimpleNamespace(header=first.header) for _ in range(3))
        frames.add_depth(depth)
        frames.add_camera_info(info)
        frames.add_image(image)
    newest = frames.newest()
    assert (newest.image, newest.depth, newest.camera_info) == (image, depth, info)


def test_one_slot_and_counts(frames):
    for ms in range(0, 300, 10):
        frames.add_image(message(ms))
    assert frames.newest().stamp_ns == START + 290 * MS
    counts = frames.counts
    assert (counts.images, counts.frames, counts.unused) == (30, 30, 29)
    frames.add_image(message(300))  # the frame before was used
    assert frames.counts.unused == 29
    frames.add_image(message(310))
    assert frames.counts.unused == 30
    assert frames.counts.unmatched == frames.counts.out_of_order == frames.counts.resets == 0


def test_every_image_is_accounted_for(frames):
    frames.add_depth(message(0))
    for ms in range(5, 905, 10):  # depth at 0 only, but it might still come
        frames.add_image(message(ms))
    waiting = frames.counts.images - accounted(frames)
    assert 0 <= waiting <= 60
    frames.add_depth(message(895))
    assert accounted(frames) == frames.counts.images == 90
    assert frames.counts.depths == 2


def test_an_older_image_never_replaces_a_newer_one(frames):
    newer = message(100)
    frames.add_image(newer)
    frames.add_image(message(67))
    assert frames.newest().image is newer
    assert frames.counts.out_of_order == 1


def test_an_image_may_come_twice(frames):
    frames.add_image(message(100))
    frames.add_image(message(100))
    assert frames.newest().stamp_ns == START + 100 * MS
    assert frames.counts.images == accounted(frames)


def test_a_bag_that_starts_again(frames):
    frames.add_depth(message(60_000, "old"))
    frames.add_camera_info(message(60_000, "old"))
    frames.add_image(message(60_000))
    again = message(0)
    frames.add_image(again)
    assert frames.newest().image is again
    assert frames.newest().depth is None
    assert frames.newest().camera_info is None
    assert frames.counts.resets == 1
    frames.add_image(message(33))
    assert frames.newest().stamp_ns == START + 33 * MS
    assert frames.counts.resets == 1


def test_a_bag_that_starts_again_depth_first(frames):
    for ms in range(0, 60_000, 500):
        frames.add_depth(message(ms))
        frames.add_image(message(ms))
    depth, image = message(0, "again"), message(0)
    frames.add_depth(depth)
    frames.add_image(image)
    assert frames.newest().image is image
    assert frames.newest().depth is depth
    frames.add_depth(message(33, "again"))
    frames.add_image(message(33))
    assert frames.newest().stamp_ns == START + 33 * MS
    assert frames.newest().depth.name == "again"


def test_a_bag_that_starts_again_while_images_wait_for_depth(frames):
    """No frame was ever made, so that only what waits can tell that the clock jumped."""
    frames.add_depth(message(60_000, "old"))
    frames.add_image(message(60_500))  # waits
    frames.add_depth(message(0, "again"))
    frames.add_image(message(0))
    frames.add_depth(message(33, "again"))
    frames.add_image(message(33))
    assert frames.newest().stamp_ns == START + 33 * MS
    assert frames.newest().depth.name == "again"


def test_newest_depth_is_found_after_stamps_of_depth_jumped(frames):
    """Only depth has a stray stamp far in the future: frames go on, and their depth comes back."""
    frames.add_depth(message(3_600_000))
    for ms in range(0, 1000, 33):
        frames.add_image(message(ms))
        frames.add_depth(message(ms))
    assert frames.newest().stamp_ns >= START + 957 * MS
    frames.add_depth(message(1000, "good"))
    frames.add_image(message(1000))
    assert frames.newest().depth.name == "good"


def test_camera_infos_of_the_same_stamp(frames):
    for ms in (0, 33, 67):
        frames.add_camera_info(message(ms, f"info {ms}"))
        frames.add_depth_camera_info(message(ms, f"depth info {ms}"))
        if ms != 67:
            frames.add_depth(message(ms))
            frames.add_image(message(ms))
    frame = frames.newest()
    assert frame.camera_info.name == "info 33"
    assert frame.depth_camera_info.name == "depth info 33"


def test_camera_info_of_another_time_is_better_than_none(frames):
    frames.add_camera_info(message(0, "latched"))
    frames.add_image(message(60_000))
    assert frames.newest().camera_info.name == "latched"
    assert frames.newest().depth_camera_info is None


def test_camera_info_that_comes_after_the_image(frames):
    frames.add_image(message(100))
    assert frames.newest().camera_info is None
    frames.add_camera_info(message(100, "info"))
    frame = frames.newest()
    assert frame.camera_info.name == "info"
    assert frame.stamp_ns == START + 100 * MS
    assert frames.counts.frames == 1


def test_depth_camera_info_that_comes_after_camera_info_was_given(frames):
    frames.add_camera_info(message(100, "info"))
    frames.add_image(message(100))
    assert frames.newest().depth_camera_info is None
    frames.add_depth_camera_info(message(100, "depth info"))
    assert frames.newest().depth_camera_info.name == "depth info"


def test_infos_do_not_change_which_frame_it_is(frames):
    """Waiting for a newer frame is not ended by the camera_info of the same one."""
    frames.add_image(message(100))
    frame = frames.newest()
    frames.add_camera_info(message(100))
    assert frames.wait_newer(frame, 0.02) is None
    assert frames.newest().received_at == frame.received_at


def test_clear_forgets_everything(frames):
    frames.add_camera_info(message(0))
    frames.add_depth(message(0))
    frames.add_image(message(0))
    frames.clear()
    assert frames.newest() is None
    frames.add_image(message(10))
    frame = frames.newest()
    assert frame.depth is None
    assert frame.camera_info is None


def test_waiting_ends_with_the_next_frame(frames):
    frames.add_image(message(0))
    frame = frames.newest()
    image = message(33)
    timer = threading.Timer(0.1, frames.add_image, [image])
    timer.start()
    started = time.monotonic()
    newer = frames.wait_newer(frame, 5)
    assert newer.image is image
    assert 0.05 < time.monotonic() - started < 2
    timer.join()


def test_waiting_for_any_frame_ends_at_once_if_there_is_one(frames):
    frames.add_image(message(0))
    assert frames.wait_newer(None, 0).stamp_ns == START


def test_waiting_counts_the_frame_as_used(frames):
    frames.add_image(message(0))
    frames.wait_newer(None, 0)
    frames.add_image(message(33))
    assert frames.counts.unused == 0


def test_from_many_threads(frames):
    """Two cameras' callbacks and a reader at once: stamps never go back, depth always fits."""
    frames.add_depth(message(0))
    problems, last = [], START
    streams = [frames.add_image, frames.add_depth, frames.add_camera_info]

    def feed(add):
        for i in range(1, 2000):
            add(message(i * 5))

    threads = [threading.Thread(target=feed, args=[add]) for add in streams]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        frame = frames.newest()
        if frame is None:
            continue
        if frame.stamp_ns < last:
            problems.append(f"back from {last} to {frame.stamp_ns}")
        if frame.depth is not None and abs(stamp_ns(frame.depth) - frame.stamp_ns) > 20 * MS:
            problems.append(f"depth of {stamp_ns(frame.depth)} at {frame.stamp_ns}")
        last = frame.stamp_ns
    for thread in threads:
        thread.join()
    assert not problems
    assert frames.counts.images == frames.counts.depths - 1 == 1999
    assert accounted(frames) >= 1999 - 10


def test_a_camera_info_that_comes_after_its_image_counts_at_last(frames):
    frames.add_depth_camera_info(message(0, "old"))
    frames.add_image(message(500))
    frame = frames.newest()
    assert frame.depth_camera_info.name == "old"
    frames.add_depth_camera_info(message(500, "own"))
    frames.add_depth_camera_info(message(533, "next"))
    late = frames.with_own_infos(frame)
    assert late.depth_camera_info.name == "own"
    assert late.camera_info is None
    assert late.image is frame.image


def test_the_first_camera_info_is_waited_for_while_the_camera_is_new(frames):
    frames.add_image(message(500))
    frames.add_depth(message(500))
    frame = frames.newest()
    threading.Timer(0.1, frames.add_camera_info, [message(400, "first")]).start()
    started = time.monotonic()
    assert frames.with_own_infos(frame, patience=20.0).camera_info.name == "first"
    assert time.monotonic() - started < 10


def test_a_camera_info_that_never_comes_holds_up_nothing_for_long(frames):
    frames.add_image(message(500))
    frames.add_depth(message(500))
    started = time.monotonic()
    for _ in range(5):
        assert frames.with_own_infos(frames.newest(), patience=0.2).camera_info is None
    assert 0.1 < time.monotonic() - started < 0.9  # once, not each time


def test_who_is_stopped_waits_for_no_camera_info(frames):
    frames.add_image(message(500))
    frames.add_depth(message(500))
    stopped, started = threading.Event(), time.monotonic()
    threading.Timer(0.1, stopped.set).start()
    frame = frames.with_own_infos(frames.newest(), patience=20.0, is_stopped=stopped.is_set)
    assert frame.camera_info is None
    assert time.monotonic() - started < 5


def test_without_depth_no_camera_info_is_waited_for(frames):
    frames.add_image(message(500))
    started = time.monotonic()
    assert frames.with_own_infos(frames.newest(), patience=5.0).camera_info is None
    assert time.monotonic() - started < 1

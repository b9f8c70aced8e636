"""The perception node in a process of its own, with a clock in it and a brake.

A 100 Hz timer runs beside the node; for each line on standard input, the times between its calls
since the line before are printed: `timer` and a JSON list in milliseconds.
It is terminated when standard input is closed.
An instruction that begins with "slowly" gets a token each tenth of a second; with "square", each
object's mask becomes SQUARE, so that it is known and of one piece.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from lisa_ros.nodes import perception_node
from lisa_ros.perception import Finished, ObjectFound, Segmenter

SQUARE = np.s_[80:160, 120:220]  # rows, columns
PERIOD, SLOWNESS = 0.01, 0.1  # seconds

times: list[float] = []
stream = Segmenter.stream


def changed_stream(segmenter, instruction, **options):
    words = instruction.removeprefix("slowly ").removeprefix("square ")
    events = stream(segmenter, words, **options)
    if instruction.startswith("slowly"):
        return braked(events)
    return squared(events) if instruction.startswith("square") else events


def braked(events):
    for event in events:
        time.sleep(SLOWNESS)
        yield event


def squared(events):
    for event in events:
        if isinstance(event, ObjectFound):
            event = ObjectFound(square(event.object))
        elif isinstance(event, Finished):
            objects = tuple(square(item) for item in event.answer.objects)
            event = Finished(replace(event.answer, objects=objects))
        yield event


def square(item):
    mask = np.zeros_like(item.mask)
    mask[SQUARE] = True
    rows, columns = SQUARE
    box = (columns.start, rows.start, columns.stop, rows.stop)
    return replace(item, mask=mask, area=int(mask.sum()), box_xyxy=box)


class WatchedNode(perception_node.PerceptionNode):
    def __init__(self) -> None:
        super().__init__()
        group = MutuallyExclusiveCallbackGroup()
        self.create_timer(PERIOD, lambda: times.append(time.monotonic()), callback_group=group)


def print_times() -> None:
    for _ in sys.stdin:
        seconds = times.copy()
        del times[: len(seconds)]
        gaps = [1000 * (b - a) for a, b in itertools.pairwise(seconds)]
        print("timer", json.dumps([round(gap, 1) for gap in gaps]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


Segmenter.stream = changed_stream
perception_node.PerceptionNode = WatchedNode
threading.Thread(target=print_times, daemon=True).start()
sys.exit(perception_node.main())

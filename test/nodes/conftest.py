"""Fixtures for tests on a real graph: a domain of their own, a spinning executor, other processes.

ROS is imported by the fixtures alone, so that tests without them run where there is none.
"""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from robot import Camera, Robot
    from worker_bench import Bench, FakeLifter

NODE = Path(__file__).with_name("node_process.py")
# Beyond these Linux gives the ports of a domain to anybody.
_DOMAINS = range(1, 102)


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> bool:
    """Wait until `condition()` is true; gives whether it became so within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def status(answer) -> str:
    """The name of an answer's status."""
    from robot import status_name

    return status_name(answer)


@pytest.fixture(scope="session")
def ros_domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test run on this machine has, set in the environment."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        with open(Path(tempfile.gettempdir()) / f"lisa_ros_test_domain_{domain}", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("ROS_DOMAIN_ID", str(domain))
                environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
                yield domain
            return
    pytest.fail("all ROS domains are in use by other test runs")


class RosGraph:
    """One rclpy context whose nodes spin in the background."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.exceptions import InvalidHandle
        from rclpy.executors import MultiThreadedExecutor

        def spin() -> None:
            while not self._is_closing:
                try:
                    self.executor.spin_once(timeout_sec=0.1)
                except Exception as error:
                    # While it is shut down, rclpy's executor trips over its own guard condition.
                    if self._is_closing:
                        return
                    traceback.print_exc()  # now, beside the test that may wait in vain
                    # What a test destroys may still be waited for; others go on.
                    if not isinstance(error, InvalidHandle):
                        self.error = self.error or error

        self.context = rclpy.Context()
        self.context.init()
        self.executor = MultiThreadedExecutor(num_threads=4, context=self.context)
        self.error: Exception | None = None  # the first of a callback
        self._is_closing = False
        self._nodes: list = []
        self._thread = threading.Thread(target=spin, name="executor", daemon=True)
        self._thread.start()

    def node(self, name: str, **options):
        """A new node that spins until the test ends; `options` are those of rclpy's Node."""
        from rclpy.node import Node

        return self.add(Node(name, context=self.context, **options))

    def add(self, node):
        """Spin a node made with `context=graph.context`, and destroy it when the test ends."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def close(self) -> None:
        self._is_closing = True
        self.executor.shutdown(timeout_sec=5)
        self.context.try_shutdown()
        self._thread.join(5)
        for node in self._nodes:
            node.destroy_node()
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.fixture
def ros_graph(ros_domain: int) -> Iterator[RosGraph]:
    """See RosGraph."""
    graph = RosGraph()
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def graph(ros_domain: int) -> Iterator[RosGraph]:
    """One for all tests of a module."""
    graph = RosGraph()
    yield graph
    graph.close()


class Child:
    """A Python program in a process of its own, with the same interpreter and environment."""

    def __init__(
        self, program: str | Path, *arguments: object, env: dict[str, str] | None = None
    ) -> None:
        code = ["-c", program] if isinstance(program, str) else [str(program)]
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-u", *code, *map(str, arguments)],
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, text: str, timeout: float = 20.0) -> None:
        """Wait until it has printed `text`."""
        ended = lambda: text in self.output or self.process.poll() is not None  # noqa: E731
        wait_until(ended, timeout)
        assert text in self.output, f"no {text!r} from the child, but:\n{self.output}"

    def tell(self, line: str) -> None:
        """Send a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self, timeout: float = 10.0) -> int:
        """End it (its standard input first, then SIGTERM, then SIGKILL); gives its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        for end in (self.process.terminate, self.process.kill):
            try:
                return self.process.wait(timeout if end == self.process.terminate else 5)
            except subprocess.TimeoutExpired:
                end()
        return self.process.wait()


@pytest.fixture
def start_child(request: pytest.FixtureRequest) -> Iterator[Callable[..., Child]]:
    """Starts Python programs (source text, or a path) that end with the test.

    `start_child(program, *arguments, env=None)` gives a Child. They see the test's ROS domain.
    """
    children: list[Child] = []

    def start(program: str | Path, *arguments: object, env: dict[str, str] | None = None) -> Child:
        children.append(Child(program, *arguments, env=env))
        return children[-1]

    yield start
    for child in children:
        child.stop(timeout=2)


@pytest.fixture(scope="module")
def process(ros_domain: int) -> Iterator[Child]:
    """The perception node with the golden model, in a process of its own."""
    from robot import GOLDEN_MODEL, parameter_arguments

    child = Child(NODE, "--ros-args", *parameter_arguments(**GOLDEN_MODEL))
    yield child
    assert child.stop(timeout=10) == 0, child.output
    assert "Traceback" not in child.output
    assert "terminate called" not in child.output


@pytest.fixture(scope="module")
def camera(graph: RosGraph, first_golden) -> Camera:
    """It shows picture 0."""
    from robot import Camera

    camera = Camera(graph)
    camera.show(first_golden.image(0))
    return camera


@pytest.fixture(scope="module")
def started(graph: RosGraph, camera: Camera, process: Child) -> Robot:
    """The robot once the node answers, and all its results arrive here."""
    from robot import RESULTS, Robot

    robot = Robot(graph)
    process.wait_for("is ready after", 120)
    robot.wait_until_seen()

    def all_arrive() -> bool:
        robot.ask("Can you segment the red cup in this image?")
        return wait_until(lambda: all(robot.received[topic] for topic in RESULTS), 1)

    assert wait_until(all_arrive, 30)
    return robot


@pytest.fixture
def robot(started: Robot, camera: Camera, first_golden) -> Robot:
    """The robot, with picture 0 before its camera and nothing received yet."""
    camera.show(first_golden.image(0))
    time.sleep(0.15)  # what is still on its way
    for messages in started.received.values():
        messages.clear()
    return started


@pytest.fixture
def picture_of(first_golden) -> Callable[[int], object]:
    """Golden pictures as messages of their own."""
    from builtin_interfaces.msg import Time
    from robot import to_message

    return lambda index: to_message(first_golden.image(index), stamp=Time(sec=1000 + index))


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A worker with a fake model that is not loaded yet."""
    from worker_bench import Bench

    bench = Bench()
    yield bench
    assert bench.worker.shutdown(10)


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """Loaded, active, and one frame old enough to be told from the next."""
    from worker_bench import image

    bench.start()
    bench.frames.add_image(image())
    return bench


@pytest.fixture
def lifter(ready: Bench) -> FakeLifter:
    """Of a node that expects depth."""
    from lisa_ros.nodes.lifting import LiftSettings

    ready.settings = replace(ready.settings, lift=LiftSettings())
    return ready.lifter

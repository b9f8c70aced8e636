"""The scripts of examples/: two planners against the real node, and boxes for MoveIt.

MoveIt is not among the packages of the tests. Where moveit_msgs is missing, a stand-in takes its
place that has the fields of its message files and no others: that shows the values and the names,
not that MoveIt accepts them.
"""

import importlib
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import Child, RosGraph, wait_until

pytestmark = pytest.mark.ros
pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = Path(__file__).with_name("node_process.py")
CUP = "square Can you segment the red cup in this image?"  # one object in picture 0
FX, FY, CX, CY = CAMERA = (300.0, 305.0, 158.25, 121.5)
ROWS, COLUMNS = slice(80, 160), slice(120, 220)  # of node_process.py's square
DISTANCE = 0.8  # metres, of a wall that faces the camera


@pytest.fixture(scope="module")
def watcher(ros_domain, first_golden):
    """A node beside the camera."""
    from robot import RgbdCamera

    graph = RosGraph()
    depth = np.full((240, 320), DISTANCE, np.float32)
    RgbdCamera(graph, first_golden.image(0), depth, CAMERA)
    yield graph.node("watcher")
    graph.close()


@pytest.fixture(scope="module")
def node(ros_domain, watcher):
    from robot import GOLDEN_MODEL, parameter_arguments

    parameters = {**GOLDEN_MODEL, "use_depth": True}
    child = Child(NODE, "--ros-args", *parameter_arguments(**parameters))
    child.wait_for("is ready after", 120)
    topics = ("/image", "/depth", "/camera_info")
    assert wait_until(lambda: all(watcher.count_subscribers(topic) for topic in topics))
    yield child
    assert child.stop(timeout=10) == 0, child.output


def run(start_child, example: str, *words: str) -> tuple[int, str]:
    """The exit code and the output of an example."""
    child = start_child(EXAMPLES / example, *words)
    return child.process.wait(30), child.output


@pytest.mark.parametrize("example", ["ask_for_object.py", "ask_by_topic.py"])
def test_a_planner_is_told_where_the_object_is(node, start_child, example):
    code, output = run(start_child, example, *CUP.split())
    assert code == 0, output
    assert "FOUND" in output
    assert re.search(r"^words: .*\w", output, re.MULTILINE)

    def line(name: str) -> list[float]:
        found = re.findall(rf"^  {name} +(.+)$", output, re.MULTILINE)
        assert len(found) == 1, output
        return [float(number) for number in re.findall(r"-?\d+\.\d+", found[0])]

    assert "  frame     camera_optical_frame" in output
    u, v = (COLUMNS.start + COLUMNS.stop - 1) / 2, (ROWS.start + ROWS.stop - 1) / 2
    center = [(u - CX) / FX * DISTANCE, (v - CY) / FY * DISTANCE, DISTANCE]
    assert line("centroid") == pytest.approx(center, abs=2e-3)
    assert line("box") == pytest.approx(center, abs=3e-3)
    size = [100 / FX * DISTANCE, 80 / FY * DISTANCE, 0]
    assert line("size") == pytest.approx(size, abs=6e-3)
    assert np.linalg.norm(line("turned")) == pytest.approx(1, abs=2e-3)


def test_the_action_example_shows_the_words_as_they_come(node, start_child):
    code, output = run(start_child, "ask_for_object.py", CUP)
    assert code == 0, output
    assert "... answering" in output  # the last stages may come after the result, and are dropped


def test_an_example_fails_where_nothing_is_found(node, start_child):
    code, output = run(start_child, "ask_for_object.py", " ")
    assert code == 1, output
    assert output.splitlines()[0].startswith("REJECTED "), output


# --- boxes for MoveIt ---


def with_fields(name: str, constants: dict, **defaults) -> type:
    """A message class with these fields alone: it refuses others, as ROS's do."""

    class Message:
        __slots__ = tuple(defaults)

        def __init__(self, **values) -> None:
            for field, make in defaults.items():
                setattr(self, field, values.pop(field, None) or make())
            assert not values, f"{name} has no {set(values)}"

    for constant, value in constants.items():
        setattr(Message, constant, value)
    return Message


@pytest.fixture
def moveit(monkeypatch):
    """moveit_msgs and its shape_msgs, or what stands in for them."""
    try:
        importlib.import_module("moveit_msgs.msg")
    except ImportError:
        from geometry_msgs.msg import Pose
        from std_msgs.msg import Header

        collision_object = with_fields(
            "CollisionObject",
            {"ADD": b"\x00", "REMOVE": b"\x01", "APPEND": b"\x02", "MOVE": b"\x03"},
            **{"header": Header, "pose": Pose, "id": str, "type": object, "operation": bytes},
            **dict.fromkeys(("primitives", "primitive_poses", "meshes", "mesh_poses"), list),
            **dict.fromkeys(("planes", "plane_poses", "subframe_names", "subframe_poses"), list),
        )
        shapes = {"BOX": 1, "SPHERE": 2, "CYLINDER": 3, "CONE": 4, "PRISM": 5}
        primitive = with_fields("SolidPrimitive", shapes, type=int, dimensions=list, polygon=object)
        for package, message in (
            ("moveit_msgs", {"CollisionObject": collision_object}),
            ("shape_msgs", {"SolidPrimitive": primitive}),
        ):
            module = types.ModuleType(f"{package}.msg")
            vars(module).update(message)
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
            monkeypatch.setitem(sys.modules, f"{package}.msg", module)


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "collision_object", raising=False)
    import collision_object

    return collision_object


def answer_of(*boxes):
    """An Answer with these OrientedBoxes; None for an object without geometry."""
    from lisa_ros.msg import Answer, Object
    from lisa_ros.nodes.geometry_messages import box_pose, vector

    answer = Answer(status=Answer.FOUND, final=True)
    for label, box in enumerate(boxes, start=1):
        item = Object(label=label, has_geometry=box is not None)
        item.header.frame_id = "base_link"
        if box is not None:
            item.box_pose, item.box_size = box_pose(box), vector(box.size)
        answer.objects.append(item)
    return answer


def tilted_plate() -> np.ndarray:
    """Points (N, 3) of a plate without thickness that faces left and down, 1 m from the camera."""
    u, v = np.meshgrid(np.linspace(-0.1, 0.1, 60), np.linspace(-0.07, 0.07, 50))
    turn = np.array([[0.8, 0.0, -0.6], [0.36, 0.8, 0.48], [0.48, -0.6, 0.64]])
    points = np.stack([u, v, 0 * u], -1).reshape(-1, 3) @ turn.T + [0.1, 0.05, 1.0]
    return points.astype(np.float32)


def test_a_box_becomes_a_collision_object(moveit, example):
    from lisa_ros.perception.oriented_box import OrientedBox

    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    box = OrientedBox(np.array([1.0, 2.0, 3.0]), turn, np.array([0.3, 0.2, 0.1]))
    answer = answer_of(None, box)
    [message] = example.collision_objects(answer)
    assert (message.id, message.header.frame_id) == ("lisa_2", "base_link")
    assert message.operation == type(message).ADD
    assert message.pose == answer.objects[1].box_pose
    [primitive], [pose] = message.primitives, message.primitive_poses
    assert (primitive.type, list(primitive.dimensions)) == (1, [0.3, 0.2, 0.1])
    assert (pose.position.x, pose.orientation.w) == (0.0, 1.0)


def test_a_flat_box_grows_away_from_the_camera(moveit, example):
    """All points stay on the front face of the thickened box, or inside."""
    from lisa_ros.nodes.geometry_messages import matrix_of
    from lisa_ros.perception.oriented_box import oriented_box

    points = tilted_plate()
    box = oriented_box(points)
    assert box.size[2] < 1e-3
    [message] = example.collision_objects(answer_of(box), least_thickness=0.04)
    assert list(message.primitives[0].dimensions) == pytest.approx([*box.size[:2], 0.04])
    transform = types.SimpleNamespace(
        rotation=message.pose.orientation, translation=message.pose.position
    )
    matrix = matrix_of(transform)
    depth = ((points - matrix[:3, 3]) @ matrix[:3, :3])[:, 2]
    np.testing.assert_allclose(depth, 0.02, atol=1e-3)
    assert np.linalg.norm(matrix[:3, 3]) > np.linalg.norm(points.mean(0))  # behind the plate


def test_what_is_not_found_again_is_removed(moveit, example):
    from lisa_ros.perception.oriented_box import OrientedBox

    box = OrientedBox(np.zeros(3), np.eye(3), np.array([0.3, 0.2, 0.1]))
    messages = example.collision_objects(answer_of(box), frozenset({"lisa_1", "lisa_2"}))
    kind = type(messages[0])
    done = [(message.id, message.operation) for message in messages]
    assert done == [("lisa_1", kind.ADD), ("lisa_2", kind.REMOVE)]


def test_an_object_that_could_not_be_located_removes_nothing(moveit, example):
    from lisa_ros.msg import Answer, Object

    answer = Answer(objects=[Object(label=1, area=400, has_geometry=False)])
    assert example.collision_objects(answer, frozenset({"lisa_1"})) == []
    [gone] = example.collision_objects(Answer(), frozenset({"lisa_1"}))
    assert (gone.id, gone.operation) == ("lisa_1", type(gone).REMOVE)


def test_only_whole_answers_change_the_scene(moveit, example):
    from lisa_ros.msg import Answer

    found = {"final": True, "status": Answer.FOUND, "source": Answer.SOURCE_ACTION}
    assert example.tells_all(Answer(**found))
    assert not example.tells_all(Answer(**{**found, "source": Answer.SOURCE_FOLLOW}))
    assert not example.tells_all(Answer(**{**found, "final": False}))
    assert not example.tells_all(Answer(**{**found, "status": Answer.TIMEOUT}))


def test_without_moveit_the_error_names_the_package(monkeypatch, example):
    from lisa_ros.msg import Answer

    monkeypatch.setitem(sys.modules, "moveit_msgs", None)
    with pytest.raises(ImportError, match=r"apt install ros-\$ROS_DISTRO-moveit-msgs"):
        example.collision_objects(Answer())

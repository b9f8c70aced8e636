"""The simulated camera, in a process of its own: what a robot's program gets from it."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from conftest import Child, RosGraph, wait_until

if importlib.util.find_spec("mujoco") is None:
    pytest.skip("MuJoCo is not installed", allow_module_level=True)
pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from lisa_ros.nodes.image_conversion import depth_to_array, image_to_rgb
from lisa_ros.sim.camera import Camera

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "sim_camera"
WIDTH, HEIGHT = 320, 240
FRAME = "camera_color_optical_frame"
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WITHOUT_MUJOCO = """
import sys
sys.modules["mujoco"] = None
from lisa_ros.nodes.sim_camera import main
sys.exit(main())
"""
STREAMS = {
    "color": (Image, "color/image_raw"),
    "color_info": (CameraInfo, "color/camera_info"),
    "depth": (Image, "aligned_depth_to_color/image_raw"),
    "depth_info": (CameraInfo, "aligned_depth_to_color/camera_info"),
    "ground_truth": (Image, "ground_truth"),
    "pose": (PoseStamped, "pose"),
}


class Viewer:
    """Collects what the camera publishes, by stamp."""

    def __init__(self, graph: RosGraph, namespace: str = "/camera/camera") -> None:
        self.node = graph.node("viewer")
        self.frames: dict[int, dict] = defaultdict(dict)
        self.scenes: list[dict] = []
        for key, (kind, topic) in STREAMS.items():
            self.node.create_subscription(
                kind, f"{namespace}/{topic}", lambda m, key=key: self._keep(key, m), RELIABLE
            )
        self.node.create_subscription(
            String,
            f"{namespace}/objects",
            lambda message: self.scenes.append(json.loads(message.data)),
            LATCHED,
        )
        self._next = self.node.create_client(Trigger, f"{namespace}/next_scene")
        self._set = self.node.create_client(SetParameters, f"{namespace}/set_parameters")

    def _keep(self, key, message) -> None:
        self.frames[nanoseconds(message.header.stamp)][key] = message
        if len(self.frames) > 60:
            del self.frames[min(self.frames)]

    def _call(self, client, request):
        assert client.wait_for_service(10)
        future = client.call_async(request)
        assert wait_until(future.done)
        return future.result()

    def next_scene(self):
        return self._call(self._next, Trigger.Request())

    def set(self, **values):
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        return self._call(self._set, SetParameters.Request(parameters=parameters)).results

    def frame(self, after: int | None = None) -> dict:
        """A whole frame stamped after now, or after a time in nanoseconds."""
        start = self.node.get_clock().now().nanoseconds if after is None else after

        def whole() -> list[int]:
            frames = list(self.frames.items())
            return [t for t, got in frames if t > start and len(got) == len(STREAMS)]

        assert wait_until(whole, 20), {t: sorted(got) for t, got in self.frames.items()}
        return self.frames[min(whole())]


def nanoseconds(stamp) -> int:
    if isinstance(stamp, dict):
        return stamp["sec"] * 10**9 + stamp["nanosec"]
    return stamp.sec * 10**9 + stamp.nanosec


def camera_of(frame: dict) -> Camera:
    """The camera as a robot's program would make it, from camera_info and pose alone."""
    info, pose = frame["depth_info"], frame["pose"].pose
    w, *xyz = (getattr(pose.orientation, name) for name in "wxyz")
    x, y, z = xyz
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    world_from_optical = np.eye(4)
    world_from_optical[:3, :3] += 2 * (w * cross + cross @ cross)
    world_from_optical[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    (fx, _, cx), (_, fy, cy), _ = info.k.reshape(3, 3)
    return Camera(info.width, info.height, fx, fy, cx, cy, world_from_optical)


def metres(frame: dict) -> np.ndarray:
    depth = depth_to_array(frame["depth"])
    if depth.dtype == np.uint16:
        return np.where(depth > 0, depth / 1000, np.nan)
    return depth


def ids_of(frame: dict) -> np.ndarray:
    message = frame["ground_truth"]
    assert message.encoding == "mono8"
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def arguments(**parameters: object) -> list[str]:
    return [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]


@pytest.fixture(scope="module")
def processes(ros_domain):
    """Cameras; each start takes seconds, so they start together."""
    children = {
        "still": Child(
            SCRIPT,
            "--ros-args",
            *("--params-file", ROOT / "config" / "sim_camera.yaml"),
            *arguments(width=WIDTH, height=HEIGHT, seed=3),
        ),
        "moving": Child(
            SCRIPT,
            "--ros-args",
            *("-r", "__ns:=/arm", "-r", "__node:=wrist"),
            *arguments(width=160, height=120, rate=20.0, seed=3),
            *arguments(motion_angle=20.0, motion_period=2.0, motion_angel=1.0),
        ),
        "large": Child(
            SCRIPT, "--ros-args", "-r", "__ns:=/large", *arguments(rate=3.0, width=640, height=480)
        ),
        "without_mujoco": Child(WITHOUT_MUJOCO),
        "whole_rate": Child(SCRIPT, "--ros-args", "-r", "__ns:=/whole", *arguments(rate=30)),
    }
    yield children
    running = [children[name] for name in ("still", "moving", "large")]
    for child in running:
        child.process.send_signal(signal.SIGINT)
    for child in running:
        assert child.process.wait(10) == 0, child.output
        assert "Traceback" not in child.output, child.output
    for child in children.values():
        child.stop()


@pytest.fixture(scope="module")
def viewer(processes, graph):
    viewer = Viewer(graph)
    processes["still"].wait_for("scene 3", 40)
    return viewer


@pytest.fixture(autouse=True)
def plain_depth(request):
    """Each test of the shared camera begins with perfect depth in millimetres."""
    if "viewer" in request.fixturenames:
        viewer = request.getfixturevalue("viewer")
        results = viewer.set(depth_encoding="16UC1", depth_noise=0.0, depth_holes=0.0, seed=3)
        assert all(result.successful for result in results)


def test_it_looks_like_a_realsense(viewer):
    frame = viewer.frame()
    for key in ("color", "color_info", "depth", "depth_info", "ground_truth"):
        assert frame[key].header.frame_id == FRAME
        assert (frame[key].width, frame[key].height) == (WIDTH, HEIGHT)
    assert frame["pose"].header.frame_id == "world"
    assert frame["color"].encoding == "rgb8"
    assert frame["depth"].encoding == "16UC1"
    info = frame["color_info"]
    assert info == frame["depth_info"]
    assert info.distortion_model == "plumb_bob"
    assert list(info.d) == [0] * 5
    np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], info.k.reshape(3, 3))
    assert image_to_rgb(frame["color"]).std() > 10
    for _, topic in STREAMS.values():
        (offered,) = viewer.node.get_publishers_info_by_topic(f"/camera/camera/{topic}")
        assert offered.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert offered.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_a_still_picture_goes_out_again_with_new_stamps(viewer):
    first = viewer.frame()
    stamp = nanoseconds(first["color"].header.stamp)
    second = viewer.frame(after=stamp)
    later = nanoseconds(second["color"].header.stamp)
    assert 0 < later - stamp < 1e9
    for key in ("color", "depth", "ground_truth"):
        assert first[key].data == second[key].data


def test_depth_back_projects_to_the_table_and_the_objects(viewer):
    frame = viewer.frame()
    ids, camera = ids_of(frame), camera_of(frame)
    world = camera.back_project(metres(frame))
    scene = viewer.scenes[-1]
    heights = world[..., 2][(ids == 0) & (np.abs(world[..., :2]) < 0.2).all(-1)]
    assert len(heights) > 1000
    assert np.median(np.abs(heights)) < 0.001  # depth is rounded to millimetres
    seen = 0
    for item in scene["objects"]:
        points = world[ids == item["id"]]
        seen += len(points) > 0
        outside = np.abs(points - item["position"]) - np.array(item["size"]) / 2
        assert (outside < 0.003).all(), item["class_name"]
    assert seen >= 3
    assert set(np.unique(ids)) - {0} <= {item["id"] for item in scene["objects"]}


def test_metres_agree_with_millimetres(viewer):
    in_millimetres = metres(viewer.frame())
    assert viewer.set(depth_encoding="32FC1")[0].successful
    frame = viewer.frame()
    assert frame["depth"].encoding == "32FC1"
    np.testing.assert_allclose(metres(frame), in_millimetres, atol=0.00051)


def test_noise_grows_with_the_square_of_the_distance(viewer):
    true = metres(viewer.frame())
    assert all(r.successful for r in viewer.set(depth_encoding="32FC1", depth_noise=0.01))
    frame = viewer.frame()
    error = (metres(frame) - true) / true**2
    for part in (true < np.median(true), true >= np.median(true)):
        assert error[part].std() == pytest.approx(0.01, rel=0.05)
        assert abs(error[part].mean()) < 0.001
    next_one = viewer.frame(after=nanoseconds(frame["depth"].header.stamp))
    assert frame["depth"].data != next_one["depth"].data


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_holes(viewer, encoding):
    true = metres(viewer.frame())
    viewer.set(depth_encoding=encoding, depth_holes=0.2)
    measured = metres(viewer.frame())
    holes = np.isnan(measured)
    assert holes.mean() == pytest.approx(0.2, abs=0.001)
    np.testing.assert_allclose(measured[~holes], true[~holes], atol=0.00051)
    # Patches: the neighbour of a hole is mostly one, too.
    assert holes[:, 1:][holes[:, :-1]].mean() > 0.8
    steps = np.abs(np.diff(true, axis=1)) > 0.05
    assert holes[:, 1:][steps].mean() > 0.3


def test_next_scene(viewer):
    before = viewer.frame()
    response = viewer.next_scene()
    assert response.success
    assert response.message == "scene 4"
    assert wait_until(lambda: viewer.scenes[-1]["seed"] == 4)
    scene = viewer.scenes[-1]
    first = viewer.frame(after=nanoseconds(scene["stamp"]) - 1)
    assert nanoseconds(first["color"].header.stamp) == nanoseconds(scene["stamp"])
    assert first["color"].data != before["color"].data
    assert set(np.unique(ids_of(first))) - {0} <= {item["id"] for item in scene["objects"]}
    # All earlier stamps show the scene before.
    earlier = [t for t in list(viewer.frames) if t < nanoseconds(scene["stamp"])]
    last = viewer.frames[max(earlier)]
    assert last["color"].data == before["color"].data


def test_the_same_seed_gives_the_same_picture(viewer):
    before = viewer.frame()
    viewer.set(seed=5)
    other = viewer.frame()
    viewer.set(seed=3)
    again = viewer.frame()
    assert before["color"].data != other["color"].data
    assert before["color"].data == again["color"].data


def test_a_late_viewer_gets_the_objects(viewer, graph):
    viewer.frame()
    late = Viewer(graph)
    assert wait_until(lambda: late.scenes)
    assert late.scenes[-1] == viewer.scenes[-1]


def test_wrong_values_are_refused(viewer):
    (result,) = viewer.set(depth_encoding="mm")
    assert not result.successful
    assert "depth_encoding: expected one of '16UC1', '32FC1', got 'mm'" in result.reason
    for values in ({"depth_holes": 1.5}, {"seed": -1}, {"width": 640}):
        assert not viewer.set(**values)[0].successful


def test_the_last_seed_has_no_next(viewer):
    viewer.set(seed=2**31 - 1)
    response = viewer.next_scene()
    assert not response.success
    assert "seed" in response.message


def test_a_moving_camera_under_another_name(processes, graph):
    viewer = Viewer(graph, "/arm/wrist")
    processes["moving"].wait_for("scene 3", 40)
    unknown = "there is no parameter 'motion_angel': it is ignored; did you mean motion_angle?"
    assert unknown in processes["moving"].output
    eyes, pictures = [], set()
    frame = viewer.frame()
    while len(eyes) < 12:
        camera = camera_of(frame)
        eyes.append(camera.world_from_optical[:3, 3])
        pictures.add(frame["color"].data.tobytes())
        ids, world = ids_of(frame), camera.back_project(metres(frame))
        table = world[..., 2][(ids == 0) & (np.abs(world[..., :2]) < 0.2).all(-1)]
        assert np.median(np.abs(table)) < 0.001  # pose and picture are of one moment
        frame = viewer.frame(after=nanoseconds(frame["color"].header.stamp))
    assert len(pictures) == len(eyes)
    assert np.ptp(np.array(eyes)[:, :2], axis=0).max() > 0.05
    assert np.ptp(np.array(eyes)[:, 2]) < 1e-9


def test_large_pictures_hold_up_nothing(processes, graph):
    """Fast DDS as it comes drops small messages beside large ones, and repeats them in seconds."""
    processes["large"].wait_for("scene ", 40)
    viewers = [Viewer(graph, "/large/camera") for _ in range(2)]
    for viewer in viewers:
        viewer.frame()
    start = viewers[0].node.get_clock().now().nanoseconds
    assert wait_until(lambda: sum(t > start for t in list(viewers[0].frames)) > 15, 20)
    now = viewers[0].node.get_clock().now().nanoseconds
    for viewer in viewers:
        frames = [viewer.frames[t] for t in list(viewer.frames) if start < t < now - 10**9]
        whole = [frame for frame in frames if len(frame) == len(STREAMS)]
        assert len(whole) >= len(frames) - 1, [sorted(frame) for frame in frames]


def test_without_mujoco_it_says_what_to_install(processes):
    child = processes["without_mujoco"]
    assert child.process.wait(40) == 1
    assert "pip install mujoco" in child.output
    assert "Traceback" not in child.output, child.output


def test_a_whole_number_for_a_double_is_refused_with_the_mend(processes):
    child = processes["whole_rate"]
    assert child.process.wait(40) == 1
    assert "'rate'" in child.output
    assert "a DOUBLE is written with a point, as 30.0" in child.output
    assert "Traceback" not in child.output, child.output


def test_transforms_lead_from_the_world_to_the_optical_frame():
    from std_msgs.msg import Header

    from lisa_ros.nodes.geometry_messages import matrix_of
    from lisa_ros.nodes.sim_camera import camera_transforms
    from lisa_ros.sim.scene import sample_scene

    true = sample_scene(1).camera(64, 48)
    transforms = camera_transforms(true, Header(frame_id="world"), "camera")
    names = ["world", "camera_link", "camera_color_frame", FRAME]
    assert [t.header.frame_id for t in transforms] == names[:-1]
    assert [t.child_frame_id for t in transforms] == names[1:]
    world_from_link, *mount = (matrix_of(t.transform) for t in transforms)
    np.testing.assert_allclose(
        world_from_link @ mount[0] @ mount[1], true.world_from_optical, atol=1e-9
    )
    # The body looks along x, with z up: a camera above a table looks down.
    np.testing.assert_allclose(world_from_link[:3, 0], true.world_from_optical[:3, 2], atol=1e-9)
    assert world_from_link[2, 0] < 0 < world_from_link[2, 2]


@pytest.mark.parametrize(("motion_angle", "moving"), [(0.0, 0), (10.0, 1)])
def test_what_moves_is_told_with_each_picture_and_the_rest_once_a_scene(motion_angle, moving):
    """With stand-ins for two publishers: PyPI has no tf2_msgs."""
    from std_msgs.msg import Header

    from lisa_ros.nodes.sim_camera import SimCamera, camera_transforms
    from lisa_ros.sim.scene import sample_scene

    def publisher(sent):
        return SimpleNamespace(
            msg_type=SimpleNamespace, publish=lambda m: sent.append(m.transforms)
        )

    tf, tf_static = [], []
    node = SimpleNamespace(
        _settings={"motion_angle": motion_angle}, _tf=publisher(tf), _tf_static=publisher(tf_static)
    )
    header = Header(frame_id="world", stamp=Time(sec=7))
    transforms = camera_transforms(sample_scene(1).camera(64, 48), header, "wrist")
    assert [t.child_frame_id for t in transforms][::2] == [
        "wrist_link",
        "wrist_color_optical_frame",
    ]
    assert {t.header.stamp.sec for t in transforms} == {7}
    for is_new in (True, False, True):
        SimCamera._publish_transforms(node, transforms, is_new)
    assert tf == [transforms[:moving]] * 3 * moving
    assert tf_static == [transforms[moving:]] * 2


def test_it_needs_neither_open3d_nor_torch(start_child):
    code = """
import sys
sys.modules |= {"open3d": None, "torch": None}  # whoever imports them fails
import lisa_ros.nodes.sim_camera, lisa_ros.sim.sensor
print("imported")
"""
    start_child(code).wait_for("imported")


def test_config_and_page_name_all_parameters():
    from lisa_ros.nodes.sim_camera_parameters import SIM_CAMERA_PARAMETERS

    defaults = {spec.name: spec.default for spec in SIM_CAMERA_PARAMETERS}
    file = (ROOT / "config" / "sim_camera.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(file)["/**"]["ros__parameters"] == defaults
    page = (ROOT / "docs" / "sim_camera.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page, re.MULTILINE))
    assert {name: yaml.safe_load(value) for name, value in rows.items()} == defaults
    for spec in SIM_CAMERA_PARAMETERS:
        line = next(line for line in file.splitlines() if line.strip().startswith(f"{spec.name}:"))
        assert ("(start)" in line) == spec.read_only, spec.name

"""perception.launch.py: what it names must exist; and what it starts, by the real launch API."""

import ast
import re
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "launch" / "perception.launch.py"
RVIZ = ROOT / "rviz" / "lisa.rviz"
PROFILE = ROOT / "config" / "fastdds_large_messages.xml"
NEEDED = "ROS 2's launch and launch_ros are not installed in this environment"


# --- without launch ---


def constant(name: str):
    """A constant of the launch file, read without importing it."""
    for node in ast.parse(FILE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{FILE.name} has no {name}")


def literals(file: str) -> set[str]:
    tree = ast.parse((ROOT / "lisa_ros" / "nodes" / file).read_text(encoding="utf-8"))
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in values if isinstance(value, str)}


def test_topics_are_the_nodes():
    topics = [topic for _, topic, *_ in constant("TOPICS")]
    assert topics == ["image", "depth", "camera_info", "depth_camera_info"]
    assert set(topics) <= literals("subscriptions.py")


@pytest.mark.ros
def test_parameters_and_choices_are_the_nodes():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")
    from lisa_ros.nodes.parameters import PARAMETERS

    specs = {spec.name: spec for spec in PARAMETERS}
    for name, _, choices in constant("PARAMETERS"):
        expected = specs[name].choices
        assert set(choices or ()) == ({*expected, ""} if expected else set()), name


def test_files_are_installed():
    installed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    folders = re.search(r"install\(DIRECTORY ([\w ]+) DESTINATION share/", installed)[1].split()
    text = FILE.read_text(encoding="utf-8")
    for file, named_in in (
        (PROFILE, literals("fast_dds.py")),
        (ROOT / "config" / "perception.yaml", text),
        (RVIZ, text),
    ):
        assert file.is_file()
        assert file.name in named_in
        assert file.parent.name in folders
    assert FILE.parent.name in folders
    [executable] = re.findall(r'package="lisa_ros",\s+executable="(\w+)"', text)
    assert f"install(PROGRAMS scripts/{executable} " in installed
    assert (ROOT / "scripts" / executable).is_file()


def test_rviz_shows_what_the_node_publishes():
    config = yaml.safe_load(RVIZ.read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    shown = {d["Topic"]["Value"]: d for d in displays if "Topic" in d}
    published = {f"lisa/{name[2:]}" for name in literals("outputs.py") if name.startswith("~/")}
    assert set(shown) - {"image"} <= published
    wanted = {"image", "overlay", "object_cloud", "scene_cloud", "markers"}
    assert {topic.removeprefix("lisa/") for topic in shown} == wanted
    for topic, display in shown.items():
        # A reliable subscription would get nothing from a best-effort camera.
        reliability = "Best Effort" if topic == "image" else "Reliable"
        assert display["Topic"]["Reliability Policy"] == reliability


def test_the_table_of_cameras_names_arguments_that_exist():
    page = (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8")
    command = re.findall(r"perception\.launch\.py((?:[^\n]*\\\n)*[^\n]*)", page)
    given = set(re.findall(r"(\w+):=", " ".join(command)))
    known = set(re.findall(r'^\s+"(\w+)",$', FILE.read_text(encoding="utf-8"), re.MULTILINE))
    known |= {name for name, *_ in (*constant("TOPICS"), *constant("PARAMETERS"))}
    assert {"image_topic", "use_sim_time"} <= given <= known
    header = next(line for line in page.splitlines() if line.startswith("| camera"))
    assert set(re.findall(r"`(\w+)`", header)) == {name for name, *_ in constant("TOPICS")}


# --- with launch ---


@pytest.fixture
def launch_file(monkeypatch):
    """The launch file as a module, with the installed package found at the source tree."""
    pytest.importorskip("launch_ros", reason=NEEDED)
    pytest.importorskip("launch.actions", reason=NEEDED)
    spec = spec_from_file_location("perception_launch", FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    from launch.substitutions import TextSubstitution

    def share(package: str) -> TextSubstitution:
        assert package == "lisa_ros"
        return TextSubstitution(text=str(ROOT))

    monkeypatch.setattr(module, "FindPackageShare", share)
    monkeypatch.setattr(module, "is_installed", lambda package: True)
    return module


@dataclass
class Started:
    """A process as launch would start it."""

    package: str
    executable: str
    command: list[str]
    environment: dict[str, str]
    prefix: str  # what the command is given to


@pytest.fixture
def start(launch_file, monkeypatch):
    """Gives the processes that launch would start for these arguments."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, ExecuteLocal, LogInfo
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node
    from launch_ros.substitutions import ExecutableInPackage

    started: list[Started] = []

    def execute(node, context) -> None:
        def text(part) -> str:
            is_program = isinstance(part[0], ExecutableInPackage)
            return "" if is_program else perform_substitutions(context, part)

        environment = {text(name): text(value) for name, value in node.additional_env or ()}
        command = [text(part) for part in node.cmd]
        prefix = text(node.process_description.prefix)
        started.append(
            Started(node.node_package, node.node_executable, command, environment, prefix)
        )

    def start(**arguments: str) -> list[Started]:
        context = LaunchContext()
        context.launch_configurations.update(arguments)
        started.clear()
        for entity in launch_file.generate_launch_description().entities:
            actions = entity.visit(context)
            if isinstance(entity, DeclareLaunchArgument):
                continue
            for node in actions:
                assert isinstance(node, Node | LogInfo)
                node.visit(context)
        return list(started)

    monkeypatch.setattr(ExecuteLocal, "execute", execute)
    return start


def parameters_of(node: Started) -> dict:
    """All parameters of a node: those of files and those given, the later ones win."""
    found: dict = {}
    parts = node.command
    files = [parts[i + 1] for i, part in enumerate(parts) if part == "--params-file"]
    for file in files:
        for section in yaml.safe_load(Path(file).read_text(encoding="utf-8")).values():
            found.update(flat(section["ros__parameters"]))
    for i, part in enumerate(parts):
        if part == "-p":
            name, value = parts[i + 1].split(":=", 1)
            found[name] = yaml.safe_load(value)
    return found


def flat(tree: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        found.update(flat(value, f"{key}.") if isinstance(value, dict) else {key: value})
    return found


def test_the_defaults(start):
    [node] = start()
    assert (node.package, node.executable) == ("lisa_ros", "perception_node")
    parts = node.command
    assert "image:=/camera/camera/color/image_raw" in parts
    assert "depth:=/camera/camera/aligned_depth_to_color/image_raw" in parts
    assert "camera_info:=/camera/camera/color/camera_info" in parts
    assert "__node:=lisa" in parts
    assert parts[parts.index("--log-level") + 1] == "info"
    # What is not given is left to the file.
    given = parameters_of(node)
    file = flat(yaml.safe_load((ROOT / "config/perception.yaml").read_text())["/**"])
    expected = {name.removeprefix("ros__parameters."): value for name, value in file.items()}
    assert given == expected


def test_every_argument_reaches_the_node(start, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {model: theirs, rate: 3.0, use_depth: true}}")
    arguments = {
        "model": "7",
        "precision": "fp16",
        "device": "cuda:1",
        "image_transport": "compressed",
        "mode": "follow",
        "target_frame": "base_link",
        "params_file": str(file),
        "use_sim_time": "true",
    }
    topics = {name: f"/cam/{topic}" for name, topic, *_ in constant("TOPICS")}
    [node] = start(**arguments, **topics, namespace="arm", log_level="debug")
    parts = node.command
    for _, topic, *_ in constant("TOPICS"):
        assert f"{topic}:=/cam/{topic}" in parts
    assert "__ns:=/arm" in parts
    assert parts[parts.index("--log-level") + 1] == "debug"
    expected = {k: v for k, v in arguments.items() if k not in ("params_file", "use_sim_time")}
    assert parameters_of(node) == {**expected, "rate": 3.0, "use_depth": True, "use_sim_time": True}


@pytest.mark.parametrize(
    ("given", "is_simulated"), [({}, True), ({"use_sim_time": "false"}, False)]
)
def test_the_file_says_which_clock_unless_the_argument_does(start, tmp_path, given, is_simulated):
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {use_sim_time: true}}")
    [node] = start(params_file=str(file), **given)
    assert parameters_of(node)["use_sim_time"] is is_simulated


def test_true_may_be_written_as_python_does(start):
    node, rviz = start(use_sim_time="True", rviz="True", image_topic="/cam/image")
    assert parameters_of(node)["use_sim_time"] is True
    assert "image:=/cam/image" in rviz.command


def test_rviz_does_not_fetch_raw_pictures_where_they_come_compressed(start):
    _, rviz = start(image_transport="compressed", rviz="true")
    assert not [part for part in rviz.command if part.startswith("image:=")]


def test_another_interpreter(start):
    [node] = start(python="/ws/venv/bin/python")
    assert node.prefix == "/ws/venv/bin/python"
    [node] = start()
    assert node.prefix == ""


@pytest.mark.parametrize("absent", ["none", ""])
def test_no_depth_topic_means_no_depth(start, absent):
    [node] = start(depth_topic=absent, depth_camera_info_topic=absent)
    assert parameters_of(node)["use_depth"] is False
    assert not [part for part in node.command if part.startswith("depth")]


@pytest.mark.parametrize("name", ["precision", "mode", "image_transport", "rviz", "log_level"])
def test_wrong_choices_are_refused(start, name):
    with pytest.raises(RuntimeError, match="poem"):
        start(**{name: "poem"})


def test_arguments_have_descriptions(launch_file):
    arguments = launch_file.generate_launch_description().get_launch_arguments()
    assert all(argument.description for argument in arguments)
    names = {argument.name for argument in arguments}
    issue = (
        "model precision device image_topic depth_topic camera_info_topic depth_camera_info_topic "
        "image_transport target_frame mode params_file namespace log_level rviz dds_profile"
    )
    assert set(issue.split()) <= names


def test_rviz(start):
    _, rviz = start(rviz="true", target_frame="base_link", image_topic="/cam/rgb")
    assert (rviz.package, rviz.executable) == ("rviz2", "rviz2")
    parts = rviz.command
    assert parts[parts.index("-d") + 1] == str(RVIZ)
    assert parts[parts.index("-f") + 1] == "base_link"
    assert "image:=/cam/rgb" in parts
    _, rviz = start(rviz="true")
    assert "-f" not in rviz.command


def test_the_node_starts_without_an_rviz_that_is_not_installed(start, launch_file, monkeypatch):
    monkeypatch.setattr(launch_file, "is_installed", lambda package: package != "rviz2")
    [node] = start(rviz="true")
    assert node.executable == "perception_node"


def test_the_dds_profile_is_an_argument(start, tmp_path):
    assert start(dds_profile="none")[0].environment == {}
    mine = tmp_path / "mine.xml"
    with pytest.raises(ValueError, match=r"mine\.xml"):
        start(dds_profile=str(mine))
    mine.write_text("<dds/>")
    assert set(start(dds_profile=str(mine))[0].environment.values()) == {str(mine)}

"""demo.launch.py: what it names must exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "launch" / "demo.launch.py").read_text(encoding="utf-8")


def test_executables_are_installed():
    installed = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    executables = re.findall(r'package="lisa_ros",\s+executable="(\w+)"', TEXT)
    assert sorted(executables) == ["demo", "sim_camera"]
    for name in executables:
        assert f"scripts/{name}" in installed
        assert (ROOT / "scripts" / name).is_file()


def test_arguments_are_those_of_the_files_it_starts():
    perception = (ROOT / "launch" / "perception.launch.py").read_text(encoding="utf-8")
    for name in ("model", "rviz"):
        assert f'"{name}",' in perception
    demo = ast.parse((ROOT / "lisa_ros" / "nodes" / "demo.py").read_text(encoding="utf-8"))
    literals = {node.value for node in ast.walk(demo) if isinstance(node, ast.Constant)}
    assert set(re.findall(r'"(--[a-z]+)"', TEXT)) == {"--attach", "--scenes", "--output"}
    assert set(re.findall(r'"(--[a-z]+)"', TEXT)) <= literals
    [scenes] = re.findall(r'"scenes", default_value="([\d,]+)"', TEXT)
    assert scenes in literals

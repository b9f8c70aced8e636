"""docs/install-robot.md and docker/ name what exists, and agree with each other and pyproject.toml.

Neither a robot's apt nor Docker is at hand here: this shows no more than that.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install-robot.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def shell_blocks() -> list[str]:
    blocks = re.findall(r"^( *)```sh\n(.+?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
    return [block.replace("<this repository>", "URL") for _, block in blocks]


def test_shell_lines_are_shell():
    assert len(shell_blocks()) > 5
    for block in [*shell_blocks(), (ROOT / "docker" / "entrypoint.sh").read_text()]:
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_docker_copies_what_exists():
    sources = [
        name
        for line in re.findall(r"^COPY (?:--\S+ )?(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert len(sources) > 5
    assert [name for name in sources if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("text", [PAGE, DOCKERFILE], ids=["page", "Dockerfile"])
def test_extras_and_build_arguments(text):
    extras = re.search(r"src/lisa_ros\[([\w,]+)\]", text)
    assert extras
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", PYPROJECT, re.MULTILINE), extra
    for argument in ("-DPython3_FIND_VIRTUALENV=FIRST", "-DPython3_EXECUTABLE="):
        assert argument in text
        assert argument in (ROOT / "tools" / "setup.sh").read_text()


def test_least_versions():
    for name in ("torch", "torchvision"):
        least = re.search(rf'"{name}>=([\d.]+)"', PYPROJECT)
        assert least
        assert f'"{name}>={least[1]}"' in PAGE
    low, high = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', PYPROJECT, re.M).groups()
    assert f"(3.{low} to 3.{int(high) - 1})" in PAGE


def test_libraries_of_open3d():
    needed = re.findall(r"has_library \S+ \|\| echo (\S+)", (ROOT / "tools/setup.sh").read_text())
    assert len(needed) == 4
    for text in (PAGE, DOCKERFILE):
        assert set(needed) <= set(text.split())


def test_colcon_finds_the_package_alone():
    """The virtual environment lies in the workspace: colcon must not search it."""
    for text in (PAGE, DOCKERFILE):
        assert "touch venv/COLCON_IGNORE" in text

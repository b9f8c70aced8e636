"""The repository as a whole: one version, a bounded size, nothing of one machine."""

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import lisa_ros

ROOT = Path(__file__).parents[2]
MB = 1_000_000


@pytest.fixture(scope="module")
def tracked_files() -> list[Path]:
    """Files that git tracks or would track."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    # CI may own the checkout under another user.
    environment = ["-c", f"safe.directory={ROOT}"]
    listing = subprocess.run(
        [command[0], *environment, *command[1:]], cwd=ROOT, capture_output=True, check=True
    )
    files = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def pyproject(pattern: str) -> str:
    match = re.search(pattern, (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert match, pattern
    return match[1]


def test_one_version_everywhere():
    package_xml = ET.parse(ROOT / "package.xml").findtext("version")
    assert lisa_ros.__version__ == package_xml == pyproject(r'^version = "(.+)"$')
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        assert lisa_ros.__version__ in changelog.read_text()


def test_lock_holds_what_the_metadata_asks_for():
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements/lock.txt").read_text(), re.MULTILINE)
    for requirement in re.findall(r'"([\w-]+)[>=]', pyproject(r"(?s)^dependencies = \[(.+?)^\]")):
        assert requirement.replace("_", "-").lower() in locked


def test_packages_of_other_projects_are_not_asked_for():
    """PyPI's `launch` is not ROS 2's, and its `cv-bridge` is ROS 1's and decodes depth wrongly."""
    for file in [ROOT / "pyproject.toml", *ROOT.glob("requirements/*")]:
        names = re.findall(
            r'^\s*"?([\w-]+)\s*(?:\[.*?\])?\s*[>=~;"]', file.read_text(), re.MULTILINE
        )
        assert not {"launch", "cv-bridge", "cv_bridge", "tf2-ros", "message-filters"} & set(names)


def test_size(tracked_files):
    assert sum(file.stat().st_size for file in tracked_files) < 52 * MB
    golden = [file for file in tracked_files if file.is_relative_to(ROOT / "test/golden")]
    assert sum(file.stat().st_size for file in golden) <= 28 * MB


def test_no_paths_of_one_machine(tracked_files):
    pattern = re.compile(rb"(?<![\w.$}~-])/(?:home|root|Users|work|mnt)/\w+")
    for file in tracked_files:
        content = file.read_bytes()
        if b"\0" not in content[:8192]:
            found = pattern.search(content)
            assert not found, f"{file.relative_to(ROOT)}: {found[0].decode()}"

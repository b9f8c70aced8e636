"""Which processes speak through Fast DDS with memory for pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ament_index_python import PackageNotFoundError

from lisa_ros.nodes import fast_dds
from lisa_ros.nodes.fast_dds import PROFILE_VARIABLES, profile_environment

pytestmark = pytest.mark.ros

OLD, NEW = PROFILE_VARIABLES
PROFILE = Path(__file__).parents[2] / "config" / "fastdds_large_messages.xml"


@pytest.fixture(autouse=True)
def plain_user(monkeypatch, tmp_path):
    """Somebody with Fast DDS who has set nothing."""
    for name in (OLD, NEW, "FASTDDS_BUILTIN_TRANSPORTS", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fast_dds, "uses_fast_dds", lambda: True)


def test_the_profile_is_the_packages():
    variables = profile_environment()
    assert set(variables) == {OLD, NEW}
    for path in variables.values():
        assert Path(path).read_bytes() == PROFILE.read_bytes()


@pytest.mark.parametrize(("distro", "variable"), [("jazzy", OLD), ("kilted", NEW)])
def test_each_distribution_gets_its_own_variable(monkeypatch, distro, variable):
    monkeypatch.setenv("ROS_DISTRO", distro)
    assert set(profile_environment()) == {variable}


@pytest.mark.parametrize("name", [OLD, NEW, "FASTDDS_BUILTIN_TRANSPORTS"])
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "/the/users/own.xml")
    assert profile_environment() == {}


def test_whoever_keeps_to_this_machine_does(monkeypatch):
    """Humble adds its loopback to a profile's transports, and these would go on to all networks."""
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    assert profile_environment() == {}
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "0")
    assert profile_environment()


def test_a_file_that_fast_dds_finds_by_itself_stays(tmp_path):
    (tmp_path / "DEFAULT_FASTDDS_PROFILES.xml").touch()
    assert profile_environment() == {}


def test_other_middleware_needs_none(monkeypatch):
    monkeypatch.setattr(fast_dds, "uses_fast_dds", lambda: False)
    assert profile_environment() == {}


def test_a_package_that_is_not_installed_has_none(monkeypatch):
    def fail(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(fast_dds, "get_package_share_directory", fail)
    assert profile_environment() == {}


def test_none_and_a_file_of_ones_own(tmp_path):
    assert profile_environment("none") == {}
    mine = tmp_path / "mine.xml"
    with pytest.raises(ValueError, match=r"expected auto, none or an XML file, got .*mine\.xml"):
        profile_environment(str(mine))
    mine.write_text("<dds/>")
    assert set(profile_environment(str(mine)).values()) == {str(mine)}

"""docs/node.md says what the code does: parameters, statuses, topics."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NODES = ROOT / "lisa_ros" / "nodes"
NAMES = ("node.md", "tethered.md", "cameras.md", "geometry.md", "planners.md", "install-robot.md")
PAGES = [ROOT / "docs" / name for name in NAMES]
PAGE = PAGES[0].read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """Cells of the table rows below a heading, by the first cell without its backticks."""
    section = re.split(r"^#+ ", PAGE.split(f"# {heading}\n", 1)[1], flags=re.MULTILINE)[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in table[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def constants() -> list[str]:
    lines = (ROOT / "msg" / "Answer.msg").read_text(encoding="utf-8").splitlines()
    return [match[1] for line in lines if (match := re.match(r"uint8 (\w+) *=", line))]


def strings(file: str) -> set[str]:
    """String literals of a module."""
    tree = ast.parse((NODES / file).read_text(encoding="utf-8"))
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in values if isinstance(value, str)}


@pytest.mark.ros
def test_parameters():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed in this environment")
    from lisa_ros.nodes.parameters import PARAMETERS

    documented = rows("Parameters")
    assert set(documented) == {spec.name for spec in PARAMETERS}
    for spec in PARAMETERS:
        default, _unit, allowed, when, _meaning = documented[spec.name]
        value = yaml.safe_load(default.strip("`"))
        assert (value, type(value)) == (spec.default, type(spec.default)), spec.name
        assert (when == "start") == spec.read_only, spec.name
        expected = ", ".join(f"`{choice}`" for choice in spec.choices if choice)
        if spec.bounds is not None:
            expected = "{} to {}".format(*spec.bounds)
        assert allowed == expected, spec.name


def test_statuses_and_sources():
    names = constants()
    assert set(rows("Status")) == {name for name in names if not name.startswith("SOURCE_")}
    sources = {name for name in names if name.startswith("SOURCE_")}
    assert set(re.findall(r"\bSOURCE_\w+", PAGE)) == sources


def test_topics_services_and_actions():
    private = {
        name
        for file in ("outputs.py", "perception_node.py", "diagnostics.py")
        for name in strings(file)
        if re.fullmatch(r"~/[a-z_/0-9]+", name)
    }
    assert len(private) > 5
    for page in PAGES:
        claimed = set(re.findall(r"`(~/[a-z_/0-9]+)`", page.read_text(encoding="utf-8")))
        assert claimed <= private, page.name
    assert private <= set(re.findall(r"`(~/[a-z_/0-9]+)`", PAGE))
    published = {name for name in private if name in strings("outputs.py")}
    assert set(rows("Out")) == published | {"/diagnostics"}


def test_camera_topics():
    assert set(rows("In")) == {
        name
        for name in strings("subscriptions.py")
        if re.fullmatch(r"(depth_)?camera_info|image|depth", name)
    } | {"~/instruction"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
        file = page.parent / target if target else page
        assert file.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
            assert anchor in slugs, f"{target}#{anchor}"

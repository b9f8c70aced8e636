"""The demo as its user starts it: two processes more, five questions, files in a folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Child
from PIL import Image
from rich.console import Console

if importlib.util.find_spec("mujoco") is None:
    pytest.skip("MuJoCo is not installed", allow_module_level=True)
pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from lisa_ros.nodes.demo import SCENES, main
from lisa_ros.nodes.demo_report import Report

open3d = pytest.importorskip("open3d")

pytestmark = pytest.mark.ros

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo"


@pytest.fixture(scope="module")
def shown(ros_domain, tmp_path_factory) -> Path:
    """The folder that the demo wrote."""
    folder = tmp_path_factory.mktemp("demo")
    child = Child(SCRIPT, "--output", folder)
    try:
        child.wait_for("pictures, clouds and logs are in", timeout=180)
        assert child.process.wait(20) == 0, child.output
    finally:
        child.stop()
    return folder


def test_five_questions_are_answered(shown):
    answers = json.loads((shown / "answers.json").read_text())
    assert len(answers) == 5
    assert {answer["model"] for answer in answers} == {"lisa-tiny"}
    assert all(answer["explanation"] for answer in answers)
    absent = [answer["kind"].startswith("absent") for answer in answers]
    assert sum(absent) == 1
    for answer, is_absent in zip(answers, absent, strict=True):
        assert answer["status"] == ("NOT_FOUND" if is_absent else "FOUND")
        assert answer["iou"] > 0.5  # 1 for a refusal


def test_positions_are_the_true_ones(shown):
    answers = json.loads((shown / "answers.json").read_text())
    errors = [p["error"] for a in answers if a["status"] == "FOUND" for p in a["positions"]]
    assert len(errors) >= 4, [answer["message"] for answer in answers]
    assert np.median(errors) <= 0.01


def test_pictures_and_clouds_are_there(shown):
    answers = json.loads((shown / "answers.json").read_text())
    for number, answer in enumerate(answers, 1):
        overlay = np.asarray(Image.open(shown / f"{number}_overlay.png"))
        assert overlay.shape == (480, 640, 3)
        cloud = shown / f"{number}_object.ply"
        assert cloud.is_file() == bool(answer["positions"])
        if answer["positions"]:
            points = np.asarray(open3d.io.read_point_cloud(str(cloud)).points)
            found = np.array(answer["positions"][0]["found"])
            # A median need not lie on the surface, but amid it.
            assert (points.min(axis=0) - 0.01 < found).all()
            assert (found < points.max(axis=0) + 0.01).all()
    first, second = (np.asarray(Image.open(shown / f"{k}_overlay.png")) for k in (1, 2))
    assert (first != second).any()  # one scene, two answers
    sheet = np.asarray(Image.open(shown / "contact_sheet.png"))
    assert sheet.std() > 30


@pytest.mark.parametrize("scenes", ["152", "152,x", "152,-5", "1,2,3"])
def test_wrong_scenes_are_refused(scenes, capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--scenes", scenes])
    message = capsys.readouterr().err
    assert f"expected 2 numbers from 0, as in {SCENES}, got {scenes!r}" in message


def test_an_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit):
        main(["demo", "--output", str(tmp_path / "file")])
    assert "--output: expected a folder that can be made" in capsys.readouterr().err


def test_other_files_in_the_folder_stay(tmp_path):
    mine, old = tmp_path / "my_overlay.png", tmp_path / "1_overlay.png"
    mine.touch(), old.touch()
    Report(tmp_path, Console())
    assert mine.exists()
    assert not old.exists()


def test_a_node_that_cannot_start_is_told(start_child, ros_domain, tmp_path):
    child = start_child(SCRIPT, "--output", tmp_path, "--model", tmp_path / "nowhere")
    assert child.process.wait(60) == 1
    assert "perception_node has ended" in child.output
    assert "nowhere" in child.output


def test_questions_that_time_out_are_told(start_child, ros_domain, tmp_path):
    script = tmp_path / "impatient.py"
    script.write_text(
        "import sys\n"
        "from lisa_ros.nodes import demo\n"
        "demo._ANSWER_SECONDS = 10.001\n"  # a millisecond for each question
        "sys.exit(demo.main())\n"
    )
    child = start_child(script, "--output", tmp_path / "demo")
    assert child.process.wait(120) == 1
    assert child.output.count("ended as TIMEOUT") == 5
    assert "waited" not in child.output  # for an overlay, say
    assert len(json.loads((tmp_path / "demo" / "answers.json").read_text())) == 5

"""`lisa evaluate` from files to the report, with the golden model."""

import errno
import functools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import write_refcoco
from PIL import Image

from lisa_ros.cli.main import main
from lisa_ros.perception import Segmenter

GOLDEN = Path(__file__).parents[1] / "golden"
DATASET = GOLDEN / "dataset"
VAL = DATASET / "reason_seg" / "ReasonSeg" / "val"
MODEL = (
    *("--model", GOLDEN / "lisa-tiny", "--vision-tower", GOLDEN / "clip-vit-tiny-patch14"),
    *("--sam-config", GOLDEN / "sam_config.json", "--device", "cpu", "--max-new-tokens", 12),
    *("--batch-size", 1),  # masks are compared to the pixel, and a batch may round otherwise
)
GIOU, CIOU = (np.load(GOLDEN / "reasonseg.npz")[f"val/{name}"].item() for name in ("giou", "ciou"))


def evaluate(name: str, out: Path, *options: object, data: Path = DATASET) -> int:
    arguments = ["evaluate", name, "--data", data, "--out", out, *MODEL, *options]
    return main([str(argument) for argument in arguments])


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def lines(out: Path) -> list[dict]:
    files = sorted(out.glob("pictures*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def each_model_is_loaded_once():
    """In this process; each command would else take seconds to load the same."""
    load = functools.cache(Segmenter.from_pretrained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "from_pretrained", load)
        yield


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forced")
    assert evaluate("reason_seg/val", out) == 0
    return out


def test_forced_gives_the_published_scores(forced: Path):
    scores = report(forced)["scores"]
    assert scores["overall"]["giou"] == pytest.approx(GIOU, abs=1e-4)
    assert scores["overall"]["ciou"] == pytest.approx(CIOU, abs=1e-4)
    assert scores["overall"]["questions"] == 4
    assert scores["short"]["questions"] == scores["long"]["questions"] == 2
    golden = np.load(GOLDEN / "reasonseg.npz")
    for line in lines(forced):
        (result,) = line["results"]
        for key in ("intersection", "union"):
            want = golden[f"{line['picture']}/{key}"][1]
            assert result[key] == pytest.approx(want, rel=1e-3)


def test_batches_of_pictures_give_the_same_scores(tmp_path: Path, forced: Path):
    assert evaluate("reason_seg/val", tmp_path, "--batch-size", 3) == 0
    ours, alone = (report(out)["scores"]["overall"] for out in (tmp_path, forced))
    assert ours == pytest.approx(alone, abs=1e-3)
    assert [line["index"] for line in lines(tmp_path)] == [0, 1, 2, 3]


def test_generate_lets_the_model_answer(tmp_path: Path, forced: Path):
    assert evaluate("reason_seg/val", tmp_path, "--protocol", "generate") == 0
    values = report(tmp_path)
    assert values["protocol"]["name"] == "generate"
    assert values["scores"]["overall"]["false_refusal_rate"] is not None
    assert values["scores"]["overall"]["refusal_rate"] is not None  # a4 has nothing to find
    for free, given in zip(lines(tmp_path), lines(forced), strict=True):
        assert given["results"][0]["text"] == "[SEG] ."
        assert free["results"][0]["instruction"] == given["results"][0]["instruction"]
    assert {line["results"][0]["text"] for line in lines(tmp_path)} > {"[SEG] ."}
    page = (tmp_path / "report.html").read_text()
    assert "falsely refused" in page
    assert "The paper&#39;s rows are of the protocol" in page


def test_the_page_needs_nothing_else(forced: Path):
    page = (forced / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == page.count("<img") == 4
    for foreign in ("<script", "<link", "http", "url(", "@import", 'src="/'):
        assert foreign not in page
    assert '<svg viewBox="0 0 720' in page
    for said in (
        *("reason_seg/val", "protocol forced", "10.1", "14.4"),
        *("LISA-13B-LLaVA1.5 (ft)", "72.9", "CVPR 2024, Table 1", "train and val splits together"),
        *("Where can the person wash hands?", "a4.jpg", "Latency", "p95", "SHA-256", "PyTorch"),
    ):
        assert said in page


def test_the_report_says_what_it_was_made_with(forced: Path):
    values = report(forced)
    assert set(values["model"]["files"]) >= {
        *("config.json", "pytorch_model.bin", "tokenizer.model", "CLIP pytorch_model.bin"),
        "SAM's sizes",
    }
    assert all(len(digest) == 64 for digest in values["model"]["files"].values())
    assert len(values["data"]["sha256"]) == 64
    assert values["model"]["precision"] == "fp32"
    assert values["model"]["id"] == "lisa-tiny"
    assert str(GOLDEN) not in (forced / "report.html").read_text()
    (stages,) = values["latency_ms"].values()
    assert 0 < stages["total"]["p50"] <= stages["total"]["p95"]
    assert sum(values["iou_histogram"]) == 4
    ious = [sample["iou"] for sample in values["worst"] + values["best"][::-1]]
    assert len(ious) == 4
    assert max(ious[:2]) <= min(ious[2:])


def test_a_killed_run_goes_on(tmp_path: Path, forced: Path):
    data, out = tmp_path / "mine", tmp_path / "out"
    data.mkdir()
    for file in VAL.iterdir():
        for copy in range(2):
            shutil.copy(file, data / f"{copy}{file.name}")
    arguments = ["own", "--data", data, "--out", out, *MODEL]
    command = [sys.executable, "-m", "lisa_ros.cli.main", "evaluate", *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        file = out / "pictures.jsonl"
        deadline = time.monotonic() + 240
        while not (file.is_file() and file.read_bytes().count(b"\n") >= 1):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = file.read_bytes()
    assert not (out / "report.json").exists()
    file.write_bytes(before + b'{"index": 9, "pict')  # as if cut off while writing
    finished = before.count(b"\n")
    assert 1 <= finished < 8

    assert evaluate("own", out, data=data) == 0
    after = file.read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    assert after.count(b"\n") == 8
    whole = {line["picture"].removeprefix("val/"): line["results"] for line in lines(forced)}
    for line in lines(out):
        assert line["results"] == whole[line["picture"].removeprefix("mine/")[1:]]
    assert report(out)["scores"]["overall"]["giou"] == pytest.approx(GIOU, abs=1e-4)


def test_shards_make_one_report(tmp_path: Path, forced: Path, monkeypatch, capsys):
    assert evaluate("reason_seg/val", tmp_path, "--shard", "1/2") == 0
    assert "2 of 4 pictures are done" in capsys.readouterr().out
    assert not (tmp_path / "report.json").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun and accelerate set them
    monkeypatch.setenv("RANK", "0")
    assert evaluate("reason_seg/val", tmp_path) == 0
    assert {file.name for file in tmp_path.glob("*.jsonl")} == {
        "pictures-0-of-2.jsonl",
        "pictures-1-of-2.jsonl",
    }
    ours, whole = report(tmp_path), report(forced)
    for key in ("scores", "data", "worst", "best", "iou_histogram"):
        assert ours[key] == whole[key]


@pytest.mark.parametrize(
    ("size", "rank"), [("2", None), ("2", "first"), ("two", "0"), ("", None), ("2", "")]
)
def test_a_launchers_environment_that_makes_no_sense_is_told(
    tmp_path: Path, monkeypatch, capsys, size: str, rank: str | None
):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert evaluate("reason_seg/val", tmp_path) == 1
    said = f"in WORLD_SIZE (of processes) and RANK (this one), got {size} and {rank or ''}"
    printed = capsys.readouterr().err
    assert printed.startswith("lisa: error: ")
    assert (said if rank is not None else f"got {size} and nothing") in printed


def test_two_processes_of_torchrun_make_one_report(tmp_path: Path, forced: Path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["evaluate", "reason_seg/val", "--data", DATASET, "--out", tmp_path, *MODEL]
    command = [*launch, "-m", "lisa_ros.cli.main", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(line["index"] for line in lines(tmp_path)) == [0, 1, 2, 3]
    assert len(list(tmp_path.glob("pictures-*-of-2.jsonl"))) == 2
    assert report(tmp_path)["scores"] == report(forced)["scores"]


def test_another_protocol_model_or_picture_is_refused(tmp_path: Path, forced: Path, capsys):
    out = tmp_path / "out"
    shutil.copytree(forced, out)
    assert evaluate("reason_seg/val", out, "--protocol", "generate") == 1
    assert "protocol.name: there forced, now generate" in capsys.readouterr().err
    assert evaluate("reason_seg/val", out, "--precision", "bf16") == 1
    assert "model.precision: there fp32, now bf16" in capsys.readouterr().err
    assert evaluate("reason_seg/train", out) == 1
    assert "data.name: there reason_seg/val, now reason_seg/train" in capsys.readouterr().err

    data = tmp_path / "data"
    shutil.copytree(DATASET, data)
    picture = data / "reason_seg/ReasonSeg/val/a3.jpg"
    with Image.open(picture) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    assert evaluate("reason_seg/val", out, data=data) == 1
    assert "val/a3.jpg is not what it was" in capsys.readouterr().err


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    data = tmp_path / "broken"
    shutil.copytree(VAL, data)
    picture = data / "a2.jpg"
    picture.write_bytes(picture.read_bytes()[:700])
    annotation = json.loads((data / "a3.json").read_text(encoding="cp1252"))
    annotation["text"] = ["[SEG] <image>"]  # no words for a model
    (data / "a3.json").write_text(json.dumps(annotation))
    return data


def test_bad_samples_are_named_counted_and_tried_again(tmp_path: Path, broken: Path, capsys):
    out = tmp_path / "out"
    assert evaluate("own", out, data=broken) == 0
    printed = capsys.readouterr()
    assert "2 bad samples were left out" in printed.out
    assert "a2.jpg" in printed.err
    values = report(out)
    assert values["scores"]["overall"]["questions"] == 2
    first, second = values["bad_samples"]
    assert "a2.jpg is corrupt or truncated" in first
    assert "a3.jpg: expected an instruction in words" in second
    page = (out / "report.html").read_text()
    assert "Bad samples" in page
    assert "[SEG] &lt;image&gt;" in page  # words of a data set are never markup

    shutil.copy(VAL / "a2.jpg", broken)
    assert evaluate("own", out, data=broken) == 0
    values = report(out)
    assert values["scores"]["overall"]["questions"] == 3
    assert len(values["bad_samples"]) == 1


def test_a_picture_that_went_bad_after_it_was_done_counts_as_it_was(
    tmp_path: Path, broken: Path, caplog, capsys
):
    out = tmp_path / "out"
    assert evaluate("own", out, data=broken) == 0
    overall = report(out)["scores"]["overall"]
    (broken / "a1.jpg").unlink()
    assert evaluate("own", out, data=broken) == 0
    assert "broken/a1.jpg counts as it was when done, but now: " in caplog.text
    assert report(out)["scores"]["overall"] == overall
    assert "cannot be read any more" in (out / "report.html").read_text()
    capsys.readouterr()
    assert evaluate("own", out, "--strict", data=broken) == 1
    assert "a1.jpg beside it" in capsys.readouterr().err


def test_a_full_disk_is_told_and_leaves_no_crumbs(tmp_path: Path, monkeypatch, capsys):
    def fail(path: Path, text: str, **more) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    out = tmp_path / "out"
    assert evaluate("reason_seg/val", out) == 1
    said = f"lisa: error: {out} cannot be written: no space left on the disk; make room and start"
    assert said in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_strict_stops_at_a_bad_sample(tmp_path: Path, broken: Path, capsys):
    assert evaluate("own", tmp_path / "out", "--strict", data=broken) == 1
    assert "a2.jpg is corrupt or truncated" in capsys.readouterr().err
    assert len(lines(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("name", "split_by", "split", "asked"),
    [
        ("refcoco", "unc", "testA", ["left"]),
        ("refcoco+", "unc", "testB", ["right"]),
        ("refcocog", "umd", "test", ["left", "right"]),
    ],
)
def test_referring_expressions_are_scored(tmp_path: Path, name, split_by, split, asked):
    write_refcoco(tmp_path, name, split_by)
    out = tmp_path / "out"
    assert evaluate(f"{name}/{split}", out, data=tmp_path) == 0
    assert [r["instruction"] for line in lines(out) for r in line["results"]] == asked
    values = report(out)
    assert values["scores"]["overall"]["questions"] == len(asked)
    assert values["published"]["columns"] == ["overall cIoU"]


def test_grefcoco_scores_phrases_of_nothing(tmp_path: Path):
    data = tmp_path / "data" / "refer_seg"
    pictures = data / "images/mscoco/images/train2014"
    pictures.mkdir(parents=True)
    shutil.copy(VAL / "a1.jpg", pictures / "one.jpg")
    (data / "grefcoco").mkdir()
    box = [20, 20, 120, 20, 120, 90, 20, 90]
    instances = {
        "images": [{"id": 1, "file_name": "one.jpg", "height": 150, "width": 200}],
        "annotations": [{"id": 5, "image_id": 1, "segmentation": [box]}],
    }
    references = [
        {"ref_id": k, "image_id": 1, "ann_id": ids, "split": "val", "sentences": [{"sent": text}]}
        for k, (ids, text) in enumerate([([5], "The box"), ([-1], "a green cat")])
    ]
    (data / "grefcoco/instances.json").write_text(json.dumps(instances))
    (data / "grefcoco/grefs(unc).json").write_text(json.dumps(references))
    assert evaluate("grefcoco/val", tmp_path / "out", data=tmp_path / "data") == 0
    values = report(tmp_path / "out")
    overall = values["scores"]["overall"]
    assert (overall["questions"], overall["absent"]) == (2, 1)
    assert (overall["n_acc"], overall["t_acc"]) == (0, 1)  # this model masks all it is asked for
    assert overall["giou"] == pytest.approx(overall["giou_present"] / 2, rel=1e-4)
    assert values["published"] is None
    assert [r["instruction"] for r in lines(tmp_path / "out")[0]["results"]] == [
        "the box",
        "a green cat",
    ]


def test_scenes_are_scored_by_kind(tmp_path: Path):
    pytest.importorskip("mujoco", reason="the simulated camera needs mujoco")
    arguments = ["evaluate", "scenes", "--out", tmp_path, *MODEL, "--render", 1]
    assert main([str(argument) for argument in arguments]) == 0
    scores = report(tmp_path)["scores"]
    questions = scores.pop("overall")["questions"]
    places = [name for name in scores if "centre square" in name]
    kinds = set(scores) - set(places)
    assert len(kinds) > 2
    assert sum(scores[kind]["questions"] for kind in kinds) == questions > 5
    assert "scene 0" in (tmp_path / "report.html").read_text()
    # "[SEG]." was put into its mouth.
    assert {row["naming_rate"] for row in scores.values()} == {None}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reason_seg/nothing",), "no split 'nothing'; it has train, val"),
        (("coco/val",), "nothing to evaluate on is named 'coco/val'; there are reason_seg/SPLIT"),
        (("refcoco/val",), "refer_seg is missing"),
        (("reason_seg/val", "--shard", "2/2"), "expected I/N with I from 0 to N-1, got 2/2"),
        (("reason_seg/val", "--shard", "one"), "expected I/N such as 0/4, got one"),
        (("reason_seg/val", "--template", "raw"), "`forced` has its own questions"),
        (("reason_seg/val", "--render", "3"), "only scenes can be rendered"),
        (("scenes", "--render", "3", "--shard", "0/2"), "cannot render one folder"),
    ],
)
def test_errors_are_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path, capsys):
    name, *options = arguments
    assert evaluate(name, tmp_path, *options) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("lisa: error: ")
    assert said in printed

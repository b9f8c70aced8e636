"""The report: the paper's rows, which samples are shown and how, times."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import Case, EvaluationError, Picture
from lisa_ros.evaluation.overlays import EXTRA, HIT, MISSED, draw_errors, jpeg_uri
from lisa_ros.evaluation.protocol import encode_mask
from lisa_ros.evaluation.published import published_table
from lisa_ros.evaluation.records import Record
from lisa_ros.evaluation.report import latencies, write_report
from lisa_ros.evaluation.scores import Result

RUN = {
    "data": {"name": "made", "pictures": 60},
    "protocol": {"name": "generate", "template": "raw", "max_new_tokens": 8},
    "model": {"precision": "fp32", "conversation": "llava_v1", "files": {"a.bin": "0" * 64}},
}


class Made:
    """Pictures whose upper half is to be found; the last two hold nothing."""

    name = "made"

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Picture:
        target = np.zeros((20, 30), np.uint8)
        target[: 10 if index < self._count - 2 else 0] = 1
        return Picture(
            f"{index}.jpg", np.full((20, 30, 3), 200, np.uint8), (Case((), "x", target),)
        )

    def record(self, index: int) -> Record:
        """An answer that is better the higher the number."""
        target = self.read(index).cases[0].target == 1
        mask = target & (np.arange(600).reshape(20, 30) < 5 * index)
        result = Result(
            *("<b>x</b>", ("all",), "FOUND", "Sure.", int(target.sum()), int(mask.sum())),
            *(int((mask & target).sum()), int((mask | target).sum())),
            mask=encode_mask(mask),
        )
        return Record(index, f"{index}.jpg", "f", (result,), {"total": float(index)}, "CPU")


def test_worst_and_best_are_24_each_and_none_twice(tmp_path):
    source = Made(60)
    write_report(tmp_path, source, {k: source.record(k) for k in range(60)}, RUN, "my model")
    page = (tmp_path / "report.html").read_text()
    assert "Worst 24" in page
    assert "Best 24" in page
    assert page.count("<img") == 48
    assert "<b>x</b>" not in page
    assert "my model" in page
    names = [part.split('"')[0] for part in page.split('alt="')[1:]]
    assert names[:24] == [f"{k}.jpg" for k in range(24)]
    # Pictures of nothing are perfect too, but show nothing.
    assert names[24:] == [f"{k}.jpg" for k in range(57, 33, -1)]


def test_few_samples_are_shown_once(tmp_path):
    source = Made(5)
    write_report(tmp_path, source, {k: source.record(k) for k in range(5)}, RUN, "m")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 5
    assert "Worst 3" in page


def test_a_picture_that_is_gone_keeps_its_score_and_caption(tmp_path):
    class Gone(Made):
        def read(self, index: int) -> Picture:
            if index == 1:
                raise BadSampleError("1.jpg does not exist")
            return super().read(index)

    records = {k: Made(5).record(k) for k in range(5)}
    scores = write_report(tmp_path, Gone(5), records, RUN, "m")
    assert scores.masks.count == 5
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 4
    assert page.count("cannot be read any more") == 1
    assert page.count("<figcaption>") == 5
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.html"}


def test_names_that_are_no_utf_8_are_written(tmp_path):
    source = Made(3)
    records = {k: replace(source.record(k), picture=f"{k}\udcff.jpg") for k in range(3)}
    write_report(tmp_path, source, records, RUN, "m")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["worst"][0]["picture"] == "0\udcff.jpg"
    assert r"0\udcff.jpg" in (tmp_path / "report.html").read_text()


def test_a_report_of_nothing_says_why(tmp_path):
    records = {0: Record(0, error="a.jpg is broken")}
    with pytest.raises(EvaluationError, match=r"none of 1 samples.*a.jpg is broken"):
        write_report(tmp_path, Made(3), records, RUN, "m")


def test_percentiles_are_by_hardware_and_of_those_that_have_the_stage():
    records = [
        Record(k, milliseconds={"total": float(k)}, hardware="GPU" if k < 11 else "CPU")
        for k in range(12)
    ]
    records.append(Record(99, error="broken"))
    records.append(Record(98, milliseconds={"total": 5.0, "decode": 4.0}, hardware="GPU"))
    times = latencies(records)
    assert times["CPU"]["total"] == {"p50": 11, "p95": 11, "pictures": 1}
    assert times["GPU"]["total"]["p50"] == 5
    assert times["GPU"]["total"]["p95"] == pytest.approx(9.45)
    assert times["GPU"]["decode"]["pictures"] == 1


def test_its_own_row_stands_below_those_of_the_paper(tmp_path):
    """By group and metric, in the columns of the table."""
    source = Made(6)
    source.name = "reason_seg/test"
    records = {}
    for k in range(6):
        record = source.record(k)
        (result,) = record.results
        group = "short" if k < 2 else "long"
        records[k] = replace(record, results=(replace(result, groups=(group,)),))
    run = {**RUN, "data": {"name": source.name, "pictures": 6}}
    write_report(tmp_path, source, records, run, "m")
    scores = json.loads((tmp_path / "report.json").read_text())["scores"]
    page = (tmp_path / "report.html").read_text()
    own = page.split('<tr class="own">')[1].split("</tr>")[0]
    cells = [float(cell) for cell in re.findall(r"<td>([\d.]+)</td>", own)]
    expected = [
        100 * scores[group][metric]
        for group in ("short", "long", "overall")
        for metric in ("giou", "ciou")
    ]
    assert len(set(expected)) == 6
    assert cells == pytest.approx(expected, abs=0.06)


def test_rows_of_the_paper():
    val = published_table("reason_seg/val", "forced")
    rows = {row.model: list(row.values.values()) for row in val.rows}
    assert rows["LISA-7B"] == [44.4, 46.0]
    assert rows["LISA-13B-LLaVA1.5 (ft)"] == [65.0, 72.9]
    assert "train and val splits together" in " ".join(val.warnings)

    test = published_table("reason_seg/test", "forced")
    assert [" ".join(c) for c in test.columns][:3] == ["short gIoU", "short cIoU", "long gIoU"]
    rows = {row.model: list(row.values.values()) for row in test.rows}
    assert rows["LISA-13B (ft)"] == [44.3, 42.0, 54.0, 54.3, 51.7, 51.1]
    assert rows["LISA-7B"] == [37.6, 34.4, 36.6, 34.7, 36.8, 34.1]
    assert not test.warnings

    (column,) = published_table("refcocog/val", "forced").columns
    values = [row.values[column] for row in published_table("refcocog/val", "forced").rows]
    assert (column, values) == (("overall", "cIoU"), [66.4, 67.9])
    referring = published_table("refcoco+/testB", "generate").warnings
    assert "of the protocol forced" in referring[0]
    assert "Table 2 was made without" in referring[1]
    assert published_table("scenes", "forced") is None


def test_right_and_wrong_pixels_have_their_colours():
    image = np.full((40, 40, 3), 128, np.uint8)
    target = np.zeros((40, 40), np.uint8)
    target[:, :20] = 1
    target[:, 30:] = 255
    prediction = np.zeros((40, 40), bool)
    prediction[:20] = True
    drawn = draw_errors(image, target, prediction).astype(int)
    for pixel, colour in (
        (drawn[10, 10], HIT),
        (drawn[30, 10], MISSED),
        (drawn[10, 25], EXTRA),
        (drawn[30, 25], None),
    ):
        want = 128 if colour is None else 0.45 * 128 + 0.55 * np.array(colour)
        np.testing.assert_allclose(pixel, want, atol=1)
    assert {tuple(p) for p in drawn[5:35, 32:38].reshape(-1, 3)} == {(255,) * 3, (128,) * 3}
    assert (drawn[10, 19] == 255).all()  # the outline of the truth


def test_large_pictures_become_small_ones():
    drawn = draw_errors(
        np.zeros((960, 1280, 3), np.uint8), np.zeros((960, 1280)), np.zeros((960, 1280), bool)
    )
    assert drawn.shape == (270, 360, 3)
    data = base64.b64decode(jpeg_uri(drawn).removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (360, 270)

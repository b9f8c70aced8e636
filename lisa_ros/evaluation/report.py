"""The report of a finished evaluation: report.json, and one HTML page that needs nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import CaseSource, EvaluationError
from lisa_ros.evaluation.overlays import draw_errors, jpeg_uri
from lisa_ros.evaluation.protocol import decode_mask
from lisa_ros.evaluation.provenance import joint_hash, versions
from lisa_ros.evaluation.published import PublishedTable, published_table
from lisa_ros.evaluation.records import Record
from lisa_ros.evaluation.scores import Result, Scores

SHOWN = 24  # samples at each end of the order by IoU
_BINS = 20  # of the histogram
_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Asked:
    """A question that was asked, and where its picture is."""

    index: int
    number: int  # of the question about the picture
    picture: str
    result: Result

    def values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "picture": self.picture,
            "instruction": self.result.instruction,
            "iou": self.result.iou,
            "status": self.result.status,
            "text": self.result.text,
            "groups": self.result.groups,
        }


def write_report(
    folder: Path,
    source: CaseSource,
    records: Mapping[int, Record],
    run: Mapping[str, Any],
    model_id: str,
) -> Scores:
    """Write `report.json` and `report.html`.

    Args:
        source: what was evaluated on; the pictures that are shown are read from it again.
        records: all of it, by number.
        run: what was evaluated (`run.json`).
        model_id: how the model is called.

    Returns:
        The scores.

    Raises:
        EvaluationError: no question could be asked.
    """
    questions = [
        Asked(record.index, number, record.picture, result)
        for record in records.values()
        for number, result in enumerate(record.results)
    ]
    bad = [record.error for record in records.values() if record.error is not None]
    if not questions:
        raise EvaluationError(
            f"{source.name}: none of {len(records)} samples gave a question"
            + (f"; the first: {bad[0]}" if bad else "")
        )
    results = [question.result for question in questions]
    scores = Scores.of(results)
    worst, best = _extremes(questions)
    table = published_table(source.name, run["protocol"]["name"])
    values = {
        **run,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "model": {"id": model_id, **run["model"]},
        "data": {
            **run["data"],
            "questions": len(results),
            "sha256": joint_hash(r.sha256 for r in records.values() if r.error is None),
        },
        "scores": {
            "overall": score_values(scores),
            **{group: score_values(row) for group, row in sorted(scores.by_group.items())},
        },
        "published": None if table is None else _published_values(table),
        "iou_histogram": np.histogram([r.iou for r in results], _BINS, (0, 1))[0].tolist(),
        "latency_ms": latencies(records.values()),
        "bad_samples": bad,
        "worst": [question.values() for question in worst],
        "best": [question.values() for question in best],
    }
    _write(folder / "report.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")
    drawn = _draw(source, [*worst, *best])
    figures = [
        ("Worst", list(zip(values["worst"], drawn[: len(worst)], strict=True))),
        ("Best", list(zip(values["best"], drawn[len(worst) :], strict=True))),
    ]
    _write(folder / "report.html", _page(values, table, figures))
    return scores


def score_values(scores: Scores) -> dict[str, float | int | None]:
    """A row of the report; None where there is nothing to take a share of."""
    present = scores.present
    return {
        "questions": scores.masks.count,
        "absent": scores.absent,
        "giou": scores.masks.giou if scores.masks.count else None,
        "ciou": scores.masks.ciou if scores.masks.count else None,
        "giou_present": present.giou if present.count else None,
        "n_acc": scores.refusal_rate,
        "t_acc": scores.target_accuracy,
        "refusal_rate": scores.refusal_rate,
        "false_refusal_rate": scores.false_refusal_rate,
        "naming_rate": scores.naming_rate,
    }


def percent(share: float | None) -> str:
    """A share for people; a dash where there is nothing to take a share of."""
    return "\u2013" if share is None else f"{100 * share:.1f}"


def latencies(records: Iterable[Record]) -> dict[str, dict[str, dict[str, float]]]:
    """Hardware to stage to percentiles in milliseconds a picture, its questions included.

    They are shares where a batch was about several pictures.
    """
    by_hardware: dict[str, dict[str, list[float]]] = {}
    for record in records:
        stages = by_hardware.setdefault(record.hardware, {}) if record.milliseconds else {}
        for stage, took in (record.milliseconds or {}).items():
            stages.setdefault(stage, []).append(took)
    return {
        hardware: {
            stage: {
                "p50": float(np.percentile(took, 50)),
                "p95": float(np.percentile(took, 95)),
                "pictures": len(took),
            }
            for stage, took in stages.items()
        }
        for hardware, stages in by_hardware.items()
    }


def _extremes(questions: Sequence[Asked]) -> tuple[list[Asked], list[Asked]]:
    """The worst and the best, each question in at most one of them.

    Of equal ones the one with more wrong pixels is worse, and the one with more right pixels
    better, so that rightly empty masks do not fill the page.
    """
    order = sorted(
        questions, key=lambda q: (q.result.iou, q.result.intersection - q.result.union, q.index)
    )
    best = sorted(questions, key=lambda q: (q.result.is_absent, -q.result.iou, q.index))
    worst = order[: min(SHOWN, (len(order) + 1) // 2)]
    chosen = {(q.index, q.number) for q in worst}
    return worst, [q for q in best if (q.index, q.number) not in chosen][:SHOWN]


def _draw(source: CaseSource, questions: Sequence[Asked]) -> list[str | None]:
    """The pictures of these questions as data URIs, each file read once; None if it is gone."""
    uris: dict[tuple[int, int], str] = {}
    for index in sorted({question.index for question in questions}):
        try:
            picture = source.read(index)
        except BadSampleError:
            continue  # it was read when it was asked about, and its score stands
        for question in questions:
            if question.index == index:
                target = picture.cases[question.number].target
                prediction = decode_mask(question.result.mask, picture.image.shape[:2])
                image = draw_errors(picture.image, target, prediction)
                uris[index, question.number] = jpeg_uri(image)
    return [uris.get((question.index, question.number)) for question in questions]


def _published_values(table: PublishedTable) -> dict[str, Any]:
    return {
        "source": table.source,
        "columns": [" ".join(column) for column in table.columns],
        "rows": {row.model: [row.values[column] for column in table.columns] for row in table.rows},
        "key": table.key,
        "warnings": list(table.warnings),
    }


def _own_row(values: Mapping[str, Any], table: PublishedTable | None) -> list[float | None]:
    """This evaluation's scores in percent, in the columns of the paper's table."""
    if table is None:
        return []
    row = []
    for group, metric in table.columns:
        score = values["scores"].get(group, {}).get(metric.lower())
        row.append(None if score is None else 100 * score)
    return row


def _page(values: Mapping[str, Any], table: PublishedTable | None, figures: Sequence[Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template(_TEMPLATE).render(
        **values, own_row=_own_row(values, table), figures=figures
    )


def _write(path: Path, text: str) -> None:
    # Two shards may finish at once, and a name of a file may be no UTF-8.
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

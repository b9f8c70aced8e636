"""What the LISA paper reports, to stand beside one's own scores, and what a reader must know.

Table 1 (ReasonSeg) and Table 2 (refCOCO) of Lai et al., "LISA: Reasoning Segmentation via Large
Language Model", CVPR 2024, arXiv:2308.00692v3.  LISA-Llama2-13B is of the table in the README of
github.com/dvlab-research/LISA (an earlier version of the paper).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAPER = "Lai et al., LISA: Reasoning Segmentation via Large Language Model, CVPR 2024"

_OVERALL = "overall"


@dataclass(frozen=True)
class PublishedScores:
    """One row: percent by column, (group, metric) each; `overall` is the group of all."""

    model: str
    values: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class PublishedTable:
    """What the paper says about one data set.

    Attributes:
        source: table and paper.
        columns: (group, metric), as the paper orders them.
        key: what the rows' names mean.
        warnings: what keeps a comparison from being fair.
    """

    source: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[PublishedScores]
    key: str
    warnings: Sequence[str]


# Model: val gIoU and cIoU; test: short gIoU, cIoU, long gIoU, cIoU, overall gIoU, cIoU.
_REASON_SEG = {
    "LISA-7B": (44.4, 46.0, 37.6, 34.4, 36.6, 34.7, 36.8, 34.1),
    "LISA-7B (ft)": (52.9, 54.0, 40.6, 40.6, 49.4, 51.0, 47.3, 48.4),
    "LISA-13B": (48.9, 46.9, 39.9, 43.3, 46.4, 46.5, 44.8, 45.8),
    "LISA-13B (ft)": (56.2, 62.9, 44.3, 42.0, 54.0, 54.3, 51.7, 51.1),
    "LISA-Llama2-13B (ft), README": (60.0, 67.8, 43.9, 45.8, 54.0, 53.8, 51.5, 51.3),
    "LISA-7B-LLaVA1.5": (53.6, 52.3, 47.1, 48.5, 49.2, 48.9, 48.7, 48.8),
    "LISA-7B-LLaVA1.5 (ft)": (61.3, 62.9, 48.3, 46.3, 57.9, 59.7, 55.6, 56.9),
    "LISA-13B-LLaVA1.5": (57.7, 60.3, 50.8, 50.0, 54.7, 50.9, 53.8, 50.8),
    "LISA-13B-LLaVA1.5 (ft)": (65.0, 72.9, 55.4, 50.6, 63.2, 65.3, 61.3, 62.2),
}
_REASON_SEG_COLUMNS = {
    "reason_seg/val": (0, [(_OVERALL, "gIoU"), (_OVERALL, "cIoU")]),
    "reason_seg/test": (
        2,
        [(group, m) for group in ("short", "long", _OVERALL) for m in ("gIoU", "cIoU")],
    ),
}

_REFERRING_SPLITS = (
    *("refcoco/val", "refcoco/testA", "refcoco/testB"),
    *("refcoco+/val", "refcoco+/testA", "refcoco+/testB"),
    *("refcocog/val", "refcocog/test"),
)
_REFERRING = {  # cIoU by the splits above
    "LISA-7B": (74.1, 76.5, 71.1, 62.4, 67.4, 56.5, 66.4, 68.5),
    "LISA-7B (fine-tuned on ReferSeg)": (74.9, 79.1, 72.3, 65.1, 70.8, 58.1, 67.9, 70.6),
}

SAW_VAL = (
    "The public v1 checkpoints (xinlai/LISA-7B-v1, LISA-13B-llama2-v1 and their -explanatory "
    "variants) were trained on ReasonSeg's train and val splits together, says the README of "
    "dvlab-research/LISA. What they, or a model fine-tuned from them, score on val is no measure "
    "of unseen data; use test."
)
_OTHER_WEIGHTS = (
    "Users of the published code did not reach these rows with the public checkpoints: cIoU 67.2 "
    "on refCOCO val and 60.9 on refCOCOg val with xinlai/LISA-7B-v1, 72.2 on refCOCO val with "
    "LISA-13B-llama2-v0 (dvlab-research/LISA, issues 72 and 162)."
)
_SAW_PICTURES = (
    "All pictures of refCOCO, refCOCO+ and refCOCOg are in COCO's train2017, which the default "
    "data of a training hold with masks and words. Table 2 was made without those of the val and "
    "test splits, says its author (dvlab-research/LISA, issue 15); the published code and `lisa "
    "train` do not leave them out. A model trained with them scores too high here."
)
_FREE = (
    "The paper's rows are of the protocol forced. Here the model answered freely, and may have "
    "refused or found several objects."
)
_FINE_TUNED = (
    "(ft): fine-tuned on the 239 pictures of ReasonSeg's train split. README: from the table in "
    "dvlab-research/LISA's README."
)


def published_table(name: str, protocol: str) -> PublishedTable | None:
    """What the paper says about a data set, by its name of the command line; None if nothing."""
    warnings = [_FREE] if protocol != "forced" else []
    if name in _REASON_SEG_COLUMNS:
        first, columns = _REASON_SEG_COLUMNS[name]
        rows = [
            PublishedScores(model, dict(zip(columns, values[first:], strict=False)))
            for model, values in _REASON_SEG.items()
        ]
        warnings += [SAW_VAL] if name.endswith("/val") else []
        return PublishedTable(f"{PAPER}, Table 1", columns, rows, _FINE_TUNED, warnings)
    if name in _REFERRING_SPLITS:
        at = _REFERRING_SPLITS.index(name)
        column = (_OVERALL, "cIoU")
        rows = [PublishedScores(model, {column: v[at]}) for model, v in _REFERRING.items()]
        warnings += [_SAW_PICTURES, _OTHER_WEIGHTS]
        return PublishedTable(f"{PAPER}, Table 2", [column], rows, "", warnings)
    return None

"""What the demo tells: words and positions on the terminal, pictures and clouds in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.markup import escape

from lisa_ros.evaluation.metrics import overlap
from lisa_ros.model.conversation import clean_explanation
from lisa_ros.msg import Answer
from lisa_ros.nodes.answer_messages import status_constant
from lisa_ros.nodes.image_conversion import image_to_rgb
from lisa_ros.perception import Status
from lisa_ros.sim.instructions import Question

# Of the contact sheet, in pixels.
_TILE = (480, 360)  # width and height of a picture
_CAPTION = 130
_GAP = 16
_COLUMNS = 3
_BOLD, _PLAIN = ImageFont.load_default(19), ImageFont.load_default(15)
_STATUS = {status_constant(status): status.name for status in Status}
_STAGES = {
    "SAM": "image_encoder_time",
    "CLIP": "vision_tower_time",
    "words": "decode_time",
    "mask": "mask_decoder_time",
    "3D": "geometry_time",
}


@dataclass(frozen=True)
class Exchange:
    """A question with its answer and the truth.

    Attributes:
        overlay: uint8 (H, W, 3), the answer on its picture.
        true_masks: (H, W) bool of each object that was asked for, in the order of the true answer.
        true_centres: (3,) of each, the middle of its visible surface in the camera's frame.
    """

    question: Question
    answer: Answer
    overlay: np.ndarray
    true_masks: Sequence[np.ndarray]
    true_centres: Sequence[np.ndarray]

    @property
    def status(self) -> str:
        """Name of the answer's status."""
        return _STATUS[self.answer.status]

    @property
    def iou(self) -> float:
        """Of all masks of the answer together with all objects that were asked for."""
        shape = self.overlay.shape[:2]
        found = np.zeros(shape, bool)
        for item in self.answer.objects:
            if item.area:
                found |= image_to_rgb(item.mask)[..., 0] > 0
        wanted = np.logical_or.reduce([np.zeros(shape, bool), *self.true_masks])
        both, either = overlap(found, wanted)
        return both / either if either else 1.0

    def positions(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Centroid and truth of each object, (3,) in metres, where the answer names as many."""
        objects = self.answer.objects
        if len(objects) != len(self.true_centres):
            return []
        return [
            (np.array([item.centroid.x, item.centroid.y, item.centroid.z]), truth)
            for item, truth in zip(objects, self.true_centres, strict=True)
            if item.has_geometry
        ]


class Report:
    """Writes as the demo goes on.

    Args:
        folder: gets `1_overlay.png`, `1_object.ply`, ..., `contact_sheet.png` and `answers.json`.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder, self._console = folder, console
        self._exchanges: list[Exchange] = []
        for old in (*folder.glob("[0-9]_overlay.png"), *folder.glob("[0-9]_object.ply")):
            old.unlink()

    def scene(self, seed: int, names: Sequence[str]) -> None:
        """A new scene is shown."""
        self._console.print(f"\n[bold]scene {seed}[/]: {', '.join(names)}")

    def exchange(self, exchange: Exchange) -> None:
        """A question was answered."""
        self._exchanges.append(exchange)
        number, answer = len(self._exchanges), exchange.answer
        say = self._console.print
        say(f"\n{number}. [bold cyan]{escape(exchange.question.instruction)}[/]")
        say(f"   {escape(answer.explanation or answer.message)}")
        truth = clean_explanation(exchange.question.answer)
        say(f"   [bold]{exchange.status}[/], IoU {exchange.iou:.2f}; true answer: {escape(truth)}")
        for found, true in exchange.positions():
            off = np.linalg.norm(found - true) * 1000
            say(f"   at {_metres(found)}; truly {_metres(true)}: {off:.0f} mm off")
        if answer.message and answer.objects:  # otherwise the words say it
            say(f"   [yellow]{escape(answer.message)}[/]")
        stages = ", ".join(
            f"{name} {getattr(answer, key) * 1e3:.0f}" for name, key in _STAGES.items()
        )
        say(f"   [dim]{answer.total_time * 1e3:.0f} ms: {stages}[/]")
        Image.fromarray(exchange.overlay).save(self._folder / f"{number}_overlay.png")
        if any(item.has_geometry for item in answer.objects):
            write_ply(self._folder / f"{number}_object.ply", answer)

    def finish(self) -> None:
        """All questions were answered."""
        contact_sheet(self._exchanges).save(self._folder / "contact_sheet.png")
        values = [_values(exchange) for exchange in self._exchanges]
        (self._folder / "answers.json").write_text(json.dumps(values, indent=2) + "\n")
        self._console.print(f"\npictures, clouds and logs are in {self._folder}/")


def contact_sheet(exchanges: Sequence[Exchange]) -> Image.Image:
    """All overlays with the words below them, and in the last place what they sum up to."""
    width, height = _TILE[0] + _GAP, _TILE[1] + _CAPTION
    rows = len(exchanges) // _COLUMNS + 1
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    corners = [(_GAP + k % _COLUMNS * width, _GAP + k // _COLUMNS * height) for k in range(99)]
    for (x, y), exchange in zip(corners, exchanges, strict=False):
        picture = Image.fromarray(exchange.overlay).resize(_TILE, Image.Resampling.LANCZOS)
        sheet.paste(picture, (x, y))
        y += _TILE[1] + 6
        question = _wrapped(f"“{exchange.question.instruction}”", _BOLD, _TILE[0], lines=2)
        draw.multiline_text((x, y), question, "black", _BOLD)
        y += 22 * (1 + question.count("\n")) + 4
        words = exchange.answer.explanation
        if exchange.status != "FOUND":
            words = f"{exchange.status}: {words}"
        draw.multiline_text((x, y), _wrapped(words, _PLAIN, _TILE[0], lines=3), "#444444", _PLAIN)
    x, y = corners[len(exchanges)]
    draw.multiline_text((x + 20, y + 20), _summary(exchanges), "black", _BOLD, spacing=12)
    return sheet


def _wrapped(text: str, font: Any, width: float, lines: int) -> str:
    """Text in lines of at most `width` pixels; what does not fit ends in dots."""
    done = [""]
    for word in text.split():
        longer = f"{done[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            done[-1] = longer
        elif len(done) < lines:
            done.append(word)
        else:
            done[-1] += " ..."
            break
    return "\n".join(done)


def _summary(exchanges: Sequence[Exchange]) -> str:
    errors = [
        float(np.linalg.norm(found - true)) for e in exchanges for found, true in e.positions()
    ]
    times = [exchange.answer.total_time for exchange in exchanges]
    lines = [
        f"{exchanges[0].answer.model}, {exchanges[0].answer.precision}",
        f"{np.median(times) * 1e3:.0f} ms an answer (median)",
    ]
    if errors:
        lines.append(f"{np.median(errors) * 1e3:.0f} mm off in space (median)")
    return "\n".join(lines)


def write_ply(path: Path, answer: Answer) -> None:
    """The coloured points of all objects of an answer."""
    import open3d

    points, colours = [], []
    for item in answer.objects:
        if item.has_geometry:
            rows = np.frombuffer(item.cloud.data, np.uint8).reshape(-1, item.cloud.point_step)
            points.append(rows[:, :12].copy().view("<f4"))
            colours.append(rows[:, 12:15][:, ::-1])  # stored as blue, green, red
    cloud = open3d.geometry.PointCloud()
    cloud.points = open3d.utility.Vector3dVector(np.concatenate(points).astype(float))
    cloud.colors = open3d.utility.Vector3dVector(np.concatenate(colours) / 255)
    open3d.io.write_point_cloud(path, cloud)


def _values(exchange: Exchange) -> dict[str, Any]:
    answer = exchange.answer
    return {
        "kind": exchange.question.kind,
        "instruction": exchange.question.instruction,
        "status": exchange.status,
        "explanation": answer.explanation,
        "message": answer.message,
        "true_answer": clean_explanation(exchange.question.answer),
        "iou": round(exchange.iou, 4),
        "positions": [
            {
                "found": found.round(4).tolist(),
                "true": true.round(4).tolist(),
                "error": round(float(np.linalg.norm(found - true)), 4),
            }
            for found, true in exchange.positions()
        ],
        "seconds": round(answer.total_time, 4),
        "model": answer.model,
    }


def _metres(xyz: np.ndarray) -> str:
    return "({:.3f}, {:.3f}, {:.3f}) m".format(*xyz)

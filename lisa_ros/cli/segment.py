"""`lisa segment IMAGE INSTRUCTION`: one question about one picture."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lisa_ros.cli.full_disk import named_if_full
from lisa_ros.cli.model_options import add_model_options, positive

if TYPE_CHECKING:
    import numpy as np

    from lisa_ros.perception import Answer

_DESCRIPTION = """\
Ask for something in a picture.  The words of the answer appear as the model says them; with --save
the masks, an overlay and the whole answer are written to a folder.
"""

_EXAMPLE = """\
example:
  lisa segment kitchen.jpg "change the TV channel" --model xinlai/LISA-7B-v1 --save out
"""

_MASK = re.compile(r"mask_[0-9]+\.png")  # name of a mask's file


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `segment` to the commands of `lisa`."""
    parser = commands.add_parser(
        "segment",
        help="ask for something in a picture",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="picture file (PNG, JPEG, ...)")
    parser.add_argument("instruction", metavar="INSTRUCTION", help="what to find, in plain words")
    add_model_options(parser)
    parser.add_argument(
        "--template",
        choices=("raw", "mask", "explain", "phrase"),
        help="the question the instruction is put into (default: the model's, explain for the "
        "published ones); phrase is for a bare noun phrase, raw leaves the words as they are",
    )
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=positive,
        default=512,
        help="longest answer in tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--mask-only",
        action="store_true",
        help='force the answer "[SEG]." (published evaluation protocol): no words',
    )
    parser.add_argument(
        "--json", action="store_true", help="print the answer as JSON, and nothing else"
    )
    parser.add_argument("--save", metavar="DIR", type=Path, help="write masks, overlay and answer")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer, print, save."""
    from lisa_ros.data.images import read_image
    from lisa_ros.perception import Finished, Segmenter, Words

    image = read_image(options.image)
    if options.save is not None:  # before the model is loaded for nothing
        _check_drawing()
        options.save.mkdir(parents=True, exist_ok=True)
        _check_folder(options.save, options.image)
    segmenter = Segmenter.from_pretrained(
        options.model,
        precision=options.precision,
        device=options.device,
        vision_tower=options.vision_tower,
        sam_config=options.sam_config,
        conversation=options.conversation,
    )
    segmenter.set_image(image)
    for event in segmenter.stream(
        options.instruction,
        template=options.template,
        max_new_tokens=options.max_new_tokens,
        mask_only=options.mask_only,
    ):
        if isinstance(event, Words) and not options.json:
            print(event.text, end="", flush=True)
        elif isinstance(event, Finished):
            answer = event.answer
    mask_files = []
    if options.save is not None:
        with named_if_full(options.save):
            mask_files = save_answer(options.save, image, answer)
    if options.json:
        print(_to_json(answer_values(answer, mask_files)))
    else:
        print()
        _print_summary(answer, options.save)
    return 0


def answer_values(answer: Answer, mask_files: list[str]) -> dict[str, Any]:
    """An answer as JSON values.

    Args:
        mask_files: file name of each object's mask; empty if none were written.
    """
    objects = [
        {
            "mask": mask_files[i] if mask_files else None,
            "box_xyxy": item.box_xyxy,
            "area": item.area,
            "scores": {
                name: None if score is None else round(score, 6)
                for name, score in vars(item.scores).items()
            },
        }
        for i, item in enumerate(answer.objects)
    ]
    return {
        "status": answer.status.value,
        "message": answer.message,
        "instruction": answer.instruction,
        "question": answer.question,
        "text": answer.text,
        "explanation": answer.explanation,
        "token_ids": answer.token_ids,
        "objects": objects,
        "language_view": answer.language_view,
        "timings_ms": {name: round(ms, 3) for name, ms in answer.timings_ms.items()},
        "model": answer.model_id,
        "precision": answer.precision,
    }


def save_answer(folder: Path, image: np.ndarray, answer: Answer) -> list[str]:
    """Write `overlay.png`, `mask_0.png` ... (0 or 255, size of the image) and `answer.json`.

    Masks of an earlier answer in the same folder, those that its `answer.json` lists, are removed,
    so that none is taken for this one's.

    Returns:
        File names of the masks.
    """
    from PIL import Image

    from lisa_ros.perception.overlay import draw_overlay

    for old in _earlier_masks(folder):
        old.unlink()
    names = [f"mask_{i}.png" for i in range(len(answer.objects))]
    for name, item in zip(names, answer.objects, strict=True):
        Image.fromarray(item.mask).convert("L").save(folder / name)
    Image.fromarray(draw_overlay(image, answer)).save(folder / "overlay.png")
    values = _to_json(answer_values(answer, names))
    # The name of the model's folder may be no UTF-8.
    (folder / "answer.json").write_text(values + "\n", encoding="utf-8", errors="backslashreplace")
    return names


def _earlier_masks(folder: Path) -> list[Path]:
    """The masks that the answer in a folder lists; none if it is not one of ours."""
    try:
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
        names = [item["mask"] for item in answer["objects"]]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return []
    masks = {folder / name for name in names if isinstance(name, str) and _MASK.fullmatch(name)}
    return [path for path in masks if path.is_file()]


def _check_drawing() -> None:
    from lisa_ros.model.errors import UsageError

    try:
        import cv2  # noqa: F401  # draws the overlay
    except ImportError as error:
        raise UsageError(
            f"--save draws an overlay with OpenCV, got {error}; pip install "
            "opencv-python-headless, or leave out --save"
        ) from error


def _check_folder(folder: Path, image: Path) -> None:
    """No file that may be written is the picture itself, by this name or another one."""
    from lisa_ros.model.errors import UsageError

    for path in folder.iterdir():
        is_ours = path.name in ("overlay.png", "answer.json") or _MASK.fullmatch(path.name)
        if is_ours and path.exists() and path.samefile(image):
            raise UsageError(
                f"--save: expected a folder without the picture itself, got {folder}, where the "
                f"answer's {path.name} would be written over it; name another folder"
            )


def _to_json(values: dict[str, Any]) -> str:
    """One key a line: a line for each of hundreds of token ids would be unreadable."""
    is_utf8 = (sys.stdout.encoding or "").lower() in ("utf-8", "utf8")  # else in escapes of JSON
    texts = {key: json.dumps(value, ensure_ascii=not is_utf8) for key, value in values.items()}
    lines = (f"  {json.dumps(key)}: {text}" for key, text in texts.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _print_summary(answer: Answer, folder: Path | None) -> None:
    print(f"{answer.status.value}: {answer.message}")
    for i, item in enumerate(answer.objects):
        box = "no box" if item.box_xyxy is None else f"box (x0, y0, x1, y1) {item.box_xyxy}"
        print(f"  object {i}: {item.area} pixels, {box}")
    print(f"  {answer.timings_ms['total']:.0f} ms, {answer.model_id}, {answer.precision}")
    if folder is not None:
        print(f"  saved in {folder}/")

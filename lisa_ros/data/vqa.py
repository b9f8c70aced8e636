"""Conversations about pictures in words: LLaVA-Instruct-150k and the mix665k of LLaVA v1.5.

Below one folder: `llava_dataset/<name>.json`, and the pictures in `coco/train2017` (150k) or in
`coco`, `gqa`, `ocr_vqa`, `textvqa` and `vg` (mix665k).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from lisa_ros.data.files import is_utf8, need_folder, read_json, read_picture
from lisa_ros.data.samples import BadSampleError, DataError, Sample

PICTURES = {"llava_instruct_150k": "coco/train2017", "llava_v1_5_mix665k": ""}  # from the folder

logger = logging.getLogger(__name__)


def open_vqa(folder: str | Path, name: str) -> Vqa:
    """Open a data set of conversations.

    Args:
        folder: see this module.
        name: a key of `PICTURES`.

    Raises:
        DataError: the name is unknown, the file is missing or broken, or a folder of pictures that
            it uses is missing.
    """
    if name not in PICTURES:
        raise DataError(f"no VQA data set {name!r}; there are {', '.join(PICTURES)}")
    file = Path(folder) / "llava_dataset" / f"{name}.json"
    entries = read_json(file)
    if not isinstance(entries, list):
        raise DataError(f"{file}: expected a list of objects with `image` and `conversations`")
    objects = [entry for entry in entries if isinstance(entry, dict)]
    problems = [
        f"{file}: entry number {number} is no object with `image` and `conversations`, but "
        f"{entry!r:.60}; mend or remove it"
        for number, entry in enumerate(entries, start=1)
        if not isinstance(entry, dict)
    ]
    about_pictures = [entry for entry in objects if entry.get("image")]
    if not about_pictures:
        raise DataError(f"{file} has no entries with an `image`; take the original file")
    images = Path(folder) / PICTURES[name]
    needed = {str(entry["image"]).rpartition("/")[0].partition("/")[0] for entry in about_pictures}
    for part in sorted(needed):
        need_folder(images / part, f"pictures that {file.name} names")
    skipped = len(objects) - len(about_pictures)
    return Vqa(f"vqa/{name}", file, images, about_pictures, skipped, problems)


class Vqa:
    """Conversations of one or more rounds about a picture; implements `DataSet`.

    Entries that are none are bad samples behind them.

    Attributes:
        skipped: how many entries of the file are about no picture.
    """

    def __init__(
        self,
        name: str,
        file: Path,
        images: Path,
        entries: Sequence[dict[str, Any]],
        skipped: int,
        problems: Sequence[str],
    ) -> None:
        """
        Args:
            problems: what is wrong with other entries.
        """
        self.name = name
        self.skipped = skipped
        self._problems = problems
        if skipped:
            logger.info("%s: %d entries are about no picture and are left out", file, skipped)
        self._file = file
        self._images = images
        # In one piece of memory, which the processes of a data loader share; 600,000 dicts would
        # be copied into each, for counting references writes to them.
        lines = [json.dumps([e["image"], e.get("conversations")]).encode() for e in entries]
        self._text = b"".join(lines)
        self._ends = np.fromiter(accumulate(map(len, lines)), np.int64, len(lines))

    def __len__(self) -> int:
        return len(self._ends) + len(self._problems)

    def read(self, index: int, rng: np.random.Generator | None = None) -> Sample:
        """One picture and the whole conversation about it; see `DataSet`."""
        if index >= len(self._ends):
            raise BadSampleError(self._problems[index - len(self._ends)])
        end = self._ends[index]
        start = self._ends[index - 1] if index else 0
        name, conversation = json.loads(self._text[start:end])
        try:
            turns = as_turns(conversation)
        except ValueError as error:
            raise BadSampleError(
                f"{self._file}: the conversation about {name} {error}; mend or remove it"
            ) from None
        path = self._images / str(name)
        return Sample(path, read_picture(path), turns=turns)


def as_turns(conversation: Any) -> tuple[tuple[str, str], ...]:
    """Questions and answers of LLaVA's messages `{"from": "human" or "gpt", "value": text}`.

    What the assistant says before the first question is left out, and so is the `<image>` mark:
    the image always belongs to the first question.

    Raises:
        ValueError: the messages are no questions and answers in turn, or one is empty or no UTF-8.
    """
    try:
        messages = [(str(m["from"]), _without_image(m["value"])) for m in conversation]
    except (TypeError, KeyError, AttributeError):
        raise ValueError("is no list of messages with `from` and `value`") from None
    if messages and messages[0][0] == "gpt":
        messages = messages[1:]
    if not messages or [sender for sender, _ in messages] != ["human", "gpt"] * (
        len(messages) // 2
    ):
        raise ValueError("does not go human, gpt, human, gpt, ...")
    if not all(text.strip() for _, text in messages):
        raise ValueError("has an empty message")
    if any("[SEG]" in text for _, text in messages):
        raise ValueError("says [SEG], which stands for a mask")
    texts = [text for _, text in messages]
    if not all(map(is_utf8, texts)):
        raise ValueError("has a message that is no UTF-8")
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _without_image(text: str) -> str:
    return text.replace("<image>", "").strip() if "<image>" in text else text

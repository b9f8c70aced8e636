"""From a mixture of data sets to the batches of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lisa_ros.data.dialogues import Dialogue
from lisa_ros.data.mixture import Item, Mixture
from lisa_ros.data.samples import BadSampleError, DataError
from lisa_ros.model.config import LisaConfig
from lisa_ros.model.conversation import Turn
from lisa_ros.model.preprocessing import clip_input, sam_input
from lisa_ros.model.tokenizer import LisaTokenizer
from lisa_ros.training.batch import Batch, Conversation

# Longest conversation, the image being one id, as published; what is beyond is cut off.
MAX_IDS = 512 - 255


@dataclass(frozen=True)
class FileBatch:
    """A batch on the host.

    Attributes:
        paths: the pictures it is made of.
        left_out: data set and index of bad samples that were met on the way for the first time.
    """

    batch: Batch
    paths: tuple[Path, ...]
    left_out: tuple[tuple[str, int], ...] = ()

    def __repr__(self) -> str:
        return ", ".join(map(str, self.paths))


def make_batch(items: Sequence[Item], tokenizer: LisaTokenizer, config: LisaConfig) -> FileBatch:
    """Samples, of any sizes, and what is said about them, as a batch."""
    sam = [sam_input(item.sample.image, config.sam.image_size) for item in items]
    clip = [
        clip_input(item.sample.image, config.clip_preprocessing, config.clip_view) for item in items
    ]
    conversations: list[Conversation] = []
    image_index: list[int] = []
    masks: list[torch.Tensor] = []
    for i, item in enumerate(items):
        wanted: list[np.ndarray] = []
        for dialogue in item.dialogues:
            conversation = _encode(dialogue, tokenizer, config)
            conversations.append(conversation)
            image_index.append(i)
            # A [SEG] may be in the part that was cut off.
            wanted += dialogue.masks[: conversation.ids.count(tokenizer.seg_id)]
        size = item.sample.image.shape[:2]
        masks.append(torch.from_numpy(np.stack([np.zeros(size, bool), *wanted])[1:]))
    batch = Batch(
        sam_pixels=torch.stack([pixels for pixels, _ in sam]),
        clip_pixels=torch.stack(clip),
        geometry=[geometry for _, geometry in sam],
        conversations=conversations,
        image_index=image_index,
        masks=masks,
    )
    return FileBatch(batch, tuple(item.sample.path for item in items))


def _encode(dialogue: Dialogue, tokenizer: LisaTokenizer, config: LisaConfig) -> Conversation:
    return Conversation.encode(
        tokenizer,
        [Turn(question, answer) for question, answer in dialogue.turns],
        template=config.conversation,
        use_im_start_end=config.use_im_start_end,
        max_length=MAX_IDS,
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A copy with its tensors on the device."""
    return replace(
        batch,
        sam_pixels=batch.sam_pixels.to(device),
        clip_pixels=batch.clip_pixels.to(device),
        masks=[masks.to(device) for masks in batch.masks],
    )


class MixtureBatches(Dataset[FileBatch | DataError]):
    """Batch number k of a mixture, the same whenever it is asked for.

    An error about the data is given back, not raised: a DataLoader's worker would make another one
    of it, with a traceback.
    """

    def __init__(
        self, mixture: Mixture, size: int, tokenizer: LisaTokenizer, config: LisaConfig
    ) -> None:
        self._mixture, self._size = mixture, size
        self._tokenizer, self._config = tokenizer, config

    def __getitem__(self, number: int) -> FileBatch | DataError:
        numbers = range(number * self._size, (number + 1) * self._size)
        known = len(self._mixture.bad)
        try:
            items = [self._mixture.item(k, self._check) for k in numbers]
        except DataError as error:
            return error
        batch = make_batch(items, self._tokenizer, self._config)
        return replace(batch, left_out=tuple(self._mixture.bad)[known:])

    def _check(self, item: Item) -> None:
        """Refuse a question that leaves no room for its answer: nothing would be learned of it."""
        for dialogue in item.dialogues:
            conversation = _encode(dialogue, self._tokenizer, self._config)
            if conversation.answer_at == len(conversation.ids):
                raise BadSampleError(
                    f"{item.sample.path}: the question {dialogue.turns[0][0]!r:.60} leaves no room "
                    f"for its answer within {MAX_IDS} tokens; shorten it"
                )


def share_of_batches(
    batches: MixtureBatches,
    first: int,
    count: int,
    *,
    process: int,
    processes: int,
    workers: int,
    left_out: set[tuple[str, int]],
) -> Iterator[FileBatch]:
    """What one of several processes reads: its batches from its `first` to its `count`-th.

    The k-th of all batches goes to process k modulo `processes`.

    Args:
        left_out: gets data set and index of each bad sample that was met.

    Raises:
        DataError: see `Mixture.item`; raised by the iterator.
    """
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first * processes + process, count * processes, processes),
        num_workers=workers,
        # Forked, they share the annotations, which can be gigabytes; they never touch a GPU.
        multiprocessing_context="fork" if workers else None,
    )
    return map(partial(_checked, left_out=left_out), loader)


def _checked(batch: FileBatch | DataError, left_out: set[tuple[str, int]]) -> FileBatch:
    if isinstance(batch, DataError):
        raise batch
    left_out.update(batch.left_out)
    return batch

"""The evaluation itself: read, ask, compare, keep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import CaseSource, EvaluationError, Picture
from lisa_ros.evaluation.protocol import Outcome, Protocol, ask
from lisa_ros.evaluation.provenance import hardware, picture_hash
from lisa_ros.evaluation.records import Record, RecordFolder
from lisa_ros.perception import Segmenter

logger = logging.getLogger(__name__)


def check_finished(
    source: CaseSource, folder: RecordFolder, *, strict: bool = False
) -> Iterator[Record]:
    """Compare what this shard has finished with the data of today; yields each that is the same.

    One that cannot be read any more is told of, and counts as it was.

    Args:
        strict: raise at a picture that cannot be read any more.

    Raises:
        EvaluationError: a picture, question or true mask is another one now.
        BadSampleError: a picture cannot be read any more, if `strict`.
    """
    records = folder.read()
    for index in folder.shard.indices(len(source)):
        record = records.get(index)
        if record is None or record.error is not None:
            continue
        try:
            picture = source.read(index)
        except BadSampleError as error:
            if strict:
                raise
            logger.warning("%s counts as it was when done, but now: %s", record.picture, error)
            yield record
            continue
        if picture_hash(picture) != record.sha256:
            raise EvaluationError(
                f"{folder.folder} was begun with other data: {picture.name} is not what it was "
                f"({record.picture}); name another folder, or remove this one to begin anew"
            )
        yield record


def evaluate(
    segmenter: Segmenter,
    source: CaseSource,
    protocol: Protocol,
    folder: RecordFolder,
    *,
    batch_size: int = 8,
    strict: bool = False,
) -> Iterator[Record]:
    """Do what the shard has not finished; yields each record once it is on disk.

    A picture that could not be done before is tried again.

    Args:
        batch_size: questions that are asked at once, about a picture or about several.
        strict: raise at a bad sample, instead of a record that says what is wrong with it.

    Raises:
        BadSampleError: the first bad sample, if `strict`.
    """
    records = folder.read()
    device = hardware(segmenter.model.device)
    todo = [
        index
        for index in folder.shard.indices(len(source))
        if index not in records or records[index].error is not None
    ]
    with folder.writer() as write:
        for index, done in ask_each(segmenter, source, todo, protocol, batch_size=batch_size):
            if isinstance(done, BadSampleError):
                if strict:
                    raise done
                record = Record(index, error=str(done))
            else:
                name, sha256 = done.picture.name, picture_hash(done.picture)
                record = Record(index, name, sha256, done.results, done.milliseconds, device)
            write(record)
            yield record


def ask_each(
    segmenter: Segmenter,
    source: CaseSource,
    indices: Iterable[int],
    protocol: Protocol,
    *,
    batch_size: int,
) -> Iterator[tuple[int, Outcome | BadSampleError]]:
    """Ask everything about some of the pictures; yields each one's number and what it gave.

    Pictures with at most `batch_size` questions together are asked about together.
    """
    batch: dict[int, Picture] = {}

    def ask_waiting() -> Iterator[tuple[int, Outcome | BadSampleError]]:
        if batch:
            yield from _ask_batch(segmenter, batch, protocol, batch_size)
            batch.clear()

    for index in indices:
        try:
            picture = source.read(index)
        except BadSampleError as error:
            yield from ask_waiting()  # before it, to keep the order
            yield index, error
            continue
        if len(picture.cases) + sum(len(other.cases) for other in batch.values()) > batch_size:
            yield from ask_waiting()
        batch[index] = picture
    yield from ask_waiting()


def _ask_batch(
    segmenter: Segmenter, batch: Mapping[int, Picture], protocol: Protocol, batch_size: int
) -> Iterator[tuple[int, Outcome | BadSampleError]]:
    try:
        outcomes = ask(segmenter, list(batch.values()), protocol, batch_size=batch_size)
    except BadSampleError as error:
        if len(batch) == 1:
            yield next(iter(batch)), error
            return
        for index, picture in batch.items():  # which of them it is, shows alone
            yield from _ask_batch(segmenter, {index: picture}, protocol, batch_size)
        return
    yield from zip(batch, outcomes, strict=True)

"""The evaluation itself: read, ask, compare, keep."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from lisa_ros.data.samples import BadSampleError
from lisa_ros.evaluation.cases import CaseSource, EvaluationError
from lisa_ros.evaluation.protocol import Protocol, ask
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
        batch_size: questions about a picture that are asked at once.
        strict: raise at a bad sample, instead of a record that says what is wrong with it.

    Raises:
        BadSampleError: the first bad sample, if `strict`.
    """
    records = folder.read()
    device = hardware(segmenter.model.device)
    with folder.writer() as write:
        for index in folder.shard.indices(len(source)):
            if index in records and records[index].error is None:
                continue
            try:
                record = _do(segmenter, source, protocol, index, batch_size, device)
            except BadSampleError as error:
                if strict:
                    raise
                record = Record(index, error=str(error))
            write(record)
            yield record


def _do(
    segmenter: Segmenter,
    source: CaseSource,
    protocol: Protocol,
    index: int,
    batch_size: int,
    device: str,
) -> Record:
    picture = source.read(index)
    results, milliseconds = ask(segmenter, picture, protocol, batch_size=batch_size)
    return Record(index, picture.name, picture_hash(picture), results, milliseconds, device)

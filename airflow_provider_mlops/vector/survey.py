"""Reading the source: once to know what is wanted before anything is written, once more to write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from airflow_provider_mlops.errors import SourceEmpty
from airflow_provider_mlops.vector.documents import Chunk, DocumentReader, UnusableRecord
from airflow_provider_mlops.vector.ledger import Ledger
from airflow_provider_mlops.vector.progress import Progress
from airflow_provider_mlops.vector.sources import PathLike, Source, SourceRecord
from airflow_provider_mlops.vector.spec import VectorIndex

OnBad = Callable[[SourceRecord, str], None]
# A record with its chunks, or with what is wrong with it.
_Reading = tuple[SourceRecord, list[Chunk], str]

# So many records are noted at a time (more of them would not fit into a processor's cache); fewer, where they are long.
_RECORDS = 100
_CHARACTERS = 4_000_000


@dataclass(slots=True)
class Survey:
    """What the source holds.

    :param documents: how many usable documents.
    :param chunks: how many chunks they have.
    :param records: how many records there were.
    :param bad: how many of them are unusable.
    :param first_problem: why the first of those is.
    """

    documents: int = 0
    chunks: int = 0
    records: int = 0
    bad: int = 0
    first_problem: str = ""


def survey(index: VectorIndex, source: Source, ledger: Ledger, on_bad: OnBad) -> Survey:
    """Read the source to its end, and note in the ledger what it wants.

    :param on_bad: gets the unusable records, those with a repeated key among them.
    :raises SourceEmpty: it holds no usable document.
    """
    result = Survey()
    for group in _groups(_readings(index, source)):
        new = iter(ledger.add([chunks for _, chunks, _ in group if chunks]))
        for record, chunks, problem in group:
            result.records += 1
            if chunks and not next(new):
                problem = f"key {chunks[0].doc!r} appears again"
            if problem:
                result.bad += 1
                result.first_problem = result.first_problem or f"{record.where}: {problem}"
                on_bad(record, problem)
    ledger.complete()
    result.documents, result.chunks = ledger.documents, ledger.chunks
    if not result.documents:
        cause = (
            f": all {result.bad} records are unusable, the first: {result.first_problem}"
            if result.bad
            else ""
        )
        raise SourceEmpty(f"Index {index.name!r}: source {source} holds no document{cause}")
    return result


def _readings(index: VectorIndex, source: Source) -> Iterator[_Reading]:
    chunks_of = DocumentReader(index).chunks
    for record in Progress(f"Index {index.name}", "records read").over(source.records()):
        try:
            yield record, chunks_of(record.checked()), ""
        except UnusableRecord as problem:
            yield record, [], str(problem)


def _groups(readings: Iterable[_Reading]) -> Iterator[list[_Reading]]:
    """For the ledger, which takes many at a time as fast as one."""
    group: list[_Reading] = []
    characters = 0
    for reading in readings:
        group.append(reading)
        characters += sum([len(chunk.text) for chunk in reading[1]])
        if len(group) == _RECORDS or characters > _CHARACTERS:
            yield group
            group, characters = [], 0
    yield group


def wanted_chunks(index: VectorIndex, source: Source, ledger: Ledger) -> Iterator[Chunk]:
    """Read the source once more, for all chunks that it wants."""
    chunks_of = DocumentReader(index).chunks
    for record in source.records():
        try:
            chunks = chunks_of(record.checked())
        except UnusableRecord:
            continue  # counted when the source was surveyed
        yield from filter(ledger.wants, chunks)


def planned_chunks(index: VectorIndex, source: Source, ledger: Ledger) -> Iterator[tuple[Chunk, bool]]:
    """Read the source once more, for the chunks that are planned, each once; with whether a version lacks them."""
    reader = DocumentReader(index)
    for record in source.records():
        try:
            fields = record.checked()
            if not ledger.awaits(reader.key(fields)):
                continue
            chunks = reader.chunks(fields)
        except UnusableRecord:
            continue  # counted when the source was surveyed
        for chunk in chunks:
            lacking = ledger.claim(chunk)
            if lacking is not None:
                yield chunk, lacking


class DeadLetters:
    """Unusable records as JSON lines, in a file that is made when the first one comes.

    :param path: where to write, or ``None`` to keep nothing; an older file there is replaced.
    """

    def __init__(self, path: PathLike | None) -> None:
        self._path = path
        self._file: IO[Any] | None = None

    def __call__(self, record: SourceRecord, problem: str) -> None:
        """Keep one record with its problem."""
        if self._path is None:
            return
        if self._file is None:
            self._file = self._path.open("w")
        letter = {
            "where": record.where,
            "problem": problem,
            "record": record.record,
            "raw": record.raw or None,
        }
        self._file.write(json.dumps(letter, ensure_ascii=True, default=repr) + "\n")

    @property
    def used(self) -> bool:
        """Whether there was any."""
        return self._file is not None

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

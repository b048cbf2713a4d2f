"""Reading the source: once to know what is wanted before anything is written, once more to write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from airflow_provider_mlops.errors import SourceEmpty
from airflow_provider_mlops.vector.documents import Chunk, UnusableRecord, chunks_of
from airflow_provider_mlops.vector.sources import PathLike, Source, SourceRecord
from airflow_provider_mlops.vector.spec import VectorIndex

OnBad = Callable[[SourceRecord, str], None]


@dataclass(slots=True)
class Survey:
    """What the source holds.

    :param digests: chunk id to digest.
    :param documents: keys of the usable documents.
    :param records: how many records there were.
    :param bad: how many of them are unusable.
    :param first_problem: why the first of those is.
    """

    digests: dict[str, str] = field(default_factory=dict)
    documents: set[str] = field(default_factory=set)
    records: int = 0
    bad: int = 0
    first_problem: str = ""


def walk(index: VectorIndex, source: Source, on_bad: OnBad) -> Iterator[list[Chunk]]:
    """Chunks of one usable document after another; unusable records and repeated keys go to ``on_bad``."""
    seen: set[str] = set()
    for record in source.records():
        try:
            chunks = chunks_of(index, record.checked())
            key = chunks[0].doc
            if key in seen:
                raise UnusableRecord(f"key {key!r} appears again")
        except UnusableRecord as problem:
            on_bad(record, str(problem))
            continue
        seen.add(key)
        yield chunks


def survey(index: VectorIndex, source: Source, on_bad: OnBad) -> Survey:
    """Read the source to its end.

    :raises SourceEmpty: it holds no usable document.
    """
    result = Survey()

    def note(record: SourceRecord, problem: str) -> None:
        result.bad += 1
        result.first_problem = result.first_problem or f"{record.where}: {problem}"
        on_bad(record, problem)

    for chunks in walk(index, source, note):
        result.documents.add(chunks[0].doc)
        result.digests.update((chunk.id, chunk.digest) for chunk in chunks)
    result.records = len(result.documents) + result.bad
    if not result.documents:
        cause = (
            f": all {result.bad} records are unusable, the first: {result.first_problem}"
            if result.bad
            else ""
        )
        raise SourceEmpty(f"Index {index.name!r}: source {source} holds no document{cause}")
    return result


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

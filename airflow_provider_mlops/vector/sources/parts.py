"""Parts of a source, for workers that share it. Which part a document is in follows from its name alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.documents import DocumentReader, UnusableRecord
from airflow_provider_mlops.vector.sources.base import Source, SourceRecord
from airflow_provider_mlops.vector.sources.files import Files
from airflow_provider_mlops.vector.spec import VectorIndex

By = Literal["file", "key"]
#: With fewer files per part, some parts would get much more than others.
FILES_PER_PART = 8


def part_number(name: str, parts: int) -> int:
    """Which of the parts a name belongs to, the same on every machine: 0 to ``parts - 1``."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()) % parts


def split_by(source: Source, parts: int) -> By:
    """Whether whole files can be shared out, or each part has to pick its documents out of everything."""
    many = isinstance(source, Files) and len(source.files) >= FILES_PER_PART * parts
    return "file" if many else "key"


def part_of(index: VectorIndex, source: Source, by: By, number: int, parts: int) -> Source:
    """One part of a source. All parts together are the source.

    :param by: as :func:`split_by` said.
    :raises InvalidArgument: it is to be split by file, and does not consist of files.
    """
    if by == "key":
        return _ByKey(index, source, number, parts)
    if not isinstance(source, Files):
        raise InvalidArgument(
            f"Index {index.name!r}: the plan found files, and this source is {type(source).__name__}",
            next_step="Give the plan, its shards and the index task the same source.",
        )
    chosen = [file for file in source.files if part_number(str(file.path), parts) == number]
    return replace(source, files=chosen)


@dataclass(frozen=True, slots=True)
class _ByKey:
    index: VectorIndex
    source: Source
    number: int
    parts: int

    def records(self) -> Iterator[SourceRecord]:
        """Those whose key belongs here; records without any key are in the first part."""
        key_of = DocumentReader(self.index).key
        for record in self.source.records():
            try:
                mine = part_number(key_of(record.checked()), self.parts) == self.number
            except UnusableRecord:
                mine = self.number == 0
            if mine:
                yield record

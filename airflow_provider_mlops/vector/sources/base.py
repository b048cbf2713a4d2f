"""What every source offers, and what they share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any, NamedTuple, Protocol

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector.documents import UnusableRecord
from airflow_provider_mlops.vector.errors import SourceUnreadable


class PathLike(Protocol):
    """The part of pathlib that is used; ``pathlib.Path`` and Airflow's ``ObjectStoragePath`` both have it."""

    @property
    def name(self) -> str: ...

    def open(self, mode: str = "r") -> IO[Any]: ...

    def exists(self) -> bool: ...

    def is_file(self) -> bool: ...

    def glob(self, pattern: str) -> Iterable[Any]: ...


class SourceRecord(NamedTuple):
    """One record, or the reason why there is none.

    :param where: file and line (or number), for people.
    :param record: the decoded object.
    :param problem: why it could not be decoded.
    :param raw: the start of the undecodable line.
    """

    where: str
    record: Mapping[str, Any] | None
    problem: str = ""
    raw: str = ""

    def checked(self) -> Mapping[str, Any]:
        """The record.

        :raises UnusableRecord: there is none.
        """
        if self.record is None:
            raise UnusableRecord(self.problem)
        return self.record


class Source(Protocol):
    """Gives the same records each time it is read."""

    def records(self) -> Iterator[SourceRecord]:
        """All records, once.

        :raises SourceUnreadable: it cannot be read to its end.
        """


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Name what broke off. Storage clients and database drivers have no common errors, so all of them count.

    :param where: file or table that is read.
    :raises SourceUnreadable: something went wrong inside the block.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        raise SourceUnreadable(f"Source {where}: {type(error).__name__}: {error}") from error


def plain(value: Any) -> Any:
    """A value of a typed source as JSON would hold it: dates as ISO 8601 text, decimals as numbers."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return value

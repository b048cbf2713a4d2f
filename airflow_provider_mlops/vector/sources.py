"""Where documents come from: JSON Lines files, or a function. Records are streamed, and read twice in a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from airflow_provider_mlops.errors import SourceEmpty
from airflow_provider_mlops.vector.documents import UnusableRecord


class PathLike(Protocol):
    """The part of pathlib that is used; ``pathlib.Path`` and Airflow's ``ObjectStoragePath`` both have it."""

    @property
    def name(self) -> str: ...

    def open(self, mode: str = "r") -> IO[Any]: ...

    def exists(self) -> bool: ...

    def glob(self, pattern: str) -> Iterable[Any]: ...


@dataclass(frozen=True, slots=True)
class SourceRecord:
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
        """All records, once."""


@dataclass(frozen=True, slots=True, repr=False)
class Records:
    """Documents from a function of your own.

    Wrap the function: Airflow calls bare functions in templated fields by itself.

    :param function: called without arguments, possibly several times; yields one mapping per document,
        each time the same.
    """

    function: Callable[[], Iterable[Any]]

    def __repr__(self) -> str:
        # Airflow hashes a DAG by the texts of its arguments: no memory address may be among them.
        function = self.function
        return f"Records({function.__module__}:{getattr(function, '__qualname__', type(function).__name__)})"

    def records(self) -> Iterator[SourceRecord]:
        """What the function yields; anything but a mapping is an unusable record."""
        for number, record in enumerate(self.function(), start=1):
            if isinstance(record, Mapping):
                yield SourceRecord(f"record {number}", record)
            else:
                yield SourceRecord(
                    f"record {number}", None, f"not a mapping but {type(record).__name__}", repr(record)[:500]
                )


@dataclass(frozen=True, slots=True)
class JsonlFiles:
    """Documents from JSON Lines files: one JSON object per line, UTF-8; empty lines are skipped.

    :param paths: the files, in order.
    """

    paths: Sequence[PathLike]

    def __str__(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}" if self.paths else "without files"

    def records(self) -> Iterator[SourceRecord]:
        """One record per line; a cut-off or otherwise undecodable line is an unusable record."""
        for path in self.paths:
            with path.open("rb") as lines:
                # Airflow 2.11 wraps opened files in an object that cannot be iterated.
                for number, line in enumerate(iter(lines.readline, b""), start=1):
                    if line.strip():
                        yield _decode(f"{path.name}:{number}", line)


def _decode(where: str, line: bytes) -> SourceRecord:
    try:
        record = json.loads(line)
    except ValueError as error:  # includes UnicodeDecodeError
        return SourceRecord(where, None, f"not JSON: {error}", line[:500].decode("utf-8", "replace"))
    if not isinstance(record, dict):
        return SourceRecord(where, None, "not a JSON object", line[:500].decode("utf-8", "replace"))
    return SourceRecord(where, record)


def find_files(text: str, make_path: Callable[[str], Any]) -> list[Any]:
    """Files that a URI or path names; ``*``, ``?`` and ``**`` are expanded, in the order of their names.

    :param text: URI or path, with or without wildcards.
    :param make_path: turns a URI without wildcards into a path.
    :raises SourceEmpty: nothing is there.
    """
    parts = text.split("/")
    first = next((number for number, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    if first is None:
        path = make_path(text)
        found = [path] if path.exists() else []
    else:
        base = make_path("/".join(parts[:first]) or ("/" if text.startswith("/") else "."))
        found = sorted(base.glob("/".join(parts[first:])), key=str) if base.exists() else []
    if not found:
        raise SourceEmpty(
            f"Source {text!r}: no such file", next_step="Check the path, and that the worker may read it."
        )
    return found

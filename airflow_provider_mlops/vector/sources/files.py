"""Documents from files: JSON Lines, Parquet, Arrow, and texts that are one document each."""

from __future__ import annotations

import gzip
import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from airflow_provider_mlops.errors import SourceEmpty
from airflow_provider_mlops.vector.sources.base import PathLike, SourceRecord, reading

TEXT_SUFFIXES = (".md", ".markdown", ".txt", ".rst")
ARROW_SUFFIXES = (".arrow", ".feather")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, with its name below the folder that was searched (``guide/start.md``)."""

    path: PathLike
    name: str


@dataclass(frozen=True, slots=True)
class Files:
    """Documents from files, each read by the end of its name.

    ``.parquet``: rows. ``.arrow`` and ``.feather``: rows of Arrow's file format. ``.md``, ``.markdown``,
    ``.txt``, ``.rst``: one document per file, whose key is its name below the folder that was searched, with
    the fields ``path`` and ``name`` besides. Everything else: JSON Lines, one object per line, empty lines
    skipped. Texts and JSON Lines are UTF-8, and may be compressed with gzip (``.gz``).

    :param files: the files, in order.
    :param key: field that gets the name of a text file.
    :param text: field that gets its content.
    :param columns: of Parquet and Arrow files; default all.
    """

    files: Sequence[FoundFile]
    key: str = "id"
    text: str = "text"
    columns: frozenset[str] | None = None

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0].path}{more}" if self.files else "without files"

    def records(self) -> Iterator[SourceRecord]:
        """One record per line, row or file. What cannot be decoded is an unusable record.

        :raises SourceUnreadable: a file is gone, damaged, or cut off where its format can tell.
        """
        for file in self.files:
            with reading(str(file.path)):
                yield from self._read(file)

    def _read(self, file: FoundFile) -> Iterator[SourceRecord]:
        name = file.name.lower()
        if name.endswith((".parquet", *ARROW_SUFFIXES)):
            from airflow_provider_mlops.vector.sources.arrow_files import arrow_records

            yield from arrow_records(file.path, self.columns, parquet=name.endswith(".parquet"))
        elif name.removesuffix(".gz").endswith(TEXT_SUFFIXES):
            yield self._document(file)
        else:
            yield from _json_lines(file.path)

    def _document(self, file: FoundFile) -> SourceRecord:
        with _opened(file.path) as stream:
            content = stream.read()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return SourceRecord(
                file.name, None, f"not UTF-8: {error}", content[:500].decode("utf-8", "replace")
            )
        fields = {"path": str(file.path), "name": file.path.name, self.key: file.name, self.text: text}
        return SourceRecord(file.name, fields)


def _opened(path: PathLike) -> IO[bytes]:
    stream: IO[bytes] = path.open("rb")
    # A cut-off gzip file is an EOFError when its end is read.
    return gzip.open(stream) if path.name.lower().endswith(".gz") else stream  # type: ignore[return-value]


def _json_lines(path: PathLike) -> Iterator[SourceRecord]:
    name = path.name
    with _opened(path) as lines:
        # Airflow 2.11 wraps opened files in an object that cannot be iterated.
        for number, line in enumerate(iter(lines.readline, b""), start=1):
            if line.strip():
                yield _decode(f"{name}:{number}", line)


def _decode(where: str, line: bytes) -> SourceRecord:
    try:
        # As text, since ``json.loads`` looks for five encodings in bytes; JSON Lines are UTF-8.
        record = json.loads(line.removeprefix(BOM_UTF8).decode())
    except ValueError as error:  # includes UnicodeDecodeError
        return SourceRecord(where, None, f"not JSON: {error}", line[:500].decode("utf-8", "replace"))
    if not isinstance(record, dict):
        return SourceRecord(where, None, "not a JSON object", line[:500].decode("utf-8", "replace"))
    return SourceRecord(where, record)


def find_files(text: str, make_path: Callable[[str], Any]) -> list[FoundFile]:
    """Files that a URI or path names; ``*``, ``?`` and ``**`` are expanded, in the order of their names.

    :param text: URI or path, with or without wildcards.
    :param make_path: turns a URI without wildcards into a path.
    :raises SourceEmpty: nothing is there.
    :raises SourceUnreadable: the folder cannot be listed.
    """
    parts = text.split("/")
    first = next((number for number, part in enumerate(parts) if any(sign in part for sign in "*?[")), None)
    with reading(repr(text)):
        if first is None:
            path = make_path(text)
            found = [FoundFile(path, path.name)] if path.exists() else []
        else:
            base = make_path("/".join(parts[:first]) or ("/" if text.startswith("/") else "."))
            paths = sorted(base.glob("/".join(parts[first:])), key=str) if base.exists() else []
            found = [FoundFile(path, _below(path, base)) for path in paths if path.is_file()]
    if not found:
        raise SourceEmpty(
            f"Source {text!r}: no such file", next_step="Check the path, and that the worker may read it."
        )
    return found


def _below(path: Any, base: Any) -> str:
    return str(path).removeprefix(str(base)).lstrip("/")

"""Small JSON files at a URI: a local folder, or whatever an ``ObjectStoragePath`` reaches.

Locally a file appears whole by temporary file, fsync and rename. An object store shows an object only
once it is complete, so there the file is written in place.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import Any

from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.release.errors import LedgerCorrupt

_FILE_SCHEME = "file://"


def local_path(uri: str) -> Path | None:
    """The path of a ``file://`` URI or of a plain absolute path; ``None`` for any other scheme."""
    if uri.startswith(_FILE_SCHEME):
        return Path(uri.removeprefix(_FILE_SCHEME))
    return Path(uri) if uri.startswith("/") else None


def uri_of(path: Any) -> str:
    """URI of a path."""
    return f"{_FILE_SCHEME}{path}" if _is_local(path) else str(path)


def read_json(path: Any) -> dict[str, Any] | None:
    """The object in the file, or ``None`` if there is no file.

    :raises LedgerCorrupt: the file does not hold a JSON object.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = json.loads(content)
    except ValueError as error:
        raise LedgerCorrupt(f"{uri_of(path)} is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise LedgerCorrupt(f"{uri_of(path)} does not hold a JSON object")
    return data


def write_json(path: Any, data: Mapping[str, Any]) -> None:
    """Write the object so that readers see the old file or the new one, never a part.

    :raises StorageUnwritable: it cannot be written.
    """
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        if _is_local(path):
            _replace(path, text)
        else:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageUnwritable(f"{uri_of(path)}: {error.strerror or error}") from error


def remove(path: Any) -> None:
    """Remove the file if it is there."""
    with suppress(FileNotFoundError):
        path.unlink()


def names(folder: Any) -> list[str]:
    """Names of the ``.json`` files in a folder, without the ending; empty if there is no folder."""
    try:
        return [
            path.name.removesuffix(".json")
            for path in folder.iterdir()
            if path.name.endswith(".json") and not path.name.startswith(".")
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def alone(folder: Any) -> Iterator[None]:
    """Keep other processes out, where the storage can: on a local folder, by a lock of the kernel."""
    if not _is_local(folder):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise StorageUnwritable(f"{uri_of(folder)}: {error.strerror or error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_local(path: Any) -> bool:
    # On Airflow 2.11 and 3.1 an ObjectStoragePath is a pathlib.Path too, though not one of this machine.
    return isinstance(path, PosixPath)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()

"""LanceDB: its bare OSError, RuntimeError and ValueError as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_mlops.errors import RemoteUnavailable, StorageUnwritable
from airflow_provider_mlops.vector.errors import IndexFilesDamaged

_UNWRITABLE = (
    "permission denied",
    "read-only",
    "no space left",
    "quota exceeded",
    "file too large",
    "not a directory",
    "access denied",
)
# A file that a table names and that is not there, and one that ends too early.
_DAMAGED = ("lance error: not found", "failed to fill whole buffer", "file size is too small")


@contextmanager
def translated(index: str) -> Iterator[None]:
    """Translate what LanceDB raises inside the block.

    :param index: name of the index, for the message.
    :raises StorageUnwritable: the folder cannot be used.
    :raises IndexFilesDamaged: files of the table are missing or cut off.
    :raises RemoteUnavailable: anything else.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error)
        lower = text.lower()
        if any(sign in lower for sign in _DAMAGED):
            raise IndexFilesDamaged(f"Index {index!r}: LanceDB cannot read the table: {text}") from error
        if isinstance(error, PermissionError | NotADirectoryError | FileNotFoundError) or any(
            sign in lower for sign in _UNWRITABLE
        ):
            raise StorageUnwritable(f"Index {index!r}: the LanceDB folder cannot be used: {text}") from error
        raise RemoteUnavailable(f"Index {index!r}: LanceDB failed: {text}") from error

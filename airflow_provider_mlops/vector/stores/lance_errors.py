"""LanceDB: its bare OSError, RuntimeError and ValueError as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_mlops.errors import RemoteUnavailable, StorageUnwritable


@contextmanager
def translated(index: str) -> Iterator[None]:
    """Translate what LanceDB raises inside the block.

    :param index: name of the index, for the message.
    :raises StorageUnwritable: the folder cannot be used.
    :raises RemoteUnavailable: anything else.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        text = str(error)
        signs = ("permission denied", "read-only", "no space left", "not a directory", "access denied")
        if isinstance(error, PermissionError | NotADirectoryError | FileNotFoundError) or any(
            sign in text.lower() for sign in signs
        ):
            raise StorageUnwritable(f"Index {index!r}: the LanceDB folder cannot be used: {text}") from error
        raise RemoteUnavailable(f"Index {index!r}: LanceDB failed: {text}") from error

"""Embeddings paid for once: a SQLite file keyed by text and embedder. What was stored survives a killed worker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import StorageUnwritable

if TYPE_CHECKING:
    import numpy as np

# SQLite allows 999 placeholders in its oldest builds still in use.
_KEYS_PER_QUERY = 900


class EmbeddingCache:
    """Vectors by (embedder, text).

    Several processes may use one file at a time: each call is one transaction, and a writer waits up to 30 s
    for another. The file belongs on a disk, not on a network share.

    :param path: the file; made on first use, with its folder.
    :param identity: the embedder's identity; vectors of other embedders are not seen.
    :raises StorageUnwritable: the file cannot be made or is no such cache.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._prefix = json.dumps(identity, sort_keys=True).encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageUnwritable(f"Embedding cache {str(path)!r}: {error}") from error

    def _key(self, text: str) -> bytes:
        return blake2b(self._prefix + b"\0" + text.encode(), digest_size=16).digest()

    def get(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors of those texts that are known."""
        import numpy as np

        keys = {self._key(text): text for text in texts}
        wanted = list(keys)
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            part = wanted[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            for key, blob in self._db.execute(
                f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part
            ):
                found[keys[key]] = np.frombuffer(blob, dtype="<f4")
        return found

    def put(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors; when it returns, a killed process does not lose them.

        :raises StorageUnwritable: the disk is full or the file cannot be written.
        """
        rows = [(self._key(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StorageUnwritable(f"Embedding cache: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

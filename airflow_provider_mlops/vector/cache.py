"""Embeddings paid for once: a SQLite file keyed by embedder, kind and text. What was stored survives a killed worker."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.vector.embedders.base import TextKind

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

# SQLite allows 999 placeholders in its oldest builds still in use.
_KEYS_PER_QUERY = 900
#: Marks our files ("embd"), so that a database of somebody else's is not written to.
_APPLICATION_ID = 0x656D6264
_MAGIC = b"SQLite format 3\0"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DAY = 86400
#: Default bound of a cache, in bytes.
MAX_BYTES = 10 * 1024**3
# What is left when the bound was passed; making room a little at a time would make it for every batch.
_KEPT = 0.8
_COMPANIONS = ("", "-wal", "-shm")


class EmbeddingCache:
    """Vectors by (embedder, kind, text).

    Several processes may use one file at a time: each call is one transaction, and a writer waits up to 30 s
    for another. The file belongs on a disk, not on a network share. A cache that cannot be written any more
    (full disk, a lock held too long) is said so in the log once and costs money, but no run. A damaged file
    is set aside and a new one begun.

    :param path: the file; made on first use, with its folder.
    :param identity: the embedder's identity; vectors of other embedders are not seen.
    :param max_bytes: bound of what is stored; beyond it, the vectors go that were not used for longest.
    :raises StorageUnwritable: the file cannot be made or is no such cache.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._prefix = json.dumps(identity, sort_keys=True).encode()
        self._max_bytes = max_bytes
        self._today = int(time.time() // _DAY)
        self._complained = False
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _connect(self._path)
            except sqlite3.DatabaseError as error:
                if not _damaged(error) or not _is_database(self._path):
                    raise
                self._set_aside(error)
                return _connect(self._path)
        except (OSError, sqlite3.Error) as error:
            raise StorageUnwritable(f"Embedding cache {str(self._path)!r}: {error}") from error

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        for suffix in _COMPANIONS:
            companion = self._path.with_name(self._path.name + suffix)
            if companion.exists():
                companion.rename(aside.with_name(aside.name + suffix))
        log.warning(
            "Embedding cache %s is damaged (%s): set aside as %s, beginning anew",
            self._path,
            error,
            aside.name,
        )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Errors of the file end up in the log: the embedder can still be asked."""
        try:
            yield
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if _damaged(error):
                self._db.close()
                self._set_aside(error)
                self._db = self._open()
            elif not self._complained:
                self._complained = True
                log.warning(
                    "Embedding cache %s cannot be used (%s); what is embedded now may have to be embedded again",
                    self._path,
                    error,
                )

    def _keys(self, texts: Sequence[str], kind: TextKind) -> dict[bytes, str]:
        start = blake2b(self._prefix + b"\0" + kind.encode() + b"\0", digest_size=16)
        keys = {}
        for text in texts:
            state = start.copy()
            state.update(text.encode())
            keys[state.digest()] = text
        return keys

    def known(self, texts: Sequence[str], kind: TextKind = "passage") -> set[str]:
        """Those of the texts that have a vector here."""
        keys = self._keys(texts, kind)
        found: set[str] = set()
        with self._guarded():
            for (key,) in self._select("key", list(keys)):
                found.add(keys[key])
        return found

    def get(self, texts: Sequence[str], kind: TextKind = "passage") -> dict[str, np.ndarray]:
        """Vectors of those texts that are known."""
        import numpy as np

        keys = self._keys(texts, kind)
        found: dict[str, np.ndarray] = {}
        stale: list[bytes] = []
        with self._guarded():
            for key, vector, used in self._select("key, vector, used", list(keys)):
                found[keys[key]] = np.frombuffer(vector, dtype="<f4")
                if used < self._today:
                    stale.append(key)
            if stale:
                self._write(
                    "UPDATE embeddings SET used = ? WHERE key = ?", [(self._today, key) for key in stale]
                )
        return found

    def put(self, vectors: Mapping[str, np.ndarray], kind: TextKind = "passage") -> None:
        """Keep vectors; when it returns, a killed process does not lose them."""
        rows = [
            (key, vectors[text].astype("<f4").tobytes(), self._today)
            for key, text in self._keys(list(vectors), kind).items()
        ]
        with self._guarded():
            self._write("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
            self._make_room()

    def _select(self, columns: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            part = keys[start : start + _KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            yield from self._db.execute(f"SELECT {columns} FROM embeddings WHERE key IN ({marks})", part)

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")

    def _bytes(self) -> int:
        size, pages, free = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        return int(size * (pages - free))

    def _make_room(self) -> None:
        used = self._bytes()
        if used <= self._max_bytes:
            return
        (count,) = self._db.execute("SELECT count(*) FROM embeddings").fetchone()
        surplus = int(count * (1 - _KEPT * self._max_bytes / used))
        self._write(
            "DELETE FROM embeddings WHERE key IN (SELECT key FROM embeddings ORDER BY used LIMIT ?)",
            [(surplus,)],
        )
        log.info("Embedding cache %s: %d vectors went that were not used for longest", self._path, surplus)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open or make a cache.

    :raises StorageUnwritable: a database of another kind.
    """
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION_ID:
            raise StorageUnwritable(f"{str(path)!r} is a database, but no embedding cache")
        if application != _APPLICATION_ID:
            # Vectors of common lengths fill pages of this size well.
            db.execute("PRAGMA page_size = 16384")
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        # In this mode a killed process loses nothing that was committed; a power cut may cost the last batches.
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS embeddings"
            " (key BLOB PRIMARY KEY, vector BLOB NOT NULL, used INTEGER NOT NULL)"
        )
    except BaseException:
        db.close()
        raise
    return db


def _damaged(error: sqlite3.Error) -> bool:
    # The low byte is the cause, the others say more about it.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _is_database(path: Path) -> bool:
    """Whether it begins like one: any other file is somebody's, and stays where it is."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC

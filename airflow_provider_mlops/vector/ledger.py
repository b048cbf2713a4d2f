"""What the source wants and what a version holds, side by side on disk, so that memory does not grow with either."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.errors import ScratchSpaceExhausted
from airflow_provider_mlops.vector.sync_plan import DocumentPlan, SyncPlan

# What is kept in memory of the whole file; to sort an index takes as much again.
_CACHE_KIB = 16 * 1024

_NOT_PLANNED, _NEW, _CHANGED, _SENT = range(4)
#: Digest of a chunk that a version holds more than once; no real digest is empty.
_REPEATED = ""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _exhausted(error) from error


def _exhausted(error: sqlite3.Error) -> ScratchSpaceExhausted:
    return ScratchSpaceExhausted(f"The worker's temporary folder cannot be written: {error}")


class Ledger:
    """Chunk ids and digests of the source, compared with those of versions.

    It is one nameless SQLite file in the worker's temporary folder (``SQLITE_TMPDIR``, else ``TMPDIR``, else
    ``/var/tmp``), which is gone with the process, however that ends. It takes about 150 bytes per chunk and
    version; memory stays at some 32 MB.

    Every method raises :class:`ScratchSpaceExhausted` when that folder is full.
    """

    def __init__(self) -> None:
        #: Documents and chunks that the source wants.
        self.documents = 0
        self.chunks = 0
        self._holdings = 0
        self._places = 0
        with _translated():
            self._db = sqlite3.connect("", isolation_level=None)
            for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._db.execute(
                "CREATE TABLE documents (key TEXT PRIMARY KEY, place INT, awaited INT) WITHOUT ROWID"
            )
            self._db.execute("CREATE TABLE wanted (id TEXT, digest TEXT, doc TEXT, state INT)")
            # One transaction for all: nothing is ever rolled back, or read by others.
            self._db.execute("BEGIN")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, documents: Sequence[Sequence[Chunk]]) -> list[bool]:
        """Note the chunks of some documents.

        :returns: for each of them whether it is new; one whose key was there before is not noted.
        """
        keys = [(chunks[0].doc, self._places + number) for number, chunks in enumerate(documents)]
        self._places += len(keys)
        with _translated():
            added = self._db.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?, 0)", keys).rowcount
            new = [True] * len(keys) if added == len(keys) else [self._is_at(*key) for key in keys]
            chunks = [
                chunk for chunks, fresh in zip(documents, new, strict=True) if fresh for chunk in chunks
            ]
            self._db.executemany(
                f"INSERT INTO wanted VALUES (?, ?, ?, {_NOT_PLANNED})",
                [(chunk.id, chunk.digest, chunk.doc) for chunk in chunks],
            )
        self.documents += added
        self.chunks += len(chunks)
        return new

    def complete(self) -> None:
        """Everything was added: sort it, which takes less than keeping it sorted would, as ids come in any order."""
        with _translated():
            self._db.execute("CREATE UNIQUE INDEX wanted_id ON wanted (id)")

    def _is_at(self, key: str, place: int) -> bool:
        (first,) = self._db.execute("SELECT place FROM documents WHERE key = ?", (key,)).fetchone()
        return bool(first == place)

    def _one(self, statement: str, *values: str) -> sqlite3.Cursor:
        # Once or twice per chunk: a context manager would take as long as the statement.
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise _exhausted(error) from error

    def hold(self, scan: Iterable[tuple[str, str, str]]) -> Holding:
        """Note what a version holds.

        :param scan: its chunks as (id, document key, digest), in any order.
        """
        self._holdings += 1
        return Holding(self._db, f"held_{self._holdings}", scan, self)

    def schedule(self, holding: Holding) -> None:
        """Plan the writes that bring the holding to what is wanted; see :meth:`claim`."""
        with _translated():
            self._db.execute(
                f"UPDATE wanted SET state = ifnull((SELECT CASE held.digest WHEN wanted.digest THEN {_NOT_PLANNED} "
                f"WHEN '{_REPEATED}' THEN {_NEW} ELSE {_CHANGED} END "
                f"FROM {holding.table} AS held WHERE held.id = wanted.id), {_NEW})"
            )
            self._db.execute("UPDATE documents SET awaited = 0")
            self._db.execute(
                "UPDATE documents SET awaited = 1 WHERE key IN "
                f"(SELECT doc FROM wanted WHERE state IN ({_NEW}, {_CHANGED}))"
            )

    def awaits(self, key: str) -> bool:
        """Whether any chunk of a document is planned."""
        row = self._one("SELECT awaited FROM documents WHERE key = ?", key).fetchone()
        return bool(row and row[0])

    def claim(self, chunk: Chunk) -> bool | None:
        """Take a planned chunk, once.

        :returns: true if the version lacks it, false if it holds another state of it, ``None`` if it is not
            planned (any more).
        """
        query = "SELECT state FROM wanted WHERE id = ? AND digest = ?"
        row = self._one(query, chunk.id, chunk.digest).fetchone()
        if row is None or row[0] not in (_NEW, _CHANGED):
            return None
        self._one(f"UPDATE wanted SET state = {_SENT} WHERE id = ?", chunk.id)
        return bool(row[0] == _NEW)

    def wants(self, chunk: Chunk) -> bool:
        """Whether this is one of the source's chunks; a repeated document's are not."""
        with _translated():
            query = "SELECT 1 FROM wanted WHERE id = ? AND digest = ?"
            return self._db.execute(query, (chunk.id, chunk.digest)).fetchone() is not None

    def unclaimed(self) -> int:
        """Planned chunks that were not claimed."""
        with _translated():
            query = f"SELECT COUNT(*) FROM wanted WHERE state IN ({_NEW}, {_CHANGED})"
            return int(self._db.execute(query).fetchone()[0])

    def ids(self, *, claimed_only: bool = False) -> Iterator[str]:
        """Ids of the wanted chunks, or of those that were claimed, in order."""
        condition = f"WHERE state = {_SENT}" if claimed_only else ""
        with _translated():
            for (chunk,) in self._db.execute(f"SELECT id FROM wanted {condition} ORDER BY id"):
                yield chunk


class Holding:
    """What one version held when it was looked at. Made by :meth:`Ledger.hold`."""

    def __init__(
        self, db: sqlite3.Connection, table: str, scan: Iterable[tuple[str, str, str]], ledger: Ledger
    ) -> None:
        self._db = db
        self.table = table
        self._ledger = ledger
        with _translated():
            db.execute(f"CREATE TABLE {table} (id TEXT, doc TEXT, digest TEXT)")
            db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", scan)
            db.execute(f"CREATE INDEX {table}_id ON {table} (id)")
            # Of chunks that are there more than once, one stays, marked.
            repeated = f"SELECT id FROM {table} GROUP BY id HAVING COUNT(*) > 1"
            db.execute(f"UPDATE {table} SET digest = '{_REPEATED}' WHERE id IN ({repeated})")
            db.execute(
                f"DELETE FROM {table} WHERE digest = '{_REPEATED}' AND rowid NOT IN "
                f"(SELECT MIN(rowid) FROM {table} WHERE digest = '{_REPEATED}' GROUP BY id)"
            )

    def plan(self) -> SyncPlan:
        """What separates the version from what is wanted."""
        with _translated():
            known, changed, repeated = self._db.execute(
                f"SELECT COUNT(held.id), ifnull(SUM(held.digest <> wanted.digest), 0), "
                f"ifnull(SUM(held.digest = '{_REPEATED}'), 0) "
                f"FROM wanted LEFT JOIN {self.table} AS held ON held.id = wanted.id"
            ).fetchone()
            (held,) = self._db.execute(f"SELECT COUNT(*) FROM {self.table}").fetchone()
        return SyncPlan(
            added=self._ledger.chunks - known + repeated,
            updated=changed - repeated,
            deleted=held - known,
            unchanged=known - changed,
        )

    def gone(self) -> tuple[int, int, str]:
        """Documents that the version holds and the source lacks: how many, of how many, and the first of them."""
        with _translated():
            gone, first = self._db.execute(
                f"SELECT COUNT(DISTINCT doc), ifnull(MIN(doc), '') FROM {self.table} WHERE NOT EXISTS "
                "(SELECT 1 FROM documents WHERE key = doc)"
            ).fetchone()
            (all_of_them,) = self._db.execute(f"SELECT COUNT(DISTINCT doc) FROM {self.table}").fetchone()
        return gone, all_of_them, first

    def documents(self) -> DocumentPlan:
        """The same as :meth:`plan` and :meth:`gone`, by documents."""
        gone, held, _ = self.gone()
        with _translated():
            (changed,) = self._db.execute(
                f"SELECT COUNT(*) FROM (SELECT wanted.doc FROM wanted LEFT JOIN {self.table} AS held "
                "ON held.id = wanted.id WHERE held.digest IS NOT wanted.digest "
                f"UNION SELECT held.doc FROM {self.table} AS held WHERE NOT EXISTS "
                "(SELECT 1 FROM wanted WHERE wanted.id = held.id)) AS touched "
                f"WHERE doc IN (SELECT key FROM documents) AND doc IN (SELECT doc FROM {self.table})"
            ).fetchone()
        known = held - gone
        return DocumentPlan(self._ledger.documents - known, changed, gone, known - changed)

    def __contains__(self, chunk: object) -> bool:
        with _translated():
            query = f"SELECT 1 FROM {self.table} WHERE id = ? AND digest <> '{_REPEATED}'"
            return self._db.execute(query, (chunk,)).fetchone() is not None

    def repeated(self) -> Iterator[str]:
        """Ids that the version holds more than once, in order; a plan counts them as lacking."""
        yield from self._ids(f"digest = '{_REPEATED}'")

    def stale(self) -> Iterator[str]:
        """Ids that the version holds and the source lacks, in order."""
        yield from self._ids(f"NOT EXISTS (SELECT 1 FROM wanted WHERE wanted.id = {self.table}.id)")

    def sample(self, documents: int | None) -> Iterator[tuple[str, str]]:
        """Chunks of documents that are picked at random, or of all, as (id, document key), document by document."""
        picked = (
            ""
            if documents is None
            else f"WHERE doc IN (SELECT doc FROM (SELECT DISTINCT doc FROM {self.table}) "
            f"ORDER BY random() LIMIT {int(documents)})"
        )
        with _translated():
            yield from self._db.execute(f"SELECT id, doc FROM {self.table} {picked} ORDER BY doc")

    def _ids(self, condition: str) -> Iterator[str]:
        with _translated():
            for (chunk,) in self._db.execute(f"SELECT id FROM {self.table} WHERE {condition} ORDER BY id"):
                yield chunk

    def close(self) -> None:
        """Give its space back."""
        with _translated():
            self._db.execute(f"DROP TABLE {self.table}")

"""LanceDB: rows on their way into a table. Every commit costs the same whatever it holds, so few of them are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.stores.base import Row
from airflow_provider_mlops.vector.stores.lance_rows import arrow_batch, is_vector

# Rows per Arrow batch, and how many of these wait for LanceDB at the most.
_ROWS_PER_BATCH = 1000
_WAITING = 3
# Seconds between two looks whether the writing thread is still there.
_LOOK = 0.5
# Vectors and texts (bytes) that one commit of changed rows takes: they are held in memory until then.
_MERGE_BYTES = 32_000_000


class LanceWriter:
    """Writes rows into the head of a table; :meth:`flush` commits. A kill before loses what was not committed.

    New rows are streamed: LanceDB writes files while the next rows are still being made. Changed rows are collected.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._schema = table.schema
        # LanceDB takes a missing vector for a bad one, which only those of a second name can be. Half as slow again.
        sparse = sum(map(is_vector, self._schema)) > 1
        self._on_bad_vectors = "null" if sparse else "error"
        self._appending: _Append | None = None
        self._changed: dict[str, Row] = {}
        self._changed_bytes = 0

    def append(self, rows: Sequence[Row]) -> None:
        """Take rows that the table lacks."""
        if self._appending is None:
            self._appending = _Append(
                partial(self._table.add, on_bad_vectors=self._on_bad_vectors), self._schema
            )
        for part in batches(rows, _ROWS_PER_BATCH):
            # Made here and not where LanceDB reads, so that both work at a time.
            self._appending.put(arrow_batch(part, self._schema))

    def merge(self, rows: Sequence[Row]) -> None:
        """Take rows that the table may hold; commits by itself when there are many."""
        self._changed.update((row.id, row) for row in rows)
        self._changed_bytes += sum([row.vector_bytes + len(row.text) for row in rows])
        if self._changed_bytes > _MERGE_BYTES:
            self._commit_changed()

    def flush(self) -> None:
        """Commit everything that was taken. Raises what LanceDB does."""
        appending, self._appending = self._appending, None
        if appending:
            appending.commit()
        self._commit_changed()

    def abandon(self) -> None:
        """Commit nothing that was taken since the last commit."""
        appending, self._appending = self._appending, None
        if appending:
            appending.abandon()
        self._changed.clear()

    def _commit_changed(self) -> None:
        rows, self._changed, self._changed_bytes = list(self._changed.values()), {}, 0
        if rows:
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(
                arrow_batch(rows, self._schema), on_bad_vectors=self._on_bad_vectors
            )


class _Abandoned(Exception):
    """Raised inside LanceDB's reading of a stream, so that it gives the commit up."""


class _Append:
    """One commit that is being streamed, in a thread that waits for LanceDB."""

    def __init__(self, add: Callable[[Any], Any], schema: Any) -> None:
        self._batches: Queue[Any] = Queue(_WAITING)
        self._failure: BaseException | None = None
        self._abandoned = False
        self._thread = Thread(target=self._run, args=(add, schema), name="lance-append", daemon=True)
        self._thread.start()

    def _run(self, add: Callable[[Any], Any], schema: Any) -> None:
        import pyarrow as pa

        try:
            add(pa.RecordBatchReader.from_batches(schema, self._stream()))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for the commit
            self._failure = error

    def _stream(self) -> Iterator[Any]:
        while (batch := self._batches.get()) is not None:
            yield batch
        if self._abandoned:
            raise _Abandoned

    def put(self, batch: Any) -> None:
        """Hand an Arrow batch over; ``None`` is the end."""
        while self._thread.is_alive():
            try:
                self._batches.put(batch, timeout=_LOOK)
            except Full:
                continue
            return
        raise self._failure or RuntimeError("the write ended early")

    def commit(self) -> None:
        self.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure

    def abandon(self) -> None:
        self._abandoned = True
        with suppress(Empty):
            while True:
                self._batches.get_nowait()
        if self._thread.is_alive():
            self.put(None)
            self._thread.join()

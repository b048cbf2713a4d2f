"""LanceDB: the right to write, as a row in a table of its own that is taken by a conditional update.

Of several updates of one row at a time LanceDB lets one win, which makes it a compare-and-set.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_provider_mlops.vector.errors import IndexBusy
from airflow_provider_mlops.vector.stores.base import LEASE_SECONDS, release_after
from airflow_provider_mlops.vector.stores.lance_errors import translated
from airflow_provider_mlops.vector.stores.lance_rows import quoted


@contextmanager
def lance_lease(database: Any, index: str, holder: str) -> Iterator[LanceLease]:
    """Become the only writer; see :class:`~airflow_provider_mlops.vector.stores.base.Store`."""
    import pyarrow as pa

    free = pa.table({"name": ["lease"], "token": [""], "holder": [""], "expires": [0.0], "clean": [True]})
    with translated(index):
        table = database.create_table(f"{index}_lease", schema=free.schema, exist_ok=True)
        if not table.count_rows():
            # Several first runs may get here at once; rows that they insert twice are always updated together.
            merge = table.merge_insert("name").when_not_matched_insert_all()
            merge.execute(free)
    lease = LanceLease(table, index, holder)
    try:
        yield lease
    except BaseException as error:
        release_after(error, lease)
        raise
    lease.release(clean=True)


class LanceLease:
    """See :class:`~airflow_provider_mlops.vector.stores.base.Lease`."""

    def __init__(self, table: Any, index: str, holder: str) -> None:
        self._table = table
        self._index = index
        self._token = uuid.uuid4().hex
        self._wrote = False
        now = time.time()
        taken = self._update(
            f"expires < {now} OR holder = {quoted(holder)}",
            token=self._token,
            holder=holder,
            expires=now + LEASE_SECONDS,
        )
        if not taken:
            other = self._row()
            raise IndexBusy(
                f"Index {index!r} is being written by {other['holder']!r}, "
                f"whose lease ends in {max(0, other['expires'] - now):.0f} s",
                holder=other["holder"],
            )
        self._unclean = not self._row()["clean"]

    @property
    def unclean(self) -> bool:
        """A run before this one began to write and did not end well."""
        return self._unclean

    def _update(self, condition: str, **values: Any) -> bool:
        with translated(self._index):
            self._table.checkout_latest()
            return bool(self._table.update(where=condition, values=values).rows_updated)

    def _row(self) -> Mapping[str, Any]:
        with translated(self._index):
            self._table.checkout_latest()
            row: Mapping[str, Any] = self._table.search().limit(1).to_list()[0]
            return row

    def renew(self) -> None:
        """Look at the lease, and write it anew when a third of its time has passed: each write is a file for ever."""
        row = self._row()
        if row["token"] != self._token:
            raise self._taken_over(row)
        if row["expires"] - time.time() < LEASE_SECONDS * 2 / 3:
            self._keep()

    def writing(self) -> None:
        """Mark the index as unclean."""
        self._keep(clean=False)
        self._wrote = True

    def _keep(self, **values: Any) -> None:
        if not self._update(f"token = '{self._token}'", expires=time.time() + LEASE_SECONDS, **values):
            raise self._taken_over(self._row())

    def _taken_over(self, row: Mapping[str, Any]) -> IndexBusy:
        return IndexBusy(f"Index {self._index!r}: {row['holder']!r} has taken over; this run stops")

    def release(self, *, clean: bool) -> None:
        """Let others in; a lease that was taken over stays with its new holder."""
        values = {"clean": True} if clean and self._wrote else {}
        self._update(f"token = '{self._token}'", holder="", expires=0.0, **values)

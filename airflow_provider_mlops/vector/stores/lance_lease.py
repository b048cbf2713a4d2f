"""LanceDB: the right to write, as a row in a table of its own that is taken by a conditional update.

Of several updates of one row at a time LanceDB lets one win, which makes it a compare-and-set.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector.errors import IndexBusy
from airflow_provider_mlops.vector.stores.base import LEASE_SECONDS, release_after, tenure_over
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


class _Row:
    """The row, which several processes read and change."""

    def __init__(self, table: Any, index: str) -> None:
        self._table = table
        self._index = index

    def _update(self, condition: str, **values: Any) -> bool:
        with translated(self._index):
            self._table.checkout_latest()
            return bool(self._table.update(where=condition, values=values).rows_updated)

    def _row(self) -> Mapping[str, Any]:
        with translated(self._index):
            self._table.checkout_latest()
            row: Mapping[str, Any] = self._table.search().limit(1).to_list()[0]
            return row


class LanceLease(_Row):
    """See :class:`~airflow_provider_mlops.vector.stores.base.Lease`."""

    def __init__(self, table: Any, index: str, holder: str) -> None:
        super().__init__(table, index)
        self.token = uuid.uuid4().hex
        self._wrote = False
        self._left = False
        now = time.time()
        before = self._row()
        self.continues: str | None = before["token"] if before["holder"] == holder else None
        taken = self._update(
            f"token = {quoted(before['token'])} AND (expires < {now} OR holder = {quoted(holder)})",
            token=self.token,
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

    def renew(self) -> None:
        """Look at the lease, and write it anew when a third of its time has passed: each write is a file for ever."""
        row = self._row()
        if row["token"] != self.token:
            raise self._taken_over(row)
        if row["expires"] - time.time() < LEASE_SECONDS * 2 / 3:
            self._keep()

    def writing(self) -> None:
        """Mark the index as unclean."""
        self._keep(clean=False)
        self._wrote = True

    def _keep(self, **values: Any) -> None:
        if not self._update(f"token = '{self.token}'", expires=time.time() + LEASE_SECONDS, **values):
            raise self._taken_over(self._row())

    def _taken_over(self, row: Mapping[str, Any]) -> IndexBusy:
        return IndexBusy(f"Index {self._index!r}: {row['holder']!r} has taken over; this run stops")

    def leave(self) -> None:
        """Leave the lease to a holder of the same name."""
        self._left = True

    def release(self, *, clean: bool) -> None:
        """Let others in; a lease that was taken over stays with its new holder."""
        if clean and self._left:
            return
        values = {"clean": True} if clean and self._wrote else {}
        self._update(f"token = '{self.token}'", holder="", expires=0.0, **values)


class JoinedLease(_Row):
    """See :class:`~airflow_provider_mlops.vector.stores.base.Joined`.

    :param table: that of the lease, or ``None`` where there is none.
    """

    def __init__(self, table: Any, index: str, token: str) -> None:
        super().__init__(table, index)
        self._token = token
        self.renew()

    def renew(self) -> None:
        """Prolong it when a third of its time has passed; where several do so at once, one of them is enough."""
        if self._seconds_left() > LEASE_SECONDS * 2 / 3:
            return
        try:
            self._update(f"token = {quoted(self._token)}", expires=time.time() + LEASE_SECONDS)
        except RemoteUnavailable:
            if self._seconds_left() <= LEASE_SECONDS * 2 / 3:
                raise
        self._seconds_left()

    def _seconds_left(self) -> float:
        row = self._row() if self._table is not None else None
        if row is None or row["token"] != self._token or not row["holder"]:
            raise tenure_over(self._index)
        return float(row["expires"] - time.time())

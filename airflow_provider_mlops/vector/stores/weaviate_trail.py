"""Weaviate: making the last writes survive a crash of the server.

The server confirms a request once it has written its logs, but it writes the log of the vector graph before the graph
has taken up the request's own objects (``putBatch`` in version 1.38: ``flushWALs`` comes before ``wg.Wait``). So a crash
loses the place in the graph of what was confirmed last, until another request to the same shard has written that log.
Objects sent again as they are change nothing, and are such a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.base import Row

# A shard is a hash of the id: with so many per shard, one that none of them falls into is as likely as 1 to 10 million.
_ROWS_PER_SHARD = 16
_MOST_ROWS = 2000


class Trail:
    """A few of the rows written last, at least one in every shard that was written to."""

    def __init__(self) -> None:
        self._last: deque[Row] = deque(maxlen=_MOST_ROWS)
        self._of_tenants: dict[str, Row] = {}

    def note(self, rows: Sequence[Row]) -> None:
        """Rows that were sent."""
        if rows and placed(rows[0].id)[0] is not None:
            self._of_tenants.update((placed(row.id)[0] or "", row) for row in rows)
        else:
            self._last.extend(rows[-_MOST_ROWS:])

    def forget(self, ids: Collection[str]) -> None:
        """Rows that are deleted: sent again they would be back."""
        self._last = deque((row for row in self._last if row.id not in ids), _MOST_ROWS)
        self._of_tenants = {name: row for name, row in self._of_tenants.items() if row.id not in ids}

    def take(self, shards: int) -> list[Row]:
        """The rows to send again, each once and as it was sent last; the trail is empty then.

        :param shards: that chunks without tenants are spread over.
        """
        last = {row.id: row for row in list(self._last)[-shards * _ROWS_PER_SHARD :]}
        rows = [*last.values(), *self._of_tenants.values()]
        self.clear()
        return rows

    def clear(self) -> None:
        """Nothing is sent again."""
        self._last.clear()
        self._of_tenants.clear()

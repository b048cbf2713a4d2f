"""Carrying out a plan: embed what is missing, upsert, have every object acknowledged, and only then delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import ObjectsRefused, SourceChanged, WritesUnconfirmed
from airflow_provider_mlops.vector.stores.base import Build, Lease, Row
from airflow_provider_mlops.vector.sync_plan import SyncPlan

T = TypeVar("T")

#: How often a batch is sent before the run gives up, and the longest pause in between (seconds).
TRIES = 5
LONGEST_PAUSE = 30.0


def write(
    chunks: Iterable[Chunk],
    plan: SyncPlan,
    build: Build,
    maker: RowMaker,
    lease: Lease,
    batch_size: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Bring ``build`` to the planned state. Killed anywhere, it holds a superset of what was there: never a hole.

    :param chunks: the source's chunks, those that are not planned are skipped.
    :param batch_size: chunks per batch.
    :raises ObjectsRefused: the store refused objects for good; nothing was deleted.
    :raises WritesUnconfirmed: the store did not confirm a batch within :data:`TRIES` tries; nothing was deleted.
    :raises SourceChanged: planned chunks did not come; nothing was deleted.
    """
    sent = 0
    for batch in _batches((chunk for chunk in chunks if chunk.id in plan.writes), batch_size):
        lease.renew()
        _send(maker.rows(batch), build, lease, sleep)
        sent += len(batch)
    if sent != len(plan.writes):
        raise SourceChanged(
            f"Version {build.version.name}: {len(plan.writes) - sent} planned chunks did not come again"
        )
    for ids in _batches(sorted(plan.deleted), batch_size):
        lease.renew()
        build.delete(ids)


def _send(rows: Sequence[Row], build: Build, lease: Lease, sleep: Callable[[float], None]) -> None:
    pending, size = rows, len(rows)
    for attempt in range(TRIES):
        if attempt:
            sleep(min(2.0**attempt, LONGEST_PAUSE))
            lease.renew()
        uncertain: set[str] = set()
        refused: dict[str, str] = {}
        for part in _batches(pending, size):
            written = build.upsert(part)
            uncertain.update(written.uncertain)
            refused.update(written.refused)
        if refused:
            # A store may keep an object that it says it refused.
            build.delete(sorted(refused))
            first = min(refused)
            raise ObjectsRefused(
                f"Version {build.version.name}: {len(refused)} of {len(rows)} objects were refused, "
                f"the first with: {refused[first]}",
                refused=len(refused),
            )
        if not uncertain:
            return
        pending = [row for row in pending if row.id in uncertain]
        size = max(1, len(pending) // 2)
    raise WritesUnconfirmed(
        f"Version {build.version.name}: {len(pending)} writes were not confirmed in {TRIES} tries"
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

"""Carrying out a plan: embed what is missing, upsert, have every object acknowledged, and only then delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import ObjectsRefused, SourceChanged, WritesUnconfirmed
from airflow_provider_mlops.vector.ledger import Holding, Ledger
from airflow_provider_mlops.vector.stores.base import Build, Lease, Row

#: How often a batch is sent before the run gives up, and the longest pause in between (seconds).
TRIES = 5
LONGEST_PAUSE = 30.0


def write(
    chunks: Iterable[tuple[Chunk, bool]],
    ledger: Ledger,
    before: Holding,
    build: Build,
    maker: RowMaker,
    lease: Lease,
    batch_size: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Bring ``build`` to the planned state. Killed anywhere, it holds a superset of what was there: never a hole.

    :param chunks: what is planned, claimed from the ledger, each with whether the build lacks it.
    :param before: what the build holds.
    :param batch_size: chunks per batch.
    :returns: whether every write was confirmed at once. Else the store may have crashed meanwhile, and lost of
        earlier writes too what it had confirmed.
    :raises ObjectsRefused: the store refused objects for good; nothing was deleted.
    :raises WritesUnconfirmed: the store did not confirm a batch within :data:`TRIES` tries; nothing was deleted.
    :raises SourceChanged: planned chunks did not come; nothing was deleted.
    """
    _delete(build, before.repeated(), lease, batch_size)
    smooth = True
    waiting: dict[bool, list[Chunk]] = {True: [], False: []}
    for chunk, lacking in chunks:
        batch = waiting[lacking]
        batch.append(chunk)
        if len(batch) == batch_size:
            smooth &= _send(maker.rows(batch), lacking, build, lease, sleep)
            batch.clear()
    for lacking, batch in waiting.items():
        if batch:
            smooth &= _send(maker.rows(batch), lacking, build, lease, sleep)
    if missing := ledger.unclaimed():
        raise SourceChanged(f"Version {build.version.name}: {missing} planned chunks did not come again")
    _delete(build, before.stale(), lease, batch_size)
    return smooth


def _delete(build: Build, chunk_ids: Iterable[str], lease: Lease, batch_size: int) -> None:
    for ids in batches(chunk_ids, batch_size):
        lease.renew()
        build.delete(ids)


def _send(
    rows: Sequence[Row], lacking: bool, build: Build, lease: Lease, sleep: Callable[[float], None]
) -> bool:
    pending, size = rows, len(rows)
    for attempt in range(TRIES):
        if attempt:
            sleep(min(2.0**attempt, LONGEST_PAUSE))
        lease.renew()
        uncertain: set[str] = set()
        refused: dict[str, str] = {}
        for part in batches(pending, size):
            written = build.upsert(part, lacking=lacking and not attempt)
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
            return not attempt
        pending = [row for row in pending if row.id in uncertain]
        size = max(1, len(pending) // 2)
    raise WritesUnconfirmed(
        f"Version {build.version.name}: {len(pending)} writes were not confirmed in {TRIES} tries"
    )

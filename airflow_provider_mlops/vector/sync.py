"""Carrying out a plan: embed what is missing, upsert, have every object acknowledged, and only then delete."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import SourceChanged
from airflow_provider_mlops.vector.ledger import Holding, Ledger
from airflow_provider_mlops.vector.outbox import Outbox
from airflow_provider_mlops.vector.stores.base import Build, Lease


def write(
    chunks: Iterable[tuple[Chunk, bool]],
    ledger: Ledger,
    before: Holding,
    build: Build,
    maker: RowMaker,
    outbox: Outbox,
    lease: Lease,
    batch_size: int,
) -> None:
    """Bring ``build`` to the planned state. Killed anywhere, it holds a superset of what was there: never a hole.

    :param chunks: what is planned, claimed from the ledger, each with whether the build lacks it.
    :param before: what the build holds.
    :param outbox: leads to ``build``.
    :param batch_size: chunks that are embedded, or deleted, at a time.
    :raises ObjectsRefused: the store refused objects for good; nothing was deleted.
    :raises WritesUnconfirmed: the store did not confirm a portion; nothing was deleted.
    :raises SourceChanged: planned chunks did not come; nothing was deleted.
    """
    _delete(build, before.repeated(), lease, batch_size)
    waiting: dict[bool, list[Chunk]] = {True: [], False: []}
    with outbox:
        for chunk, lacking in chunks:
            batch = waiting[lacking]
            batch.append(chunk)
            if len(batch) == batch_size:
                outbox.send(maker.rows(batch), lacking=lacking)
                batch.clear()
        for lacking, batch in waiting.items():
            if batch:
                outbox.send(maker.rows(batch), lacking=lacking)
    if missing := ledger.unclaimed():
        raise SourceChanged(f"Version {build.version.name}: {missing} planned chunks did not come again")
    _delete(build, before.stale(), lease, batch_size)


def _delete(build: Build, chunk_ids: Iterable[str], lease: Lease, batch_size: int) -> None:
    for ids in batches(chunk_ids, batch_size):
        lease.renew()
        build.delete(ids)

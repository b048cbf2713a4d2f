"""Structural checks: what a version holds is what was planned, and what was written can be found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import ChunksUnfindable, WritesUnconfirmed
from airflow_provider_mlops.vector.ledger import Holding
from airflow_provider_mlops.vector.stores.base import Build, Joined, Row

if TYPE_CHECKING:
    import numpy as np

# Ids per look-up, so that memory stays bounded.
_PART = 2000


def check_contents(version: str, holding: Holding) -> None:
    """Compare every chunk's id and digest with what is wanted.

    :param holding: what the version holds after the run.
    :raises WritesUnconfirmed: something is missing, stale or left over.
    """
    difference = holding.plan()
    if not difference.empty:
        raise WritesUnconfirmed(
            f"Version {version}: after the run {difference.added} chunks are missing, "
            f"{difference.updated} stale and {difference.deleted} left over"
        )


def heal(build: Build, chunk_ids: Iterable[str], lease: Joined) -> int:
    """Look every chunk up by its own vector, and write those anew that are not found.

    A server that crashes can keep an object and lose its place in the vector graph; sending it again is then
    skipped as identical. So it is sent with its vector moved a little, and then as it was: deleted first, it would be
    gone for readers who find it in other ways, and stay so if this process dies. Stores where a place cannot be lost
    are not asked.

    :returns: how many were written anew.
    :raises WritesUnconfirmed: a chunk is not even stored, or has no vector, or writing it anew was not confirmed.
    :raises ChunksUnfindable: some are still not found afterwards.
    :raises IndexBusy: another run has taken over.
    """
    healed = 0
    if not build.hides_chunks:
        return healed
    build.settle()
    for part in batches(chunk_ids, _PART):
        lease.renew()
        lost = build.unfindable(part)
        if not lost:
            continue
        rows = build.rows(lost)
        if len(rows) != len(lost):
            raise WritesUnconfirmed(
                f"Version {build.version.name}: {len(lost) - len(rows)} chunks are not stored"
            )
        whole = [row for row in rows.values() if row.vector.size]
        # The server makes a vector anew only for what is new to it.
        build.delete([chunk for chunk, row in rows.items() if not row.vector.size])
        for sent in ([_moved(row) for row in whole], list(rows.values())):
            _send(build, sent)
        build.settle()
        _check_found(build, rows)
        healed += len(lost)
    return healed


def _moved(row: Row) -> Row:
    return row._replace(
        vector=_turned(row.vector), more={name: _turned(vector) for name, vector in row.more.items()}
    )


def _turned(vector: np.ndarray) -> np.ndarray:
    """The vector in a slightly different direction: a store may keep nothing but that."""
    turned = vector.copy()
    longest = int(abs(vector).argmax())
    turned[longest - 1] += vector[longest] / 1000
    return turned


def _send(build: Build, rows: Sequence[Row]) -> None:
    written = build.upsert(rows)
    if written.uncertain or written.refused:
        reason = written.trouble or next(iter(written.refused.values()))
        raise WritesUnconfirmed(
            f"Version {build.version.name}: {len(rows)} chunks were not found by their own vector, "
            f"and writing them anew was not confirmed: {reason}"
        )
    build.flush()


def _check_found(build: Build, rows: Mapping[str, Row]) -> None:
    """Look the rows up that were written anew."""
    lost = build.unfindable(list(rows))
    if not lost:
        return
    bare = [chunk for chunk in lost if not rows[chunk].vector.size]
    # There is nothing to write them anew from here; the next run has the source.
    build.delete(bare)
    if bare:
        raise WritesUnconfirmed(
            f"Version {build.version.name}: {len(bare)} chunks were stored without a vector; "
            "they were deleted, and the next run writes them anew"
        )
    raise ChunksUnfindable(
        f"Version {build.version.name}: {len(lost)} chunks are stored but not found by their own vector, "
        "and writing them anew did not help"
    )

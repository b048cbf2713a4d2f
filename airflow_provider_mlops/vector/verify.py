"""Structural checks: what a version holds is what was planned, and what was written can be found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import ChunksUnfindable, WritesUnconfirmed
from airflow_provider_mlops.vector.ledger import Holding
from airflow_provider_mlops.vector.stores.base import Build, Joined, Row

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
    skipped as identical, so it has to be deleted first. Stores where that cannot happen are not asked.

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
        build.delete(lost)
        written = build.upsert(list(rows.values()))
        if written.uncertain or written.refused:
            reason = written.trouble or next(iter(written.refused.values()))
            raise WritesUnconfirmed(
                f"Version {build.version.name}: {len(lost)} chunks were not found by their own vector, "
                f"and writing them anew was not confirmed: {reason}"
            )
        build.flush()
        build.settle()
        _check_found(build, rows)
        healed += len(lost)
    return healed


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

"""Structural checks: what a version holds is what was planned, and what was written can be found."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from airflow_provider_mlops.vector.errors import ChunksUnfindable, WritesUnconfirmed
from airflow_provider_mlops.vector.stores.base import Build, Snapshot
from airflow_provider_mlops.vector.sync_plan import diff

# Ids per look-up, so that memory stays bounded.
_PART = 2000


def check_contents(version: str, snapshot: Snapshot, wanted: Mapping[str, str]) -> None:
    """Compare every chunk's id and digest with the plan.

    :raises WritesUnconfirmed: something is missing, stale or left over.
    """
    difference = diff(wanted, {chunk: digest for chunk, _, digest in snapshot.scan()})
    if not difference.empty:
        raise WritesUnconfirmed(
            f"Version {version}: after the run {len(difference.added)} chunks are missing, "
            f"{len(difference.updated)} stale and {len(difference.deleted)} left over"
        )


def heal(build: Build, chunk_ids: Collection[str]) -> int:
    """Look every chunk up by its own vector, and write those anew that are not found.

    A server that crashes can keep an object and lose its place in the vector graph; sending it again is then
    skipped as identical, so it has to be deleted first.

    :returns: how many were written anew.
    :raises WritesUnconfirmed: a chunk is not even stored.
    :raises ChunksUnfindable: some are still not found afterwards.
    """
    healed = 0
    ordered = sorted(chunk_ids)
    for start in range(0, len(ordered), _PART):
        lost = build.unfindable(ordered[start : start + _PART])
        if not lost:
            continue
        rows = build.rows(lost)
        if len(rows) != len(lost):
            raise WritesUnconfirmed(
                f"Version {build.version.name}: {len(lost) - len(rows)} chunks are not stored"
            )
        build.delete(lost)
        written = build.upsert(list(rows.values()))
        if written.uncertain or written.refused or build.unfindable(lost):
            raise ChunksUnfindable(
                f"Version {build.version.name}: {len(lost)} chunks are stored but not found by their own vector, "
                "and writing them anew did not help"
            )
        healed += len(lost)
    return healed

"""Structural checks: what a version holds is what was planned, and what was written can be found."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import ChunksUnfindable, WritesUnconfirmed
from airflow_provider_mlops.vector.ids import address, placed
from airflow_provider_mlops.vector.ledger import Holding
from airflow_provider_mlops.vector.stores.base import Build, Joined, Row

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

# Ids per look-up, so that memory stays bounded.
_PART = 2000
# Of 59,771 real texts the graph had lost 141, 6 after those were written anew alone, and none of these after each was
# written anew after its four nearest. A graph with few links per chunk takes several such rounds.
_ROUNDS = 8
_NEIGHBOURS = 4


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


def mend(build: Build, chunk_ids: Iterable[str], lease: Joined, *, own: Container[str] | None = None) -> int:
    """Write anew what a crash of the store has left half-written: there, and yet passed by in filters.

    Sent again it would be skipped as identical, and a deletion by id would pass it by. A chunk beside it can be found
    by its id, and not by its words: so all are written anew that were written at the same time. Stores that cannot
    leave anything half-written are not asked.

    :param own: only these are written, as others belong to somebody who writes at the same time; ``None`` for all.
    :returns: how many were written anew.
    :raises WritesUnconfirmed: a chunk is not even stored, or writing it anew was not confirmed.
    :raises IndexBusy: another run has taken over.
    """
    if not build.hides_chunks:
        return 0
    unlisted = []
    for part in batches(chunk_ids, _PART):
        lease.renew()
        unlisted += build.unlisted(part)
    _stored(build, unlisted)
    beside = list(build.written_with(unlisted))
    torn = [chunk for chunk in beside if own is None or chunk in own]
    for part in batches(torn, _PART):
        lease.renew()
        _write_anew(build, _stored(build, part))
    if torn:
        log.warning(
            "Version %s: a crash of the store had left %d chunks half-written; "
            "%d, with all that were written beside them, were written anew",
            build.version.name,
            len(unlisted),
            len(torn),
        )
    return len(torn)


def heal(build: Build, chunk_ids: Iterable[str], lease: Joined) -> int:
    """Look every chunk up by its own vector, and write those anew that are not found.

    A server that crashes can keep an object and lose its place in the vector graph; sending it again is then
    skipped as identical. And without any crash, a graph gives up its last link to a chunk whose neighbours have nearer
    ones. Stores where a place cannot be lost are not asked.

    :returns: how many were not found.
    :raises WritesUnconfirmed: a chunk is not even stored, or has no vector, or writing it anew was not confirmed.
    :raises ChunksUnfindable: some are still not found afterwards.
    :raises IndexBusy: another run has taken over.
    """
    healed = crowded = 0
    if not build.hides_chunks:
        return healed
    build.settle()
    for part in batches(chunk_ids, _PART):
        lease.renew()
        if lost := build.unfindable(part):
            crowded += _find_again(build, lost, lease)
        healed += len(lost)
    if crowded:
        # A pass over all of them would find some and hide others: in a graph that is full, each new place costs one.
        log.warning(
            "Version %s: %d chunks were found again only after their neighbours were written anew: the graph has too few "
            "links for texts so much alike, and a few others may have lost their place to them. An audit tells how "
            "many; with HNSW(max_connections=64) there are a tenth",
            build.version.name,
            crowded,
        )
    return healed


def _find_again(build: Build, lost: Sequence[str], lease: Joined) -> int:
    """Write lost chunks anew until all of them are found: first they alone, then each after its neighbours.

    :returns: how many, neighbours included, had to be written after others.
    """
    rows = _stored(build, lost)
    _write_anew(build, rows)
    touched, crowded = set(rows), set[str]()
    for _ in range(_ROUNDS):
        build.settle()
        # A neighbour's place is new as well: none of them is left behind.
        lost = build.unfindable(sorted(touched))
        if not lost:
            return len(crowded)
        crowded.update(lost)
        rows = _stored(build, lost)
        _refuse_bare(build, rows)
        for chunk, row in rows.items():
            lease.renew()
            around = _neighbours(build, row)
            _write_anew(build, around)
            _write_anew(build, {chunk: row})
            touched.update(around)
    raise ChunksUnfindable(
        f"Version {build.version.name}: {len(lost)} chunks are stored but not found by their own vector, "
        f"and writing them anew with their neighbours did not help in {_ROUNDS} rounds"
    )


def _stored(build: Build, chunks: Sequence[str]) -> dict[str, Row]:
    rows = build.rows(chunks)
    if len(rows) != len(chunks):
        raise WritesUnconfirmed(
            f"Version {build.version.name}: {len(chunks) - len(rows)} chunks are not stored"
        )
    return rows


def _neighbours(build: Build, row: Row) -> dict[str, Row]:
    """The chunks next to this one. A chunk that is new to the graph has room for links to those that come after it,
    where one that has been there for long has given its links to nearer ones."""
    found: set[str] = set()
    tenant, _ = placed(row.id)
    for name, vector in ((None, row.vector), *row.more.items()):
        (hits,) = build.search(vector[None], _NEIGHBOURS, tenant=tenant, name=name)
        found.update(address(tenant, hit.id) for hit in hits)
    return build.rows(sorted(found - {row.id}))


def _write_anew(build: Build, rows: Mapping[str, Row]) -> None:
    """Send rows with their vectors moved a little, and then as they were: deleted first, they would be gone for readers
    who find them in other ways, and stay so if this process dies."""
    whole = [row for row in rows.values() if row.vector.size]
    # The server makes a vector anew only for what is new to it.
    build.delete([chunk for chunk, row in rows.items() if not row.vector.size])
    for sent in ([_moved(row) for row in whole], list(rows.values())):
        if sent:
            _send(build, sent)
    if closing := build.flush():
        _send(build, closing)


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


def _refuse_bare(build: Build, rows: Mapping[str, Row]) -> None:
    """Stop where chunks have no vector: there is nothing to write them anew from here; the next run has the source."""
    bare = [chunk for chunk, row in rows.items() if not row.vector.size]
    if bare:
        build.delete(bare)
        raise WritesUnconfirmed(
            f"Version {build.version.name}: {len(bare)} chunks were stored without a vector; "
            "they were deleted, and the next run writes them anew"
        )

"""What readers may see, and what an index must be like once a run has come to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.vector import VectorIndex, upkeep
from airflow_provider_mlops.vector.filters import Condition
from airflow_provider_mlops.vector.ids import chunk_ids
from airflow_provider_mlops.vector.stores.base import Row, Store
from tests.campaign.vector.corpus import State, Stored, common_chunks, common_documents


@dataclass(frozen=True)
class Watch:
    """What an index may look like now.

    :param states: it shows one of these,
    :param shared: or, if readers see writes at once, something in between.
    :param crashed: the server has crashed, and no run has looked for what that hid.
    """

    states: Sequence[State]
    shared: bool = False
    crashed: bool = False


def wrong_with(chunks: Sequence[Stored], watch: Watch) -> str | None:
    """What is wrong with all the chunks that a reader sees, or ``None``."""
    found = sorted(chunks)
    wholes = [state.chunks() for state in watch.states]
    if found in wholes:
        return None
    if not watch.shared:
        return f"{len(found)} chunks are none of the complete states: {difference(found, wholes[-1])}"
    if lost := common_documents(watch.states) - {chunk.doc for chunk in found}:
        return f"{len(lost)} documents are gone, for example {min(lost)}"
    if gone := common_chunks(watch.states) - {(chunk.doc, chunk.text) for chunk in found}:
        return f"{len(gone)} chunks are gone, for example {min(gone)}"
    if strange := set(found) - {chunk for whole in wholes for chunk in whole}:
        return f"{len(strange)} chunks belong to no state, for example {min(strange)}"
    return None


def difference(found: Sequence[Stored], wanted: Sequence[Stored]) -> str:
    """In words."""
    lost, strange = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    doubled = len(found) - len(set(found))
    return f"lost {lost[:2]} ({len(lost)}), strange {strange[:2]} ({len(strange)}), doubled {doubled}"


def stored(row: Row) -> Stored:
    """A row as the corpus knows it."""
    return Stored(
        row.doc, row.ordinal, row.text, str(row.properties["section"]), int(row.properties["size"] or 0)
    )


def seen(store: Store) -> tuple[list[Stored], list[str]]:
    """The chunks of the live version, each as often as it is there, and problems with the version."""
    live = store.live()
    if live is None:
        return [], ["there is no live version"]
    state = next((version.state for version in store.versions() if version.name == live.name), "gone")
    problems = [] if state == "built" else [f"live is {live.name}, which is {state}"]
    snapshot = store.read(live.name)
    ids = [chunk for chunk, _, _ in snapshot.scan()]
    rows = snapshot.rows(ids)
    if len(rows) != len(set(ids)) or snapshot.count() != len(ids):
        problems.append(f"{len(ids)} ids are scanned, {len(rows)} read, {snapshot.count()} counted")
    return [stored(rows[chunk]) for chunk in ids if chunk in rows], problems


def unfindable(store: Store, index: VectorIndex) -> list[str]:
    """Chunks of the live version that a search with their own vector does not show."""
    import numpy as np

    live = store.live()
    if live is None:
        return []
    snapshot = store.read(live.name)
    rows = list(snapshot.rows([chunk for chunk, _, _ in snapshot.scan()]).values())
    if not rows:
        return []
    vectors = index.embedder.embed([row.text for row in rows])
    lost = []
    for row, vector, hits in zip(rows, vectors, snapshot.search(vectors, 10), strict=True):
        if not np.allclose(row.vector, vector, atol=1e-4):
            lost.append(f"{row.doc}#{row.ordinal} has another vector")
        elif row.id not in [hit.id for hit in hits] and not (
            len(hits) == 10 and (hits[-1].distance or 0.0) < 1e-5
        ):
            lost.append(f"{row.doc}#{row.ordinal}")
    return lost


def passed_by(store: Store) -> list[str]:
    """Chunks of the live version that a search for their words within their document does not show."""
    live = store.live()
    if live is None:
        return []
    snapshot = store.read(live.name)
    rows = snapshot.rows([chunk for chunk, _, _ in snapshot.scan()])
    lost = []
    for row in rows.values():
        (hits,) = snapshot.search_words([row.text], 50, where=[Condition("doc", "text", "=", row.doc)])
        if row.id not in [hit.id for hit in hits]:
            lost.append(f"{row.doc}#{row.ordinal}")
    return lost


def wrong_at_the_end(store: Store, index: VectorIndex, state: State) -> list[str]:
    """Everything that must hold after a run that succeeded, and does not."""
    chunks, problems = seen(store)
    wanted = state.chunks()
    if sorted(chunks) != wanted:
        problems.append(f"after the run: {difference(sorted(chunks), wanted)}")
    live = store.live()
    if live is None:
        return problems
    snapshot = store.read(live.name)
    texts: dict[str, list[str]] = {}
    for chunk in wanted:
        texts.setdefault(chunk.doc, []).append(chunk.text)
    ids = sorted(chunk for doc, parts in texts.items() for chunk in chunk_ids(index.name, doc, parts))
    if sorted(chunk for chunk, _, _ in snapshot.scan()) != ids:
        problems.append("the ids are not those that follow from documents and texts")
    problems += [f"layout: {line}" for line in snapshot.layout_problems(index.layout())]
    if lost := unfindable(store, index):
        problems.append(f"{len(lost)} chunks are not found by their own vector, for example {lost[0]}")
    if store.shared_writes and (lost := passed_by(store)):
        problems.append(f"{len(lost)} chunks are not found by their own words, for example {lost[0]}")
    problems += _leaks(store, index)
    # Takes the lease as somebody else, so it must be free.
    report = upkeep.look_over(index, store, "check", version=None, sample=None, on_damage="report").audit
    assert report is not None
    problems += [f"audit: {line}" for line in report.problems()]
    if report.unclean:
        problems.append("the index counts as unclean")
    return problems


def _leaks(store: Any, index: VectorIndex) -> list[str]:
    versions, live = store.versions(), store.live()
    finished = [version for version in versions if version.state == "built"]
    problems = []
    if len(finished) > index.keep_versions + 1:
        problems.append(f"{len(finished)} finished versions are kept")
    newest = max((version.number for version in finished), default=0)
    if old := [version.name for version in versions if version.state != "built" and version.number < newest]:
        problems.append(f"unfinished versions are left: {old}")
    if store.shared_writes:
        names = {
            name for name in store._client.collections.list_all() if name.startswith(f"{index.name}_")
        } - {f"{index.name}_registry"}
        if strange := names - {version.physical for version in versions}:
            problems.append(f"collections are left: {sorted(strange)}")
    if live and live not in versions:
        problems.append(f"{live.name} is live and not listed")
    return problems

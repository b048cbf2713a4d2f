"""Objects that Weaviate stores and does not list in its inverted index, as a crash leaves them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores import weaviate_collection as module
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.upkeep import look_over
from airflow_provider_mlops.vector.verify import mend
from tests.campaign.vector.views import passed_by
from tests.servers.weaviate import Weaviate

pytestmark = [pytest.mark.server("weaviate"), pytest.mark.slow, pytest.mark.timeout(300)]
INDEX = VectorIndex("Docs", embedder=HashEmbedder(32), backend="weaviate", conn_id="w")
TEXTS = {f"doc{number}": f"page{number} of the log" for number in range(30)}


@pytest.fixture
def server() -> Iterator[Weaviate]:
    with Weaviate() as server:
        yield server


@pytest.fixture
def store(server: Weaviate) -> Iterator[Store]:
    extra = {"grpc_port": server.ports["grpc"]}
    info = ConnectionInfo("w", host=server.host, port=server.ports["http"], extra=extra)
    with open_store("weaviate", "Docs", conn_id="w", uri=None, connections=lambda name: info) as store:
        yield store


def index(store: Store, texts: dict[str, str]) -> Outcome:
    source = Records(lambda: [{"id": doc, "text": text} for doc, text in texts.items()])
    options = RunOptions(max_delete_fraction=1.0)
    return run(INDEX, source, store, RowMaker(INDEX.embedder), options, holder="h", on_bad=print)


def lose_postings(server: Weaviate) -> None:
    """Crash, and lose from the inverted index what a crash can lose: ids, documents and words."""
    server.kill()
    lost = [
        bucket
        for name in ("property__id", "property_doc", "property_text_searchable")
        for bucket in (server.folder / "data").glob(f"docs_v1_*/*/lsm/{name}")
    ]
    assert len(lost) == 3
    for bucket in lost:
        shutil.rmtree(bucket)
    server.launch()


def leave_unclean(store: Store) -> None:
    with suppress(ZeroDivisionError), store.lease("another") as lease:
        lease.writing()
        raise ZeroDivisionError


def test_the_next_run_writes_them_anew(server: Weaviate, store: Store) -> None:
    index(store, TEXTS)
    assert passed_by(store) == []
    lose_postings(server)
    assert len(passed_by(store)) == len(TEXTS)
    leave_unclean(store)

    outcome = index(store, TEXTS)

    assert (outcome.action, outcome.healed) == ("unchanged", 30)
    assert passed_by(store) == []
    assert index(store, TEXTS).healed == 0


def test_those_that_are_to_go_are_deleted(server: Weaviate, store: Store) -> None:
    index(store, TEXTS)
    lose_postings(server)
    leave_unclean(store)
    left = {doc: text for doc, text in TEXTS.items() if doc > "doc2"}

    outcome = index(store, left)

    assert (outcome.action, outcome.plan.deleted) == ("synced", 30 - len(left))
    snapshot = store.read(outcome.version.name)
    assert {doc for _, doc, _ in snapshot.scan()} == set(left)
    assert passed_by(store) == []


def test_an_audit_tells_of_them_and_heals_them(server: Weaviate, store: Store) -> None:
    index(store, TEXTS)
    lose_postings(server)

    report = look_over(INDEX, store, "h", version=None, sample=None, on_damage="report").audit
    assert report is not None
    assert (report.missing, report.unlisted, report.unfindable) == (0, 30, 0)
    assert report.problems() == ["30 chunks are half-written, and passed by in filters"]

    report = look_over(INDEX, store, "h", version=None, sample=None, on_damage="heal").audit
    assert report is not None
    assert (report.unlisted, report.mended, report.problems()) == (30, 30, [])
    assert passed_by(store) == []


def test_only_what_was_written_at_the_same_time_is_written_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAME_MOMENTS", timedelta(milliseconds=200))
    first = index(store, dict(list(TEXTS.items())[:10])).version
    build = store.resume(first.name)
    old = {chunk for chunk, _, _ in build.scan()}
    time.sleep(0.5)
    index(store, TEXTS)
    new = {chunk for chunk, _, _ in build.scan()} - old
    one = min(new)
    monkeypatch.setattr(type(build), "unlisted", lambda _, ids: [chunk for chunk in ids if chunk == one])

    with store.lease("h") as lease:
        assert mend(build, sorted(old | new), lease) == 20
        assert mend(build, sorted(old | new), lease, own={one}) == 1


def test_a_crash_right_after_a_run_loses_no_place_in_the_graph(server: Weaviate, store: Store) -> None:
    version = index(store, TEXTS).version
    server.kill()
    server.launch()
    build = store.resume(version.name)
    chunks = [chunk for chunk, _, _ in build.scan()]
    assert len(chunks) == len(TEXTS)
    assert build.unfindable(chunks) == []

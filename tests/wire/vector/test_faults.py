"""A real Weaviate behind proxies that break one thing: nothing is lost silently, and the next run completes the index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import Gate, HashEmbedder, Records, VectorIndex, indexing
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import IndexReadOnly, WritesUnconfirmed
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.outbox import Outbox
from airflow_provider_mlops.vector.stores import weaviate_batch
from airflow_provider_mlops.vector.stores.weaviate import WeaviateStore
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.servers.weaviate import Weaviate
from tests.unit.vector.fault_cases import OPTIONS, Case, Way
from tests.wire.vector.conftest import Reach
from tests.wire.vector.faulty import FaultyWeaviate
from tests.wire.vector.weaviate_faults import CASES, READ_ONLY

COUNT = 30


def documents(changed: bool) -> list[dict[str, Any]]:
    """The changed source has new, changed, moved and vanished documents."""
    docs = [{"id": f"doc{n}", "text": f"page{n} of the log", "year": n} for n in range(COUNT)]
    if changed:
        docs = docs[3:] + [{"id": f"new{n}", "text": f"leaf{n} of the tree", "year": n} for n in range(4)]
        for doc in docs[:12]:
            doc["text"] = f"rewritten {doc['id']}"
    return docs


GATE = (Gate("golden.jsonl", min_recall=0.9), [GoldenQuery("page29 of the log", frozenset(["doc29"]))])


@pytest.fixture(scope="module")
def proxy(weaviate_server: Weaviate) -> Iterator[FaultyWeaviate]:
    ports = weaviate_server.ports
    with FaultyWeaviate(weaviate_server.host, ports["http"], ports["grpc"]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def clients(proxy: FaultyWeaviate, weaviate_server: Weaviate) -> Iterator[tuple[Any, Any]]:
    """Past the proxies, and through them; to connect anew for every look takes longer than all else."""
    ports = weaviate_server.ports
    direct = ConnectionInfo(
        "w", host=weaviate_server.host, port=ports["http"], extra={"grpc_port": ports["grpc"]}
    )
    proxied = replace(direct, port=proxy.http_port, extra={"grpc_port": proxy.grpc_port})
    with connect(direct) as first, connect(proxied) as second:
        yield first, second


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither this package's nor the client's."""
    import weaviate.retry

    no_time = SimpleNamespace(sleep=lambda seconds: None)
    monkeypatch.setattr(weaviate.retry, "time", no_time)
    monkeypatch.setattr(indexing, "Outbox", partial(Outbox, sleep=no_time.sleep))


class Place:
    """An index on the server, written through the proxies and looked at past them."""

    def __init__(self, name: str, proxy: FaultyWeaviate, clients: tuple[Any, Any]) -> None:
        self.proxy = proxy
        self.index = VectorIndex(
            name, embedder=HashEmbedder(64), properties={"year": "int"}, backend="weaviate", conn_id="w"
        )
        self.client = clients[0]
        self.direct, self.proxied = (WeaviateStore(client, name) for client in clients)

    def run(self, docs: list[dict[str, Any]], way: Way = "in place") -> Outcome:
        options = dict(OPTIONS[way])
        if options.pop("gate", False):
            options["gate"] = GATE
        return run(
            self.index, Records(lambda: docs), self.proxied, RowMaker(self.index.embedder),
            RunOptions(batch_size=15, **options), holder="h", on_bad=print,
        )  # fmt: skip

    def live(self) -> tuple[str, dict[str, str], list[str]]:
        """Name of the live version, its documents, and the chunks that vector searches do not find."""
        version = self.direct.live()
        assert version is not None
        snapshot = self.direct.read(version.name)
        ids = [chunk for chunk, _, _ in snapshot.scan()]
        rows = snapshot.rows(ids).values()
        return version.name, {row.doc: row.text for row in rows}, snapshot.unfindable(ids)

    def shards(self, status: str) -> None:
        for version in self.direct.versions():
            self.client.collections.use(version.physical).config.update_shards(status)

    def go_read_only(self, request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
        self.shards("READONLY")
        return forward(request)


@pytest.fixture
def place(reach: Reach, proxy: FaultyWeaviate, clients: tuple[Any, Any]) -> Iterator[Place]:
    proxy.faults = []
    yield Place(reach.index, proxy, clients)
    proxy.faults = []


def wanted(changed: bool) -> dict[str, str]:
    return {doc["id"]: doc["text"] for doc in documents(changed)}


@pytest.mark.parametrize(("case", "way"), [
    pytest.param(case, way, id=f"{case.id}-{way.replace(' ', '_')}") for case in CASES for way in case.ways
])  # fmt: skip
def test_fault_is_survived_or_told_and_the_next_run_completes_the_index(
    place: Place, case: Case, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case.id == "write-hangs":
        monkeypatch.setattr(weaviate_batch, "_TIMEOUT", 1.0)
    first = place.run(documents(False)).version.name
    if case.do == READ_ONLY:
        place.shards("READONLY")
    else:
        place.proxy.faults = case.do()
        for fault in place.proxy.faults:
            fault.deed = place.go_read_only if fault.deed == READ_ONLY else fault.deed

    if case.error is None:
        place.run(documents(True), way)
    else:
        with pytest.raises(case.error) as caught:
            place.run(documents(True), way)
        assert type(caught.value) is case.error
    assert place.proxy.happened(), "the fault was never met"

    version, docs, lost = place.live()
    if case.error is None or case.moved:
        assert (docs, lost) == (wanted(True), [])
    elif way != "in place":
        assert (version, docs, lost) == (first, wanted(False), [])
    elif case.id not in ("write-lost", "vector-lost"):
        # A server that confirms what it did not do may hide documents until the next run; nothing else may.
        assert docs.keys() >= wanted(False).keys() & wanted(True).keys()

    place.proxy.faults = []
    if case.error in (IndexReadOnly, WritesUnconfirmed):
        place.shards("READY")
    place.run(documents(True), way)
    _, docs, lost = place.live()
    assert (docs, lost) == (wanted(True), [])
    with place.direct.lease("next") as lease:
        assert not lease.unclean

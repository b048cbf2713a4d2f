"""A real Weaviate passes the contract of a vector store."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, RemoteUnavailable
from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import IndexNameTaken
from airflow_provider_mlops.vector.indexing import RunOptions, run
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.settings import HNSW, WeaviateSettings
from airflow_provider_mlops.vector.stores import open_store as open_any
from airflow_provider_mlops.vector.stores import weaviate_batch, weaviate_public, weaviate_scan
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.stores.weaviate_client import _credentials, connect
from airflow_provider_mlops.vector.verify import heal
from tests.servers.ports import free_ports
from tests.servers.weaviate import Weaviate
from tests.unit.vector.store_contract import LAYOUT, V1, OpenStore, StoreContract, row
from tests.wire.vector.conftest import Reach


class TestWeaviate(StoreContract):
    @pytest.fixture
    def open_store(self, reach: Reach) -> OpenStore:
        def opened(index: str) -> AbstractContextManager[Store]:
            return open_any(
                "weaviate", reach.index, conn_id="w", uri=None, connections=lambda name: reach.info
            )

        return opened


class TestWeaviateThroughPublicMethods(TestWeaviate):
    """As with a version of the client whose private methods have changed."""

    @pytest.fixture(autouse=True)
    def _no_private_methods(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none_left(*_: Any, **__: Any) -> None:
            raise AssertionError("a private method was called past the client's own code")

        monkeypatch.setattr(weaviate_public, "needed", lambda client, work: True)
        monkeypatch.setattr(weaviate_batch, "_channel", none_left)
        monkeypatch.setattr(weaviate_scan, "_page", none_left)

    def test_every_refusal_is_told(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(0)])
        wrong = [row(n)._replace(properties={"year": "long ago"}) for n in (1, 2)]
        assert build.upsert([row(3), *wrong]).refused.keys() == {row(1).id, row(2).id}
        assert build.upsert(wrong).refused.keys() == {row(1).id, row(2).id}


def opened(reach: Reach, **changes: Any) -> AbstractContextManager[Store]:
    info = replace(reach.info, **changes)
    return open_any("weaviate", reach.index, conn_id="w", uri=None, connections=lambda name: info)


def test_scan_of_many_pages_gives_every_chunk_once(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weaviate_scan, "_PAGE", 7)
    tail = "ffffff-ffff-ffff-ffff-ffffffffffff"
    first, last = "00000000-0000-0000-0000-000000000001", f"ff{tail}"
    # Where the parts of the range meet, and more than a page of chunks on both sides of one such place.
    limits = [first, f"3f{tail}", "40000000-0000-0000-0000-000000000000", f"7f{tail}", f"bf{tail}", last]
    around = [f"{head}000000-0000-0000-0000-{n:012x}" for head in ("3e", "41") for n in range(1, 21)]
    ids = [*limits, *around]
    with opened(reach) as store:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(n)._replace(id=chunk) for n, chunk in enumerate(ids)])
        found = list(build.scan())
        assert sorted(found) == sorted((chunk, row(n).doc, row(n).digest) for n, chunk in enumerate(ids))
        build.delete(ids)
        assert list(build.scan()) == []


def test_chunk_that_a_narrow_search_overlooks_is_not_taken_for_lost(reach: Reach) -> None:
    poor = WeaviateSettings(vector_index=HNSW(ef_construction=8, max_connections=8))
    vectors = np.random.default_rng(0).normal(size=(3000, 256)).astype(np.float32)
    rows = [row(n)._replace(vector=vector) for n, vector in enumerate(vectors)]
    with opened(reach) as store:
        build = store.begin(V1, replace(LAYOUT, dimension=256, weaviate=poor), None)
        build.upsert(rows)
        hits = build.search(vectors[:500], 5)
        overlooked = [
            one.id for one, found in zip(rows, hits, strict=False) if one.id not in {hit.id for hit in found}
        ]
        assert overlooked
        absent = row(3000).id
        assert build.unfindable([*overlooked, absent]) == [absent]


def test_chunks_that_the_graph_lost_among_texts_alike_are_brought_back(reach: Reach) -> None:
    letters = random.Random(1)
    names = ["".join(letters.choices(ascii_lowercase, k=letters.randint(8, 16))) for _ in range(3000)]
    texts = [
        f"This package contains the source for the Rust {name} crate, for use with cargo." for name in names
    ]
    rows = [row(n)._replace(vector=vector) for n, vector in enumerate(HashEmbedder(384).embed(texts))]
    ids = [one.id for one in rows]
    with opened(reach) as store, store.lease("test") as lease:
        build = store.begin(V1, replace(LAYOUT, dimension=384), None)
        build.upsert(rows)
        build.settle()
        lost = build.unfindable(ids)
        assert lost
        # Not all of the lost are counted: one chunk written anew can give a lost one after it a link.
        assert heal(build, ids, lease)
        # In a graph so full, each new place can cost another chunk's.
        left = build.unfindable(ids)
        assert len(left) < len(lost) / 2
        kept = build.rows(ids)
        assert all(np.allclose(kept[one.id].vector, one.vector, atol=1e-6) for one in rows)


def test_every_refused_object_is_reported_with_the_servers_words(reach: Reach) -> None:
    with opened(reach) as store:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(0)])
        short = row(1)._replace(vector=np.ones(3, dtype=np.float32))
        wrong_type = row(2)._replace(properties={"year": "long ago"})
        written = build.upsert([row(3), short, wrong_type, row(4)])
        assert written.refused.keys() == {row(1).id, row(2).id}
        assert "vector" in written.refused[row(1).id]
        assert "year" in written.refused[row(2).id]
        assert written.uncertain == []


def test_unreachable_server_is_a_temporary_error_that_names_the_connection(reach: Reach) -> None:
    with pytest.raises(RemoteUnavailable, match="'w'"), opened(reach, port=free_ports(1)):
        pass


def test_connection_without_host_is_named(reach: Reach) -> None:
    with pytest.raises(ConnectionIncomplete, match="'w'"), opened(reach, host=None):
        pass


def test_collection_of_the_same_name_is_not_touched(reach: Reach) -> None:
    with connect(reach.info) as client:
        client.collections.create(reach.index)
        try:
            with opened(reach) as store, pytest.raises(IndexNameTaken, match=reach.index):
                store.begin(V1, LAYOUT, None)
            assert client.collections.exists(reach.index)
        finally:
            client.collections.delete(reach.index)


def test_alias_of_somebody_else_is_not_moved(reach: Reach) -> None:
    other = f"{reach.index}_other"
    with connect(reach.info) as client:
        client.collections.create(other)
        client.alias.create(alias_name=reach.index, target_collection=other)
        with opened(reach) as store, pytest.raises(IndexNameTaken, match=other):
            store.live()


def test_dangling_alias_is_repaired_by_the_next_run(reach: Reach) -> None:
    index = VectorIndex(reach.index, embedder=HashEmbedder(64), backend="weaviate", conn_id="w")
    docs = [{"id": str(n), "text": f"page{n}"} for n in range(5)]
    for number in (1, 2):
        with opened(reach) as store:
            maker = RowMaker(index.embedder)
            outcome = run(index, Records(lambda: docs), store, maker, RunOptions(), holder="h", on_bad=print)
            assert outcome.version.number == number
        if number == 1:
            with connect(reach.info) as client:
                client.collections.delete(outcome.version.physical)
    assert search(index, "page3", k=1, connections=lambda name: reach.info)[0].doc == "3"


def test_official_connection_fields_make_the_credentials() -> None:
    from weaviate.auth import AuthApiKey, AuthBearerToken, AuthClientCredentials, AuthClientPassword

    def made(**fields: Any) -> Any:
        return _credentials(ConnectionInfo("w", host="h", **fields))

    assert made() is None
    assert isinstance(made(extra={"token": "t"}), AuthApiKey)
    assert isinstance(made(extra={"api_key": "t"}), AuthApiKey)
    assert isinstance(made(extra={"access_token": "t"}), AuthBearerToken)
    assert isinstance(made(extra={"client_secret": "t"}), AuthClientCredentials)
    assert isinstance(made(login="u", password="p"), AuthClientPassword)


@pytest.mark.server("weaviate")
def test_chunks_are_looked_up_where_graphql_is_turned_off() -> None:
    with Weaviate({"DISABLE_GRAPHQL": "true"}) as server:
        info = ConnectionInfo(
            "w", host=server.host, port=server.ports["http"], extra={"grpc_port": server.ports["grpc"]}
        )
        with open_any("weaviate", "Docs", conn_id="w", uri=None, connections=lambda name: info) as store:
            build = store.begin(V1, LAYOUT, None)
            build.upsert([row(number) for number in range(10)])
            assert build.unfindable([row(number).id for number in range(12)]) == [row(10).id, row(11).id]

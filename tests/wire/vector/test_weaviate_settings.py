"""Settings of an index on a real Weaviate: built as declared, changed in place where that is possible, and looked after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mlops.errors import RequestRefused
from airflow_provider_mlops.vector import BM25, HNSW, Flat, HashEmbedder, VectorIndex, WeaviateSettings
from airflow_provider_mlops.vector.errors import LayoutChanged
from airflow_provider_mlops.vector.settings import Quantization
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.unit.vector.indexing_contract import IndexRuns, documents
from tests.wire.vector.conftest import Reach


class TestSettings(IndexRuns):
    @pytest.fixture
    def index(self, reach: Reach) -> VectorIndex:
        self.reach = reach
        settings = WeaviateSettings(HNSW(64, 16, 80, "none"), BM25(0.9, 0.4), async_replication=False)
        return VectorIndex(
            reach.index,
            embedder=HashEmbedder(64),
            properties={"year": "int"},
            backend="weaviate",
            conn_id="w",
            weaviate=settings,
        )

    @pytest.fixture
    def info(self, reach: Reach) -> Any:
        return reach.info

    def config(self) -> Any:
        with connect(self.reach.info) as client:
            return client.collections.use(self.index.name).config.get()

    def test_collection_has_what_was_declared(self) -> None:
        self.run(documents())
        config = self.config()
        vector = config.vector_config["default"].vector_index_config
        assert (vector.ef_construction, vector.max_connections, vector.ef) == (64, 16, 80)
        assert vector.quantizer is None
        bm25 = config.inverted_index_config.bm25
        assert (bm25.k1, bm25.b) == (pytest.approx(0.9), pytest.approx(0.4))

    def test_what_can_be_changed_is_changed_though_no_document_has(self) -> None:
        first = self.run(documents())
        changed = WeaviateSettings(HNSW(64, 16, None, "none"), BM25())
        again = self.run(documents(), index=replace(self.index, weaviate=changed))
        assert (again.action, again.version.name) == ("unchanged", first.version.name)
        config = self.config()
        assert config.vector_config["default"].vector_index_config.ef == -1
        assert config.inverted_index_config.bm25.k1 == pytest.approx(1.2)

    def test_what_cannot_be_changed_is_built_anew_with_the_same_vectors(self) -> None:
        self.run(documents())
        flat = self.run(documents(), index=replace(self.index, weaviate=WeaviateSettings(Flat())))
        assert (flat.action, flat.active) == ("built", True)
        assert self.config().vector_config["default"].vector_index_config.vector_index_type() == "flat"
        assert self.live() == {doc["id"]: doc["text"] for doc in documents()}

    def test_collection_that_somebody_else_made_is_refused(self) -> None:
        """With words instead of whole keys, deleting one document would delete its neighbours."""
        first = self.run(documents())
        with connect(self.reach.info) as client:
            config = client.collections.export_config(first.version.physical).to_dict()
            for prop in config["properties"]:
                if prop["name"] == "doc":
                    prop["tokenization"] = "word"
            client.collections.delete(first.version.physical)
            client.collections.create_from_dict(config)
        with pytest.raises(LayoutChanged, match="'doc' has tokenization word, not field"):
            self.run(documents())
        assert self.run(documents(), mode="rebuild").active

    def test_more_copies_than_servers_are_refused_in_the_servers_words(self) -> None:
        with pytest.raises(RequestRefused, match=r"replica|factor"):
            self.run(documents(), index=replace(self.index, weaviate=WeaviateSettings(replicas=3)))


@pytest.fixture
def store(reach: Reach) -> Iterator[Store]:
    with open_store(
        "weaviate", reach.index, conn_id="w", uri=None, connections=lambda name: reach.info
    ) as opened:
        yield opened


@pytest.mark.parametrize(
    "vector_index",
    [
        *(HNSW(quantization=name) for name in ("rq8", "rq1", "bq", "sq", "pq", "none")),
        Flat(),
        Flat(quantization="none"),
    ],
)
def test_every_kind_of_index_is_built_and_recognised(store: Store, reach: Reach, vector_index: Any) -> None:
    settings = WeaviateSettings(vector_index)
    index = VectorIndex(reach.index, embedder=HashEmbedder(16), backend="weaviate", weaviate=settings)
    build = store.begin("v1_aaaaaaaa", index.layout(), None)
    assert build.layout_problems(index.layout()) == []
    others: list[Quantization] = ["none", "rq8"]
    other = next(name for name in others if name != vector_index.quantization)
    changed = replace(index, weaviate=WeaviateSettings(replace(vector_index, quantization=other)))
    assert build.layout_problems(changed.layout()) == [
        f"the quantization is {vector_index.quantization}, not {other}"
    ]

"""Further vectors on a real Weaviate: made by the embedder, and by a module of the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mlops.vector import HashEmbedder, VectorIndex, WeaviateModule
from tests.unit.vector.named_vectors_contract import NamedVectorsContract
from tests.wire.vector.conftest import Reach


class TestNamedVectorsOnWeaviate(NamedVectorsContract):
    @pytest.fixture
    def index(self, reach: Reach) -> VectorIndex:
        return VectorIndex(
            reach.index,
            embedder=HashEmbedder(64),
            properties={"title": "text"},
            vectors={"heading": "title"},
            backend="weaviate",
            conn_id="w",
        )

    @pytest.fixture
    def info(self, reach: Reach) -> Any:
        return reach.info

    def test_module_of_the_server_makes_them_too(self) -> None:
        self.index = replace(self.index, embedder=WeaviateModule("text2vec-bigram"))
        titles = {"doc0": "apple pie", "doc1": "quick zebra", "doc2": None}
        self.run([{"id": doc, "text": f"the page of {doc}", "title": title} for doc, title in titles.items()])
        assert (self.top("apple pie"), self.top("quick zebra")) == ("doc0", "doc1")
        assert self.top("the page of doc2", None) == "doc2"

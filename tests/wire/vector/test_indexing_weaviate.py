"""Whole runs on a real Weaviate."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from tests.unit.vector.indexing_contract import IndexingContract, document, documents
from tests.wire.vector.conftest import Reach


class TestIndexingOnWeaviate(IndexingContract):
    @pytest.fixture
    def index(self, reach: Reach) -> VectorIndex:
        return VectorIndex(
            reach.index,
            embedder=HashEmbedder(64),
            properties={"year": "int"},
            backend="weaviate",
            conn_id="w",
        )

    @pytest.fixture
    def info(self, reach: Reach) -> ConnectionInfo:
        return reach.info

    def test_sync_without_gate_is_written_in_place(self) -> None:
        first = self.run(documents())
        second = self.run([*documents(), document(70)])
        assert (second.action, second.version.name) == ("synced", first.version.name)
        assert self.names() == [("v1", "built")]

    def test_sync_with_activation_left_to_others_is_written_beside(self) -> None:
        self.run(documents())
        outcome = self.run([*documents(), document(70)], activate=False)
        assert outcome.version.name.startswith("v2_")
        assert (self.maker.embedded, self.maker.cached) == (1, 60)

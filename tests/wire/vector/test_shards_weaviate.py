"""Shards on a real Weaviate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import VectorIndex
from tests.unit.vector.indexing_contract import document, documents
from tests.unit.vector.shard_contract import EMBEDDER, SHARDS, ShardContract, context
from tests.wire.vector.conftest import Reach


class TestShardsOnWeaviate(ShardContract):
    @pytest.fixture
    def index(self, reach: Reach, monkeypatch: pytest.MonkeyPatch) -> VectorIndex:
        connection = {"conn_type": "weaviate", "host": reach.info.host, "port": reach.info.port}
        monkeypatch.setenv("AIRFLOW_CONN_W", json.dumps({**connection, "extra": dict(reach.info.extra)}))
        return VectorIndex(
            reach.index, embedder=EMBEDDER, properties={"year": "int"}, backend="weaviate", conn_id="w"
        )

    def test_chunks_that_the_server_hides_are_healed_by_the_shard_that_wrote_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_mlops.vector.stores.weaviate import WeaviateBuild

        plan = self.plan()
        inner = WeaviateBuild.unfindable
        hidden: list[str] = []

        def unfindable(build: Any, ids: Any) -> list[str]:
            if not hidden:
                hidden.append(ids[0])
                return [ids[0]]
            return inner(build, ids)

        monkeypatch.setattr(WeaviateBuild, "unfindable", unfindable)
        shards = [self.load(plan, number) for number in range(SHARDS)]
        assert [shard["healed"] for shard in shards] == [1, 0, 0]
        assert self.finish(shards)["healed"] == 1
        self.expect_live(documents())

    def test_small_change_goes_beside_the_live_version_not_into_it(self) -> None:
        VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        self.put([*documents(), document(100)])
        plan = self.plan()
        assert plan["version"] != plan["base_version"]
        self.embedded()
        shards = [self.load(plan, number) for number in range(SHARDS)]
        # The new version has everything, with the vectors of the old one.
        assert (sum(shard["written"] for shard in shards), len(self.embedded())) == (61, 1)
        outcome = self.finish(shards)
        assert (outcome["previous_version"], outcome["version"]) == (plan["base_version"], plan["version"])
        self.expect_live([*documents(), document(100)])

"""Shards on LanceDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mlops.vector import VectorIndex
from tests.unit.vector.shard_contract import EMBEDDER, ShardContract

pytest.importorskip("lancedb")


class TestShardsOnLance(ShardContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        return VectorIndex("Docs", embedder=EMBEDDER, properties={"year": "int"}, uri=str(tmp_path / "lance"))

"""Weaviate: broken sources, embedders and neighbours."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from tests.unit.vector.fault_contract import FaultContract
from tests.wire.vector.conftest import Reach


class TestFaultsOnWeaviate(FaultContract):
    @pytest.fixture
    def index(self, reach: Reach) -> VectorIndex:
        return VectorIndex(reach.index, embedder=HashEmbedder(64), backend="weaviate", conn_id="w")

    @pytest.fixture
    def info(self, reach: Reach) -> ConnectionInfo:
        return reach.info

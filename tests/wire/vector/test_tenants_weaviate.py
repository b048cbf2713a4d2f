"""Tenants of a real Weaviate."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.unit.vector.tenants_contract import TENANTS, TenantsContract, documents
from tests.wire.vector.conftest import Reach


class TestTenantsOnWeaviate(TenantsContract):
    @pytest.fixture
    def index(self, reach: Reach) -> VectorIndex:
        self.reach = reach
        return VectorIndex(
            reach.index, embedder=HashEmbedder(64), tenant="customer", backend="weaviate", conn_id="w"
        )

    @pytest.fixture
    def info(self, reach: Reach) -> Any:
        return reach.info

    def test_tenants_are_those_of_the_server(self) -> None:
        self.run(documents())
        with connect(self.reach.info) as client:
            collection = client.collections.use(self.index.name)
            assert set(collection.tenants.get()) == set(TENANTS)
            config = collection.config.get().multi_tenancy_config
        assert (config.enabled, config.auto_tenant_creation, config.auto_tenant_activation) == (
            True,
            False,
            True,
        )

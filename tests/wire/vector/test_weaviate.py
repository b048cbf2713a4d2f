"""A real Weaviate passes the contract of a vector store."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from airflow_provider_mlops.vector.stores import open_store as open_any
from airflow_provider_mlops.vector.stores.base import Store
from tests.unit.vector.store_contract import OpenStore, StoreContract
from tests.wire.vector.conftest import Reach


class TestWeaviate(StoreContract):
    @pytest.fixture
    def open_store(self, reach: Reach) -> OpenStore:
        def opened(index: str) -> AbstractContextManager[Store]:
            return open_any(
                "weaviate", reach.index, conn_id="w", uri=None, connections=lambda name: reach.info
            )

        return opened

"""Tenants in LanceDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from tests.unit.vector.tenants_contract import TenantsContract

pytest.importorskip("lancedb")


class TestTenantsOnLance(TenantsContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        return VectorIndex(
            "Docs", embedder=HashEmbedder(64), tenant="customer", uri=str(tmp_path), full_text=True
        )


def test_indexes_without_tenants_have_no_use_for_one_and_keep_their_fingerprint() -> None:
    plain = VectorIndex("Docs", uri="/tmp/nowhere")
    assert plain.fingerprint() == "fa83c8ca14c684117687ba8a911a42d7"
    assert VectorIndex("Docs", tenant="customer").fingerprint() != plain.fingerprint()
    with pytest.raises(InvalidArgument, match="no property is called 'tenant'"):
        VectorIndex("Docs", tenant="customer", properties={"tenant": "keyword"})
    from airflow_provider_mlops.vector.search import search

    with pytest.raises(InvalidArgument, match="has no tenants, and tenant='acme'"):
        search(plain, "text", tenant="acme")

"""Further vectors in LanceDB, and what of them is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder, PrecomputedVectors, VectorIndex
from tests.unit.vector.named_vectors_contract import NamedVectorsContract

pytest.importorskip("lancedb")


class TestNamedVectorsOnLance(NamedVectorsContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        return VectorIndex(
            "Docs",
            embedder=HashEmbedder(64),
            properties={"title": "text"},
            vectors={"heading": "title"},
            uri=str(tmp_path),
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"vectors": {"title": "title"}}, "no property of type text or keyword"),
        ({"vectors": {"year": "year"}, "properties": {"year": "int"}}, "no property of type text or keyword"),
        ({"vectors": {"default": "title"}, "properties": {"title": "text"}}, "'default' is not possible"),
        (
            {"vectors": {"t": "title"}, "properties": {"title": "text"}, "embedder": PrecomputedVectors(4)},
            "one per document",
        ),
    ],
)
def test_impossible_vectors_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        VectorIndex("Docs", **{"embedder": HashEmbedder(16), **arguments})

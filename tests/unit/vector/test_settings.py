"""Settings of Weaviate: what they refuse, what of them decides between sync and rebuild, and their JSON."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import BM25, HNSW, Flat, VectorIndex, WeaviateSettings

SNIPPET = Path(__file__).parents[3] / "docs" / "snippets" / "vector_settings.py"
USUAL = VectorIndex("Docs", backend="weaviate")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"vector_index": Flat(quantization="bq")}, "'bq' of a flat index"),
        ({"vector_index": HNSW(quantization="rq4")}, "'rq4' of a hnsw index"),  # type: ignore[arg-type]
        ({"vector_index": HNSW(ef_construction=1)}, "at least 4"),
        ({"vector_index": HNSW(ef=0)}, "the least is 1"),
        ({"bm25": BM25(b=2)}, "between 0 and 1"),
        ({"replicas": 0}, "the least is 1"),
        ({"replicas": 1, "async_replication": True}, "nothing to compare with one copy"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        WeaviateSettings(**arguments)  # type: ignore[arg-type]


def test_settings_are_for_weaviate() -> None:
    with pytest.raises(InvalidArgument, match="settings for Weaviate, and the backend is 'lancedb'"):
        VectorIndex("Docs", weaviate=WeaviateSettings())


def test_indexes_from_before_the_settings_keep_their_fingerprint() -> None:
    assert USUAL.fingerprint() == "fa83c8ca14c684117687ba8a911a42d7"
    explicit = VectorIndex("Docs", backend="weaviate", weaviate=WeaviateSettings(HNSW(), BM25()))
    assert explicit.fingerprint() == USUAL.fingerprint()


@pytest.mark.parametrize(
    ("settings", "rebuilt"),
    [
        (WeaviateSettings(HNSW(ef=64), BM25(k1=0.9), async_replication=True), False),
        (WeaviateSettings(replicas=2), True),
        (WeaviateSettings(Flat()), True),
        (WeaviateSettings(HNSW(quantization="none")), True),
        (WeaviateSettings(HNSW(max_connections=16)), True),
        (WeaviateSettings(HNSW(ef_construction=64)), True),
    ],
)
def test_only_what_cannot_be_changed_in_place_rebuilds(settings: WeaviateSettings, rebuilt: bool) -> None:
    index = VectorIndex("Docs", backend="weaviate", weaviate=settings)
    assert (index.fingerprint() != USUAL.fingerprint()) is rebuilt
    assert VectorIndex.from_json(json.loads(json.dumps(index.to_json()))) == index


@pytest.mark.parametrize("data", [{"vector_index": {"kind": "ivf"}}, {"bm25": {"k2": 1}}, {"speed": 1}])
def test_unknown_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="WeaviateSettings"):
        WeaviateSettings.from_json(data)


def test_documented_settings_are_an_index() -> None:
    index = runpy.run_path(str(SNIPPET))["DOCS"]
    assert VectorIndex.from_json(index.to_json()) == index
    assert (index.tenant, index.weaviate.vector_index.ef_construction) == ("customer", 256)

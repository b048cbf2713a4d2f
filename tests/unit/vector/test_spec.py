from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import (
    HashEmbedder,
    PrecomputedVectors,
    RecursiveChunker,
    VectorIndex,
    WeaviateModule,
)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "docs"}, "capital letter"),
        ({"name": "Docs-1"}, "capital letter"),
        ({"backend": "pinecone"}, "lancedb, weaviate"),
        ({"metric": "manhattan"}, "cosine, dot, l2"),
        ({"keep_versions": 0}, "the least is 1"),
        ({"properties": {"id": "text"}}, "reserved"),
        ({"properties": {"Upper": "text"}}, "lower-case"),
        ({"properties": {"a": "date"}}, "'date'"),
        ({"backend": "weaviate", "uri": "/x"}, "conn_id"),
        ({"backend": "weaviate", "full_text": True}, "always keeps"),
        ({"uri": "s3://key:secret@bucket/x"}, "credentials"),
        ({"embedder": PrecomputedVectors(3), "chunker": RecursiveChunker()}, "whole documents"),
    ],
)
def test_impossible_index_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        VectorIndex(**{"name": "Docs", **arguments})
    assert "secret" not in str(caught.value)


def test_json_round_trip() -> None:
    index = VectorIndex(
        "Docs", key="k", text="body", embedder=HashEmbedder(64), chunker=RecursiveChunker(500, 50),
        properties={"title": "text", "n": "int"}, backend="weaviate", conn_id="w", metric="dot", keep_versions=5,
    )  # fmt: skip
    again = VectorIndex.from_json(json.loads(json.dumps(index.to_json())))
    assert again == index
    assert again.fingerprint() == index.fingerprint()
    assert VectorIndex.from_json({"name": "Docs"}) == VectorIndex("Docs")
    with pytest.raises(InvalidArgument, match="Docs"):
        VectorIndex.from_json({"name": "Docs", "colour": "red"})


def test_fingerprint_changes_with_what_makes_chunks_incomparable_and_with_nothing_else() -> None:
    base = VectorIndex("Docs")
    same = [
        VectorIndex("Other"), VectorIndex("Docs", keep_versions=9), VectorIndex("Docs", uri="/elsewhere"),
        VectorIndex("Docs", key="k", text="t"), VectorIndex("Docs", backend="weaviate"),
    ]  # fmt: skip
    other = [
        VectorIndex("Docs", embedder=HashEmbedder(128)), VectorIndex("Docs", chunker=RecursiveChunker()),
        VectorIndex("Docs", properties={"a": "text"}), VectorIndex("Docs", metric="l2"),
        VectorIndex("Docs", full_text=True),
    ]  # fmt: skip
    assert {index.fingerprint() for index in same} == {base.fingerprint()}
    assert len({index.fingerprint() for index in [base, *other]}) == 6


def test_weaviate_has_a_default_connection_and_lancedb_none() -> None:
    assert VectorIndex("Docs", backend="weaviate").connection == "weaviate_default"
    assert VectorIndex("Docs").connection is None


def test_modules_of_weaviate_are_for_weaviate() -> None:
    module = WeaviateModule("text2vec-openai", {"model": "m"})
    index = VectorIndex("Docs", backend="weaviate", embedder=module)
    assert index.layout().vectorizer == ("text2vec-openai", {"model": "m"})
    assert VectorIndex.from_json(json.loads(json.dumps(index.to_json()))) == index
    assert (
        WeaviateModule("text2vec-openai", revision="2").identity()
        != WeaviateModule("text2vec-openai").identity()
    )
    with pytest.raises(InvalidArgument, match="module of Weaviate"):
        VectorIndex("Docs", embedder=module)
    with pytest.raises(InvalidArgument, match="text2vec-"):
        WeaviateModule("img2vec-neural")

"""Vectors that a module of the Weaviate server makes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import InvalidArgument, RequestRefused
from airflow_provider_mlops.vector import Gate, Records, VectorIndex, WeaviateModule
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import GateRejected, GoldenQueriesInvalid
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.wire.vector.conftest import Reach

TEXTS = {
    "cat": "the cat sleeps on the warm mat",
    "rocket": "a rocket flies through empty space",
    "bread": "fresh bread smells of yeast",
}


@pytest.fixture
def index(reach: Reach) -> VectorIndex:
    return VectorIndex(
        reach.index,
        embedder=WeaviateModule("text2vec-bigram"),
        properties={"year": "int"},
        backend="weaviate",
        conn_id="w",
    )


def opened(reach: Reach) -> AbstractContextManager[Store]:
    return open_store("weaviate", reach.index, conn_id="w", uri=None, connections=lambda name: reach.info)


def execute(
    reach: Reach, index: VectorIndex, texts: dict[str, str], year: int = 2000, **options: Any
) -> tuple[Outcome, RowMaker]:
    maker = RowMaker(index.embedder)
    source = Records(lambda: [{"id": key, "text": text, "year": year} for key, text in texts.items()])
    with opened(reach) as store:
        return run(index, source, store, maker, RunOptions(**options), holder="h", on_bad=print), maker


def stored(reach: Reach, version: str) -> dict[str, np.ndarray]:
    with opened(reach) as store:
        snapshot = store.read(version)
        rows = snapshot.rows([chunk for chunk, _, _ in snapshot.scan()])
    return {row.doc: row.vector for row in rows.values()}


def nearest(reach: Reach, index: VectorIndex, query: str) -> str:
    def connections(name: str) -> ConnectionInfo:
        return reach.info

    return search(index, query, k=1, connections=connections)[0].doc


def test_the_server_makes_the_vectors_of_chunks_and_queries(reach: Reach, index: VectorIndex) -> None:
    outcome, maker = execute(reach, index, TEXTS)
    assert (outcome.action, outcome.active) == ("built", True)
    assert (maker.embedded, maker.cached, maker.tokens) == (3, 0, None)
    vectors = stored(reach, outcome.version.name)
    assert all(vector.size > 0 and vector.any() for vector in vectors.values())
    for key, text in TEXTS.items():
        assert nearest(reach, index, text) == key
    hits = search(index, vectors["cat"].tolist(), k=1, connections=lambda name: reach.info)
    assert hits[0].doc == "cat"


def test_only_the_text_goes_to_the_module(reach: Reach, index: VectorIndex) -> None:
    # text2vec-bigram takes everything whatever it is told, so this looks at what the server was told.
    outcome, _ = execute(reach, index, TEXTS)
    with connect(reach.info) as client:
        told = (
            client.collections.use(outcome.version.physical).config.get().vector_config["default"].vectorizer
        )
    assert told.source_properties == ["text"]
    assert told.model == {"vectorizeClassName": False}


def test_changes_are_synced_and_unchanged_vectors_are_copied(reach: Reach, index: VectorIndex) -> None:
    execute(reach, index, TEXTS)
    assert execute(reach, index, TEXTS)[0].action == "unchanged"
    changed = {**TEXTS, "bread": "old bread is hard", "sea": "waves roll over the sea"}
    outcome, _ = execute(reach, index, changed, activate=False)
    assert (outcome.action, outcome.active, outcome.plan.added) == ("synced", False, 2)
    assert stored(reach, outcome.version.name).keys() == changed.keys()
    final, _ = execute(reach, index, changed)
    assert final.active
    assert nearest(reach, index, "waves roll over the sea") == "sea"
    # A property alone keeps its vector.
    before = stored(reach, final.version.name)
    touched, _ = execute(reach, index, changed, year=2001)
    after = stored(reach, touched.version.name)
    assert touched.plan.updated == 4
    assert all((after[key] == before[key]).all() for key in before)


def test_the_gate_asks_by_text(reach: Reach, index: VectorIndex) -> None:
    gate = Gate("unused", k=1, min_recall=1.0)
    right = [GoldenQuery(text, frozenset([key])) for key, text in TEXTS.items()]
    outcome, _ = execute(reach, index, TEXTS, gate=(gate, right))
    assert outcome.gate is not None
    assert outcome.gate.passed
    wrong = [GoldenQuery(TEXTS["cat"], frozenset(["rocket"]))]
    with pytest.raises(GateRejected):
        execute(reach, index, {**TEXTS, "sea": "waves"}, gate=(gate, wrong))
    with pytest.raises(GoldenQueriesInvalid, match="has a vector"):
        execute(
            reach,
            index,
            {**TEXTS, "sea": "waves"},
            gate=(gate, [GoldenQuery("x", frozenset(["cat"]), (1.0, 0.0))]),
        )


def test_a_module_that_the_server_lacks_is_an_error_with_its_name(reach: Reach, index: VectorIndex) -> None:
    missing = VectorIndex(
        reach.index,
        embedder=WeaviateModule("text2vec-nothing"),
        properties={"year": "int"},
        backend="weaviate",
        conn_id="w",
    )
    with pytest.raises(RequestRefused, match="text2vec-nothing"):
        execute(reach, missing, TEXTS)


def test_nothing_is_embedded_here(index: VectorIndex) -> None:
    with pytest.raises(InvalidArgument, match="not embedded here"):
        index.embedder.embed(["a"])

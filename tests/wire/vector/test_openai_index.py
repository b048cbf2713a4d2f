"""An index whose embedder costs money: nothing is paid twice, and nothing above the cap."""

from __future__ import annotations

import json
import logging
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import ConnectionMissing, RemoteUnavailable
from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.payloads import VectorIndexPayload
from airflow_provider_mlops.vector import OpenAIEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.embedders import openai_session
from airflow_provider_mlops.vector.errors import EmbeddingBudgetExceeded
from airflow_provider_mlops.vector.hook import VectorSearchHook
from airflow_provider_mlops.vector.stores import open_store
from tests.wire.vector.embedding_server import KEY, EmbeddingServer, status

pytest.importorskip("lancedb")
SNIPPETS = Path(__file__).parents[3] / "docs" / "snippets"
CONTEXT = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    monkeypatch.setattr(openai_session, "_FIRST_PAUSE", 0.01)
    with EmbeddingServer() as running:
        host = {"conn_type": "http", "host": running.url, "password": KEY}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(host))
        yield running


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    embedder = OpenAIEmbedder(
        "m", 8, tokenizer=f"{__name__}:words", price_per_1k_tokens=0.5, max_texts=10, error_budget=0.2
    )
    return VectorIndex("Docs", embedder=embedder, uri=str(tmp_path / "lance"))


def documents(count: int) -> Records:
    return Records(lambda: ({"id": f"d{number}", "text": f"text number {number}"} for number in range(count)))


def execute(index: VectorIndex, source: Any, **arguments: Any) -> VectorIndexPayload:
    return VectorIndexOperator(task_id="t", index=index, source=source, **arguments).execute(CONTEXT)


def versions(index: VectorIndex) -> list[str]:
    with open_store("lancedb", "Docs", conn_id=None, uri=index.uri, connections=lambda name: None) as store:  # type: ignore[arg-type, return-value]
        return [version.name for version in store.versions()]


def test_only_what_is_new_is_paid_for(
    server: EmbeddingServer, index: VectorIndex, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first = execute(index, documents(40))
    assert (first["embedded"], first["tokens"], first["cost"]) == (40, 120, pytest.approx(0.06))
    second = execute(index, documents(42), max_tokens=6)
    assert (second["embedded"], second["tokens"], second["cost"]) == (2, 6, pytest.approx(0.003))
    third = execute(index, documents(42), max_tokens=0)
    assert (third["action"], third["embedded"], third["tokens"]) == ("unchanged", 0, 0)
    assert len(server.texts) == len(set(server.texts)) == 42
    assert VectorSearchHook(index).search("text number 7", k=1)[0].doc == "d7"
    assert KEY not in caplog.text + json.dumps([first, second, third])


def test_a_cap_is_checked_before_anything_is_sent_or_written(
    server: EmbeddingServer, index: VectorIndex
) -> None:
    with pytest.raises(AirflowFailException, match=r"120 tokens \(max_tokens is 119\)") as caught:
        execute(index, documents(40), max_tokens=119)
    assert isinstance(caught.value, EmbeddingBudgetExceeded)
    with pytest.raises(EmbeddingBudgetExceeded, match=r"0\.0600 \(max_cost is 0\.0500\)"):
        execute(index, documents(40), max_cost=0.05)
    assert server.requests == []
    assert versions(index) == []
    assert execute(index, documents(40), max_cost=0.06)["embedded"] == 40


def test_what_a_failed_run_paid_for_counts_as_paid_in_the_next_one(
    server: EmbeddingServer, index: VectorIndex, tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache.sqlite")
    server.faults.extend([None, None, *[status(500)] * 1000])
    with pytest.raises(RemoteUnavailable):
        execute(index, documents(40), embedding_cache=cache, batch_size=10)
    server.faults.clear()
    paid = len(set(server.texts)) - 10
    again = execute(index, documents(40), embedding_cache=cache, batch_size=10, max_tokens=3 * (40 - paid))
    assert paid == 20
    assert (again["embedded"], again["tokens"]) == (20, 60)
    # Another index with the same embedder finds them as well.
    other = VectorIndex("Others", embedder=index.embedder, uri=index.uri)
    assert execute(other, documents(40), embedding_cache=cache, max_tokens=0)["embedded"] == 0


def test_dry_run_counts_tokens_and_cost_and_sends_nothing(
    server: EmbeddingServer, index: VectorIndex
) -> None:
    execute(index, documents(20))
    sent = len(server.requests)
    plan: Any = execute(index, documents(40), dry_run=True, max_cost=0.02)
    assert (plan["to_embed"], plan["tokens"], plan["cost"]) == (20, 60, pytest.approx(0.03))
    (refusal,) = plan["refusals"]
    assert refusal.startswith("EmbeddingBudgetExceeded: ")
    assert len(server.requests) == sent
    done = execute(index, documents(40), max_cost=0.03)
    assert (done["embedded"], done["tokens"]) == (20, 60)


def test_the_example_of_the_documentation_runs(server: EmbeddingServer, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Guide\n\n## Install\n\nRun the installer.\n\n## Use\n\nStart it.\n")
    shown = runpy.run_path(str(SNIPPETS / "vector_openai.py"))["index"]
    shown.index = replace(shown.index, uri=str(tmp_path / "lance"))
    shown.source, shown.embedding_cache = f"{tmp_path}/**/*.md", str(tmp_path / "cache")
    payload = shown.execute(CONTEXT)
    assert payload["chunks"] == 2
    assert payload["cost"] == pytest.approx(payload["tokens"] * 0.00002 / 1000)
    assert {request["dimensions"] for request in server.requests} == {512}
    hit = VectorSearchHook(shown.index).search("## Use\n\nStart it.", k=1)[0]
    assert hit.properties == {"chunk_headings": "Guide > Use", "chunk_start": 41}
    assert (
        runpy.run_path(str(SNIPPETS / "vector_module.py"))["NOTES"].embedder.module == "text2vec-transformers"
    )


def test_a_missing_connection_is_found_before_the_source_is_read(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_OPENAI_DEFAULT", raising=False)

    def unread() -> list[Any]:
        raise AssertionError("read")

    with pytest.raises(ConnectionMissing, match="openai_default"):
        execute(index, Records(unread))

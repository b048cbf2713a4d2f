"""The documentation's example of a search works as it stands."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.vector import Records
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import RunOptions, run
from airflow_provider_mlops.vector.stores import open_store

pytest.importorskip("lancedb")
SNIPPET = Path(__file__).parents[3] / "docs" / "snippets" / "vector_search.py"


@pytest.mark.skipif(not AIRFLOW_3, reason="the example is written for Airflow 3")
def test_example_finds_what_its_filters_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", str(tmp_path))
    shown = runpy.run_path(str(SNIPPET))
    index = replace(shown["HANDBOOK"], uri=str(tmp_path / "vector"))
    docs = [
        {"path": "right.md", "text": "restart the scheduler", "section": "guide", "year": 2021},
        {"path": "old.md", "text": "restart the scheduler", "section": "guide", "year": 2011},
        {"path": "news.md", "text": "restart the scheduler", "section": "news", "year": 2021},
        {
            "path": "gone.md",
            "text": "restart the scheduler",
            "section": "guide",
            "year": 2021,
            "retired": True,
        },
    ]
    queries = [GoldenQuery("scheduler restart", frozenset(["right.md"]))]
    with open_store("lancedb", index.name, conn_id=None, uri=index.uri, connections=pytest.fail) as store:
        outcome = run(
            index, Records(lambda: docs), store, RowMaker(index.embedder),
            RunOptions(gate=(shown["GATE"], queries)), holder="h", on_bad=print,
        )  # fmt: skip
    assert outcome.gate is not None
    assert outcome.gate.search == "hybrid"
    assert shown["look_up"].function("How do I restart it?") == ["right.md"]

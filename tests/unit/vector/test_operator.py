"""The operator as Airflow calls it, on LanceDB."""

from __future__ import annotations

import gzip
import json
import pickle
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AIRFLOW_3, AirflowFailException, Asset, BaseHook
from airflow_provider_mlops.errors import ConnectionMissing, InvalidArgument, SourceEmpty, StorageUnwritable
from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.payloads import VectorIndexPayload
from airflow_provider_mlops.vector import (
    Gate,
    HashEmbedder,
    PrecomputedVectors,
    Records,
    SqlSource,
    VectorIndex,
)
from airflow_provider_mlops.vector.activate import activate, active_version
from airflow_provider_mlops.vector.errors import (
    GateRejected,
    GoldenQueriesInvalid,
    SourceUnreadable,
    TooManyBadRecords,
)
from airflow_provider_mlops.vector.hook import LanceHook, VectorSearchHook
from tests.unit.vector.indexing_contract import documents

pytest.importorskip("lancedb")
CONTEXT = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    return VectorIndex("Docs", embedder=HashEmbedder(64), uri=str(tmp_path / "lance"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    for part in range(3):
        lines = "".join(json.dumps(doc) + "\n" for doc in documents()[part * 20 : part * 20 + 20])
        (tmp_path / f"docs-{part}.jsonl").write_text(lines)
    return f"{tmp_path}/docs-*.jsonl"


def execute(index: VectorIndex, source: Any, **arguments: Any) -> VectorIndexPayload:
    return VectorIndexOperator(task_id="t", index=index, source=source, **arguments).execute(CONTEXT)


def golden(tmp_path: Path, *queries: tuple[str, str]) -> str:
    path = tmp_path / "golden.jsonl"
    path.write_text("".join(json.dumps({"query": query, "expected": [key]}) + "\n" for query, key in queries))
    return str(path)


def test_payload_says_what_was_done_and_all_that_activation_needs(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    gate = Gate(golden(tmp_path, ("page12", "doc12"), ("page40", "doc40")), min_recall=1.0)
    first = execute(index, source, gate=gate, activate=False)
    assert first == {
        "schema": 1,
        "kind": "vector.index",
        "index": "Docs",
        "backend": "lancedb",
        "conn_id": None,
        "uri": index.uri,
        "version": f"v1_{index.fingerprint()[:8]}",
        "physical": "Docs",
        "previous_version": None,
        "active": False,
        "action": "built",
        "fingerprint": index.fingerprint(),
        "documents": 60,
        "chunks": 60,
        "added": 60,
        "updated": 0,
        "deleted": 0,
        "unchanged": 0,
        "bad": 0,
        "embedded": 60,
        "cached": 0,
        "tokens": None,
        "cost": None,
        "healed": 0,
        "dead_letters": None,
        "gate": {
            "queries": 2,
            "k": 5,
            "search": "vector",
            "recall": 1.0,
            "mrr": 1.0,
            "ndcg": 1.0,
            "comparison": None,
            "passed": True,
        },
        "duration": first["duration"],
    }
    assert first["duration"] > 0
    assert VectorIndexPayload.__required_keys__ == first.keys()
    payload = json.loads(json.dumps(first))
    assert active_version(payload, connection_info) is None
    assert activate(payload, connection_info) is None
    assert active_version(payload, connection_info) == first["version"]
    again = execute(index, source, gate=gate, activate=False)
    assert (again["action"], again["unchanged"], again["added"], again["embedded"], again["active"]) == (
        "unchanged", 60, 0, 0, True,
    )  # fmt: skip


def test_index_without_location_lies_below_the_artifacts(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex("Docs", embedder=HashEmbedder(64))
    with pytest.raises(InvalidArgument, match="artifact folder"):
        execute(index, source)
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", (tmp_path / "shared").as_uri())
    payload = execute(index, source)
    assert payload["uri"] == (tmp_path / "shared" / "vector").as_uri()
    assert (tmp_path / "shared" / "vector" / "Docs.lance").is_dir()
    hits = VectorSearchHook(index).search("page23", k=2)
    assert [hits[0].doc, len(hits)] == ["doc23", 2]
    assert active_version(payload, connection_info) == payload["version"]


def test_location_and_secret_from_a_connection_and_no_secret_anywhere_else(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = {"conn_type": "lancedb", "host": str(tmp_path / "lance"), "password": "hunter2secret"}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    index = VectorIndex("Docs", embedder=HashEmbedder(64), conn_id="lake")
    payload = execute(index, source)
    assert (payload["conn_id"], payload["uri"]) == ("lake", None)
    assert activate(payload, connection_info) == payload["version"]
    assert "hunter2secret" not in json.dumps(payload) + caplog.text
    assert LanceHook("lake").test_connection() == (True, f"2 tables at {tmp_path / 'lance'}")
    ok, message = LanceHook("nowhere").test_connection()
    assert (ok, "nowhere" in message) == (False, True)


def test_missing_connection_is_permanent(source: str) -> None:
    with pytest.raises(ConnectionMissing, match="lake") as caught:
        execute(VectorIndex("Docs", conn_id="lake"), source)
    assert isinstance(caught.value, AirflowFailException)


def test_source_may_be_another_tasks_product_a_list_or_a_function(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    assert execute(index, {"kind": "corpus", "uri": source})["documents"] == 60
    files = [str(tmp_path / f"docs-{part}.jsonl") for part in range(3)]
    assert execute(index, files)["unchanged"] == 60
    assert execute(index, Records(documents))["unchanged"] == 60
    with pytest.raises(InvalidArgument, match="source is a int"):
        execute(index, 7)
    with pytest.raises(SourceEmpty, match="no such file"):
        execute(index, f"{tmp_path}/other-*.jsonl")


def test_source_may_be_a_query_whose_text_is_rendered(
    index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "docs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE docs (id TEXT, text TEXT, day TEXT)")
        rows = [(doc["id"], doc["text"], "2026-01-02") for doc in documents()]
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?)", rows)
    connection.close()

    class Hook(BaseHook):
        def get_conn(self) -> Any:
            return sqlite3.connect(path)

    monkeypatch.setenv("AIRFLOW_CONN_DOCS_DB", json.dumps({"conn_type": "sqlite"}))
    monkeypatch.setattr(BaseHook, "get_hook", lambda conn_id: Hook())
    source = SqlSource("docs_db", "SELECT * FROM docs WHERE day = ?", parameters=["{{ ds }}"])
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.render_template_fields({"ds": "2026-01-02", **CONTEXT})
    assert task.execute(CONTEXT)["documents"] == 60
    with pytest.raises(ConnectionMissing, match="nowhere"):
        execute(index, SqlSource("nowhere", "SELECT 1"))


def test_connection_that_is_no_database_is_named_before_any_effect(
    index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NO_DB", json.dumps({"conn_type": "no_such_type"}))
    with pytest.raises(InvalidArgument, match="no_db"):
        execute(index, SqlSource("no_db", "SELECT 1"))
    assert not (tmp_path / "lance").exists()


def test_source_may_be_parquet_with_vectors_or_text_files(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    vectors = pa.array([[1.0, n] for n in range(60)], pa.list_(pa.float32(), 2))
    columns = {"id": [doc["id"] for doc in documents()], "text": [doc["text"] for doc in documents()]}
    parquet.write_table(pa.table({**columns, "vector": vectors}), tmp_path / "docs.parquet")
    own = VectorIndex("Own", embedder=PrecomputedVectors(2), uri=str(tmp_path / "lance"))
    payload = execute(own, str(tmp_path / "*.parquet"))
    assert (payload["documents"], payload["embedded"]) == (60, 0)
    assert VectorSearchHook(own).search([1.0, 30.0], k=1)[0].doc in ("doc29", "doc30", "doc31")
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "start.md").write_text("how to begin")
    (tmp_path / "other.md").write_text("something else")
    pages = VectorIndex(
        "Pages", embedder=HashEmbedder(64), uri=str(tmp_path / "lance"), key="page", text="body"
    )
    assert execute(pages, f"{tmp_path.as_uri()}/**/*.md")["documents"] == 2
    assert VectorSearchHook(pages).search("how to begin", k=1)[0].doc == "guide/start.md"


def test_compressed_file_that_is_cut_off_deletes_nothing(index: VectorIndex, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl.gz"
    whole = gzip.compress("".join(json.dumps(doc) + "\n" for doc in documents()).encode())
    path.write_bytes(whole)
    execute(index, str(path))
    path.write_bytes(whole[:-20])
    with pytest.raises(SourceUnreadable, match=r"docs\.jsonl\.gz"):
        execute(index, str(path), max_delete_fraction=1.0)
    path.write_bytes(whole)
    assert execute(index, str(path))["unchanged"] == 60


def test_cut_off_line_is_a_dead_letter(index: VectorIndex, tmp_path: Path) -> None:
    text = "".join(json.dumps(doc) + "\n" for doc in documents())
    (tmp_path / "cut.jsonl").write_text(text[:-30])
    letters = tmp_path / "letters" / "bad.jsonl"
    with pytest.raises(TooManyBadRecords, match=r"1 of 60.*cut\.jsonl:60: not JSON") as caught:
        execute(index, f"{tmp_path}/cut.jsonl")
    assert isinstance(caught.value, AirflowFailException)
    payload = execute(index, f"{tmp_path}/cut.jsonl", max_bad_fraction=0.02, dead_letters=str(letters))
    assert (payload["bad"], payload["documents"], payload["dead_letters"]) == (1, 59, str(letters))
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert letter["where"] == "cut.jsonl:60"
    assert letter["raw"].startswith('{"id": "doc59"')


def test_unwritable_dead_letter_folder_is_named_before_any_effect(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable, match="dead_letters"):
        execute(index, source, dead_letters=str(tmp_path / "file" / "bad.jsonl"))
    assert not (tmp_path / "lance").exists()


def test_rejection_ends_the_retries_and_survives_pickling(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    gate = Gate(golden(tmp_path, ("page12", "doc99")), min_recall=0.5)
    with pytest.raises(GateRejected, match="'page12' -> 'doc99'") as caught:
        execute(index, source, gate=gate)
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.worst[0]["found"][0] == "doc12"  # type: ignore[index]
    original = GateRejected(caught.value.message, **caught.value.fields)
    assert str(pickle.loads(pickle.dumps(original))) == str(original)


def test_missing_golden_queries_are_found_before_any_effect(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    with pytest.raises(GoldenQueriesInvalid, match="no such file"):
        execute(index, source, gate=Gate(str(tmp_path / "none.jsonl"), min_recall=0.5))
    assert not (tmp_path / "lance").exists()


def test_too_few_golden_queries_for_a_comparison_are_found_before_any_effect(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    gate = Gate(golden(tmp_path, ("page12", "doc12")), min_recall=0.5, max_regression=0.01)
    with pytest.raises(GoldenQueriesInvalid, match="1 golden queries are too few"):
        execute(index, source, gate=gate)
    assert not (tmp_path / "lance").exists()


def test_asset_of_the_index_gets_its_version_counts_and_gate(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    mine, other = Asset("vectorindex://Docs"), Asset("vectorindex://Others")
    gate = Gate(golden(tmp_path, ("page12", "doc12")), min_recall=1.0)
    task = VectorIndexOperator(task_id="t", index=index, source=source, gate=gate, outlets=[mine, other])
    events = {mine.uri: SimpleNamespace(extra=None), other.uri: SimpleNamespace(extra=None)}

    class ByAsset:
        def __getitem__(self, asset: Any) -> Any:
            return events[asset.uri]

    payload: Any = task.execute({**CONTEXT, "outlet_events": ByAsset()})
    extra: Any = events[mine.uri].extra
    assert events[other.uri].extra is None
    assert (extra["version"], extra["documents"], extra["added"]) == (payload["version"], 60, 60)
    assert extra["gate"]["recall"] == 1.0
    assert extra["duration"] == payload["duration"]
    assert json.loads(json.dumps(extra)) == {key: payload[key] for key in extra}
    assert "uri" not in extra


def test_embeddings_are_kept_between_rebuilds(index: VectorIndex, source: str, tmp_path: Path) -> None:
    cache = (tmp_path / "cache" / "vectors.sqlite").as_uri()
    assert execute(index, source, embedding_cache=cache)["embedded"] == 60
    again = execute(index, source, embedding_cache=cache, mode="rebuild")
    assert (again["action"], again["embedded"], again["cached"]) == ("built", 0, 60)
    with pytest.raises(InvalidArgument, match="embedding_cache"):
        execute(index, source, embedding_cache="s3://bucket/cache")


@pytest.mark.parametrize(
    "arguments", [{"mode": "magic"}, {"max_delete_fraction": 2}, {"max_bad_fraction": -1}, {"batch_size": 0}]
)
def test_wrong_arguments_are_refused_before_any_effect(
    index: VectorIndex, source: str, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(arguments))):
        execute(index, source, **arguments)
    assert not (tmp_path / "lance").exists()


def test_golden_queries_of_another_task_are_rendered_and_depended_on(index: VectorIndex) -> None:
    from datetime import datetime

    if AIRFLOW_3:
        from airflow.sdk import DAG
    else:
        from airflow.models.dag import DAG

    from airflow_provider_mlops.compat import BaseOperator

    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1)):
        corpus = BaseOperator(task_id="corpus")
        task = VectorIndexOperator(
            task_id="index", index=index, source="x", gate=Gate(corpus.output["golden"], min_recall=0.5)
        )
    assert task.upstream_task_ids == {"corpus"}
    assert "golden" in task.template_fields

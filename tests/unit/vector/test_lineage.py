"""What OpenLineage is told of an index, written by its real client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.compat import BaseHook
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, SourceEmpty
from airflow_provider_mlops.operators import VectorIndexMaintenanceOperator, VectorIndexOperator
from airflow_provider_mlops.vector import Gate, HashEmbedder, Records, SqlSource, VectorIndex
from airflow_provider_mlops.vector.errors import GateRejected, IndexDamaged
from airflow_provider_mlops.vector.lineage import file_place, file_places, gate_tests, index_place
from tests.openlineage_client import EXTRACTORS, as_sent
from tests.unit.vector.indexing_contract import documents
from tests.unit.vector.task_contract import CONTEXT


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://lake/docs/a.jsonl", ("s3://lake", "docs/a.jsonl")),
        ("s3a://lake/docs/a.jsonl", ("s3://lake", "docs/a.jsonl")),
        ("s3://my_conn@lake/docs/**/*.jsonl", ("s3://lake", "docs")),
        ("s3://key:secret@lake/*.jsonl", ("s3://lake", "/")),
        ("gs://lake/year=[0-9]/a.parquet", ("gs://lake", "/")),
        ("gcs://lake/docs", ("gs://lake", "docs")),
        ("abfs://conn@container/docs/a.md", ("abfss://container", "docs/a.md")),
        ("https://host/a.jsonl?signature=secret", ("https://host", "/")),
        ("file:///data/with%20space/*.md", ("file", "/data/with space")),
        ("/data/docs.jsonl", ("file", "/data/docs.jsonl")),
        ("/*.md", ("file", "/")),
        ("docs/*.md", ("file", str(Path("docs").absolute()))),
    ],
)
def test_files_are_named_as_openlineage_names_them(uri: str, place: tuple[str, str]) -> None:
    assert file_place(uri) == place


def test_a_folder_is_told_once() -> None:
    assert file_places(["s3://a/x/*.md", "s3://a/x/*.txt", "s3://a/y"]) == [("s3://a", "x"), ("s3://a", "y")]


@pytest.mark.parametrize(
    ("connection", "place"),
    [
        (ConnectionInfo("w", host="db", port=8080), ("weaviate://db:8080", "Docs")),
        (
            ConnectionInfo("w", host="https://user:secret@db.example.com"),
            ("weaviate://db.example.com:443", "Docs"),
        ),
    ],
)
def test_an_index_in_weaviate_is_named_for_its_server(
    connection: ConnectionInfo, place: tuple[str, str]
) -> None:
    assert index_place(VectorIndex("Docs", backend="weaviate"), connection) == place


def test_an_index_of_a_connection_without_host_has_no_name() -> None:
    with pytest.raises(ConnectionIncomplete):
        index_place(VectorIndex("Docs", backend="weaviate"), ConnectionInfo("w"))


@pytest.mark.parametrize(
    ("uri", "connection", "place"),
    [
        ("s3://lake/index/", None, ("s3://lake", "index/Docs.lance")),
        ("/data/index", None, ("file", "/data/index/Docs.lance")),
        (None, ConnectionInfo("l", host="gs://lake", password="secret"), ("gs://lake", "Docs.lance")),
    ],
)
def test_an_index_in_lancedb_is_named_for_its_table(
    uri: str | None, connection: ConnectionInfo | None, place: tuple[str, str]
) -> None:
    assert index_place(VectorIndex("Docs", uri=uri, conn_id=connection and "l"), connection) == place


def test_every_demand_of_a_gate_is_a_test() -> None:
    gate = Gate("golden.jsonl", min_recall=0.8, min_ndcg=0.9, max_regression=0.01)
    report = {
        "recall": 0.9,
        "mrr": 0.7,
        "ndcg": 0.85,
        "comparison": {"live": 0.9, "difference": -0.05, "interval": [-0.09, -0.02]},
    }
    assert [
        (test["name"], test["status"], test["expected"], test["actual"]) for test in gate_tests(gate, report)
    ] == [
        ("recall@5", "pass", ">= 0.8", "0.9"),
        ("nDCG@5", "fail", ">= 0.9", "0.85"),
        (
            "nDCG@5 against the live version",
            "fail",
            "at most 0.01 below the live version",
            "-0.05 (95 %: -0.09 to -0.02)",
        ),
    ]
    told = gate_tests(gate, {**report, "comparison": "there is no live version"})
    assert [test["name"] for test in told] == ["recall@5", "nDCG@5"]


# --- the operators, on LanceDB ------------------------------------------------------------------


@pytest.fixture
def index(tmp_path: Path) -> VectorIndex:
    pytest.importorskip("lancedb")
    return VectorIndex(
        "Docs", embedder=HashEmbedder(64), properties={"year": "int"}, uri=str(tmp_path / "lance")
    )


@pytest.fixture
def source(tmp_path: Path) -> str:
    lines = "".join(json.dumps(doc) + "\n" for doc in documents())
    (tmp_path / "docs.jsonl").write_text(lines)
    return str(tmp_path / "docs.jsonl")


def golden(tmp_path: Path, query: str, key: str) -> str:
    path = tmp_path / "golden.jsonl"
    path.write_text(json.dumps({"query": query, "expected": [key]}) + "\n")
    return str(path)


def told(task: Any, *, failed: bool = False) -> Any:
    ask = task.get_openlineage_facets_on_failure if failed else task.get_openlineage_facets_on_complete
    return as_sent(ask(None))


@pytest.mark.usefixtures("lineage_provider")
def test_a_run_names_what_it_read_what_it_wrote_and_how_that_was_judged(
    index: VectorIndex, source: str, tmp_path: Path
) -> None:
    gate = Gate(golden(tmp_path, "page12", "doc12"), min_recall=1.0)
    task = VectorIndexOperator(task_id="t", index=index, source=source, gate=gate)
    payload: Any = task.execute(CONTEXT)
    event = told(task)
    assert [(read["namespace"], read["name"]) for read in event["inputs"]] == [
        ("file", source),
        ("file", str(tmp_path / "golden.jsonl")),
    ]
    (written,) = event["outputs"]
    assert (written["namespace"], written["name"]) == ("file", f"{index.uri}/Docs.lance")
    assert Path(written["name"]).is_dir()
    assert written["facets"]["version"]["datasetVersion"] == payload["version"]
    columns = {column["name"]: column["type"] for column in written["facets"]["schema"]["fields"]}
    assert (columns["vector"], columns["year"], columns["doc"]) == ("float[64]", "int", "text")
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 60
    facet = event["run"]["facets"]["vector_index"]
    assert (facet["version"], facet["fingerprint"]) == (payload["version"], index.fingerprint())
    assert (facet["documents"], facet["added"], facet["embedded"]) == (60, 60, 60)
    assert facet["gate"]["recall"] == 1.0
    assert facet["duration"] == payload["duration"]
    again = VectorIndexOperator(task_id="t", index=index, source=source)
    again.execute(CONTEXT)
    assert told(again)["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 0


@pytest.mark.usefixtures("lineage_provider")
def test_a_rejected_version_is_told_with_its_figures(index: VectorIndex, source: str, tmp_path: Path) -> None:
    gate = Gate(golden(tmp_path, "page12", "doc99"), min_recall=0.5)
    task = VectorIndexOperator(task_id="t", index=index, source={"uri": source}, gate=gate)
    with pytest.raises(GateRejected):
        task.execute(CONTEXT)
    event = told(task, failed=True)
    facet = event["run"]["facets"]["vector_index"]
    assert (facet["error"], facet["gate"]["passed"]) == ("GateRejected", False)
    assert event["inputs"][0]["name"] == source
    assert event["outputs"][0]["name"] == f"{index.uri}/Docs.lance"
    assert "version" not in event["outputs"][0]["facets"]
    assert "doc12" not in json.dumps(event), "no document belongs into an event"


@pytest.mark.usefixtures("lineage_provider")
def test_what_a_gate_demanded_is_told_where_the_client_has_words_for_it(
    index: VectorIndex, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facets = pytest.importorskip("openlineage.client.facet_v2")
    if not hasattr(facets, "test_run"):
        pytest.skip("this client has no test facet")
    gate = Gate(golden(tmp_path, "page12", "doc99"), min_recall=0.5)
    task = VectorIndexOperator(task_id="t", index=index, source=source, gate=gate)
    with pytest.raises(GateRejected):
        task.execute(CONTEXT)
    (test,) = told(task, failed=True)["run"]["facets"]["test"]["tests"]
    wanted = {"name": "recall@5", "status": "fail", "severity": "error", "expected": ">= 0.5", "actual": "0"}
    assert test.items() >= wanted.items()
    monkeypatch.delattr(facets, "test_run")
    run = told(task, failed=True)["run"]["facets"]
    assert "test" not in run
    assert run["vector_index"]["gate"]["recall"] == 0


@pytest.mark.usefixtures("lineage_provider")
def test_whatever_fails_names_the_index(index: VectorIndex) -> None:
    def broken() -> Any:
        raise RuntimeError("mine")

    for function, error in ((broken, RuntimeError), (list, SourceEmpty)):
        task = VectorIndexOperator(task_id="t", index=index, source=Records(function))
        with pytest.raises(error):
            task.execute(CONTEXT)
        event = told(task, failed=True)
        assert event["run"]["facets"]["vector_index"]["error"] == error.__name__
        assert (event["inputs"], event["outputs"][0]["name"]) == ([], f"{index.uri}/Docs.lance")


@pytest.mark.usefixtures("lineage_provider")
def test_a_plan_reads_and_writes_nothing(index: VectorIndex, source: str) -> None:
    task = VectorIndexOperator(task_id="t", index=index, source=source, dry_run=True)
    task.execute(CONTEXT)
    event = told(task)
    assert (event["inputs"][0]["name"], event["outputs"]) == (source, [])
    assert event["run"]["facets"]["vector_index"]["reason"] == "there is no version yet"


@pytest.mark.usefixtures("lineage_provider")
def test_no_facet_tells_what_opens_a_store(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lancedb")
    connection = {
        "conn_type": "lancedb",
        "host": str(tmp_path / "lance"),
        "password": "hunter2secret",
        "extra": {"storage_options": {"aws_session_token": "hunter3secret"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(connection))
    index = VectorIndex("Docs", embedder=HashEmbedder(64), conn_id="lake")
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.execute(CONTEXT)
    task.source = ["s3://key:hunter4secret@lake/docs/*.jsonl", "https://h/a.jsonl?token=hunter5secret"]
    event = told(task)
    assert event["outputs"][0]["name"] == f"{tmp_path}/lance/Docs.lance"
    assert [read["namespace"] for read in event["inputs"]] == ["s3://lake", "https://h"]
    assert [number for number in "2345" if f"hunter{number}secret" in json.dumps(event)] == []


@pytest.mark.usefixtures("lineage_provider")
def test_an_audit_reads_the_index_and_a_rollback_changes_it(index: VectorIndex) -> None:
    versions = []
    for docs in (documents(), documents(61)):
        task: Any = VectorIndexOperator(task_id="t", index=index, source=Records(lambda docs=docs: docs))
        versions.append(task.execute(CONTEXT)["version"])
    care = VectorIndexMaintenanceOperator(task_id="c", index=index, action="audit", sample=None)
    care.execute(CONTEXT)
    event = told(care)
    (read,) = event["inputs"]
    assert (read["name"], event["outputs"]) == (f"{index.uri}/Docs.lance", [])
    assert read["facets"]["version"]["datasetVersion"] == versions[1]
    assertions = read["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert {found["assertion"]: found["success"] for found in assertions}["no damage"] is True
    assert event["run"]["facets"]["vector_maintenance"]["audit"]["checked"] == 61

    back = VectorIndexMaintenanceOperator(task_id="c", index=index, action="rollback")
    back.execute(CONTEXT)
    event = told(back)
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == versions[0]
    assert event["run"]["facets"]["vector_maintenance"]["previousVersion"] == versions[1]

    table = pytest.importorskip("lancedb").connect(index.uri).open_table("Docs")
    table.checkout_latest()
    table.update(where="doc = 'doc7'", values={"text": "something else"})
    table.tags.create("v3_" + index.fingerprint()[:8], table.version)
    bad = VectorIndexMaintenanceOperator(
        task_id="c", index=index, action="audit", sample=None, version="v3_" + index.fingerprint()[:8]
    )
    with pytest.raises(IndexDamaged):
        bad.execute(CONTEXT)
    event = told(bad, failed=True)
    assertions = event["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    failed = {found["assertion"] for found in assertions if not found["success"]}
    assert failed >= {"no foreign chunks", "no damage"}
    assert event["run"]["facets"]["vector_maintenance"]["error"] == "IndexDamaged"


@pytest.mark.usefixtures("lineage_provider")
def test_a_query_whose_tables_nobody_can_tell_is_left_out(index: VectorIndex, source: str) -> None:
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.execute(CONTEXT)
    task.source = SqlSource("nowhere", "SELECT * FROM docs")
    assert told(task)["inputs"] == []


@pytest.mark.usefixtures("lineage_provider")
def test_the_tables_of_a_query_are_told_as_the_provider_sees_them(
    index: VectorIndex, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openlineage.client.event_v2 import InputDataset

    def parsed(*, hook: Any, sql: str, conn_id: str, database: None, use_connection: bool) -> Any:
        assert (hook, sql, conn_id, use_connection) == ("hook of shop", "SELECT * FROM docs", "shop", False)
        return SimpleNamespace(inputs=[InputDataset("postgres://db:5432", "shop.public.docs")])

    parser = SimpleNamespace(get_openlineage_facets_with_sql=parsed)
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.sqlparser", parser)  # type: ignore[arg-type]
    monkeypatch.setattr(BaseHook, "get_hook", lambda conn_id: f"hook of {conn_id}")
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.execute(CONTEXT)
    task.source = SqlSource("shop", "SELECT * FROM docs")
    (read,) = told(task)["inputs"]
    assert (read["namespace"], read["name"]) == ("postgres://db:5432", "shop.public.docs")


@pytest.mark.usefixtures("lineage_provider")
def test_an_index_that_cannot_be_located_is_not_told(source: str) -> None:
    task = VectorIndexOperator(task_id="t", index=VectorIndex("Docs", conn_id="nowhere"), source=source)
    with pytest.raises(Exception, match="nowhere"):
        task.execute(CONTEXT)
    assert task.get_openlineage_facets_on_failure(None) is None


@pytest.mark.usefixtures("lineage_provider")
@pytest.mark.parametrize("missing", ["openlineage.client.facet_v2", EXTRACTORS])
def test_without_openlineage_nothing_breaks(
    index: VectorIndex, source: str, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.execute(CONTEXT)
    monkeypatch.setitem(sys.modules, missing, None)  # type: ignore[arg-type]
    assert task.get_openlineage_facets_on_complete(None) is None


def test_without_its_provider_no_connection_is_read_for_it(
    index: VectorIndex, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, EXTRACTORS, None)  # type: ignore[arg-type]
    monkeypatch.setattr("airflow_provider_mlops.vector.operators.lineage.index_place", None)
    task = VectorIndexOperator(task_id="t", index=index, source=source)
    task.execute(CONTEXT)
    assert task.get_openlineage_facets_on_complete(None) is None

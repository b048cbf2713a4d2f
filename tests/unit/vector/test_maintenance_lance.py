"""The maintenance task on LanceDB."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import HashEmbedder, Records, SentenceChunker, VectorIndex
from airflow_provider_mlops.vector.damage import AuditReport
from airflow_provider_mlops.vector.stores.base import Layout
from tests.unit.vector.maintenance_contract import MaintenanceContract
from tests.unit.vector.task_contract import CONTEXT, documents

lancedb = pytest.importorskip("lancedb")
SNIPPET = Path(__file__).parents[3] / "docs" / "snippets" / "vector_care.py"


class TestMaintenanceOnLance(MaintenanceContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        return VectorIndex(
            "Docs",
            embedder=HashEmbedder(64),
            chunker=SentenceChunker(max_size=40),
            uri=str(tmp_path / "lance"),
        )

    def test_chunk_that_is_stored_twice_is_counted(self) -> None:
        self.build(documents())
        self.spoil(lambda rows: [*rows, rows[3]])
        audit = self.care("audit", sample=None, on_damage="report")["audit"]
        assert audit is not None
        assert (audit["repeated"], audit["problems"]) == (1, ["1 chunks are stored more than once"])

    def test_version_with_a_tag_of_somebody_else_stays(self) -> None:
        versions = [self.build(documents(word=f"w{number}x")) for number in range(3)]
        table = lancedb.connect(self.index.uri).open_table("Docs")
        table.tags.create("paper_2026", table.tags.get_version(versions[0]))
        assert self.care("collect_garbage", keep=1)["dropped"] == [versions[1]]

    def test_other_columns_and_another_metric_are_said(self) -> None:
        version = self.build(documents())
        with self.opened() as store:
            snapshot = store.read(version)
            wrong = Layout(32, "l2", {"year": "int"}, False)
            assert snapshot.layout_problems(None) == []
            assert snapshot.layout_problems(self.index.layout()) == []
            assert snapshot.layout_problems(wrong) == [
                "column 'year' is missing",
                "column 'vector' is fixed_size_list<item: float>[64], not fixed_size_list<item: float>[32]",
                "the metric is cosine, not l2",
            ]


def test_documented_tasks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", tmp_path.as_uri())
    told = runpy.run_path(str(SNIPPET))
    docs = [{"path": f"{number}.md", "text": f"page {number}"} for number in range(5)]
    build = VectorIndexOperator(
        task_id="t", index=told["HANDBOOK"], source=Records(lambda: docs), mode="rebuild"
    )
    versions = [build.execute(CONTEXT)["version"] for _ in range(3)]
    assert told["audit"].execute(CONTEXT)["damaged"] is False
    assert told["tidy"].execute(CONTEXT)["dropped"] == versions[:1]


def test_what_is_damage_and_what_is_not() -> None:
    assert AuditReport("v1", "built", live=True, unclean=True, outdated=True).problems() == []
    assert AuditReport("v1", "gone", live=True).problems() == ["what the live name points to is gone"]
    assert AuditReport("v1", "building", live=True).problems() == ["it is live, and building"]
    assert AuditReport("v1", "built", live=False, unfindable=3, healed=3).problems() == []
    assert AuditReport("v1", "built", live=False, counted=3, chunks=2).problems() == [
        "the store counts 3 chunks, and 2 can be read"
    ]

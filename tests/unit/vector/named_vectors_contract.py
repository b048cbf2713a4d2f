"""What an index with further vectors must do, whatever the store; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import VectorIndex
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores.base import Row
from airflow_provider_mlops.vector.upkeep import look_over
from tests.unit.vector.indexing_contract import IndexRuns


def document(number: int, title: str | None) -> dict[str, Any]:
    return {"id": f"doc{number}", "text": f"a long body of words with page{number}", "title": title}


def documents() -> list[dict[str, Any]]:
    """Every fifth one has no title."""
    return [document(number, f"Heading{number}" if number % 5 else None) for number in range(20)]


class NamedVectorsContract(IndexRuns):
    """Subclasses provide ``index`` with ``vectors={"heading": "title"}``, and ``info``."""

    def make(self, embedder: Any) -> RowMaker:
        return RowMaker(embedder, vectors=self.index.vectors)

    def rows(self) -> dict[str, Row]:
        with self.opened() as store:
            live = store.live()
            assert live is not None
            snapshot = store.read(live.name)
            ids = [chunk for chunk, _, _ in snapshot.scan()]
            assert snapshot.unfindable(ids) == []
            assert snapshot.layout_problems(self.index.layout()) == []
            return {row.doc: row for row in snapshot.rows(ids).values()}

    def top(self, query: str, vector: str | None = "heading") -> str:
        return search(self.index, query, k=1, vector=vector, connections=self.connections)[0].doc

    def test_searches_compare_with_the_vector_that_is_named(self) -> None:
        outcome = self.run(documents())
        assert (outcome.plan.added, self.maker.embedded) == (20, 36)
        assert [self.top(f"Heading{number}") for number in (1, 7, 19)] == ["doc1", "doc7", "doc19"]
        assert self.top("a long body of words with page15", None) == "doc15"
        with pytest.raises(InvalidArgument, match="vector='title'; the further vectors are heading"):
            self.top("text", "title")
        rows = self.rows()
        assert sorted(doc for doc, row in rows.items() if not row.more) == ["doc0", "doc10", "doc15", "doc5"]
        assert rows["doc1"].more["heading"].shape == rows["doc1"].vector.shape

    def test_only_vectors_of_changed_texts_are_made_anew(self) -> None:
        self.run(documents())
        changed = [document(1, "Completely else"), document(2, None), *documents()[3:], document(0, "Late")]
        outcome = self.run(changed)
        assert (outcome.plan.updated, outcome.plan.added, outcome.plan.deleted) == (3, 0, 0)
        assert self.maker.embedded == 2
        rows = self.rows()
        assert (self.top("Completely else"), self.top("Late")) == ("doc1", "doc0")
        assert (rows["doc2"].more, rows["doc0"].more.keys()) == ({}, {"heading"})
        assert self.run(changed).action == "unchanged"

    def test_rebuild_copies_and_audit_looks_at_them(self) -> None:
        first = self.run(documents())
        beside = self.run([*documents(), document(30, "Heading30")], activate=False)
        assert (beside.version.name != first.version.name, self.maker.embedded) == (True, 2)
        with self.opened() as store:
            store.activate(beside.version.name)
            report = look_over(self.index, store, "h", version=None, sample=None, on_damage="fail").audit
        assert report is not None
        assert (report.checked, report.problems()) == (21, [])
        assert self.top("Heading30") == "doc30"

    def test_they_are_part_of_the_fingerprint(self) -> None:
        assert replace(self.index, vectors={}).fingerprint() != self.index.fingerprint()
        assert VectorIndex.from_json(self.index.to_json()) == self.index

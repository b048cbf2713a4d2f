"""What an index with tenants must do, whatever the store; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import Gate, Records
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import GoldenQueriesInvalid, TenantMissing
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import RunOptions
from airflow_provider_mlops.vector.preview import preview
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores.base import Hit
from airflow_provider_mlops.vector.upkeep import look_over, roll_back
from tests.unit.vector.indexing_contract import IndexRuns

TENANTS = ("acme", "Umbrella_2", "acme-eu")


def document(number: int, tenant: str, **changes: Any) -> dict[str, Any]:
    return {"id": f"doc{number}", "text": f"shared words page{number}", "customer": tenant, **changes}


def documents(count: int = 30) -> list[dict[str, Any]]:
    return [document(number, TENANTS[number % 3]) for number in range(count)]


class TenantsContract(IndexRuns):
    """Subclasses provide ``index`` with ``tenant="customer"``, and ``info``."""

    def found(self, query: str, tenant: str | None, **options: Any) -> list[Hit]:
        return search(self.index, query, tenant=tenant, connections=self.connections, **options)

    def held(self) -> dict[str, set[str]]:
        """Document keys of the live version by tenant."""
        held: dict[str, set[str]] = {}
        with self.opened() as store:
            live = store.live()
            assert live is not None
            snapshot = store.read(live.name)
            chunks = list(snapshot.scan())
            assert len(snapshot.rows([chunk for chunk, _, _ in chunks])) == len(chunks) == snapshot.count()
            assert snapshot.unfindable([chunk for chunk, _, _ in chunks]) == []
        for chunk, doc, _ in chunks:
            held.setdefault(chunk.split("/")[0], set()).add(doc)
        return held

    def wanted(self, docs: Sequence[dict[str, Any]]) -> dict[str, set[str]]:
        wanted: dict[str, set[str]] = {}
        for doc in docs:
            wanted.setdefault(doc["customer"], set()).add(doc["id"])
        return wanted

    @pytest.mark.parametrize("mode", ["vector", "words", "hybrid"])
    def test_searches_see_documents_of_their_tenant_only(self, mode: str) -> None:
        self.run(documents())
        for place, tenant in enumerate(TENANTS):
            hits = self.found("shared words", tenant, k=20, mode=mode)
            assert {hit.doc for hit in hits} == {f"doc{number}" for number in range(place, 30, 3)}
            assert hits[0].properties == {}
        assert self.found("shared words page4", "Umbrella_2", k=1)[0].doc == "doc4"
        assert self.held() == self.wanted(documents())

    def test_tenants_are_named_where_there_are_some_and_known(self) -> None:
        self.run(documents())
        with pytest.raises(InvalidArgument, match="has tenants, and tenant=None"):
            self.found("page4", None)
        with pytest.raises(TenantMissing, match="'nobody'"):
            self.found("page4", "nobody")
        with pytest.raises(TenantMissing, match="'nobody'"):
            self.found("page4", "nobody", mode="words")

    @pytest.mark.parametrize("activate", [True, False])
    def test_document_moves_to_another_tenant_and_new_ones_bring_theirs(self, activate: bool) -> None:
        self.run(documents())
        moved = [document(0, "Umbrella_2"), *documents()[1:28], document(40, "newcomer")]
        outcome = self.run(moved, activate=activate)
        if not activate:
            assert self.held() == self.wanted(documents())
            with self.opened() as store:
                store.activate(outcome.version.name)
        assert (outcome.plan.added, outcome.plan.deleted, self.maker.embedded) == (2, 3, 2)
        assert self.held() == self.wanted(moved)
        assert self.run(moved).action == "unchanged"

    def test_rebuild_and_rollback_take_all_tenants_at_once(self) -> None:
        first = self.run(documents())
        fewer = documents(27)
        self.run(fewer, mode="rebuild")
        assert self.held() == self.wanted(fewer)
        with self.opened() as store:
            report = look_over(self.index, store, "h", version=None, sample=None, on_damage="fail").audit
            assert report is not None
            assert (report.chunks, report.foreign, report.problems()) == (27, 0, [])
            roll_back(self.index, store, "h", version=first.version.name, sample=None, on_damage="fail")
        assert self.held() == self.wanted(documents())

    def test_run_that_broke_off_is_continued(self) -> None:
        class Broken(RowMaker):
            def rows(self, chunks: Any) -> Any:
                if self.embedded >= 16:
                    raise ConnectionError("the embedder is gone")
                return super().rows(chunks)

        makers = [Broken, RowMaker]
        for make in makers:
            self.make = make
            try:
                self.run(documents())
            except ConnectionError:
                assert make is Broken
        assert self.maker.embedded == 30 - 16
        assert self.held() == self.wanted(documents())

    def test_key_names_one_document_and_unusable_tenants_are_bad_records(self) -> None:
        odd = [document(1, "other"), document(50, "a/b"), document(51, ""), {"id": "doc52", "text": "t"}]
        outcome = self.run([*documents(), *odd], max_bad_fraction=0.5)
        assert outcome.survey.bad == 4
        assert "key 'doc1' appears again" in self.bad[0]
        assert "no usable tenant in 'customer': 'a/b'" in self.bad[1]
        assert self.held() == self.wanted(documents())

    def test_gate_asks_in_the_tenant_of_each_query(self) -> None:
        golden = [
            GoldenQuery(f"shared words page{number}", frozenset([f"doc{number}"]), tenant=TENANTS[number % 3])
            for number in range(12)
        ]
        outcome = self.run(documents(), gate=(Gate("golden.jsonl", min_recall=1.0, k=1), golden))
        assert outcome.gate is not None
        assert (outcome.gate.recall, outcome.active) == (1.0, True)
        nobody = [GoldenQuery("page1", frozenset(["doc1"]))]
        with pytest.raises(GoldenQueriesInvalid, match="has tenant None, and the index has tenants"):
            self.run(documents(31), gate=(Gate("golden.jsonl", min_recall=1.0), nobody))
        assert self.names() == [("v1", "built")]

    def test_preview_counts_across_tenants(self) -> None:
        self.run(documents())
        with self.opened() as store:
            docs = [document(0, "Umbrella_2"), *documents()[1:]]
            maker = RowMaker(self.index.embedder)
            seen = preview(self.index, Records(lambda: docs), store, maker, RunOptions(), lambda *_: None)
        assert (seen.plan.added, seen.plan.deleted, seen.plan.unchanged) == (1, 1, 29)

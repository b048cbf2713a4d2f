"""What a whole run must do, whatever the store; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import InvalidArgument, SourceEmpty
from airflow_provider_mlops.vector import (
    Gate,
    HashEmbedder,
    PrecomputedVectors,
    Records,
    RecursiveChunker,
    VectorIndex,
    indexing,
)
from airflow_provider_mlops.vector.activate import IndexRef, activate, active_version
from airflow_provider_mlops.vector.comparison import Comparison
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import (
    GateRejected,
    IndexBusy,
    SourceChanged,
    TooManyBadRecords,
    TooManyDeletes,
    VectorInvalid,
    VersionMissing,
)
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "jetty")


def document(number: int, **changes: Any) -> dict[str, Any]:
    text = f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} page{number}"
    return {"id": f"doc{number}", "text": text, "year": 2000 + number, **changes}


def documents(count: int = 60) -> list[dict[str, Any]]:
    return [document(number) for number in range(count)]


GOLDEN = [GoldenQuery(f"page{number}", frozenset([f"doc{number}"])) for number in range(10, 30)]
PASSES = (Gate("golden.jsonl", min_recall=0.9), GOLDEN)
FAILS = (Gate("golden.jsonl", min_recall=0.5), [GoldenQuery("page11", frozenset(["nowhere"])), GOLDEN[0]][:1])


@dataclass
class Watched:
    """A :class:`HashEmbedder` that remembers what it was asked, and can be told to fail."""

    inner: HashEmbedder = field(default_factory=lambda: HashEmbedder(64))
    seen: list[str] = field(default_factory=list)
    fail_after: int | None = None

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity()

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        if kind == "passage":
            if self.fail_after is not None and len(self.seen) + len(texts) > self.fail_after:
                raise ConnectionError("the embedder is gone")
            self.seen.extend(texts)
        return self.inner.embed(texts, kind)


class IndexRuns:
    """Runs of an index. Subclasses provide ``index`` and ``info`` (the connection, or ``None``)."""

    make: Callable[..., RowMaker] = RowMaker

    @pytest.fixture
    def info(self) -> ConnectionInfo | None:
        return None

    @pytest.fixture(autouse=True)
    def _remember(self, index: VectorIndex, info: ConnectionInfo | None) -> None:
        self.index, self.info_ = index, info

    def connections(self, conn_id: str) -> ConnectionInfo:
        assert self.info_ is not None
        return self.info_

    def opened(self) -> AbstractContextManager[Store]:
        index = self.index
        return open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=self.connections
        )

    def run(
        self, docs: Any, *, index: VectorIndex | None = None, holder: str = "run", **options: Any
    ) -> Outcome:
        self.maker = self.make((index or self.index).embedder)
        self.bad: list[str] = []
        with self.opened() as store:
            return run(
                index or self.index,
                docs if isinstance(docs, Records) else Records(lambda: docs),
                store,
                self.maker,
                RunOptions(**{"batch_size": 16, **options}),
                holder=holder,
                on_bad=lambda record, problem: self.bad.append(f"{record.where}: {problem}"),
            )

    def live(self) -> dict[str, str]:
        """Document keys to texts of the live version."""
        with self.opened() as store:
            live = store.live()
            if live is None:
                return {}
            snapshot = store.read(live.name)
            rows = snapshot.rows([chunk for chunk, _, _ in snapshot.scan()])
        assert len(rows) == len({(row.doc, row.ordinal) for row in rows.values()}), "a chunk is there twice"
        return {row.doc: row.text for row in rows.values()}

    def names(self) -> list[tuple[str, str]]:
        with self.opened() as store:
            return [(version.name.split("_")[0], version.state) for version in store.versions()]

    def top(self, query: str) -> str:
        return search(self.index, query, k=1, connections=self.connections)[0].doc


class IndexingContract(IndexRuns):
    """Subclasses provide the same."""

    def test_first_run_builds_everything_and_makes_it_live(self) -> None:
        outcome = self.run(documents(), gate=PASSES)
        assert (outcome.action, outcome.active, outcome.previous) == ("built", True, None)
        assert (outcome.plan.added, self.maker.embedded, self.maker.cached) == (60, 60, 0)
        assert outcome.gate is not None
        assert outcome.gate.recall >= 0.9
        assert self.live() == {doc["id"]: doc["text"] for doc in documents()}
        assert self.top("page17") == "doc17"

    def test_unchanged_source_writes_and_embeds_nothing(self) -> None:
        first = self.run(documents())
        again = self.run(documents(), gate=FAILS, activate=False)
        assert (again.action, again.active, again.version.name) == ("unchanged", True, first.version.name)
        assert (again.plan.added, again.plan.unchanged, self.maker.embedded) == (0, 60, 0)
        assert self.names() == [("v1", "built")]

    def test_only_changed_documents_are_embedded(self) -> None:
        self.run(documents())
        changed = [*documents()[1:], document(100)]
        changed[3] = document(4, text="something entirely new")
        outcome = self.run(changed)
        assert (outcome.action, self.maker.embedded) == ("synced", 2)
        assert (outcome.plan.added, outcome.plan.deleted, outcome.plan.unchanged) == (2, 2, 58)
        assert self.live() == {doc["id"]: doc["text"] for doc in changed}
        assert self.top("something entirely new") == "doc4"

    def test_changed_property_is_written_without_embedding(self) -> None:
        self.run(documents())
        outcome = self.run([document(0, year=1), *documents()[1:]])
        assert (outcome.plan.updated, outcome.plan.added, self.maker.embedded) == (1, 0, 0)
        (hit, *_) = search(self.index, "amber amber page0", k=1, connections=self.connections)
        assert dict(hit.properties) == {"year": 1}

    def test_version_that_is_not_activated_stays_unseen_until_it_is(self) -> None:
        first = self.run(documents())
        changed = [*documents()[:-1], document(99)]
        second = self.run(changed, activate=False)
        assert (second.active, second.previous) == (False, first.version.name)
        assert "doc99" not in self.live()
        # The retry of a release that failed: nothing to do, the same version again.
        assert self.run(changed, activate=False).version.name == second.version.name
        ref = IndexRef(
            self.index.name, self.index.backend, second.version.name, second.version.physical,
            self.index.connection, self.index.uri,
        )  # fmt: skip
        assert activate(ref, self.connections) == first.version.name
        assert activate(ref, self.connections) == second.version.name
        assert active_version(ref, self.connections) == second.version.name
        assert "doc99" in self.live()
        back = replace(ref, version=first.version.name)
        assert activate(back, self.connections) == second.version.name
        assert "doc99" not in self.live()
        with pytest.raises(VersionMissing, match="v77"):
            activate(replace(ref, version="v77_00000000"), self.connections)

    def test_version_that_answers_worse_than_the_live_one_is_rejected(self) -> None:
        gate = (Gate("golden.jsonl", min_recall=0.3, max_regression=0.1), GOLDEN)
        first = self.run(documents(), gate=gate)
        assert first.gate is not None
        assert first.gate.comparison == "there is no live version"
        one_lost = [
            document(number, text="lost") if number == 13 else document(number) for number in range(60)
        ]
        second = self.run(one_lost, gate=gate)
        assert second.gate is not None
        assert isinstance(second.gate.comparison, Comparison)
        assert second.gate.comparison.difference < 0
        assert second.active
        many_lost = [
            document(number, text=f"lost {number}") if number % 2 else document(number)
            for number in range(60)
        ]
        with pytest.raises(GateRejected, match="against the live version") as caught:
            self.run(many_lost, gate=gate)
        assert caught.value.report["recall"] >= 0.3  # type: ignore[index]
        assert caught.value.report["comparison"]["interval"][1] < 0  # type: ignore[index]
        assert self.live() == {doc["id"]: doc["text"] for doc in one_lost}

    def test_live_version_of_another_embedder_is_not_compared(self) -> None:
        gate = (Gate("golden.jsonl", min_recall=0.3, max_regression=0.0), GOLDEN)
        first = self.run(documents())
        outcome = self.run(documents(), index=replace(self.index, embedder=HashEmbedder(128)), gate=gate)
        assert outcome.gate is not None
        assert outcome.gate.comparison == f"the live version {first.version.name} has another fingerprint"

    def test_gate_asks_as_readers_will(self) -> None:
        class Blind(Watched):
            """Every text is the same to it, and no query may be embedded."""

            def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
                assert kind == "passage"
                return np.ones((len(texts), self.dimension), dtype=np.float32)

        index = replace(self.index, embedder=Blind())
        lost = [document(11, text="lost") if number == 11 else document(number) for number in range(60)]
        half = [document(number, text="lost") if number % 2 else document(number) for number in range(60)]
        gate = Gate("golden.jsonl", min_recall=1, max_regression=0.1, search="words")
        with pytest.raises(GateRejected, match=r"by words, recall@5 0\.9"):
            self.run(lost, index=index, gate=(gate, GOLDEN))
        outcome = self.run(documents(), index=index, gate=(gate, GOLDEN))
        assert outcome.gate is not None
        assert (outcome.gate.recall, outcome.gate.to_json()["search"]) == (1.0, "words")
        # By words the blind index answers, and a worse source loses against it.
        with pytest.raises(GateRejected, match="against the live version"):
            self.run(half, index=index, gate=(replace(gate, min_recall=0), GOLDEN))

    def test_gate_by_both_ways(self) -> None:
        gate = Gate("golden.jsonl", min_recall=0.9, search="hybrid", alpha=0.9)
        vector = tuple(map(float, HashEmbedder(64).embed(["page13"], "query")[0]))
        queries = [*GOLDEN, GoldenQuery("amber", frozenset(["doc13"]), vector)]
        outcome = self.run(documents(), gate=(gate, queries))
        assert outcome.gate is not None
        assert outcome.gate.recall == 1.0

    def test_search_in_every_mode_with_filters(self) -> None:
        self.run(documents())
        for mode in ("vector", "words", "hybrid"):
            hits = search(
                self.index, "page17 page33", k=60, mode=mode, filters={"year": {"<": 2020}},
                connections=self.connections,
            )  # type: ignore[call-overload]  # fmt: skip
            assert hits[0].doc == "doc17"
            assert len(hits) == (1 if mode == "words" else 20)
            assert all(hit.properties["year"] < 2020 for hit in hits)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"mode": "fuzzy"},
            {"mode": "hybrid", "alpha": -0.1},
            {"mode": "hybrid", "query": [1.0] * 64},
            {"mode": "words", "query": [1.0] * 64},
            {"filters": {"colour": "red"}},
            {"filters": {"year": "2020"}},
            {"k": 0},
        ],
    )
    def test_search_that_cannot_be_asks_no_store(self, arguments: dict[str, Any]) -> None:
        def none(conn_id: str) -> ConnectionInfo:
            raise AssertionError("nothing may be asked")

        # An index of which there is no store.
        index = replace(self.index, name="Nowhere")
        with pytest.raises(InvalidArgument, match="Nowhere"):
            search(index, connections=none, **{"query": "page17", **arguments})

    def test_unactivated_version_goes_live_when_a_later_run_may_activate(self) -> None:
        first = self.run(documents(), activate=False)
        assert self.live() == {}
        outcome = self.run(documents(), gate=PASSES)
        assert (outcome.action, outcome.active, outcome.version.name) == (
            "unchanged",
            True,
            first.version.name,
        )
        assert len(self.live()) == 60

    def test_rejected_version_leaves_the_live_one_alone_and_names_the_worst_queries(self) -> None:
        self.run(documents())
        before = self.live()
        with pytest.raises(GateRejected, match="page11") as caught:
            self.run([*documents(), document(200)], gate=FAILS)
        assert caught.value.worst[0]["query"] == "page11"  # type: ignore[index]
        assert self.live() == before
        assert self.names() == [("v2", "rejected"), ("v1", "built")]

    def test_rejected_version_is_taken_up_again(self) -> None:
        self.run(documents())
        with pytest.raises(GateRejected):
            self.run([*documents(), document(200)], gate=FAILS)
        outcome = self.run([*documents(), document(200), document(201)], gate=PASSES)
        assert self.maker.embedded == 1
        assert outcome.plan.added == 2
        assert len(self.live()) == 62
        assert self.names() == [("v2", "built"), ("v1", "built")]

    def test_run_that_broke_off_is_continued(self) -> None:
        broken = replace(self.index, embedder=Watched(fail_after=40))
        with pytest.raises(ConnectionError):
            self.run(documents(), index=broken)
        assert self.live() == {}
        self.run(documents())
        assert self.maker.embedded == 60 - 32
        assert self.live() == {doc["id"]: doc["text"] for doc in documents()}

    def test_sync_that_broke_off_loses_no_document(self) -> None:
        self.run(documents())
        changed = [document(number, text=f"rewritten sheet{number}") for number in range(60)]
        broken = replace(self.index, embedder=Watched(fail_after=40))
        with pytest.raises(ConnectionError):
            self.run(changed, index=broken)
        with self.opened() as store:
            live = store.live()
            assert live is not None
            assert {doc for _, doc, _ in store.read(live.name).scan()} == {
                f"doc{number}" for number in range(60)
            }
            assert live.name.startswith("v1_")
        self.run(changed)
        assert self.live() == {doc["id"]: doc["text"] for doc in changed}

    def test_run_that_only_makes_live_what_a_killed_one_had_built_leaves_a_clean_index(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(documents())

        def killed(store: Store, version: str) -> None:
            raise KeyboardInterrupt

        with self.opened() as store, monkeypatch.context() as patch:
            patch.setattr(type(store), "activate", killed)
            with pytest.raises(KeyboardInterrupt):
                self.run([*documents(), document(70)], gate=PASSES)
        outcome = self.run([*documents(), document(70)], gate=PASSES)
        assert (outcome.action, outcome.active) == ("unchanged", True)
        with self.opened() as store, store.lease("next") as lease:
            assert not lease.unclean

    def test_everything_in_an_unfinished_version_is_looked_up_even_after_a_good_run(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(documents())
        changed = [document(number, text=f"page{number} again") for number in range(60)]
        broken = replace(self.index, embedder=Watched(fail_after=40))
        with pytest.raises(ConnectionError):
            self.run(changed, index=broken, gate=PASSES)
        assert self.run(documents()).action == "unchanged"
        with self.opened() as store, store.lease("next") as lease:
            assert not lease.unclean
        looked_up: list[str] = []
        monkeypatch.setattr(indexing, "heal", lambda build, ids, lease: looked_up.extend(ids) or 0)
        outcome = self.run(changed, gate=PASSES)
        assert self.maker.embedded == 60 - 32
        assert (outcome.version.name.split("_")[0], len(looked_up)) == ("v2", 60)

    def test_changed_definition_rebuilds_beside(self) -> None:
        first = self.run(documents())
        wider = replace(self.index, embedder=HashEmbedder(96))
        outcome = self.run(documents(), index=wider)
        assert (outcome.action, outcome.version.name == first.version.name) == ("built", False)
        assert self.maker.embedded == 60
        assert len(self.live()) == 60
        with pytest.raises(InvalidArgument, match="fingerprint"):
            self.run(documents(), index=replace(self.index, embedder=HashEmbedder(32)), mode="sync")

    def test_rebuild_writes_everything_anew(self) -> None:
        self.run(documents())
        outcome = self.run(documents(), mode="rebuild")
        assert (outcome.action, self.maker.embedded, outcome.plan.added) == ("built", 60, 60)
        assert self.names() == [("v2", "built"), ("v1", "built")]

    def test_truncated_source_deletes_nothing(self) -> None:
        self.run(documents())
        for options in ({}, {"mode": "rebuild"}, {"activate": False}):
            with pytest.raises(TooManyDeletes, match="30 of 60"):
                self.run(documents(30), **options)
        assert len(self.live()) == 60
        assert self.names() == [("v1", "built")]
        self.run(documents(30), max_delete_fraction=0.5)
        assert len(self.live()) == 30

    def test_empty_source_is_refused(self) -> None:
        self.run(documents())
        with pytest.raises(SourceEmpty):
            self.run([])
        with pytest.raises(SourceEmpty, match="2 records are unusable"):
            self.run([{"id": "a"}, {"text": "b"}], max_bad_fraction=1.0)
        assert len(self.live()) == 60

    def test_unusable_records_are_counted_and_left_out(self) -> None:
        bad: list[Any] = [
            {"text": "no key"},
            document(1),
            document(900, text=None),
            document(901, text="  "),
            document(902, year="long ago"),
            "no record",
        ]
        with pytest.raises(TooManyBadRecords, match="6 of 66 records"):
            self.run([*documents(), *bad])
        assert self.names() == []
        outcome = self.run([*documents(), *bad], max_bad_fraction=0.1)
        assert (outcome.survey.bad, outcome.survey.documents) == (6, 60)
        assert len(self.bad) == 6
        assert "key 'doc1' appears again" in self.bad[1]
        assert len(self.live()) == 60

    def test_source_that_changes_between_its_two_readings_deletes_nothing(self) -> None:
        self.run(documents())
        readings = iter([[*documents()[1:], document(500)], documents()[1:]])
        with pytest.raises(SourceChanged):
            self.run(Records(lambda: next(readings)))
        assert set(self.live()) >= {doc["id"] for doc in documents()}

    @pytest.mark.parametrize("reading", [1, 2])
    def test_source_that_breaks_off_deletes_nothing(self, reading: int) -> None:
        self.run(documents())
        changed = [document(n, text=f"rewritten sheet{n}") for n in range(30, 80)]
        readings = iter(range(1, 3))

        def breaking() -> Iterator[dict[str, Any]]:
            this = next(readings)
            for number, doc in enumerate(changed):
                if this == reading and number == 25:
                    raise ConnectionError("the source is gone")
                yield doc

        with pytest.raises(ConnectionError):
            self.run(Records(breaking), max_delete_fraction=1.0)
        with self.opened() as store:
            live = store.live()
            assert live is not None
            assert {doc for _, doc, _ in store.read(live.name).scan()} >= {doc["id"] for doc in documents()}
        self.run(changed, max_delete_fraction=1.0)
        assert self.live() == {doc["id"]: doc["text"] for doc in changed}

    def test_vectors_that_spoil_an_index_are_refused_before_sending(self) -> None:
        class Broken(Watched):
            def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
                vectors = super().embed(texts, kind)
                vectors[-1] = np.nan
                return vectors

        with pytest.raises(VectorInvalid, match="NaN"):
            self.run(documents(), index=replace(self.index, embedder=Broken()))
        assert self.live() == {}

    def test_vectors_from_the_source(self) -> None:
        index = replace(self.index, embedder=PrecomputedVectors(4, model="m"))
        docs = [document(number, vector=[1.0, number, 0, 0]) for number in range(5)]
        spoilt = [
            document(10, vector=[0, 0, 0, 0]),
            document(11, vector=[1, 2]),
            document(12),
            document(13, vector=[1, 2, 3, float("nan")]),
        ]
        self.run([*docs, *spoilt], index=index, max_bad_fraction=0.5)
        assert len(self.bad) == 4
        docs[2]["vector"] = [0, 0, 0, 1.0]
        outcome = self.run(docs, index=index)
        assert outcome.plan.updated == 1
        hits = search(index, [0, 0, 0, 2.0], k=1, connections=self.connections)
        assert hits[0].doc == "doc2"

    def test_chunks_keep_their_ids_when_a_paragraph_is_put_in_front(self) -> None:
        index = replace(self.index, chunker=RecursiveChunker(max_size=40, overlap=0))
        paragraphs = [f"{word} is paragraph number {place}." for place, word in enumerate(WORDS)]
        self.run([document(1, text="\n\n".join(paragraphs))], index=index)
        outcome = self.run(
            [document(1, text="\n\n".join(["a new first one, of its own", *paragraphs]))], index=index
        )
        assert (outcome.plan.added, outcome.plan.deleted, self.maker.embedded) == (1, 0, 1)
        assert outcome.plan.updated == 10

    def test_old_versions_go_and_the_live_one_stays(self) -> None:
        index = replace(self.index, keep_versions=2)
        self.run(documents(), index=index)
        for number in range(3):
            self.run([*documents(), document(100 + number)], index=index, mode="rebuild", activate=False)
        assert self.names() == [("v4", "built"), ("v3", "built"), ("v1", "built")]
        assert len(self.live()) == 60

    def test_two_runs_at_once_one_is_told(self) -> None:
        with self.opened() as store, store.lease("other run"), pytest.raises(IndexBusy, match="other run"):
            self.run(documents())
        self.run(documents())
        assert len(self.live()) == 60

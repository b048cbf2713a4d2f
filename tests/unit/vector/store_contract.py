"""What every vector store must do, whatever it is; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.asking import ask
from airflow_provider_mlops.vector.errors import IndexBusy, VersionIncomplete, VersionMissing
from airflow_provider_mlops.vector.filters import parse
from airflow_provider_mlops.vector.stores.base import LEASE_SECONDS, Layout, Row, Store

DIMENSION = 16
LAYOUT = Layout(
    DIMENSION, "cosine", {"topic": "keyword", "year": "int", "score": "number", "old": "bool"}, True
)
V1, V2, V3 = "v1_aaaaaaaa", "v2_aaaaaaaa", "v3_bbbbbbbb"
#: Keywords that stores may mix up: tokens, cases, stop words, patterns, quotes, escapes, composed and split letters.
HARD = [
    "a/b", "A/B", "a-b", "a b", "the", "it's", 'say "so"', "back\\slash", "a\\'b", "100%", "a_b", "a*", "a?b", "é", "e\u0301",
    "日本", "2024-01-02", "x' OR 'a'='a' --", "`tick`", "🦆", "null", "true", "5",
]  # fmt: skip
OpenStore = Callable[[str], AbstractContextManager[Store]]


def row(
    number: int,
    *,
    doc: str | None = None,
    text: str | None = None,
    digest: str = "d1",
    seed: int | None = None,
) -> Row:
    """A row whose vector follows from its number."""
    vector = np.random.default_rng(number if seed is None else seed).normal(size=DIMENSION).astype(np.float32)
    return Row(
        id=f"00000000-0000-4000-8000-{number:012d}",
        doc=doc or f"doc{number}",
        ordinal=0,
        digest=digest,
        text=text or f"text number{number}",
        properties={"topic": "a/b c", "year": number, "score": 0.5, "old": None},
        vector=vector,
    )


class StoreContract:
    """Subclasses provide ``open_store``: a function that opens the store of an index by name, again and again."""

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Iterator[Store]:
        with open_store("Docs") as store:
            yield store

    def built(
        self, store: Store, name: str = V1, base: str | None = None, rows: list[Row] | None = None
    ) -> None:
        build = store.begin(name, LAYOUT, base)
        written = build.upsert(rows if rows is not None else [row(number) for number in range(20)])
        assert (written.uncertain, written.refused) == ([], {})
        build.settle()
        build.seal()

    def test_new_index_has_no_versions(self, store: Store) -> None:
        assert store.versions() == []
        assert store.live() is None
        with pytest.raises(VersionMissing):
            store.read(V1)
        with pytest.raises(VersionMissing):
            store.activate(V1)

    def test_rows_come_back_as_written(self, store: Store) -> None:
        self.built(store)
        snapshot = store.read(V1)
        assert snapshot.count() == 20
        assert sorted(snapshot.scan())[3] == (row(3).id, "doc3", "d1")
        found = snapshot.rows([row(3).id, "00000000-0000-4000-8000-999999999999"])
        assert list(found) == [row(3).id]
        assert snapshot.rows(["00000000-0000-4000-8000-999999999999"]) == {}
        got, sent = found[row(3).id], row(3)
        assert (got.doc, got.ordinal, got.digest, got.text) == (
            sent.doc,
            sent.ordinal,
            sent.digest,
            sent.text,
        )
        assert dict(got.properties) == dict(sent.properties)
        # A store may keep unit vectors where only the angle counts.
        cosine = got.vector @ sent.vector / np.linalg.norm(got.vector) / np.linalg.norm(sent.vector)
        assert cosine == pytest.approx(1, abs=1e-5)

    def test_digests_of_those_that_are_there(self, store: Store) -> None:
        self.built(store, rows=[row(1), row(2, digest="other")])
        ids = [row(number).id for number in (1, 2, 3)]
        assert store.read(V1).digests(ids) == {ids[0]: "d1", ids[1]: "other"}
        assert store.read(V1).digests([]) == {}

    def test_version_begun_from_another_shows_before_anything_is_written(self, store: Store) -> None:
        self.built(store, V1)
        store.activate(V1)
        store.begin(V2, LAYOUT, V1)
        assert [(version.name, version.state) for version in store.versions()] == [
            (V2, "building"), (V1, "built"),
        ]  # fmt: skip
        store.resume(V2).upsert([row(30)])
        assert store.read(V1).count() == 20

    def test_version_is_building_until_sealed_and_cannot_go_live_before(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(1)])
        assert [(version.name, version.state) for version in store.versions()] == [(V1, "building")]
        with pytest.raises(VersionIncomplete):
            store.activate(V1)
        build.seal()
        assert [(version.name, version.state) for version in store.versions()] == [(V1, "built")]

    def test_activation_returns_the_previous_version_and_is_idempotent(self, store: Store) -> None:
        self.built(store, V1)
        assert store.activate(V1) is None
        assert store.activate(V1) == V1
        self.built(store, V2, rows=[row(50)])
        live = store.live()
        assert live is not None
        assert live.name == V1
        assert store.activate(V2) == V1
        assert store.activate(V1) == V2
        live = store.live()
        assert live is not None
        assert live.name == V1
        assert store.read(V1).count() == 20

    def test_rejected_version_cannot_go_live_and_can_be_written_on(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(1)])
        build.reject()
        assert [(version.name, version.state) for version in store.versions()] == [(V1, "rejected")]
        with pytest.raises(VersionIncomplete):
            store.activate(V1)
        again = store.resume(V1)
        again.upsert([row(2)])
        again.seal()
        assert store.activate(V1) is None
        assert store.read(V1).count() == 2

    def test_interrupted_build_is_found_again_by_a_new_process(self, open_store: OpenStore) -> None:
        with open_store("Docs") as store:
            build = store.begin(V1, LAYOUT, None)
            build.upsert([row(1), row(2)])
            build.flush()
        with open_store("Docs") as store:
            assert [version.name for version in store.versions()] == [V1]
            again = store.resume(V1)
            assert sorted(chunk for chunk, _, _ in again.scan()) == [row(1).id, row(2).id]
            again.upsert([row(2), row(3)])
            again.seal()
            assert store.read(V1).count() == 3

    def test_readers_of_the_live_version_see_nothing_of_a_build(self, store: Store) -> None:
        self.built(store)
        store.activate(V1)
        build = store.begin(V2, LAYOUT, V1)
        build.upsert([row(77)])
        build.delete([row(1).id])
        assert store.read(V1).count() == 20
        live = store.live()
        assert live is not None
        assert live.name == V1

    def test_upsert_replaces_vector_text_and_properties(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(1), row(2)])
        build.upsert([row(1, digest="d2", text="other words", seed=99)])
        got = build.rows([row(1).id])[row(1).id]
        assert (got.digest, got.text, build.count()) == ("d2", "other words", 2)
        hits = build.search(row(1, seed=99).vector[None, :], 1)
        assert [hit.id for hit in hits[0]] == [row(1).id]

    def test_delete_removes_exactly_the_named_ids(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        cousins = ["docs/a guide.md", "docs/A Guide.md", "DOCS/A GUIDE.MD", "docs/a-guide.md", "the"]
        build.upsert([row(number, doc=key) for number, key in enumerate(cousins)])
        build.delete([row(0).id, row(4).id, "00000000-0000-4000-8000-999999999999"])
        assert sorted(doc for _, doc, _ in build.scan()) == sorted(cousins[1:4])

    def test_search_finds_every_row_by_its_own_vector(self, store: Store) -> None:
        self.built(store)
        hits = store.read(V1).search(np.stack([row(number).vector for number in range(20)]), 3)
        assert [answer[0].doc for answer in hits] == [f"doc{number}" for number in range(20)]
        assert all(len(answer) == 3 for answer in hits)
        distances = [hit.distance for hit in hits[0]]
        assert distances == sorted(distances)  # type: ignore[type-var]
        assert distances[0] == pytest.approx(0, abs=1e-3)
        assert dict(hits[7][0].properties) == {"topic": "a/b c", "year": 7, "score": 0.5, "old": None}

    def test_search_with_one_query(self, store: Store) -> None:
        self.built(store)
        (hits,) = store.read(V1).search(row(4).vector[None, :], 2)
        assert hits[0].doc == "doc4"

    def test_full_text_search_finds_the_word(self, store: Store) -> None:
        self.built(store)
        hits, more, none = store.read(V1).search_words(["number7", "number8 number3", "nothing"], 3)
        assert [hit.doc for hit in hits] == ["doc7"]
        assert hits[0].score is not None
        assert {hit.doc for hit in more} == {"doc8", "doc3"}
        assert none == []

    @pytest.mark.parametrize(
        "text", ['"number7"', '"number7 text"', "+number7 -text", "text:number7", "(number7", "number7*", "it's 'number7'"]
    )  # fmt: skip
    def test_marks_in_a_text_are_no_commands(self, store: Store, text: str) -> None:
        self.built(store)
        (hits,) = store.read(V1).search_words([text], 3)
        assert hits[0].doc == "doc7"

    def test_filters_hold_in_every_search_and_hard_values_are_told_apart(self, store: Store) -> None:
        rows = [
            row(number, text="the same word", doc=f"docs/{topic}")._replace(
                properties={"topic": topic, "year": number, "score": number / 10, "old": bool(number % 2)}
            )
            for number, topic in enumerate(HARD)
        ]
        self.built(store, rows=rows)
        snapshot = store.read(V1)

        def found(filters: dict[str, Any]) -> list[int]:
            where = parse(filters, LAYOUT.properties, "Docs")
            # Far from the rows that are wanted.
            (near,) = snapshot.search(-rows[3].vector[None, :], 50, where=where)
            (words,) = snapshot.search_words(["word"], 50, where=where)
            numbers = sorted(int(hit.id[-12:]) for hit in near)
            assert numbers == sorted(int(hit.id[-12:]) for hit in words)
            return numbers

        for number, topic in enumerate(HARD):
            assert found({"topic": topic}) == [number], topic
            assert found({"doc": f"docs/{topic}"}) == [number], topic
            assert found({"topic": {"!=": topic}}) == [n for n in range(len(HARD)) if n != number]
        assert found({"topic": {"in": [HARD[2], HARD[5], "nowhere"]}}) == [2, 5]
        assert found({"topic": "x' OR 'a'='a"}) == []
        assert found({"year": {">=": 3, "<": 6}}) == [3, 4, 5]
        assert found({"year": {">": 3, "<=": 6}, "old": True}) == [5]
        assert found({"year": -1}) == []
        assert found({"score": 0.3}) == [3]
        assert found({"score": {"in": [0.1, 1]}}) == [1, 10]
        assert found({"score": {"!=": 0.0}, "year": {"in": [0, 2]}, "old": {"!=": True}}) == [2]
        assert found({"topic": {">=": "2024-01-02", "<": "2025"}}) == [HARD.index("2024-01-02")]

    def test_filter_tells_chunks_without_a_value_from_those_with_one(self, store: Store) -> None:
        values: list[dict[str, Any]] = [
            {"topic": "a", "year": 1, "score": 0.0, "old": False},
            {"topic": None, "year": None, "score": None, "old": None},
            {"topic": "", "year": 0, "score": 1.5, "old": True},
        ]
        rows = [row(number, text="word")._replace(properties=each) for number, each in enumerate(values)]
        self.built(store, rows=rows)

        def found(filters: dict[str, Any]) -> list[int]:
            where = parse(filters, LAYOUT.properties, "Docs")
            (near,) = store.read(V1).search(rows[0].vector[None, :], 50, where=where)
            return sorted(int(hit.id[-12:]) for hit in near)

        # An empty text is no value, whatever the store.
        assert found({"topic": None}) == [1, 2]
        assert found({"topic": {"!=": None}}) == [0]
        assert found({"topic": {"!=": "b"}}) == found({"topic": {"<": "b"}}) == [0]
        for name, without in (("year", 5), ("score", 0.7)):
            assert found({name: None}) == [1]
            assert found({name: {"!=": None}}) == [0, 2]
            assert found({name: {"!=": without}}) == [0, 2]
            assert found({name: {"<": 100}}) == [0, 2]
        assert found({"old": None}) == [1]
        assert found({"old": {"!=": True}}) == [0]

    def test_white_space_around_a_keyword_does_not_count(self, store: Store) -> None:
        topics = [" a", "a\t", "a", "a b"]
        rows = [row(number)._replace(properties={"topic": topic}) for number, topic in enumerate(topics)]
        self.built(store, rows=rows)
        where = parse({"topic": "a"}, LAYOUT.properties, "Docs")
        (hits,) = store.read(V1).search(rows[0].vector[None, :], 50, where=where)
        assert sorted(int(hit.id[-12:]) for hit in hits) == [0, 1, 2]

    def test_filter_on_what_this_version_lacks_is_refused(self, store: Store) -> None:
        self.built(store)
        where = parse({"colour": "red"}, {"colour": "keyword"}, "Docs")
        with pytest.raises(InvalidArgument, match="colour"):
            store.read(V1).search(row(1).vector[None, :], 5, where=where)
        with pytest.raises(InvalidArgument, match="colour"):
            store.read(V1).search_words(["text"], 5, where=where)

    def test_hybrid_search_merges_both_ways(self, store: Store) -> None:
        self.built(store)
        snapshot, vectors = store.read(V1), row(3).vector[None, :]
        where = parse({"year": {"!=": 5}}, LAYOUT.properties, "Docs")

        def docs(alpha: float, k: int = 4, where: Any = ()) -> list[str]:
            (hits,) = ask(snapshot, "hybrid", ["number5"], vectors, k, alpha=alpha, where=where)
            return [hit.doc for hit in hits]

        assert docs(0.5)[:2] == ["doc5", "doc3"]
        assert docs(0.0) == ["doc5"]
        assert docs(1.0)[0] == "doc3"
        assert docs(0.5, k=2) == docs(0.5, k=10)[:2]
        assert docs(0.5, where=where)[0] == "doc3"
        assert "doc5" not in docs(0.5, 20, where)

    def test_written_rows_are_findable_and_missing_ones_are_not(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(number) for number in range(10)])
        assert build.unfindable([row(number).id for number in range(12)]) == [row(10).id, row(11).id]

    def test_equal_vectors_do_not_hide_each_other(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(number, seed=1) for number in range(40)])
        assert build.unfindable([row(number).id for number in range(40)]) == []

    def test_more_rows_than_one_request_holds(self, store: Store) -> None:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(number) for number in range(2600)])
        assert build.count() == 2600
        assert len(build.rows([row(number).id for number in range(1300)])) == 1300
        build.delete([row(number).id for number in range(1, 2600)])
        assert [chunk for chunk, _, _ in build.scan()] == [row(0).id]

    def test_dropped_version_is_gone_and_the_others_stay(self, store: Store) -> None:
        self.built(store, V1)
        self.built(store, V2, rows=[row(5)])
        store.activate(V2)
        store.drop(V1)
        assert [version.name for version in store.versions()] == [V2]
        with pytest.raises(VersionMissing):
            store.read(V1)
        assert store.read(V2).count() == 1

    def test_new_fingerprint_may_have_another_dimension(self, store: Store) -> None:
        self.built(store, V1)
        store.activate(V1)
        build = store.begin(V3, Layout(4, "l2", {}, False), None)
        wide = row(1)
        build.upsert([Row(wide.id, "d", 0, "x", "t", {}, np.ones(4, dtype=np.float32))])
        build.seal()
        assert store.read(V1).search(row(3).vector[None, :], 1)[0][0].doc == "doc3"
        store.activate(V3)
        assert store.read(V3).count() == 1

    def test_second_run_is_refused_while_the_first_holds_the_lease(self, open_store: OpenStore) -> None:
        with open_store("Docs") as first, open_store("Docs") as second, first.lease("run-a") as lease:
            lease.renew()
            with pytest.raises(IndexBusy, match="run-a"), second.lease("run-b"):
                pass
            lease.renew()
        with open_store("Docs") as third, third.lease("run-b") as lease:
            lease.renew()

    def test_retry_of_the_same_task_takes_over_and_the_old_one_notices(self, open_store: OpenStore) -> None:
        with open_store("Docs") as first, open_store("Docs") as second, first.lease("run-a") as old:
            old.writing()
            with second.lease("run-a") as new:
                assert new.unclean
                with pytest.raises(IndexBusy):
                    old.renew()
                with pytest.raises(IndexBusy):
                    old.writing()
                new.renew()

    def test_lease_of_a_failed_run_is_free_and_says_so(self, store: Store) -> None:
        def fail() -> None:
            with store.lease("run-a") as lease:
                assert not lease.unclean
                lease.writing()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.lease("run-b") as lease:
            assert lease.unclean
            lease.writing()
        with store.lease("run-c") as lease:
            assert not lease.unclean

    def test_lease_is_left_to_others_who_join_it_until_its_holder_takes_it_over(
        self, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_store("Docs") as first, open_store("Docs") as second:
            with first.lease("run-a") as lease:
                assert lease.continues is None
                lease.writing()
                lease.leave()
                token = lease.token
            joined = [first.join(token), second.join(token)]
            with pytest.raises(IndexBusy, match="run-a"), second.lease("run-b"):
                pass
            # Both prolong it, however long it was left alone; neither takes it from the other.
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + LEASE_SECONDS + 1)
            with ThreadPoolExecutor(2) as threads:
                assert list(threads.map(lambda each: each.renew(), joined)) == [None, None]
            with pytest.raises(IndexBusy, match="run-a"), second.lease("run-b"):
                pass
            with second.lease("run-a") as finish:
                assert (finish.continues, finish.unclean) == (token, True)
                finish.writing()
                for each in joined:
                    with pytest.raises(IndexBusy, match="is over"):
                        each.renew()
                finish.renew()
            with pytest.raises(IndexBusy, match="is over"):
                first.join(token)
            with first.lease("run-b") as other:
                assert (other.continues, other.unclean) == (None, False)

    def test_lease_that_was_left_is_released_by_a_failure(self, store: Store) -> None:
        def fail() -> None:
            with store.lease("run-a") as lease:
                lease.leave()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.lease("run-b"):
            pass
        with pytest.raises(IndexBusy, match="is over"):
            store.join("never-given")

    def test_lease_that_nobody_prolonged_goes_to_another_run(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with store.lease("run-a") as lease:
            lease.leave()
            token = lease.token
        joined = store.join(token)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + LEASE_SECONDS + 1)
        with store.lease("run-b") as lease:
            assert lease.continues is None
            with pytest.raises(IndexBusy, match="is over"):
                joined.renew()
            lease.renew()

"""LanceDB's indexes and its cleaning up: nothing that somebody reads goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.vector.errors import VersionMissing
from airflow_provider_mlops.vector.stores import lance_rules, lance_upkeep
from airflow_provider_mlops.vector.stores import open_store as open_any
from airflow_provider_mlops.vector.stores.base import Layout, Row, Store
from airflow_provider_mlops.vector.stores.lance_rules import (
    GRACE,
    cleanup_age,
    dropped_tag,
    expired_tags,
    is_tidy,
    needs_vector_index,
)
from tests.unit.vector.store_contract import LAYOUT, V1, V2, V3, row

lancedb = pytest.importorskip("lancedb")


@pytest.mark.parametrize(
    ("rows", "indexed", "unindexed", "needed"),
    [(49_999, None, 0, False), (50_000, None, 0, True), (60_000, 50_000, 10_000, False), (90_000, 40_000, 50_000, True)],
)  # fmt: skip
def test_vectors_are_indexed_from_a_size_on_and_anew_when_most_are_newer(
    rows: int, indexed: int | None, unindexed: int, needed: bool
) -> None:
    assert needs_vector_index(rows, indexed, unindexed) is needed


def test_clean_up_stops_at_the_oldest_tag_and_at_the_grace_time() -> None:
    times = {1: 0.0, 5: 50_000.0, 9: 99_990.0}
    assert cleanup_age([5, 9], times, 100_000.0) == 50_001.0
    assert cleanup_age([9], times, 100_000.0) == GRACE
    assert cleanup_age([], times, 100_000.0) == GRACE


def test_dropped_versions_keep_a_tag_for_the_grace_time() -> None:
    tags = [dropped_tag(V1, 1000.0), dropped_tag(V2, 5000.0), V3, "live"]
    assert expired_tags(tags, 1000.0 + GRACE) == []
    assert expired_tags(tags, 1001.0 + GRACE) == tags[:1]


@pytest.mark.parametrize(
    ("small_files", "indexes", "oldest", "tidy"),
    [(1, 0, 60.0, True), (2, 0, 60.0, False), (0, 1, 60.0, False), (0, 0, GRACE + 1, False)],
)
def test_files_are_written_once_more_only_where_that_helps(
    small_files: int, indexes: int, oldest: float, tidy: bool
) -> None:
    assert is_tidy(small_files, indexes, oldest, GRACE) is tidy


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened: AbstractContextManager[Store] = open_any(
        "lancedb", "Docs", conn_id=None, uri=str(tmp_path), connections=lambda name: pytest.fail(name)
    )
    with opened as store:
        yield store


def build(store: Store, name: str, base: str | None, number: int) -> None:
    build = store.begin(name, LAYOUT, base)
    build.upsert([row(number)])
    build.settle()
    build.seal()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    # LanceDB compares with its own clock, so time has to pass.
    monkeypatch.setattr(lance_rules, "GRACE", 0.5)


def commits(folder: Path) -> list[int]:
    table = lancedb.connect(str(folder)).open_table("Docs")
    return sorted(version["version"] for version in table.list_versions())


def test_reader_of_a_dropped_version_goes_on_while_the_grace_time_lasts(store: Store, tmp_path: Path) -> None:
    build(store, V1, None, 1)
    reader = lancedb.connect(str(tmp_path)).open_table("Docs")
    reader.checkout(V1)
    store.drop(V1)
    with pytest.raises(VersionMissing):
        store.read(V1)
    time.sleep(1.5)
    build(store, V2, None, 2)
    assert reader.search(row(1).vector).limit(5).to_arrow()["doc"].to_pylist() == ["doc1"]


@pytest.mark.usefixtures("short_grace")
def test_dropped_version_is_cleaned_up_after_the_grace_time(store: Store, tmp_path: Path) -> None:
    build(store, V1, None, 1)
    store.drop(V1)
    dropped = commits(tmp_path)
    time.sleep(3)
    build(store, V2, None, 2)
    build(store, V3, V2, 3)
    table = lancedb.connect(str(tmp_path)).open_table("Docs")
    assert sorted(table.tags.list()) == [V2, V3]
    assert not set(dropped) & set(commits(tmp_path))
    assert [store.read(name).count() for name in (V2, V3)] == [1, 2]


@pytest.mark.usefixtures("short_grace")
def test_old_version_that_is_kept_does_not_stop_the_upkeep(store: Store) -> None:
    build(store, V1, None, 1)
    time.sleep(2)
    build(store, V2, V1, 2)
    assert [store.read(name).count() for name in (V1, V2)] == [1, 2]


def test_small_files_are_merged_and_a_single_one_stays(store: Store, tmp_path: Path) -> None:
    written = store.begin(V1, replace(LAYOUT, full_text=False), None)
    written.upsert([row(0)], lacking=True)
    written.flush()
    before = commits(tmp_path)
    written.settle()
    assert commits(tmp_path) == before
    for number in range(1, 40):
        written.upsert([row(number)], lacking=True)
        if not number % 10:
            written.flush()
    written.settle()
    written.seal()
    table = lancedb.connect(str(tmp_path)).open_table("Docs")
    assert table.stats()["fragment_stats"]["num_fragments"] == 1
    assert store.read(V1).count() == 40


def many(store: Store, vectors: np.ndarray, **more: Any) -> Any:
    layout = Layout(vectors.shape[1], "cosine", {}, False)
    written = store.begin(V1, layout, None)
    for start in range(0, len(vectors), 10_000):
        part = enumerate(vectors[start : start + 10_000], start)
        written.upsert(
            [Row(f"id{n}", f"doc{n}", 0, "d", "t", {}, vector) for n, vector in part], lacking=True
        )
    written.settle()
    return written


def indexed(build: Any) -> bool:
    return any(index.columns == ["vector"] for index in build._table.list_indices())


@pytest.mark.slow
def test_many_vectors_get_an_approximate_index_that_finds_what_is_near(store: Store) -> None:
    vectors = np.random.default_rng(3).normal(size=(50_100, 24)).astype(np.float32)
    written = many(store, vectors)
    assert indexed(written)
    found = written.search(vectors[:300:3], 5)
    assert sum(hits[0].doc == f"doc{3 * n}" for n, hits in enumerate(found)) >= 98
    # Rows that no index covers yet are found as well.
    new = Row("new", "new", 0, "d", "t", {}, np.eye(24, dtype=np.float32)[0] * 9)
    written.upsert([new], lacking=True)
    assert written.search(new.vector[None, :], 1)[0][0].doc == "new"
    written.settle()
    (name,) = [index.name for index in written._table.list_indices()]
    assert written._table.index_stats(name).num_unindexed_rows == 0


@pytest.mark.slow
def test_approximate_index_that_finds_too_little_is_not_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_upkeep, "MIN_RECALL", 1.1)
    vectors = np.random.default_rng(3).normal(size=(50_100, 24)).astype(np.float32)
    written = many(store, vectors)
    assert not indexed(written)
    assert [hits[0].doc for hits in written.search(vectors[:20], 3)] == [f"doc{n}" for n in range(20)]

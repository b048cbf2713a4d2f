"""When a line is due, and what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex, progress
from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.indexing import RunOptions, run
from airflow_provider_mlops.vector.progress import LINE_SECONDS, Progress, duration
from airflow_provider_mlops.vector.stores import open_store
from tests.unit.vector.indexing_contract import documents


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


def test_with_a_total_share_rate_and_what_is_left_are_told(clock: Clock, said: list[str]) -> None:
    written = Progress("Index Docs", "chunks written", 100_000, say=said.append, clock=clock)
    clock.now += 22.7
    written.reach(42_000)
    assert said == ["Index Docs: 42,000 of 100,000 chunks written (42 %), 1,850/s, about 31 s left"]


def test_without_a_total_count_and_rate_are_told(clock: Clock, said: list[str]) -> None:
    read = Progress("Index Docs", "records read", say=said.append, clock=clock)
    clock.now += 40
    read.reach(10)
    assert said == ["Index Docs: 10 records read, 0.2/s"]


def test_before_anything_is_done_nothing_is_estimated(clock: Clock, said: list[str]) -> None:
    written = Progress("Index Docs", "chunks written", 7, say=said.append, clock=clock)
    clock.now += LINE_SECONDS
    written.reach(0)
    assert said == ["Index Docs: 0 of 7 chunks written (0 %), 0.0/s"]


def test_more_than_the_total_is_no_more_than_all(clock: Clock, said: list[str]) -> None:
    written = Progress("Index Docs", "chunks written", 100, say=said.append, clock=clock)
    clock.now += 20
    written.reach(120)
    assert said == ["Index Docs: 120 of 100 chunks written (100 %), 6.0/s, about 0.0 s left"]


def test_a_line_comes_at_most_every_so_many_seconds(clock: Clock, said: list[str]) -> None:
    read = Progress("Index Docs", "records read", say=said.append, clock=clock)

    def slow() -> Iterator[int]:
        for number in range(100):
            clock.now += 1
            yield number

    assert list(read.over(slow())) == list(range(100))
    assert len(said) == 100 / LINE_SECONDS
    assert said[0] == "Index Docs: 10 records read, 1.0/s"


def test_short_work_says_nothing(clock: Clock, said: list[str]) -> None:
    assert len(list(Progress("Index Docs", "records read", say=said.append, clock=clock).over(range(9)))) == 9
    assert said == []


def test_in_batches_the_line_tells_what_is_through(clock: Clock, said: list[str]) -> None:
    written = Progress("Index Docs", "chunks written", 500, say=said.append, clock=clock)
    through = 0
    seen: list[tuple[int, int]] = []
    for batch in batches(written.over(range(500)), 100):
        clock.now += 15
        through += len(batch)
        seen.append((through, len(said)))
    assert [int(line.split()[2]) for line in said] == [100, 200, 300, 400, 500]
    assert seen == [(100, 0), (200, 1), (300, 2), (400, 3), (500, 4)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (31.4, "31 s"), (119, "119 s"), (720, "12 min"), (7500, "2 h 5 min")],
)
def test_durations_are_told_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_run_tells_every_stretch_and_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("lancedb")
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    index = VectorIndex("Docs", embedder=HashEmbedder(64), uri=str(tmp_path))

    def go(docs: list[dict[str, object]]) -> list[str]:
        caplog.clear()
        maker = RowMaker(index.embedder)
        with open_store(
            "lancedb", "Docs", conn_id=None, uri=index.uri, connections=lambda name: None
        ) as store:  # type: ignore[arg-type, return-value]
            outcome = run(
                index, Records(lambda: docs), store, maker, RunOptions(), holder="t", on_bad=lambda *_: None
            )
        assert outcome.seconds > 0
        return [record.getMessage() for record in caplog.records]

    first = go(documents())
    assert any(line.startswith("Index Docs: 60 records read, ") for line in first)
    assert any(line.startswith("Index Docs: 60 of 60 chunks written (100 %), ") for line in first)
    assert first[-1].startswith(
        f"Index Docs: built, version v1_{index.fingerprint()[:8]} (live) has 60 documents in 60 chunks: "
        "60 added, 0 updated, 0 deleted; 60 embedded, 0 had their vector; "
    )
    again = go(documents())
    assert any(line.startswith("Index Docs: 60 stored chunks compared, ") for line in again)
    assert "unchanged" in again[-1]

"""The embedding cache: what was paid for once survives a kill, other processes, a full disk and a damaged file."""

from __future__ import annotations

import logging
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.vector import cache as module
from airflow_provider_mlops.vector.cache import EmbeddingCache

WRITER = """
import pathlib, sys, numpy as np
from airflow_provider_mlops.vector.cache import EmbeddingCache
cache = EmbeddingCache(pathlib.Path(sys.argv[1]), {})
for batch in range(int(sys.argv[3])):
    texts = [f"{sys.argv[2]} {batch} {number}" for number in range(20)]
    cache.put({text: np.full(3, batch, np.float32) for text in texts})
    print(batch, flush=True)
"""


def vectors(count: int, size: int = 4) -> dict[str, np.ndarray]:
    return {f"text {number}": np.full(size, number, dtype=np.float32) for number in range(count)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[EmbeddingCache]:
    with closing(EmbeddingCache(path, {"type": "a"})) as opened:
        yield opened


def test_what_was_put_comes_back_by_embedder_and_kind(cache: EmbeddingCache, path: Path) -> None:
    put = vectors(2000)
    cache.put(put)
    found = cache.get([*put, "unknown"])
    assert found.keys() == put.keys()
    assert found["text 7"].tolist() == [7, 7, 7, 7]
    assert cache.known(["text 7", "unknown"]) == {"text 7"}
    assert cache.get(["text 7"], "query") == {}
    with closing(EmbeddingCache(path, {"type": "b"})) as other:
        assert other.get(["text 7"]) == {}


def test_what_was_put_survives_kills_at_any_moment(path: Path) -> None:
    dice = random.Random(5)
    for round_ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(round_), "100000"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        confirmed = [process.stdout.readline() for _ in range(dice.randint(1, 40))]
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        with closing(EmbeddingCache(path, {})) as cache:
            batches = {int(line) for line in confirmed}
            texts = [f"{round_} {batch} {number}" for batch in batches for number in range(20)]
            assert cache.known(texts) == set(texts)


def test_two_processes_at_once_lose_nothing(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, "50"], stdout=subprocess.DEVNULL)
        for name in "abc"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    texts = [f"{name} {batch} {number}" for name in "abc" for batch in range(50) for number in range(20)]
    with closing(EmbeddingCache(path, {})) as cache:
        assert cache.get(texts).keys() == set(texts)


def test_a_full_disk_costs_the_cache_and_not_the_run(
    cache: EmbeddingCache, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(vectors(1))
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        cache.put(vectors(50, size=3000))
    assert list(cache.get(["text 0", "text 1"])) == ["text 0"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "full" in caplog.text
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_lock_that_is_held_too_long_costs_the_cache_and_not_the_run(
    cache: EmbeddingCache, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache._db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        cache.put(vectors(1))
    assert "locked" in caplog.text
    cache.put(vectors(1))
    assert len(cache.get(["text 0"])) == 1


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(2000)
        file.write(b"\xff" * (size - 2000))


def test_a_damaged_file_is_set_aside_when_it_is_opened(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(EmbeddingCache(path, {})) as cache:
        cache.put(vectors(500))
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\xff" * 84)
    damaged = path.read_bytes()
    with closing(EmbeddingCache(path, {})) as cache:
        cache.put(vectors(1))
        assert len(cache.get(["text 0"])) == 1
    (aside,) = path.parent.glob("cache.sqlite.damaged-*")
    assert aside.read_bytes() == damaged
    assert "set aside" in caplog.text


def test_a_file_that_gets_damaged_is_set_aside_while_it_is_in_use(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(EmbeddingCache(path, {})) as cache:
        cache.put(vectors(500))
    damage(path)
    with closing(EmbeddingCache(path, {})) as cache:
        cache.get([f"text {number}" for number in range(500)])
        cache.put(vectors(1))
        assert cache.get(["text 0", "text 1"]).keys() == {"text 0"}
    assert len([name for name in path.parent.glob("*damaged*") if name.suffix != ".log"]) >= 1
    assert "damaged" in caplog.text


def test_files_of_others_are_named_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("this is no database, and long enough to be read as one" * 50)
    foreign = tmp_path / "airflow.db"
    with closing(sqlite3.connect(foreign)) as db:
        db.execute("CREATE TABLE dag (id)")
    before = foreign.read_bytes()
    for path, match in ((text, "notes"), (foreign, "no embedding cache"), (text / "below", "below")):
        with pytest.raises(StorageUnwritable, match=match):
            EmbeddingCache(path, {})
    assert text.read_text().startswith("this is")
    assert foreign.read_bytes() == before


def test_beyond_its_bound_the_vectors_go_that_were_not_used_for_longest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = time.time()
    old = {f"old {number}": np.zeros(250, np.float32) for number in range(600)}
    with closing(EmbeddingCache(path, {})) as cache:
        cache.put(old)
    monkeypatch.setattr(module.time, "time", lambda: today + 3 * 86400)
    used = [f"old {number}" for number in range(50)]
    with closing(EmbeddingCache(path, {}, max_bytes=700_000)) as cache:
        assert len(cache.get(used)) == 50
        cache.put({f"new {number}": np.zeros(250, np.float32) for number in range(100)})
        assert cache.known(used) == set(used)
        assert len(cache.known([f"new {number}" for number in range(100)])) == 100
        assert len(cache.known(list(old))) < 400
        assert cache._bytes() <= 700_000


def test_look_ups_come_in_batches(cache: EmbeddingCache) -> None:
    texts = [f"text {number}" for number in range(2000)]
    statements: list[str] = []
    cache._db.set_trace_callback(statements.append)
    cache.get(texts)
    cache.put(vectors(2000))
    assert len([text for text in statements if text.startswith("SELECT key")]) == 3
    assert len([text for text in statements if text.startswith("COMMIT")]) == 1


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

"""The hash embedder, and the cache that survives a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument, StorageUnwritable
from airflow_provider_mlops.vector import HashEmbedder, PrecomputedVectors
from airflow_provider_mlops.vector.cache import EmbeddingCache
from airflow_provider_mlops.vector.embedders import embedder_from_json, embedder_to_json

TEXTS = ["The quick brown fox", "quick brown foxes", "Überfluß naïve 東京", "()", "🦊", "a"]


def test_hash_vectors_are_unit_vectors_and_the_same_in_every_process() -> None:
    vectors = HashEmbedder().embed(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (6, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-6)
    code = (
        "import sys; from airflow_provider_mlops.vector import HashEmbedder\n"
        "sys.stdout.buffer.write(HashEmbedder().embed(eval(sys.argv[1])).tobytes())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, repr(TEXTS)],
        env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert other.stdout == vectors.tobytes()


def test_texts_that_share_words_are_nearer() -> None:
    fox, foxes, other, *_ = HashEmbedder().embed(TEXTS)
    assert fox @ foxes > 0.3 > abs(fox @ other)


def test_query_and_passage_are_alike() -> None:
    assert (HashEmbedder().embed(["x y"], "query") == HashEmbedder().embed(["x y"])).all()


def test_hash_embedder_stands_alone() -> None:
    """A service may carry a copy of the file: it imports nothing of this package."""
    import airflow_provider_mlops.vector.embedders.hash as module

    assert "airflow_provider_mlops" not in Path(str(module.__file__)).read_text()


def test_embedders_as_json() -> None:
    for embedder in (HashEmbedder(64), PrecomputedVectors(8, "v", "m")):
        assert embedder_from_json(embedder_to_json(embedder)) == embedder
    for broken in ({"type": "nope"}, {"type": "hash", "size": 3}, {"type": "hash", "dimension": 2}):
        with pytest.raises(InvalidArgument):
            embedder_from_json(broken)
    with pytest.raises(InvalidArgument, match="vector of its own"):
        PrecomputedVectors(8).embed(["a"])


def test_cache_returns_what_was_put_by_embedder(tmp_path: Path) -> None:
    vectors = {f"text {number}": np.full(4, number, dtype=np.float32) for number in range(2000)}
    cache = EmbeddingCache(tmp_path / "deep" / "cache.sqlite", {"type": "a"})
    cache.put(vectors)
    found = cache.get([*vectors, "unknown"])
    assert found.keys() == vectors.keys()
    assert found["text 7"].tolist() == [7, 7, 7, 7]
    other = EmbeddingCache(tmp_path / "deep" / "cache.sqlite", {"type": "b"})
    assert other.get(["text 7"]) == {}
    other.close()
    cache.close()


def test_cache_survives_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np, pathlib\n"
        "from airflow_provider_mlops.vector.cache import EmbeddingCache\n"
        "cache = EmbeddingCache(pathlib.Path(sys.argv[1]), {})\n"
        "cache.put({'a': np.ones(3, np.float32)})\n"
        "cache._db.execute('BEGIN IMMEDIATE')\n"
        "cache._db.execute('DELETE FROM vectors')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "cache.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    cache = EmbeddingCache(path, {})
    assert cache.get(["a"])["a"].tolist() == [1, 1, 1]
    cache.put({"b": np.ones(3, np.float32)})
    cache.close()


def test_unusable_cache_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("this is no database, and long enough to be read as one" * 50)
    with pytest.raises(StorageUnwritable, match="file"):
        EmbeddingCache(tmp_path / "file", {})
    with pytest.raises(StorageUnwritable):
        EmbeddingCache(tmp_path / "file" / "below", {})


def test_full_disk_is_an_error_and_keeps_what_was_there(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache.sqlite", {})
    cache.put({"a": np.ones(3, np.float32)})
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageUnwritable, match="full"):
        cache.put({str(number): np.ones(3000, np.float32) for number in range(50)})
    assert list(cache.get(["a", "1"])) == ["a"]
    cache.close()
    assert sqlite3.connect(tmp_path / "cache.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)

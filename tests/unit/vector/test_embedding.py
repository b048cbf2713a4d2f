"""The hash embedder, and embedders as JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder, PrecomputedVectors
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

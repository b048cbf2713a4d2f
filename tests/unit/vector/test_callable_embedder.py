"""A named function as embedder."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders import CallableEmbedder, embedder_from_json, embedder_to_json

HERE = __name__


def lengths(texts: list[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


def embedder(name: str, dimension: int = 2) -> CallableEmbedder:
    return CallableEmbedder(f"{HERE}:{name}", dimension)


def test_calls_the_named_function() -> None:
    vectors = embedder("lengths").embed(["a", "abc"])
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1.0, 1.0], [3.0, 1.0]]
    assert embedder("lengths").embed(["ab"], "query").tolist() == [[2.0, 1.0]]


def test_survives_json_and_the_revision_changes_its_identity() -> None:
    one = CallableEmbedder("a.b:c", 3)
    assert embedder_from_json(embedder_to_json(one)) == one
    assert CallableEmbedder("a.b:c", 3, revision="2").identity() != one.identity()


@pytest.mark.parametrize("function", ["no_colon", "a.b:", ":f", "a b:c"])
def test_malformed_name_is_refused_at_once(function: str) -> None:
    with pytest.raises(InvalidArgument, match=r"package\.module:function"):
        CallableEmbedder(function, 2)


def test_missing_function_and_wrong_shape_are_named() -> None:
    with pytest.raises(InvalidArgument, match="nothing_here"):
        embedder("nothing_here").embed(["a"])
    with pytest.raises(InvalidArgument, match=r"shape \(1, 2\).*expected \(1, 5\)"):
        embedder("lengths", dimension=5).embed(["a"])

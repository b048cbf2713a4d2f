"""Hybrid ranks against values worked out by hand."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.vector.fusion import fuse
from airflow_provider_mlops.vector.stores.base import Hit


def near(chunk: str, distance: float) -> Hit:
    return Hit(chunk, f"doc {chunk}", "text", {}, distance)


def word(chunk: str, score: float) -> Hit:
    return Hit(chunk, f"doc {chunk}", "text", {}, None, score)


NEAR = [near("a", 0.1), near("b", 0.2), near("c", 0.3)]
WORDS = [word("c", 9.0), word("d", 1.0)]


def test_scores_are_weighted_reciprocal_ranks() -> None:
    hits = fuse(NEAR, WORDS, 10, 0.25)
    assert {hit.id: hit.score for hit in hits} == pytest.approx(
        {"c": 0.25 / 63 + 0.75 / 61, "d": 0.75 / 62, "a": 0.25 / 61, "b": 0.25 / 62}
    )
    assert [hit.id for hit in hits] == ["c", "d", "a", "b"]
    assert [hit.distance for hit in hits] == [0.3, None, 0.1, 0.2]


def test_a_side_without_weight_brings_nothing() -> None:
    assert [hit.id for hit in fuse(NEAR, WORDS, 10, 1.0)] == ["a", "b", "c"]
    assert [hit.id for hit in fuse(NEAR, WORDS, 10, 0.0)] == ["c", "d"]


def test_one_outlier_does_not_decide() -> None:
    loud = [word("c", 9e9), word("d", 1.0)]
    assert fuse(NEAR, loud, 10, 0.5) == fuse(NEAR, WORDS, 10, 0.5)


def test_equal_hits_come_in_one_order_whatever_the_store_said() -> None:
    equal = [word("z", 1.0), word("y", 1.0), word("x", 1.0)]
    expected = fuse([], equal, 2, 0.5)
    assert fuse([], equal[::-1], 2, 0.5) == expected
    assert [hit.id for hit in expected] == ["x", "y"]
    assert [hit.id for hit in fuse([near("b", 0.1)], [word("a", 1.0)], 2, 0.5)] == ["a", "b"]


def test_nothing_found_is_nothing() -> None:
    assert fuse([], [], 5, 0.5) == []

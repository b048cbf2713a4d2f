"""Gate figures against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import Gate
from airflow_provider_mlops.vector.comparison import compare
from airflow_provider_mlops.vector.errors import GoldenQueriesInvalid
from airflow_provider_mlops.vector.gate import GoldenQuery, judge, parse_golden, rejection

QUERIES = [
    GoldenQuery("first", frozenset(["a"])),
    GoldenQuery("third", frozenset(["b"])),
    GoldenQuery("half", frozenset(["c", "d"])),
    GoldenQuery("missed", frozenset(["e"])),
]
FOUND = [["a", "x", "y"], ["x", "y", "b"], ["x", "d", "y"], ["x", "y", "z", "e"]]


def test_recall_and_mrr_as_by_hand() -> None:
    report = judge(Gate("q", min_recall=0.6, k=3), QUERIES, FOUND)
    assert report.recall == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert report.mrr == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 4) / 4)
    assert report.passed
    assert [entry["query"] for entry in report.worst] == ["missed", "half"]
    assert "worst" not in report.to_json()


def test_ndcg_as_by_hand() -> None:
    report = judge(Gate("q", min_recall=0, k=3), QUERIES, FOUND)
    half = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert report.scores == pytest.approx([1, 1 / math.log2(4), half, 0])
    assert report.ndcg == pytest.approx(sum(report.scores) / 4)
    assert not judge(Gate("q", min_recall=0, k=3, min_ndcg=report.ndcg + 0.01), QUERIES, FOUND).passed
    assert judge(Gate("q", min_recall=0, k=3, min_ndcg=report.ndcg - 0.01), QUERIES, FOUND).passed


def test_same_answers_are_no_regression() -> None:
    same = compare([0.2, 1.0, 0.5], [0.2, 1.0, 0.5])
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert not same.regressed(0.0)


def test_interval_is_that_of_the_mean_difference() -> None:
    import numpy as np

    draw = np.random.default_rng(1)
    live = draw.uniform(0.3, 1.0, 400)
    candidate = live - draw.normal(0.1, 0.2, 400)
    seen = compare(live.tolist(), candidate.tolist())
    # The textbook's interval for so many: mean, plus and minus 1.96 standard errors.
    error = 1.96 * (candidate - live).std() / 20
    assert seen.low == pytest.approx(seen.difference - error, abs=0.002)
    assert seen.high == pytest.approx(seen.difference + error, abs=0.002)
    assert seen == compare(live.tolist(), candidate.tolist())
    assert seen.regressed(0.05)
    assert not seen.regressed(0.2)


def test_one_lost_query_of_twenty_may_be_chance_and_ten_are_not() -> None:
    assert not compare([1.0] * 20, [0.0] + [1.0] * 19).regressed(0.0)
    assert compare([1.0] * 20, [0.0] * 10 + [1.0] * 10).regressed(0.0)


def test_comparison_needs_enough_queries() -> None:
    gate = Gate("q", min_recall=0, max_regression=0.1)
    with pytest.raises(GoldenQueriesInvalid, match="19 golden queries are too few"):
        gate.check_queries(19)
    gate.check_queries(20)
    Gate("q", min_recall=0).check_queries(1)


def test_more_expected_documents_than_k_can_still_be_found_fully() -> None:
    query = GoldenQuery("many", frozenset("abcd"))
    assert judge(Gate("q", min_recall=1, k=2), [query], [["a", "b"]]).passed


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (Gate("q", min_recall=0.625, k=3), True),
        (Gate("q", min_recall=0.626, k=3), False),
        (Gate("q", min_recall=0.5, k=3, min_mrr=0.52), True),
        (Gate("q", min_recall=0.5, k=3, min_mrr=0.53), False),
        (Gate("q", min_recall=0.5, k=1), False),
    ],
)
def test_floors(gate: Gate, passed: bool) -> None:
    assert judge(gate, QUERIES, FOUND).passed is passed


def test_rejection_lists_the_worst_queries() -> None:
    gate = Gate("q", min_recall=0.9, k=3, min_mrr=0.9)
    error = rejection("Docs", "v2_abcdef01", gate, judge(gate, QUERIES, FOUND))
    assert "recall@3 0.625 (at least 0.9), MRR 0.521 (at least 0.9); worst queries: 'missed' -> 'e'" in str(
        error
    )
    assert error.report["passed"] is False  # type: ignore[index]


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_recall": 1.1},
        {"min_recall": 0.5, "k": 0},
        {"min_recall": 0.5, "min_mrr": -1},
        {"min_recall": 0.5, "min_ndcg": 2},
        {"min_recall": 0.5, "max_regression": -0.1},
        {"min_recall": 0.5, "min_queries": 1},
        {"min_recall": 0.5, "search": "fuzzy"},
        {"min_recall": 0.5, "search": "hybrid", "alpha": 1.5},
    ],
)
def test_impossible_gate_is_refused_at_once(arguments: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match="Gate"):
        Gate("q", **arguments)  # type: ignore[arg-type]


def test_golden_queries_are_read() -> None:
    lines = [
        b'{"query": "q", "expected": ["a", 7]}\n',
        b"\n",
        b'{"query": "v", "expected": ["b"], "vector": [1, 2.5]}',
    ]
    assert parse_golden(lines, "golden.jsonl") == [
        GoldenQuery("q", frozenset(["a", "7"])),
        GoldenQuery("v", frozenset(["b"]), (1.0, 2.5)),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{broken",
        b"[]",
        b'{"query": "q"}',
        b'{"query": "q", "expected": []}',
        b'{"query": "q", "expected": "a"}',
        b'{"query": 1, "expected": ["a"]}',
        b'{"query": "q", "expected": ["a"], "vector": ["x"]}',
        b'{"query": "q", "expected": ["a"], "vector": [NaN]}',
        b"\xff",
    ],
)
def test_malformed_golden_query_is_named_by_line(line: bytes) -> None:
    with pytest.raises(GoldenQueriesInvalid, match=r"golden\.jsonl', line 2"):
        parse_golden([b'{"query": "q", "expected": ["a"]}', line], "golden.jsonl")


def test_no_golden_queries_at_all() -> None:
    with pytest.raises(GoldenQueriesInvalid, match="there are none"):
        parse_golden([b"\n"], "golden.jsonl")

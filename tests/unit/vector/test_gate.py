"""Gate figures against values worked out by hand."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import Gate
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
    "arguments", [{"min_recall": 1.1}, {"min_recall": 0.5, "k": 0}, {"min_recall": 0.5, "min_mrr": -1}]
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

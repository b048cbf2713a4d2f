"""The quality gate: golden queries, their figures, and the verdict. Pure decisions; others ask the index."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.errors import GateRejected, GoldenQueriesInvalid


@dataclass(frozen=True, slots=True)
class Gate:
    """What a new version must achieve before it can go live.

    :param queries: URI of a JSON Lines file: ``{"query": "...", "expected": ["document key", ...]}`` per
        line, with ``"vector"`` where the source brings its own vectors. The operator renders it (template
        or another task's output).
    :param min_recall: least mean recall@k, between 0 and 1.
    :param k: how many documents count as found.
    :param min_mrr: least mean reciprocal rank of the first expected document, if that matters.
    :raises InvalidArgument: a number is out of range.
    """

    queries: Any
    min_recall: float
    k: int = 5
    min_mrr: float | None = None

    def __post_init__(self) -> None:
        floors = [self.min_recall, *([] if self.min_mrr is None else [self.min_mrr])]
        if self.k < 1 or not all(0 <= floor <= 1 for floor in floors):
            raise InvalidArgument(
                f"Gate: k={self.k}, min_recall={self.min_recall}, min_mrr={self.min_mrr}",
                next_step="Let k be at least 1 and the floors between 0 and 1.",
            )


@dataclass(frozen=True, slots=True)
class GoldenQuery:
    """A query and the documents that it should find."""

    query: str
    expected: frozenset[str]
    vector: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """Figures of one version. ``worst`` holds up to ten queries with the lowest recall, if below 1."""

    queries: int
    k: int
    recall: float
    mrr: float
    passed: bool
    worst: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For payloads, assets and records; without the worst queries, which may quote documents."""
        return {
            "queries": self.queries,
            "k": self.k,
            "recall": round(self.recall, 6),
            "mrr": round(self.mrr, 6),
            "passed": self.passed,
        }


def parse_golden(lines: Iterable[bytes], name: str) -> list[GoldenQuery]:
    """Read golden queries.

    :param lines: of the file.
    :param name: of the file, for messages.
    :raises GoldenQueriesInvalid: a malformed line (nothing is skipped here), or no query at all.
    """
    queries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            query, expected, vector = data["query"], data["expected"], data.get("vector")
            if not isinstance(query, str) or not isinstance(expected, list) or not expected:
                raise ValueError("query must be a text, expected a list that is not empty")
            numbers = None if vector is None else tuple(float(number) for number in vector)
            if numbers is not None and not all(map(math.isfinite, numbers)):
                raise ValueError("vector contains NaN or infinity")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GoldenQueriesInvalid(f"Golden queries {name!r}, line {number}: {error!r}") from error
        queries.append(GoldenQuery(query, frozenset(map(str, expected)), numbers))
    if not queries:
        raise GoldenQueriesInvalid(f"Golden queries {name!r}: there are none")
    return queries


def judge(gate: Gate, queries: Sequence[GoldenQuery], found: Sequence[Sequence[str]]) -> GateReport:
    """Figures and verdict.

    Recall@k of a query is the share of its expected documents among the first ``k`` found (of at most ``k``
    that could be there); the reciprocal rank counts the first expected document, wherever it was found.

    :param found: for each query the distinct document keys found, best first.
    """
    scores = []
    for query, keys in zip(queries, found, strict=True):
        hits = query.expected & set(keys[: gate.k])
        recall = len(hits) / min(len(query.expected), gate.k)
        rank = next((place for place, key in enumerate(keys, start=1) if key in query.expected), None)
        scores.append((recall, 1 / rank if rank else 0.0, query, keys))
    recall = sum(score[0] for score in scores) / len(scores)
    mrr = sum(score[1] for score in scores) / len(scores)
    worst = sorted((score for score in scores if score[0] < 1), key=lambda score: score[:2])[:10]
    return GateReport(
        queries=len(queries),
        k=gate.k,
        recall=recall,
        mrr=mrr,
        passed=recall >= gate.min_recall and (gate.min_mrr is None or mrr >= gate.min_mrr),
        worst=[
            {
                "query": query.query,
                "expected": sorted(query.expected),
                "found": list(keys[: gate.k]),
                "recall": got,
            }
            for got, _, query, keys in worst
        ],
    )


def rejection(index: str, version: str, gate: Gate, report: GateReport) -> GateRejected:
    """The error for a failed gate; it names the worst queries."""
    floor = f"recall@{gate.k} {report.recall:.3f} (at least {gate.min_recall:g})"
    if gate.min_mrr is not None:
        floor += f", MRR {report.mrr:.3f} (at least {gate.min_mrr:g})"
    worst = "; ".join(f"{entry['query'][:60]!r} -> {entry['expected'][0]!r}" for entry in report.worst[:5])
    return GateRejected(
        f"Index {index!r}: version {version} was rejected by its gate: {floor}; worst queries: {worst}",
        report=report.to_json(),
        worst=report.worst,
    )

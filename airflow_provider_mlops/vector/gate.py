"""The quality gate: golden queries, their figures, and the verdict. Pure decisions; others ask the index."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.asking import SearchMode, check_mode
from airflow_provider_mlops.vector.comparison import Comparison, compare
from airflow_provider_mlops.vector.errors import GateRejected, GoldenQueriesInvalid
from airflow_provider_mlops.vector.spec import VectorIndex


@dataclass(frozen=True, slots=True)
class Gate:
    """What a new version must achieve before it can go live.

    :param queries: URI of a JSON Lines file: ``{"query": "...", "expected": ["document key", ...]}`` per
        line, with ``"vector"`` where the source brings its own vectors, and ``"tenant"`` where the index has tenants. The operator renders it (template
        or another task's output).
    :param min_recall: least mean recall@k, between 0 and 1.
    :param k: how many documents count as found.
    :param min_mrr: least mean reciprocal rank of the first expected document, if that matters.
    :param min_ndcg: least mean nDCG@k (found documents count less the later they come), if that matters.
    :param max_regression: by how much the mean nDCG@k may lie below the live version's, which is asked the same
        queries. A larger loss rejects if the 95 % interval of the difference (paired bootstrap, always the same for
        the same answers) lies below zero as a whole, so that chance does not. A live version with another
        fingerprint cannot be asked, as its vectors may be another model's, and the report says so; with a module of
        Weaviate it can.
    :param search: how readers will ask, and so how the queries are asked: by ``vector``, by ``words`` (BM25; no query is
        embedded), or ``hybrid``.
    :param alpha: ``hybrid`` only: weight of the vectors, 0 to 1.
    :param min_queries: fewest queries with which ``max_regression`` is judged; with fewer the task fails before it
        writes anything.
    :raises InvalidArgument: a number is out of range.
    """

    queries: Any
    min_recall: float
    k: int = 5
    min_mrr: float | None = None
    min_ndcg: float | None = None
    max_regression: float | None = None
    min_queries: int = 20
    search: SearchMode = "vector"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        given = (self.min_recall, self.min_mrr, self.min_ndcg, self.max_regression)
        if (
            self.k < 1
            or self.min_queries < 2
            or not all(0 <= figure <= 1 for figure in given if figure is not None)
        ):
            raise InvalidArgument(
                f"Gate: k={self.k}, min_recall={self.min_recall}, min_mrr={self.min_mrr}, min_ndcg={self.min_ndcg}, "
                f"max_regression={self.max_regression}, min_queries={self.min_queries}",
                next_step="Let k be at least 1, min_queries at least 2, and the others between 0 and 1.",
            )
        check_mode("Gate", self.search, self.alpha, keeps_words=True)

    def check_index(self, index: VectorIndex) -> None:
        """Refuse to judge what the index cannot be asked.

        :raises InvalidArgument: it keeps no full-text index, and the gate searches by words.
        """
        subject = f"Index {index.name!r}: its gate"
        check_mode(subject, self.search, self.alpha, keeps_words=index.keeps_words)

    def check_queries(self, count: int) -> None:
        """Refuse to compare on too little.

        :param count: golden queries that there are.
        :raises GoldenQueriesInvalid: a comparison is wanted, and there are fewer than ``min_queries``.
        """
        if self.max_regression is not None and count < self.min_queries:
            raise GoldenQueriesInvalid(
                f"Gate: {count} golden queries are too few to tell a regression from chance (min_queries is "
                f"{self.min_queries})",
                next_step="Add golden queries, or leave max_regression out.",
            )


@dataclass(frozen=True, slots=True)
class GoldenQuery:
    """A query and the documents that it should find."""

    query: str
    expected: frozenset[str]
    vector: tuple[float, ...] | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class GateReport:
    """Figures of one version. ``worst`` holds up to ten queries with the lowest recall, if below 1; ``scores`` the
    nDCG of each query; ``comparison`` the comparison with the live version, or why there is none.
    """

    queries: int
    k: int
    recall: float
    mrr: float
    ndcg: float
    passed: bool
    search: SearchMode = "vector"
    worst: list[dict[str, Any]] = field(default_factory=list)
    scores: tuple[float, ...] = ()
    comparison: Comparison | str | None = None

    def to_json(self) -> dict[str, Any]:
        """For payloads, assets and records; without the worst queries, which may quote documents."""
        return {
            "queries": self.queries,
            "k": self.k,
            "search": self.search,
            "recall": round(self.recall, 6),
            "mrr": round(self.mrr, 6),
            "ndcg": round(self.ndcg, 6),
            "comparison": self.comparison.to_json()
            if isinstance(self.comparison, Comparison)
            else self.comparison,
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
            tenant = data.get("tenant")
            if not isinstance(query, str) or not isinstance(expected, list) or not expected:
                raise ValueError("query must be a text, expected a list that is not empty")
            if tenant is not None and not isinstance(tenant, str):
                raise ValueError("tenant must be a text")
            numbers = None if vector is None else tuple(float(number) for number in vector)
            if numbers is not None and not all(map(math.isfinite, numbers)):
                raise ValueError("vector contains NaN or infinity")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GoldenQueriesInvalid(f"Golden queries {name!r}, line {number}: {error!r}") from error
        queries.append(GoldenQuery(query, frozenset(map(str, expected)), numbers, tenant))
    if not queries:
        raise GoldenQueriesInvalid(f"Golden queries {name!r}: there are none")
    return queries


def judge(gate: Gate, queries: Sequence[GoldenQuery], found: Sequence[Sequence[str]]) -> GateReport:
    """Figures and verdict.

    Recall@k of a query is the share of its expected documents among the first ``k`` found (of at most ``k``
    that could be there); the reciprocal rank counts the first expected document, wherever it was found;
    nDCG@k is 1 if the expected documents come first.

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
    ndcg = [_ndcg(query.expected, keys[: gate.k], gate.k) for query, keys in zip(queries, found, strict=True)]
    mean = sum(ndcg) / len(ndcg)
    worst = sorted((score for score in scores if score[0] < 1), key=lambda score: score[:2])[:10]
    return GateReport(
        queries=len(queries),
        k=gate.k,
        search=gate.search,
        recall=recall,
        mrr=mrr,
        ndcg=mean,
        scores=tuple(ndcg),
        passed=recall >= gate.min_recall
        and (gate.min_mrr is None or mrr >= gate.min_mrr)
        and (gate.min_ndcg is None or mean >= gate.min_ndcg),
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


def _ndcg(expected: frozenset[str], keys: Sequence[str], k: int) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, key in enumerate(keys, start=1) if key in expected)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(expected), k) + 1))
    return gain / best


def compared(gate: Gate, report: GateReport, live: GateReport | str) -> GateReport:
    """The report with the comparison in it, and in its verdict.

    :param live: report of the live version, on the same queries; or why there is none.
    """
    if isinstance(live, str):
        return replace(report, comparison=live)
    assert gate.max_regression is not None
    comparison = compare(live.scores, report.scores)
    passed = report.passed and not comparison.regressed(gate.max_regression)
    return replace(report, comparison=comparison, passed=passed)


def rejection(index: str, version: str, gate: Gate, report: GateReport) -> GateRejected:
    """The error for a failed gate; it names the worst queries."""
    floor = f"by {gate.search}, " if gate.search != "vector" else ""
    floor += f"recall@{gate.k} {report.recall:.3f} (at least {gate.min_recall:g})"
    if gate.min_mrr is not None:
        floor += f", MRR {report.mrr:.3f} (at least {gate.min_mrr:g})"
    if gate.min_ndcg is not None:
        floor += f", nDCG@{gate.k} {report.ndcg:.3f} (at least {gate.min_ndcg:g})"
    if isinstance(report.comparison, Comparison):
        seen = report.comparison
        floor += (
            f", nDCG@{gate.k} {seen.difference:+.3f} against the live version, "
            f"95 % interval {seen.low:+.3f} to {seen.high:+.3f} (at most {gate.max_regression:g} less)"
        )
    worst = "; ".join(f"{entry['query'][:60]!r} -> {entry['expected'][0]!r}" for entry in report.worst[:5])
    return GateRejected(
        f"Index {index!r}: version {version} was rejected by its gate: {floor}; worst queries: {worst}",
        report=report.to_json(),
        worst=report.worst,
    )

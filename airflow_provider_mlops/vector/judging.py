"""Asking a gate's golden queries, and what the gate says of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.asking import ask
from airflow_provider_mlops.vector.chunking import WholeText
from airflow_provider_mlops.vector.documents import vector_problem
from airflow_provider_mlops.vector.embedders import WeaviateModule
from airflow_provider_mlops.vector.errors import GateRejected, GoldenQueriesInvalid
from airflow_provider_mlops.vector.gate import Gate, GateReport, GoldenQuery, compared, judge, rejection
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Hit, Snapshot

if TYPE_CHECKING:
    import numpy as np

# With several chunks per document, that many hits are asked for to see k documents.
_HITS_PER_DOCUMENT = 5


class Judge:
    """A gate with its queries, for the versions of one index.

    :raises InvalidArgument: the gate searches by words, and the index keeps none.
    :raises GoldenQueriesInvalid: a query names a tenant and the index has none, or the other way round.
    """

    def __init__(self, index: VectorIndex, gate: Gate, queries: Sequence[GoldenQuery]) -> None:
        gate.check_index(index)
        self._index, self._gate, self._queries = index, gate, queries
        self._places: dict[str | None, list[int]] = {}
        for place, query in enumerate(queries):
            if (query.tenant is None) != (index.tenant is None):
                others = "no tenants" if index.tenant is None else "tenants"
                raise self._invalid(query, f"has tenant {query.tenant!r}, and the index has {others}")
            self._places.setdefault(query.tenant, []).append(place)

    def report(self, snapshot: Snapshot, live: Snapshot | str) -> GateReport:
        """Figures and verdict.

        :param snapshot: the version in question.
        :param live: the one that readers see, or why there is none to compare with.
        :raises GoldenQueriesInvalid: a query's vector does not fit the index.
        """
        report = self._answers(snapshot)
        if self._gate.max_regression is None:
            return report
        return compared(self._gate, report, live if isinstance(live, str) else self._answers(live))

    def rejection(self, version: str, report: GateReport) -> GateRejected:
        """The error for a version that did not pass."""
        return rejection(self._index.name, version, self._gate, report)

    def _answers(self, snapshot: Snapshot) -> GateReport:
        gate = self._gate
        per_document = 1 if isinstance(self._index.chunker, WholeText) else _HITS_PER_DOCUMENT
        answers: list[list[Hit]] = [[] for _ in self._queries]
        for tenant, places in self._places.items():
            asked = [self._queries[place] for place in places]
            texts = [query.query for query in asked]
            vectors = None if gate.search == "words" else self._vectors(asked)
            found = ask(
                snapshot, gate.search, texts, vectors, gate.k * per_document, alpha=gate.alpha, tenant=tenant
            )
            for place, hits in zip(places, found, strict=True):
                answers[place] = hits
        return judge(gate, self._queries, [list(dict.fromkeys(hit.doc for hit in hits)) for hits in answers])

    def _vectors(self, queries: Sequence[GoldenQuery]) -> np.ndarray | None:
        """One row per query, or ``None`` if the store makes them."""
        import numpy as np

        embedder = self._index.embedder
        if isinstance(embedder, WeaviateModule):
            for query in queries:
                if query.vector is not None:
                    raise self._invalid(query, "has a vector, but the server makes them")
            return None
        texts = [query.query for query in queries if query.vector is None]
        embedded = iter(embedder.embed(texts, "query") if texts else ())
        vectors = [
            np.array(next(embedded) if query.vector is None else query.vector, dtype=np.float32)
            for query in queries
        ]
        for query, vector in zip(queries, vectors, strict=True):
            if problem := vector_problem(vector, embedder.dimension):
                raise self._invalid(query, f"has a vector that {problem}")
        return np.stack(vectors)

    def _invalid(self, query: GoldenQuery, problem: str) -> GoldenQueriesInvalid:
        return GoldenQueriesInvalid(
            f"Index {self._index.name!r}: golden query {query.query[:60]!r} {problem}"
        )

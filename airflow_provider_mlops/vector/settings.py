"""How Weaviate is to keep an index: its kind of vector index, compression, word search and copies. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from airflow_provider_mlops.errors import InvalidArgument

Quantization = Literal["rq8", "rq1", "bq", "sq", "pq", "none"]
_QUANTIZATIONS: Mapping[str, tuple[str, ...]] = {
    "hnsw": ("rq8", "rq1", "bq", "sq", "pq", "none"),
    # With rq1 and bq half of the ten nearest of 12,000 were found; the server has no sq and pq here.
    "flat": ("rq8", "none"),
}


@dataclass(frozen=True, slots=True)
class HNSW:
    """A graph of neighbours: fast searches in large indexes.

    :param ef_construction: how many neighbours are looked at when a chunk comes in; more is slower and finds more.
    :param max_connections: neighbours per chunk; more takes more memory and finds more.
    :param ef: how many candidates a search follows; ``None`` lets the server choose by the search's limit. Can be
        changed without a rebuild.
    :param quantization: ``rq8`` keeps a quarter of a vector's bytes in memory, is faster to build than whole vectors
        and finds the same after rescoring; ``rq1``, ``bq``, ``sq``, ``pq`` keep less; ``none``.
    """

    ef_construction: int = 128
    max_connections: int = 32
    ef: int | None = None
    quantization: Quantization = "rq8"


@dataclass(frozen=True, slots=True)
class Flat:
    """Every vector is compared: exact, built ten times as fast, and slow from some 10,000 chunks (per tenant) on.

    :param quantization: ``rq8`` or ``none``.
    """

    quantization: Quantization = "rq8"


@dataclass(frozen=True, slots=True)
class BM25:
    """Weights of searches by words; can be changed without a rebuild.

    :param k1: how much repeated words count.
    :param b: how much the length of a chunk counts, 0 to 1.
    """

    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, slots=True)
class WeaviateSettings:
    """Settings of an index's collections in Weaviate.

    Another kind of vector index, another of its settings except ``ef``, or another number of copies builds the index
    anew. The others are brought to the live collection by the next run, even if no document has changed.

    :param vector_index: :class:`HNSW` or :class:`Flat`.
    :param bm25: see :class:`BM25`.
    :param replicas: copies of every chunk on the servers of a cluster; ``None`` leaves it to the server.
    :param async_replication: let the servers compare and repair their copies in the background; ``None`` leaves it to the
        server.
    :raises InvalidArgument: a number is out of range, or a compression that the index cannot have.
    """

    vector_index: HNSW | Flat = field(default_factory=HNSW)
    bm25: BM25 = field(default_factory=BM25)
    replicas: int | None = None
    async_replication: bool | None = None

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise InvalidArgument(f"WeaviateSettings: {problem}")

    @property
    def kind(self) -> Literal["hnsw", "flat"]:
        """Name of the kind of vector index."""
        return "hnsw" if isinstance(self.vector_index, HNSW) else "flat"

    def _problem(self) -> str | None:
        index = self.vector_index
        possible = _QUANTIZATIONS[self.kind]
        if index.quantization not in possible:
            return (
                f"quantization {index.quantization!r} of a {self.kind} index; there are {', '.join(possible)}"
            )
        if isinstance(index, HNSW):
            if index.ef_construction < 4 or index.max_connections < 4:
                return "ef_construction and max_connections are at least 4"
            if index.ef is not None and index.ef < 1:
                return f"ef is {index.ef}, the least is 1"
        if not (self.bm25.k1 >= 0 and 0 <= self.bm25.b <= 1):
            return "k1 is at least 0, and b lies between 0 and 1"
        if self.replicas is not None and self.replicas < 1:
            return f"replicas is {self.replicas}, the least is 1"
        if self.replicas == 1 and self.async_replication:
            return "async_replication has nothing to compare with one copy"
        return None

    def identity(self) -> dict[str, Any]:
        """What differs from the defaults and cannot be changed in a collection that is there."""
        fixed = {name: value for name, value in asdict(self.vector_index).items() if name != "ef"}
        usual = asdict(HNSW())
        return {
            **({} if self.kind == "hnsw" else {"kind": self.kind}),
            **{name: value for name, value in fixed.items() if value != usual[name]},
            **({} if self.replicas is None else {"replicas": self.replicas}),
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which :meth:`from_json` makes equal settings."""
        return {
            "vector_index": {"kind": self.kind, **asdict(self.vector_index)},
            "bm25": asdict(self.bm25),
            "replicas": self.replicas,
            "async_replication": self.async_replication,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WeaviateSettings:
        """The reverse of :meth:`to_json`; what is left out has its default.

        :raises InvalidArgument: unknown or wrong fields.
        """
        arguments = dict(data)
        try:
            if "vector_index" in arguments:
                values = dict(arguments["vector_index"])
                made = {"hnsw": HNSW, "flat": Flat}[values.pop("kind", "hnsw")]
                arguments["vector_index"] = made(**values)
            if "bm25" in arguments:
                arguments["bm25"] = BM25(**arguments["bm25"])
            return cls(**arguments)
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidArgument(f"WeaviateSettings: {error}") from error

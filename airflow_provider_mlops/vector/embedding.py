"""Vectors for chunks, from the cheapest place: the source, an earlier version, the cache, and only then the embedder."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.budget import Budget, Estimate, cost_of
from airflow_provider_mlops.vector.cache import EmbeddingCache
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedders import Embedder, WeaviateModule
from airflow_provider_mlops.vector.embedders.base import CountsTokens, Metered
from airflow_provider_mlops.vector.errors import VectorInvalid
from airflow_provider_mlops.vector.stores.base import Row, Snapshot

if TYPE_CHECKING:
    import numpy as np

# Chunks per look-up of an estimate.
_PART = 2000


class RowMaker:
    """Turns chunks into rows, and counts what that cost.

    :param embedder: of the index.
    :param cache: embeddings of earlier runs, if they are kept.
    :param budget: what embedding may use, by default anything.
    :raises InvalidArgument: a budget that the embedder gives no figures for.
    """

    def __init__(
        self, embedder: Embedder, cache: EmbeddingCache | None = None, budget: Budget | None = None
    ) -> None:
        self.budget = budget or Budget()
        self.budget.check_embedder(embedder)
        self._embedder = embedder
        self._cache = cache
        self._base: Snapshot | None = None
        self._in_base: Container[str] = ()
        #: Texts that were sent through the embedder, or are left to the store.
        self.embedded = 0
        #: Chunks whose vector was at hand: in the source, an earlier version, or the cache.
        self.cached = 0

    @property
    def tokens(self) -> int | None:
        """Tokens that were sent through the embedder, as its server reported them; ``None`` for local ones."""
        return self._embedder.usage.tokens if isinstance(self._embedder, Metered) else None

    @property
    def cost(self) -> float | None:
        """What they cost; ``None`` without a price."""
        return cost_of(self._embedder, self.tokens)

    def estimate(self, chunks: Iterable[Chunk]) -> Estimate:
        """What :meth:`rows` would embed for these chunks, in any order. Nothing is sent; memory stays bounded."""
        texts = cached = tokens = 0
        for part in batches(chunks, _PART):
            unsettled = {
                chunk.text: chunk for chunk in part if chunk.vector is None and chunk.id not in self._in_base
            }
            known = self._cache.known(list(unsettled)) if self._cache and unsettled else set()
            missing = [text for text in unsettled if text not in known]
            texts += len(missing)
            cached += len(part) - len(missing)
            if isinstance(self._embedder, CountsTokens) and missing:
                tokens += sum(self._embedder.count_tokens(missing))
        total = tokens if isinstance(self._embedder, CountsTokens) else None
        return Estimate(texts, cached, total, cost_of(self._embedder, total))

    def check_budget(self, estimate: Estimate) -> None:
        """Compare what a run would use with the caps, before it begins.

        :raises EmbeddingBudgetExceeded: more than a cap.
        """
        self.budget.check(estimate.tokens, estimate.cost, estimate.texts)

    def reuse(self, base: Snapshot, chunk_ids: Container[str]) -> None:
        """Take vectors from a version with the same fingerprint, where it has the chunk."""
        self._base, self._in_base = base, chunk_ids

    def rows(self, chunks: Sequence[Chunk]) -> list[Row]:
        """Rows in the order of the chunks.

        Where the store makes the vectors, those of new chunks are empty.

        :raises VectorInvalid: a vector is not fit to be stored; nothing of this call was sent or cached.
        :raises EmbeddingBudgetExceeded: the next texts would pass a cap; they were not sent to the embedder.
        """
        import numpy as np

        vectors: dict[str, np.ndarray] = {
            chunk.id: np.asarray(chunk.vector, dtype=np.float32)
            for chunk in chunks
            if chunk.vector is not None
        }
        known = [chunk.id for chunk in chunks if chunk.id not in vectors and chunk.id in self._in_base]
        if known and self._base is not None:
            vectors.update((row.id, row.vector) for row in self._base.rows(known).values())
        open_chunks = [chunk for chunk in chunks if chunk.id not in vectors]
        texts = list(dict.fromkeys(chunk.text for chunk in open_chunks))
        by_text = self._cache.get(texts) if self._cache and texts else {}
        missing = [text for text in texts if text not in by_text]
        if missing and isinstance(self._embedder, WeaviateModule):
            by_text = dict.fromkeys(texts, np.empty(0, np.float32))
        elif missing:
            new = self._embed(missing, {chunk.text: chunk.doc for chunk in open_chunks})
            if self._cache:
                self._cache.put(new)
            by_text.update(new)
        self.embedded += len(missing)
        self.cached += len(chunks) - len(missing)
        vectors.update((chunk.id, by_text[chunk.text]) for chunk in open_chunks)
        return [
            Row(
                chunk.id,
                chunk.doc,
                chunk.ordinal,
                chunk.digest,
                chunk.text,
                chunk.properties,
                vectors[chunk.id],
            )
            for chunk in chunks
        ]

    def _embed(self, texts: Sequence[str], docs: dict[str, str]) -> dict[str, np.ndarray]:
        import numpy as np

        self._spend(texts)
        vectors = np.ascontiguousarray(self._embedder.embed(texts), dtype=np.float32)
        if vectors.shape != (len(texts), self._embedder.dimension):
            raise VectorInvalid(
                f"The embedder gave vectors of shape {vectors.shape} instead of "
                f"({len(texts)}, {self._embedder.dimension})"
            )
        unfit = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
        if unfit.any():
            first = texts[int(np.argmax(unfit))]
            raise VectorInvalid(
                f"The embedder gave {int(unfit.sum())} vectors with NaN, infinity or zeros only, "
                f"the first for document {docs[first]!r}",
                document=docs[first],
            )
        return dict(zip(texts, vectors, strict=True))

    def _spend(self, texts: Sequence[str]) -> None:
        """An estimate can be wrong, and a source can change in between: look again before each batch."""
        if self.budget.limited and isinstance(self._embedder, Metered):
            total = self._embedder.usage.tokens + sum(self._embedder.count_tokens(texts))
            self.budget.check(total, cost_of(self._embedder, total), self.embedded + len(texts))

"""Vectors for chunks, from the cheapest place: the source, an earlier version, the cache, and only then the embedder."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
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

# Stands for the vector of a chunk's own text; no further one can have the name.
_MAIN = ""
# Chunks per look-up of an estimate.
_PART = 2000


class RowMaker:
    """Turns chunks into rows, and counts what that cost.

    :param embedder: of the index.
    :param cache: embeddings of earlier runs, if they are kept.
    :param budget: what embedding may use, by default anything.
    :param vectors: names of further vectors, with the property that each is made of.
    :raises InvalidArgument: a budget that the embedder gives no figures for.
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: EmbeddingCache | None = None,
        budget: Budget | None = None,
        vectors: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.budget = budget or Budget()
        self.budget.check_embedder(embedder)
        self._embedder = embedder
        self._cache = cache
        # A module of the server makes all of them.
        self._further = {} if isinstance(embedder, WeaviateModule) else dict(vectors)
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
            new = [chunk for chunk in part if chunk.vector is None and chunk.id not in self._in_base]
            unsettled = list(dict.fromkeys(text for chunk in new for text in self._texts(chunk)))
            known = self._cache.known(unsettled) if self._cache and unsettled else set()
            missing = [text for text in unsettled if text not in known]
            texts += len(missing)
            cached += sum(len(self._texts(chunk)) for chunk in part) - len(missing)
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

        at_hand = {chunk.id: self._at_hand(chunk, row) for chunk, row in self._with_base(chunks)}
        docs = {
            text: chunk.doc
            for chunk in chunks
            for name, text in self._named_texts(chunk).items()
            if name not in at_hand[chunk.id]
        }
        texts = list(docs)
        by_text = self._cache.get(texts) if self._cache and texts else {}
        missing = [text for text in texts if text not in by_text]
        if missing and isinstance(self._embedder, WeaviateModule):
            by_text = dict.fromkeys(texts, np.empty(0, np.float32))
        elif missing:
            new = self._embed(missing, docs)
            if self._cache:
                self._cache.put(new)
            by_text.update(new)
        self.embedded += len(missing)
        self.cached += sum(len(self._texts(chunk)) for chunk in chunks) - len(missing)
        rows = []
        for chunk in chunks:
            more = at_hand[chunk.id]
            for name, text in self._named_texts(chunk).items():
                if name not in more:
                    more[name] = by_text[text]
            vector = more.pop(_MAIN)
            rows.append(
                Row(
                    chunk.id,
                    chunk.doc,
                    chunk.ordinal,
                    chunk.digest,
                    chunk.text,
                    chunk.properties,
                    vector,
                    more,
                )
            )
        return rows

    def _named_texts(self, chunk: Chunk) -> dict[str, str]:
        """What each vector of a chunk is made of."""
        texts = {_MAIN: chunk.text}
        for name, made_of in self._further.items():
            if text := chunk.properties.get(made_of):
                texts[name] = str(text)
        return texts

    def _texts(self, chunk: Chunk) -> Sequence[str]:
        return list(self._named_texts(chunk).values())

    def _with_base(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Row | None]]:
        """The chunks with what the earlier version has of them."""
        known = [chunk.id for chunk in chunks if chunk.vector is None and chunk.id in self._in_base]
        base = self._base.rows(known) if known and self._base is not None else {}
        return ((chunk, base.get(chunk.id)) for chunk in chunks)

    def _at_hand(self, chunk: Chunk, row: Row | None) -> dict[str, np.ndarray]:
        """Vectors that nothing has to be done for: from the source, or from an earlier version for the same text."""
        import numpy as np

        if chunk.vector is not None:
            return {_MAIN: np.asarray(chunk.vector, dtype=np.float32)}
        if row is None:
            return {}
        unchanged = {
            name
            for name, made_of in self._further.items()
            if row.properties.get(made_of) == chunk.properties.get(made_of)
        }
        return {_MAIN: row.vector, **{name: row.more[name] for name in unchanged & row.more.keys()}}

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

"""What the index is about: documents of numbered generations, how they are cut, and what a complete version holds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import CallableEmbedder, HashEmbedder, RecursiveChunker, VectorIndex
from airflow_provider_mlops.vector.documents import chunks_of
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store

DIMENSION = 32
#: Documents that are in every generation with the same text: whoever reads finds them at any moment.
STEADY = 25
CHANGING = 120
#: Sizes of chunks: with the first most documents are two chunks, with the second one.
SIZES = (90, 120)
EMBEDDER = HashEmbedder(DIMENSION)


def documents(generation: int) -> list[dict[str, Any]]:
    """A third of the changing documents has other texts than a generation before; some come, some go."""
    first = generation % 9
    steady = [
        {"id": f"steady{n}", "text": _text(f"steady{n}", 0), "year": 2000 + (n + generation) // 5}
        for n in range(STEADY)
    ]
    changing = [
        {"id": f"doc{n}", "text": _text(f"doc{n}", (n + generation) // 3), "year": n}
        for n in range(first, CHANGING + first)
    ]
    return steady + changing


def _text(name: str, issue: int) -> str:
    """Several chunks, of which some are the same in every issue."""
    chance = random.Random(f"{name}/{issue // 2}")
    words = [f"{name}w{chance.randrange(1000)}" for _ in range(6)]
    return f"{' '.join(words[:3])} issue{issue} of {name}\n\n{name} {' '.join(words[3:])}"


@dataclass(frozen=True)
class World:
    """One index in one store.

    :param connection: of Weaviate; empty for LanceDB.
    """

    index: VectorIndex
    connection: dict[str, Any]

    @classmethod
    def of(cls, backend: str, name: str, connection: dict[str, Any], uri: str | None) -> World:
        index = VectorIndex(
            name,
            embedder=CallableEmbedder("tests.campaign.vector.worker:embed", DIMENSION),
            chunker=RecursiveChunker(max_size=SIZES[0], overlap=0),
            properties={"year": "int"},
            backend=backend,  # type: ignore[arg-type]
            conn_id="w" if backend == "weaviate" else None,
            uri=uri,
        )
        return cls(index, connection)

    def cut(self, size: int) -> World:
        """The same with chunks of another size, which is another fingerprint."""
        return replace(self, index=replace(self.index, chunker=RecursiveChunker(max_size=size, overlap=0)))

    @contextmanager
    def store(self) -> Iterator[Store]:
        info = ConnectionInfo("w", **self.connection)
        index = self.index
        with open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=lambda name: info
        ) as store:
            yield store

    def expected(self, generation: int) -> list[tuple[str, int, str, Any]]:
        """Every chunk of a complete version."""
        chunks = [chunk for doc in documents(generation) for chunk in chunks_of(self.index, doc)]
        return sorted((chunk.doc, chunk.ordinal, chunk.text, chunk.properties["year"]) for chunk in chunks)

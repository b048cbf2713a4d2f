"""Objects that the benchmarks of vector indexes write: made up, and the same for every way of writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIMENSION = 384
SENTENCE = "A sentence of some thirty characters, written ten times. "


@dataclass(frozen=True)
class Corpus:
    """What the objects are like. Their vectors are unit vectors in 300 clusters.

    :param inner: how many dimensions the vectors really have; the others follow from these.
    :param noise: how far a vector lies from the middle of its cluster, where the middles have a standard deviation of 1.
    :param sentences: in a text, 57 characters each.
    :param properties: beside those that every chunk has, by type.
    """

    inner: int
    noise: float
    sentences: int
    properties: Mapping[str, str]

    @property
    def text(self) -> str:
        """The text of every object."""
        return SENTENCE * self.sentences

    @property
    def values(self) -> dict[str, str]:
        """Properties of every object, beside those that every chunk has."""
        return dict.fromkeys(self.properties, "guide")

    def vectors(self, count: int, seed: int = 0) -> Any:
        """So many vectors, as rows of an array."""
        import numpy as np

        chance = np.random.default_rng(seed)
        shape = np.random.default_rng(1)
        middles, projection = shape.normal(size=(300, self.inner)), shape.normal(size=(self.inner, DIMENSION))
        inner = middles[chance.integers(0, 300, count)] + self.noise * chance.normal(size=(count, self.inner))
        full = (inner @ projection).astype(np.float32)
        return full / np.linalg.norm(full, axis=1, keepdims=True)

    def rows(self, first: int, count: int) -> list[Any]:
        """Objects as rows of our stores."""
        from airflow_provider_mlops.vector.stores.base import Row

        return [
            Row(chunk_id(n), f"doc{n}", 0, f"{n:032x}", self.text, self.values, vector)
            for n, vector in enumerate(self.vectors(count, first), start=first)
        ]

    def plain(self, number: int) -> dict[str, Any]:
        """One object as others write it, without its id and vector."""
        return {
            "doc": f"doc{number}", "ordinal": 0, "digest": f"{number:032x}", "text": self.text, **self.values,
        }  # fmt: skip

    def write_parquet(self, folder: Path, count: int) -> None:
        """Objects as a source, in files of up to 10,000 rows."""
        import pyarrow as pa
        from pyarrow import parquet

        for part, start in enumerate(range(0, count, 10_000)):
            numbers = range(start, min(start + 10_000, count))
            flat = pa.array(self.vectors(len(numbers), start).ravel())
            columns = {
                "id": [f"doc{n}" for n in numbers],
                "text": [f"{n} {self.text}" for n in numbers],
                **{name: [value] * len(numbers) for name, value in self.values.items()},
                "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSION),
            }
            parquet.write_table(pa.table(columns), folder / f"part-{part:04}.parquet")


def chunk_id(number: int) -> str:
    """The id of an object."""
    return f"00000000-0000-4000-8000-{number:012d}"


CORPORA = {
    "usual": Corpus(24, 0.25, 5, {"section": "keyword"}),
    # The least that a graph (HNSW) costs a server: more of the time is the client's.
    "tight": Corpus(4, 0.05, 1, {}),
}

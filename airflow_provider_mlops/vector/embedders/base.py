"""What an embedder is: a small JSON-able value that turns texts into vectors in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

TextKind = Literal["passage", "query"]


class Embedder(Protocol):
    """Turns texts into vectors. Implementations are frozen dataclasses; heavy imports happen in the methods."""

    @property
    def dimension(self) -> int:
        """Length of every vector. Asked before anything is written, so what is wrong with a model shows here."""

    def identity(self) -> Mapping[str, Any]:
        """JSON object that says all that the vectors depend on; part of the index's fingerprint and of cache keys."""

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> np.ndarray:
        """Vectors of texts: float32, shape (number of texts, dimension).

        :param kind: passages are indexed, queries are searched for; some models treat them differently.
        """

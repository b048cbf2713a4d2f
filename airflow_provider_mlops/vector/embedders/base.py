"""What an embedder is: a small JSON-able value that turns texts into vectors in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

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


@runtime_checkable
class CountsTokens(Protocol):
    """What an embedder with a tokenizer can do besides; token-aware chunkers and cost caps ask for it."""

    @property
    def max_input_tokens(self) -> int:
        """Longest text that it reads, in tokens."""

    def count_tokens(self, texts: Sequence[str], kind: TextKind = "passage") -> list[int]:
        """Tokens of each text as it is embedded (with its prefix), or an estimate that is rather too high."""


@dataclass(slots=True)
class Usage:
    """What was asked of a remote embedder so far.

    :param requests: answered requests.
    :param texts: texts that came back as vectors.
    :param tokens: as the server reported them; counted here where it did not.
    """

    requests: int = 0
    texts: int = 0
    tokens: int = 0


@runtime_checkable
class Metered(CountsTokens, Protocol):
    """An embedder whose tokens cost something."""

    @property
    def price_per_1k_tokens(self) -> float | None:
        """What 1,000 tokens cost, in the user's own currency."""

    @property
    def usage(self) -> Usage:
        """What was used so far, by this object."""

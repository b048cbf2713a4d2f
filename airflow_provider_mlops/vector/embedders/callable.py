"""A function of the user's as embedder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.functions import check_function_name, load_function

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class CallableEmbedder:
    """Calls a function that takes a list of texts and returns one vector per text.

    The function is named, not passed, so that the spec stays JSON and a service can call the same one.

    :param function: ``package.module:function``; imported in the worker, on first use.
    :param dimension: length of its vectors; another length is refused when the vectors are checked.
    :param revision: changed by hand whenever the function gives other vectors: part of the fingerprint.
    """

    function: str
    dimension: int
    revision: str = "1"

    def __post_init__(self) -> None:
        check_function_name(self.function, "Embedder function")
        if self.dimension < 1:
            raise InvalidArgument(f"Embedder {self.function!r}: dimension {self.dimension} is not positive")

    def identity(self) -> Mapping[str, Any]:
        """Name, revision and dimension."""
        return {
            "type": "callable",
            "function": self.function,
            "revision": self.revision,
            "dimension": self.dimension,
        }

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """What the function returns, as float32; passages and queries are treated alike.

        :raises InvalidArgument: the function cannot be imported, or returns another shape.
        """
        import numpy as np

        vectors = np.asarray(load_function(self.function, "Embedder function")(list(texts)), dtype=np.float32)
        if vectors.shape != (len(texts), self.dimension):
            raise InvalidArgument(
                f"Embedder {self.function!r} returned shape {vectors.shape} for {len(texts)} texts, "
                f"expected {(len(texts), self.dimension)}"
            )
        return vectors

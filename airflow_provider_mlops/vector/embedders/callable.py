"""A function of the user's as embedder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument

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
        module, _, name = self.function.partition(":")
        if not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
            raise InvalidArgument(
                f"Embedder function {self.function!r} is not of the form 'package.module:function'"
            )
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

        vectors = np.asarray(self._load()(list(texts)), dtype=np.float32)
        if vectors.shape != (len(texts), self.dimension):
            raise InvalidArgument(
                f"Embedder {self.function!r} returned shape {vectors.shape} for {len(texts)} texts, "
                f"expected {(len(texts), self.dimension)}"
            )
        return vectors

    def _load(self) -> Callable[[list[str]], Any]:
        module, _, name = self.function.partition(":")
        try:
            function: Callable[[list[str]], Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InvalidArgument(
                f"Embedder function {self.function!r}: {error}",
                next_step="Make the module importable for workers (in the DAG folder, or installed).",
            ) from error
        return function

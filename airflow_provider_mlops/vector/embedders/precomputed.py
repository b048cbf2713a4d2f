"""Vectors that the source brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class PrecomputedVectors:
    """Takes each document's vector from a column of the source; documents are then not chunked.

    Golden queries bring theirs along as ``"vector"``.

    :param dimension: length of the vectors.
    :param column: where the vector (a list of numbers) is in a record.
    :param model: what made the vectors. Vectors of another model cannot be compared with these, so change
        it together with the model: it is part of the fingerprint.
    """

    dimension: int
    column: str = "vector"
    model: str = ""

    def identity(self) -> Mapping[str, Any]:
        """Dimension and model."""
        return {"type": "precomputed", "dimension": self.dimension, "model": self.model}

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """Never possible.

        :raises InvalidArgument: always; there is nothing that could embed a text.
        """
        raise InvalidArgument(
            f"This index takes its vectors from the column {self.column!r}; texts cannot be embedded",
            next_step="Give the query a vector of its own.",
        )

"""From a raw source record to the chunks of a document: what is taken, and what is refused. Pure decisions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_mlops.vector import ids
from airflow_provider_mlops.vector.chunking import Piece
from airflow_provider_mlops.vector.embedders import PrecomputedVectors
from airflow_provider_mlops.vector.spec import CHUNK_PROPERTIES, PROPERTY_TYPES, VectorIndex
from airflow_provider_mlops.vector.stores.base import Scalar

if TYPE_CHECKING:
    import numpy as np

# What Weaviate takes as the name of a tenant.
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Between the headings of a path.
_PATH = " > "


class UnusableRecord(ValueError):
    """A record that cannot be indexed; the text says why. It is counted, not raised to the user."""


class Chunk(NamedTuple):
    """A chunk before it has a vector, unless the source brought one (``vector``).

    A tuple, since every run makes one for every chunk of the source, and a frozen dataclass takes four times as long.
    """

    id: str
    doc: str
    ordinal: int
    digest: str
    text: str
    properties: Mapping[str, Scalar]
    vector: np.ndarray | None


class DocumentReader:
    """What an index takes of the records of its source.

    All that depends on the index alone is worked out once, since every run does the rest for every record.
    """

    def __init__(self, index: VectorIndex) -> None:
        self._index = index.name
        self._key, self._text, self._tenant = index.key, index.text, index.tenant
        self._cut = index.chunker.chunks
        self._count = getattr(index.embedder, "count_tokens", None)
        self._vectors = index.embedder if isinstance(index.embedder, PrecomputedVectors) else None
        self._own = [
            (name, kind, PROPERTY_TYPES[kind])
            for name, kind in index.properties.items()
            if name not in CHUNK_PROPERTIES
        ]
        self._of_pieces = [name for name in CHUNK_PROPERTIES if name in index.properties]

    def key(self, record: Mapping[str, Any]) -> str:
        """The record's document key as text.

        :raises UnusableRecord: there is none.
        """
        key = record.get(self._key)
        if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
            raise UnusableRecord(f"no usable key in {self._key!r}: {key!r}"[:200])
        return _checked_text(self._key, str(key))

    def chunks(self, record: Mapping[str, Any]) -> list[Chunk]:
        """Chunks of one document.

        :raises UnusableRecord: key or text missing, a property of the wrong type, or a bad vector.
        """
        key = self.key(record)
        text = record.get(self._text)
        if not isinstance(text, str):
            raise UnusableRecord(f"{self._text!r} is not a text but {type(text).__name__}")
        pieces = self._cut(_checked_text(self._text, text), self._count)
        if not pieces:
            raise UnusableRecord(f"{self._text!r} is empty")
        properties = self._properties(record)
        chunk_ids = ids.chunk_ids(self._index, key, [piece.text for piece in pieces])
        if self._tenant is not None:
            tenant = _tenant(self._tenant, record)
            chunk_ids = [ids.address(tenant, chunk) for chunk in chunk_ids]
        vector, packed = None, b""
        if self._vectors is not None:
            vector = _vector(self._vectors, record)
            packed = vector.astype("<f4", copy=False).tobytes()
        chunks = []
        for ordinal, piece in enumerate(pieces):
            values = {**properties, **self._piece_properties(piece)} if self._of_pieces else properties
            state = ids.digest(ordinal, values, packed)
            chunks.append(Chunk(chunk_ids[ordinal], key, ordinal, state, piece.text, values, vector))
        return chunks

    def _properties(self, record: Mapping[str, Any]) -> dict[str, Scalar]:
        values: dict[str, Scalar] = {}
        for name, kind, types in self._own:
            value = record.get(name)
            # bool is an int in Python, but not in a store.
            if value is not None and (
                not isinstance(value, types) or (isinstance(value, bool) and kind != "bool")
            ):
                raise UnusableRecord(f"property {name!r} is not {kind} but {type(value).__name__}")
            if isinstance(value, str):
                _checked_text(name, value)
            values[name] = float(value) if kind == "number" and value is not None else value
        return values

    def _piece_properties(self, piece: Piece) -> dict[str, Scalar]:
        values: dict[str, Scalar] = {
            "chunk_start": piece.start,
            "chunk_end": piece.end,
            "chunk_headings": _PATH.join(piece.headings),
        }
        return {name: values[name] for name in self._of_pieces}


def _tenant(field: str, record: Mapping[str, Any]) -> str:
    tenant = record.get(field)
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise UnusableRecord(f"no usable tenant in {field!r}: {tenant!r}"[:200])
    return tenant


def _checked_text(field: str, text: str) -> str:
    """Half of a surrogate pair, which JSON can write, has no UTF-8: no store and no hash could take it."""
    if text.isascii():  # which Python knows without looking
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRecord(f"{field!r} is not valid Unicode: {error.reason} at {error.start}") from error
    return text


def _vector(embedder: PrecomputedVectors, record: Mapping[str, Any]) -> np.ndarray:
    import numpy as np

    value = record.get(embedder.column)
    try:
        # A null among the numbers becomes NaN, which is refused below.
        vector = np.asarray(() if value is None else value, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusableRecord(f"{embedder.column!r} is not a list of numbers") from error
    if vector.ndim != 1:
        raise UnusableRecord(f"{embedder.column!r} is not a list of numbers")
    if problem := vector_problem(vector, embedder.dimension):
        raise UnusableRecord(f"{embedder.column!r} {problem}")
    return vector


def vector_problem(vector: np.ndarray, dimension: int) -> str | None:
    """Why a vector must not reach a store, or ``None``."""
    if len(vector) != dimension:
        return f"has {len(vector)} dimensions instead of {dimension}"
    # One product tells both at once for nearly every vector: NaN, infinity and zeros show in it.
    square = float(vector @ vector)
    if 0.0 < square < math.inf:
        return None
    if not bool((vector - vector == 0).all()):
        return "contains NaN or infinity"
    return None if bool(vector.any()) else "is all zeros"

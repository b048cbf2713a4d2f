"""From a raw source record to the chunks of a document: what is taken, and what is refused. Pure decisions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
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


def document_key(index: VectorIndex, record: Mapping[str, Any]) -> str:
    """The record's document key as text.

    :raises UnusableRecord: there is none.
    """
    key = record.get(index.key)
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise UnusableRecord(f"no usable key in {index.key!r}: {key!r}"[:200])
    return _checked_text(index.key, str(key))


def chunks_of(index: VectorIndex, record: Mapping[str, Any]) -> list[Chunk]:
    """Chunks of one document.

    :raises UnusableRecord: key or text missing, a property of the wrong type, or a bad vector.
    """
    key = document_key(index, record)
    text = record.get(index.text)
    if not isinstance(text, str):
        raise UnusableRecord(f"{index.text!r} is not a text but {type(text).__name__}")
    _checked_text(index.text, text)
    # Not isinstance: with a protocol that takes longer than all the rest here.
    counter = getattr(index.embedder, "count_tokens", None)
    pieces = index.chunker.chunks(text, counter)
    if not pieces:
        raise UnusableRecord(f"{index.text!r} is empty")
    properties = _properties(index, record, pieces)
    texts = [piece.text for piece in pieces]
    chunk_ids = ids.chunk_ids(index.name, key, texts)
    if index.tenant is not None:
        tenant = _tenant(index.tenant, record)
        chunk_ids = [ids.address(tenant, chunk) for chunk in chunk_ids]
    vector = _vector(index.embedder, record) if isinstance(index.embedder, PrecomputedVectors) else None
    packed = b"" if vector is None else vector.astype("<f4", copy=False).tobytes()
    return [
        Chunk(chunk_id, key, ordinal, ids.digest(ordinal, values, packed), piece, values, vector)
        for ordinal, (chunk_id, piece, values) in enumerate(zip(chunk_ids, texts, properties, strict=True))
    ]


def _tenant(field: str, record: Mapping[str, Any]) -> str:
    tenant = record.get(field)
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise UnusableRecord(f"no usable tenant in {field!r}: {tenant!r}"[:200])
    return tenant


def _properties(
    index: VectorIndex, record: Mapping[str, Any], pieces: Sequence[Piece]
) -> list[dict[str, Scalar]]:
    common: dict[str, Scalar] = {}
    for name, kind in index.properties.items():
        if name in CHUNK_PROPERTIES:
            continue
        value = record.get(name)
        # bool is an int in Python, but not in a store.
        if value is not None and (
            not isinstance(value, PROPERTY_TYPES[kind]) or (isinstance(value, bool) and kind != "bool")
        ):
            raise UnusableRecord(f"property {name!r} is not {kind} but {type(value).__name__}")
        if isinstance(value, str):
            _checked_text(name, value)
        common[name] = float(value) if kind == "number" and value is not None else value
    if CHUNK_PROPERTIES.keys().isdisjoint(index.properties):
        return [common] * len(pieces)
    return [{**common, **_chunk_properties(index, piece)} for piece in pieces]


def _checked_text(field: str, text: str) -> str:
    """Half of a surrogate pair, which JSON can write, has no UTF-8: no store and no hash could take it."""
    if text.isascii():  # which Python knows without looking
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRecord(f"{field!r} is not valid Unicode: {error.reason} at {error.start}") from error
    return text


def _chunk_properties(index: VectorIndex, piece: Piece) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {
        "chunk_start": piece.start,
        "chunk_end": piece.end,
        "chunk_headings": _PATH.join(piece.headings),
    }
    return {name: value for name, value in values.items() if name in index.properties}


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

"""Embedders, and how they are written down as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders.base import Embedder
from airflow_provider_mlops.vector.embedders.callable import CallableEmbedder
from airflow_provider_mlops.vector.embedders.hash import HashEmbedder
from airflow_provider_mlops.vector.embedders.onnx import OnnxEmbedder
from airflow_provider_mlops.vector.embedders.openai import OpenAIEmbedder
from airflow_provider_mlops.vector.embedders.precomputed import PrecomputedVectors
from airflow_provider_mlops.vector.embedders.weaviate_module import WeaviateModule

__all__ = [
    "CallableEmbedder",
    "Embedder",
    "HashEmbedder",
    "OnnxEmbedder",
    "OpenAIEmbedder",
    "PrecomputedVectors",
    "WeaviateModule",
    "connected",
    "embedder_from_json",
    "embedder_to_json",
]

EMBEDDERS: dict[str, type[Any]] = {
    "callable": CallableEmbedder,
    "hash": HashEmbedder,
    "onnx": OnnxEmbedder,
    "openai": OpenAIEmbedder,
    "precomputed": PrecomputedVectors,
    "weaviate_module": WeaviateModule,
}


def embedder_to_json(embedder: Embedder) -> dict[str, Any]:
    """The embedder's arguments, with its type."""
    # Not its identity's type: that may have to read a model.
    kind = next(name for name, embedder_class in EMBEDDERS.items() if type(embedder) is embedder_class)
    return {"type": kind, **dataclasses.asdict(embedder)}  # type: ignore[call-overload]


def embedder_from_json(data: Mapping[str, Any]) -> Embedder:
    """The reverse of :func:`embedder_to_json`.

    :raises InvalidArgument: unknown type or argument.
    """
    arguments = dict(data)
    kind = arguments.pop("type", None)
    if kind not in EMBEDDERS:
        raise InvalidArgument(
            f"Unknown embedder type {kind!r}", next_step=f"Use one of {', '.join(sorted(EMBEDDERS))}."
        )
    try:
        embedder: Embedder = EMBEDDERS[kind](**arguments)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"Embedder {kind!r}: {error}") from error
    return embedder


def connected(embedder: Embedder, connections: Callable[[str], ConnectionInfo]) -> Embedder:
    """The embedder with its connection, where it needs one; others as they are.

    :param connections: looks a connection up by its id; called only where there is one.
    :raises ConnectionMissing, ConnectionIncomplete: the connection is not there, or no use.
    """
    if isinstance(embedder, OpenAIEmbedder):
        return embedder.connected(connections(embedder.embeddings_conn_id))
    return embedder

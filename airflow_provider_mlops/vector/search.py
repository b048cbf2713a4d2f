"""Searching an index from plain Python: needs the store's client and numpy, and no Airflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionMissing, InvalidArgument
from airflow_provider_mlops.vector.asking import SearchMode, ask, check_mode
from airflow_provider_mlops.vector.documents import vector_problem
from airflow_provider_mlops.vector.embedders import WeaviateModule, connected
from airflow_provider_mlops.vector.errors import VersionMissing
from airflow_provider_mlops.vector.filters import parse
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import Connections, open_store
from airflow_provider_mlops.vector.stores.base import Hit

if TYPE_CHECKING:
    import numpy as np


def no_connections(conn_id: str) -> ConnectionInfo:
    """For callers that have no connections: an index at a URI needs none.

    :raises ConnectionMissing: the index needs one.
    """
    raise ConnectionMissing(
        f"The index needs connection {conn_id!r}, and none were passed",
        next_step="Pass connections.",
        conn_id=conn_id,
    )


def search(
    index: VectorIndex,
    query: str | Sequence[float],
    *,
    k: int = 5,
    mode: SearchMode = "vector",
    alpha: float = 0.5,
    filters: Mapping[str, Any] | None = None,
    version: str | None = None,
    tenant: str | None = None,
    vector: str | None = None,
    connections: Connections = no_connections,
) -> list[Hit]:
    """The ``k`` best chunks of an index, best first.

    Each call opens the store; a service with many queries keeps the store's own client open instead (for
    LanceDB see :mod:`airflow_provider_mlops.vector.stores.lance`).

    :param index: as declared; its ``uri`` or ``conn_id`` says where it is.
    :param query: a text, or a vector made with the index's embedder.
    :param mode: ``vector`` by meaning, ``words`` by BM25, or ``hybrid`` by both, whose ranks are merged (see
        :func:`airflow_provider_mlops.vector.fusion.fuse`). The last two need a text, and ``full_text=True`` in LanceDB.
    :param alpha: ``hybrid`` only: weight of the vectors, 0 to 1; the words have the rest.
    :param filters: what must hold of every hit: property names (or ``doc``, the document's key) to a value, to ``None``
        (has no value), or to ``{"<=": 5}``, ``{"in": [...]}`` and the like; see
        :func:`airflow_provider_mlops.vector.filters.parse`.
    :param version: name of a version; default the live one.
    :param vector: name of the vectors to compare with, where the index has further ones.
    :param tenant: whose documents are searched, where the index has tenants.
    :param connections: looks up the connections of the index and of its embedder, where they have one.
    :raises InvalidArgument: k below 1, a mode that needs words or a full-text index and has none, a filter that cannot
        be, or a vector of the wrong length. All but the last are found before anything is asked.
    :raises TenantMissing: no document is of that tenant.
    :raises VersionMissing: no version is live, or there is none of that name.
    """
    subject = f"Index {index.name!r}"
    if k < 1 or (mode != "vector" and not isinstance(query, str)):
        raise InvalidArgument(f"{subject}: k={k}, mode={mode!r} with {type(query).__name__}")
    check_mode(subject, mode, alpha, keeps_words=index.keeps_words)
    if vector is not None and (mode == "words" or vector not in index.vectors):
        raise InvalidArgument(
            f"{subject}: vector={vector!r}; the further vectors are {', '.join(index.vectors) or 'none'}",
            next_step="Name one of these, in a search by vector or in a hybrid one.",
        )
    if (tenant is None) != (index.tenant is None):
        raise InvalidArgument(
            f"{subject} has {'no ' if index.tenant is None else ''}tenants, and tenant={tenant!r}"
        )
    where = parse(filters, index.properties, index.name)
    with open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connections
    ) as store:
        if version is None:
            live = store.live()
            if live is None:
                raise VersionMissing(f"Index {index.name!r} has no live version")
            version = live.name
        snapshot = store.read(version)
        vectors = None if mode == "words" else _vectors(index, query, connections)
        found = ask(
            snapshot, mode, [str(query)], vectors, k, alpha=alpha, tenant=tenant, name=vector, where=where
        )
        return found[0]


def _vectors(index: VectorIndex, query: str | Sequence[float], connections: Connections) -> np.ndarray | None:
    """The query as one row, or ``None`` if the store makes its vector."""
    import numpy as np

    in_store = isinstance(index.embedder, WeaviateModule)
    if isinstance(query, str):
        if in_store:
            return None
        array: np.ndarray = connected(index.embedder, connections).embed([query], "query")[0]
    else:
        array = np.array(query, np.float32)
    if problem := vector_problem(array, array.size if in_store else index.embedder.dimension):
        raise InvalidArgument(f"Index {index.name!r}: the query's vector {problem}")
    return array.reshape(1, -1)

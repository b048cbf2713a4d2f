"""Searching an index from plain Python: needs the store's client and numpy, and no Airflow."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionMissing, InvalidArgument
from airflow_provider_mlops.vector.documents import vector_problem
from airflow_provider_mlops.vector.embedders import WeaviateModule, connected
from airflow_provider_mlops.vector.errors import VersionMissing
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import Connections, open_store
from airflow_provider_mlops.vector.stores.base import Hit


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
    full_text: bool = False,
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
    :param full_text: search by words (BM25) instead of by vector.
    :param version: name of a version; default the live one.
    :param vector: name of the vectors to compare with, where the index has further ones.
    :param tenant: whose documents are searched, where the index has tenants.
    :param connections: looks up the connections of the index and of its embedder, where they have one.
    :raises InvalidArgument: k below 1, a full-text search with a vector, or a vector of the wrong length.
    :raises TenantMissing: no document is of that tenant.
    :raises VersionMissing: no version is live, or there is none of that name.
    """
    if k < 1 or (full_text and not isinstance(query, str)):
        raise InvalidArgument(
            f"Index {index.name!r}: k={k}, full_text={full_text} with {type(query).__name__}"
        )
    if vector is not None and (full_text or vector not in index.vectors):
        raise InvalidArgument(
            f"Index {index.name!r}: vector={vector!r}; the further vectors are {', '.join(index.vectors) or 'none'}",
            next_step="Name one of these, in a search by vector.",
        )
    if (tenant is None) != (index.tenant is None):
        raise InvalidArgument(
            f"Index {index.name!r} has {'no ' if index.tenant is None else ''}tenants, and tenant={tenant!r}"
        )
    with open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connections
    ) as store:
        if version is None:
            live = store.live()
            if live is None:
                raise VersionMissing(f"Index {index.name!r} has no live version")
            version = live.name
        snapshot = store.read(version)
        if full_text:
            return snapshot.search_text(str(query), k, tenant=tenant)
        in_store = isinstance(index.embedder, WeaviateModule)
        if in_store and isinstance(query, str):
            return snapshot.search_meaning([query], k, tenant=tenant, name=vector)[0]
        import numpy as np

        array = (
            connected(index.embedder, connections).embed([query], "query")[0]
            if isinstance(query, str)
            else np.array(query, np.float32)
        )
        if problem := vector_problem(array, array.size if in_store else index.embedder.dimension):
            raise InvalidArgument(f"Index {index.name!r}: the query's vector {problem}")
        return snapshot.search(array[None, :], k, tenant=tenant, name=vector)[0]

"""Stores: one contract (:mod:`.base`), two backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.stores.base import Store

#: Looks a connection up by its id; in Airflow code this is ``base.hook.connection_info``.
Connections = Callable[[str], ConnectionInfo]

BACKENDS = ("lancedb", "weaviate")


@contextmanager
def open_store(
    backend: str, index: str, *, conn_id: str | None, uri: str | None, connections: Connections
) -> Iterator[Store]:
    """Open the store that holds ``index``, and close it at the end.

    :param backend: ``lancedb`` or ``weaviate``.
    :param index: name of the index.
    :param conn_id: Airflow connection; required for Weaviate, for LanceDB the alternative to ``uri``.
    :param uri: LanceDB only: folder or object store location.
    :param connections: looks up ``conn_id``; called only where there is one.
    :raises InvalidArgument: unknown backend, or neither connection nor URI.
    """
    connection = connections(conn_id) if conn_id else None
    if backend == "lancedb":
        from airflow_provider_mlops.vector.stores.lance import open_lance

        store: Store = open_lance(index, uri=uri, connection=connection)
    elif backend == "weaviate":
        if connection is None:
            raise InvalidArgument(
                f"Index {index!r}: the weaviate backend needs a connection", next_step="Set conn_id."
            )
        from airflow_provider_mlops.vector.stores.weaviate import open_weaviate

        store = open_weaviate(index, connection=connection)
    else:
        raise InvalidArgument(
            f"Index {index!r}: unknown backend {backend!r}", next_step=f"Use one of {', '.join(BACKENDS)}."
        )
    try:
        yield store
    finally:
        store.close()

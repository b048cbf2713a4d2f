"""Airflow's door to vector indexes: the connection type ``lancedb``, and searching from DAG code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_mlops.base.hook import MlopsHook, connection_info
from airflow_provider_mlops.compat import AirflowException, BaseHook, ObjectStoragePath
from airflow_provider_mlops.config import artifacts
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.asking import SearchMode
from airflow_provider_mlops.vector.embedders import Embedder, OnnxEmbedder, connected
from airflow_provider_mlops.vector.embedders.model_cache import fetch_model
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Hit


def placed(index: VectorIndex) -> VectorIndex:
    """The index with the place of its store filled in, for those who need no embedder; see :func:`located`."""
    if index.backend == "lancedb" and not index.uri and not index.conn_id:
        return replace(index, uri=artifacts("vector"))
    return index


def located(index: VectorIndex) -> VectorIndex:
    """The index with its places filled in: a LanceDB index with neither ``uri`` nor ``conn_id`` lies in the
    folder ``vector`` below ``[mlops] artifacts``; the embedder's model lies on this disk; an embedder that asks
    a server has its connection.

    :raises InvalidArgument: one of them would have to lie below that option, and it is not set; or nothing here
        reads the model's kind of URI.
    :raises EmbedderModelMissing, RemoteUnavailable, StorageUnwritable: the model cannot be fetched.
    :raises ConnectionMissing, ConnectionIncomplete: the embedder's connection is not there, or no use.
    """
    index = placed(index)
    return replace(index, embedder=connected(_with_local_model(index.embedder), connection_info))


def _with_local_model(embedder: Embedder) -> Embedder:
    if not isinstance(embedder, OnnxEmbedder):
        return embedder
    place = embedder.model
    if not urlsplit(place).scheme and not Path(place).is_absolute():
        place = artifacts("models", place)
    parts = urlsplit(place)
    if parts.scheme in ("", "file"):
        folder = Path(unquote(parts.path) if parts.scheme else place)
    else:
        try:
            folder = fetch_model(ObjectStoragePath(place), embedder.file)
        except (ImportError, ValueError) as error:
            raise InvalidArgument(
                f"OnnxEmbedder: {place!r} cannot be reached: {error}",
                next_step="Install the Airflow provider for this kind of URI, or name another place.",
            ) from error
    return replace(embedder, model=str(folder))


def database(conn_id: str) -> Callable[[], Any]:
    """A function that opens a DB-API connection.

    :param conn_id: of a connection whose hook has ``get_conn``.
    :raises ConnectionMissing: there is none of that name.
    :raises InvalidArgument: it is no database, or the provider for its type is not installed.
    """
    connection_info(conn_id)
    try:
        hook = BaseHook.get_hook(conn_id)
    except (AirflowException, ImportError) as error:
        raise InvalidArgument(
            f"Connection {conn_id!r} has no hook: {error}",
            next_step="Install the Airflow provider for its type of database.",
        ) from error
    if not hasattr(hook, "get_conn"):
        raise InvalidArgument(
            f"Connection {conn_id!r} is no SQL database: {type(hook).__name__} has no get_conn"
        )
    connect: Callable[[], Any] = hook.get_conn
    return connect


class LanceHook(MlopsHook):
    """A LanceDB database.

    :param lancedb_conn_id: connection of type ``lancedb``: its host is a folder or an object store location,
        its password the storage's secret key (``aws_secret_access_key``), its extra ``storage_options`` a JSON
        object for LanceDB, without secrets: Airflow does not mask it.
    """

    conn_name_attr = "lancedb_conn_id"
    default_conn_name = "lancedb_default"
    conn_type = "lancedb"
    hook_name = "LanceDB"

    def __init__(self, lancedb_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lancedb_conn_id = lancedb_conn_id

    def check(self) -> str:
        """See :class:`MlopsHook`."""
        from airflow_provider_mlops.vector.stores.lance import check

        return check(self.info)


class VectorSearchHook(BaseHook):
    """Searches the live version of an index from DAG code, whatever its backend.

    :param index: the index, as declared for :class:`~airflow_provider_mlops.operators.VectorIndexOperator`.
    """

    def __init__(self, index: VectorIndex, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index

    def search(
        self,
        query: str | Sequence[float],
        *,
        k: int = 5,
        mode: SearchMode = "vector",
        alpha: float = 0.5,
        filters: Mapping[str, Any] | None = None,
        version: str | None = None,
        tenant: str | None = None,
        vector: str | None = None,
    ) -> list[Hit]:
        """The best chunks, best first. Arguments and errors as :func:`airflow_provider_mlops.vector.search.search`."""
        return search(
            located(self.index),
            query,
            k=k,
            mode=mode,
            alpha=alpha,
            filters=filters,
            version=version,
            tenant=tenant,
            vector=vector,
            connections=connection_info,
        )

"""Airflow's door to vector indexes: the connection type ``lancedb``, and searching from DAG code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlops.base.hook import MlopsHook, connection_info
from airflow_provider_mlops.compat import BaseHook
from airflow_provider_mlops.config import artifacts
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Hit


def located(index: VectorIndex) -> VectorIndex:
    """The index with its location filled in: a LanceDB index with neither ``uri`` nor ``conn_id`` lies in the
    folder ``vector`` below ``[mlops] artifacts``.

    :raises InvalidArgument: it would have to, and that option is not set.
    """
    if index.backend == "lancedb" and not index.uri and not index.conn_id:
        return replace(index, uri=artifacts("vector"))
    return index


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
        self, query: str | Sequence[float], *, k: int = 5, full_text: bool = False, version: str | None = None
    ) -> list[Hit]:
        """The best chunks, best first. Arguments and errors as :func:`airflow_provider_mlops.vector.search.search`."""
        return search(
            located(self.index),
            query,
            k=k,
            full_text=full_text,
            version=version,
            connections=connection_info,
        )

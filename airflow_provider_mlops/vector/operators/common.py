"""What the operators of this station share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_mlops.base.operators import product_field
from airflow_provider_mlops.compat import Context, ObjectStoragePath
from airflow_provider_mlops.config import namespace
from airflow_provider_mlops.errors import ExtraMissing, InvalidArgument
from airflow_provider_mlops.vector.budget import Budget
from airflow_provider_mlops.vector.cache import EmbeddingCache
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.hook import database
from airflow_provider_mlops.vector.sources import Files, Source, SqlRows, SqlSource, find_files
from airflow_provider_mlops.vector.spec import VectorIndex


def lease_holder(context: Context) -> str:
    """Name of a task in the lease of an index: the same for all its tries, and for no other task."""
    task = context["ti"]
    return "/".join(map(str, (namespace(), task.dag_id, task.run_id, task.task_id, task.map_index)))


def check_numpy() -> None:
    """Vectors are arrays.

    :raises ExtraMissing: numpy is not installed.
    """
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise ExtraMissing(
            "Vector indexes need numpy", next_step="pip install 'airflow-provider-mlops[vector]'"
        ) from error


def opened_source(index: VectorIndex, given: Any) -> Source:
    """What an operator's ``source`` means, after rendering.

    :raises InvalidArgument: it is no source, or its connection is no database.
    :raises SourceEmpty, SourceUnreadable: there are no such files, or they cannot be listed.
    """
    if isinstance(given, SqlSource):
        return SqlRows(database(given.conn_id), given.conn_id, given.sql, given.parameters)
    if hasattr(given, "records"):
        source: Source = given
        return source
    value = given if isinstance(given, list) else product_field(given, "uri", argument="source")
    names = value if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidArgument(
            f"source is a {type(value).__name__}",
            next_step="Pass a URI, a list of URIs, an SqlSource, or Records(function).",
        )
    found = [file for name in names for file in find_files(name, ObjectStoragePath)]
    return Files(found, index.key, index.text, index.fields)


@contextmanager
def row_maker(
    index: VectorIndex, embedding_cache: str | None, budget: Budget, *, only_read: bool = False
) -> Iterator[RowMaker]:
    """What makes the rows, with the operator's cache and caps.

    :param embedding_cache: path or ``file://`` URI of the cache.
    :param only_read: do not make a cache that is not there.
    :raises InvalidArgument: the cache is elsewhere, or there is a cap that the embedder gives no figures for.
    """
    if embedding_cache is None:
        yield RowMaker(index.embedder, None, budget, index.vectors)
        return
    parts = urlsplit(embedding_cache)
    if parts.scheme not in ("", "file"):
        raise InvalidArgument(
            f"embedding_cache is {embedding_cache!r}",
            next_step="Name a file on the worker's own disk.",
        )
    path = Path(unquote(parts.path) if parts.scheme else embedding_cache)
    if only_read and not path.exists():
        yield RowMaker(index.embedder, None, budget, index.vectors)
        return
    with closing(EmbeddingCache(path, index.embedder.identity())) as cache:
        yield RowMaker(index.embedder, cache, budget, index.vectors)

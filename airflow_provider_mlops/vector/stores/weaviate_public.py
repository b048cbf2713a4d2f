"""Weaviate: writing and scanning through the client's public methods, should its private ones have changed.

Slower (see :mod:`.weaviate_batch` and :mod:`.weaviate_scan`), with the same answers.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.base import Row

if TYPE_CHECKING:
    from weaviate import WeaviateClient

log = logging.getLogger(__name__)

# What is used of the client's connection that is private, and what is done without it.
_PRIVATE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "write": (
        lambda connection: (
            hasattr(getattr(connection, "_grpc_channel", None), "unary_unary")
            and _takes(connection, "grpc_headers", set())
        ),
        "objects are written with insert_many",
    ),
    "scan": (
        lambda connection: _takes(connection, "grpc_search", {"request"}),
        "collections are read with an iterator",
    ),
}


def needed(client: WeaviateClient, work: Literal["write", "scan"]) -> bool:
    """Whether this client's connection is not as it is used here for some work; the log says so once."""
    as_expected, instead = _PRIVATE[work]
    if as_expected(getattr(client, "_connection", None)):
        return False
    _warn(instead)
    return True


@cache
def _warn(instead: str) -> None:
    log.warning(
        "The connection of this version of weaviate-client is not as it is used here: %s, which takes more CPU time",
        instead,
    )


def _takes(connection: Any, name: str, arguments: set[str]) -> bool:
    method = getattr(connection, name, None)
    if method is None:
        return False
    parameters = inspect.signature(method).parameters
    others = [
        other for other in parameters.values() if other.name not in arguments and other.default is other.empty
    ]
    return arguments <= parameters.keys() and not others


def scan(
    client: WeaviateClient, collection: str, tenant: str | None, page: int
) -> Iterator[tuple[str, str, str]]:
    """Every chunk as (id, document key, digest).

    :param page: how many are asked for at a time.
    """
    whole = client.collections.use(collection)
    part = whole.with_tenant(tenant) if tenant else whole
    for item in part.iterator(return_properties=["doc", "digest"], cache_size=page):
        yield str(item.uuid), str(item.properties["doc"]), str(item.properties["digest"])


def insert(client: WeaviateClient, collection: str, rows: Sequence[Row], vector: str) -> Mapping[int, str]:
    """Write rows with one ``insert_many`` per tenant; errors by place.

    :param vector: name of the main vector.
    """
    by_tenant: dict[str | None, list[int]] = {}
    for place, row in enumerate(rows):
        by_tenant.setdefault(placed(row.id)[0], []).append(place)
    errors: dict[int, str] = {}
    whole = client.collections.use(collection)
    for tenant, places in by_tenant.items():
        part = whole.with_tenant(tenant) if tenant else whole
        found = _insert(part, [rows[place] for place in places], vector)
        errors.update((places[place], text) for place, text in found.items())
    return errors


def _insert(collection: Any, rows: Sequence[Row], vector: str) -> Mapping[int, str]:
    from weaviate.exceptions import WeaviateInsertManyAllFailedError

    try:
        answer = collection.data.insert_many([_object(row, vector) for row in rows])
    except WeaviateInsertManyAllFailedError as error:
        # It names the reasons, and not which is whose.
        return dict.fromkeys(range(len(rows)), str(error))
    return {place: error.message for place, error in answer.errors.items()}


def _object(row: Row, vector: str) -> Any:
    from weaviate.classes.data import DataObject

    fixed = {"doc": row.doc, "ordinal": row.ordinal, "digest": row.digest, "text": row.text}
    own = {name: value for name, value in row.properties.items() if value is not None}
    vectors = {name: more.tolist() for name, more in row.more.items()}
    if row.vector.size:
        vectors[vector] = row.vector.tolist()
    return DataObject(uuid=placed(row.id)[1], properties={**fixed, **own}, vector=vectors or None)

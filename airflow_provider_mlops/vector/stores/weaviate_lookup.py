"""Weaviate: whether stored chunks are found by their own vectors, which nothing but a search can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.weaviate_batch import IN_FLIGHT, VECTOR_NAME

if TYPE_CHECKING:
    from weaviate import WeaviateClient

# Look-ups per request: the server's gRPC interface takes one, which costs the client twenty times as much.
_PER_REQUEST = 100
# How many neighbours are looked through for a chunk, in steps. The index is approximate: with few it overlooks chunks
# that are in it, about one of 10,000 real texts. And equal vectors crowd each other out.
_NEIGHBOURS = (5, 100, 1000)
_TIE = 1e-5
# What the server says of a chunk that is not there, or not with a vector.
_NOT_THERE = ("vector not found", "tenant not found")


def unfindable(
    client: WeaviateClient, collection: str, chunks: Sequence[str], name: str = VECTOR_NAME
) -> list[str]:
    """Those of the chunks that a search by their own vector does not find: also those that are not there at all.

    The server takes each vector from its store and looks for it in its vector index. One that is overlooked is looked
    for among more neighbours: what is lost is not there, and what is there can take a wider search than readers make.

    :param collection: its physical name.
    :param name: of the vectors. A chunk need not have one of another name than the main one.
    :raises weaviate.exceptions.WeaviateBaseError, RemoteUnavailable: the server did not answer.
    """
    looked_for, lost = list(chunks), []
    missed: dict[str, list[float]] = {}
    for limit in _NEIGHBOURS:
        missed = {}
        for chunk, near in _neighbours(client, collection, looked_for, limit, name):
            if near and placed(chunk)[1] not in near:
                missed[chunk] = list(near.values())
            elif not near and name == VECTOR_NAME:
                lost.append(chunk)
        looked_for = list(missed)
    # Those with as many equal vectors around them are left out: there is no telling, and nothing to gain.
    lost += [chunk for chunk, distances in missed.items() if distances[-1] - distances[0] > _TIE]
    return [chunk for chunk in chunks if chunk in set(lost)] if lost else []


def _neighbours(
    client: WeaviateClient, collection: str, chunks: Sequence[str], limit: int, name: str
) -> Iterator[tuple[str, dict[str, float]]]:
    """Each chunk with ids and distances of those nearest to it: none, if it is not there or has no vector."""
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="weaviate-check") as threads:
        parts = list(batches(chunks, _PER_REQUEST))
        for part, found in zip(
            parts, threads.map(lambda part: _ask(client, collection, part, limit, name), parts), strict=True
        ):
            yield from zip(part, found, strict=True)


def _ask(
    client: WeaviateClient, collection: str, chunks: Sequence[str], limit: int, name: str
) -> list[dict[str, float]]:
    from weaviate.exceptions import UnexpectedStatusCodeError

    try:
        answer = client.graphql_raw_query(_query(collection, chunks, limit, name))
    except UnexpectedStatusCodeError as error:
        if "disabled" not in str(error):
            raise
        return [_ask_one(client, collection, chunk, limit, name) for chunk in chunks]
    problems: Any = answer.errors or ()  # a list, whatever its type says
    for problem in problems:
        if not any(sign in problem["message"] for sign in _NOT_THERE):
            raise RemoteUnavailable(f"Collection {collection!r}: a look-up failed: {problem['message']}")
    return [_distances(answer.get[f"c{place}"]) for place in range(len(chunks))]


def _query(collection: str, chunks: Sequence[str], limit: int, name: str) -> str:
    looks = (
        f"c{place}: {collection}({_tenant(tenant)}limit: {limit}, "
        f'nearObject: {{id: "{chunk}", targetVectors: ["{name}"]}}) {{ _additional {{ id distance }} }}'
        for place, (tenant, chunk) in enumerate(map(placed, chunks))
    )
    return f"{{ Get {{ {' '.join(looks)} }} }}"


def _tenant(name: str | None) -> str:
    return "" if name is None else f'tenant: "{name}", '


def _distances(objects: Any) -> dict[str, float]:
    return {item["_additional"]["id"]: item["_additional"]["distance"] for item in objects or ()}


def _ask_one(client: WeaviateClient, collection: str, chunk: str, limit: int, name: str) -> dict[str, float]:
    """For servers whose GraphQL interface is turned off."""
    from weaviate.classes.query import MetadataQuery
    from weaviate.exceptions import WeaviateQueryError

    tenant, plain = placed(chunk)
    whole = client.collections.use(collection)
    try:
        answer = (whole.with_tenant(tenant) if tenant else whole).query.near_object(
            plain,
            limit=limit,
            target_vector=name,
            return_metadata=MetadataQuery(distance=True),
            return_properties=[],
        )
    except WeaviateQueryError as error:
        if any(sign in str(error) for sign in _NOT_THERE):
            return {}
        raise
    return {str(item.uuid): item.metadata.distance or 0.0 for item in answer.objects}

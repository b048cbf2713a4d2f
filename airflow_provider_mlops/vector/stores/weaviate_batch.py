"""Weaviate: writing many objects, each of them answered for, and looking each of them up.

Requests are built as protobuf directly and sent over the client's own connection, which keeps its credentials
and retries. That costs a fraction of the CPU time of ``insert_many`` and of the client's batch modes (see
``benchmarks/vector_ingest.py``), and it gives the answer of every single object, which the batch modes only log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores import weaviate_public
from airflow_provider_mlops.vector.stores.base import Row, Written
from airflow_provider_mlops.vector.stores.weaviate_errors import is_final, is_too_large, passes

if TYPE_CHECKING:
    from weaviate import WeaviateClient

#: Small requests leave few uncertain objects behind when an answer is lost, and are as fast as large ones.
OBJECTS_PER_REQUEST = 250
BYTES_PER_REQUEST = 2_000_000
IN_FLIGHT = 4
_TIMEOUT = 90.0
# None by the client, which would hide a crash of the server: whoever sends decides, and remembers.
_RETRIES = -1
VECTOR_NAME = "default"


def upsert(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> Written:
    """Write rows into a collection, addressed by its physical name.

    :returns: ids whose request got no answer or a passing error, and final refusals with the server's words.
    """
    written = Written()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="weaviate-batch") as threads:
        for part in threads.map(lambda part: _send(client, collection, part), _requests(rows)):
            written.include(part)
    return written


def _requests(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    # Apart, because not every module of the server can take objects with and without vectors in one request.
    for alike in (
        [row for row in rows if row.vector.size],
        [row for row in rows if not row.vector.size],
    ):
        for part in batches(alike, OBJECTS_PER_REQUEST):
            yield from _fitting(part)


def _fitting(part: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Halves of it, until each makes a request that is not too long, or is a single object."""
    size = sum([row.vector_bytes + 4 * len(row.text) + 200 for row in part])
    size += 4 * sum(
        [len(value) for row in part for value in row.properties.values() if isinstance(value, str)]
    )
    if size <= BYTES_PER_REQUEST or len(part) == 1:
        yield part
        return
    middle = len(part) // 2
    yield from _fitting(part[:middle])
    yield from _fitting(part[middle:])


def _send(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> Written:
    """One request, or several where that one is too large for somebody on the way."""
    from weaviate.exceptions import WeaviateBaseError

    try:
        errors = _objects(client, collection, rows)
    except WeaviateBaseError as error:
        if is_too_large(error):
            if len(rows) == 1:
                return Written(refused={rows[0].id: str(error)})
            middle = len(rows) // 2
            written = _send(client, collection, rows[:middle])
            written.include(_send(client, collection, rows[middle:]))
            return written
        if is_final(error):
            raise
        return Written(uncertain=[row.id for row in rows], trouble=str(error))
    written = Written()
    for place, text in errors.items():
        if passes(text):
            written.include(Written(uncertain=[rows[place].id], trouble=text))
        else:
            written.refused[rows[place].id] = text
    return written


def _objects(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> Mapping[int, str]:
    """Send one request; errors by place in it."""
    if weaviate_public.needed(client, "grpc_batch_objects"):
        return weaviate_public.insert(client, collection, rows, VECTOR_NAME)
    request = _request(collection, rows)
    # Private, but the only way to the client's own channel; the contract tests fail when it changes.
    return client._connection.grpc_batch_objects(request, timeout=_TIMEOUT, max_retries=_RETRIES)


def _request(collection: str, rows: Sequence[Row]) -> Any:
    """The objects are made inside the request: made apart and then copied into it, they take three times as long."""
    from weaviate.proto.v1 import base_pb2, batch_pb2

    request = batch_pb2.BatchObjectsRequest()
    add, single = request.objects.add, base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
    for row in rows:
        tenant, chunk = placed(row.id)
        item = add(collection=collection, uuid=chunk, tenant=tenant or "")
        values = item.properties.non_ref_properties.fields
        values["doc"].string_value = row.doc
        values["ordinal"].number_value = row.ordinal
        values["digest"].string_value = row.digest
        values["text"].string_value = row.text
        for name, value in row.properties.items():
            if isinstance(value, str):
                values[name].string_value = value
            elif isinstance(value, bool):
                values[name].bool_value = value
            elif value is not None:
                values[name].number_value = value
        if row.vector.size:
            vector = row.vector.astype("<f4", copy=False).tobytes()
            item.vectors.add(name=VECTOR_NAME, vector_bytes=vector, type=single)
        for name, more in row.more.items():
            item.vectors.add(name=name, vector_bytes=more.astype("<f4", copy=False).tobytes(), type=single)
    return request

"""Weaviate: writing many objects, each of them answered for, and looking each of them up.

Requests are built as protobuf directly and sent over the client's own connection, which keeps its credentials
and retries. That costs a fraction of the CPU time of ``insert_many`` and of the client's batch modes (see
``benchmarks/vector_ingest.py``), and it gives the answer of every single object, which the batch modes only log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.base import Row, Written

if TYPE_CHECKING:
    from weaviate import WeaviateClient

#: Small requests leave few uncertain objects behind when an answer is lost, and are as fast as large ones.
OBJECTS_PER_REQUEST = 250
BYTES_PER_REQUEST = 2_000_000
IN_FLIGHT = 4
_TIMEOUT = 90.0
_RETRIES = 2
VECTOR_NAME = "default"
# Words of the server for trouble that passes; everything else it says about an object is final.
_PASSING = (
    "read-only",
    "context deadline",
    "timeout",
    "timed out",
    "unavailable",
    "connection refused",
    "no leader",
    "not enough memory",
    "shutting down",
    # Of modules that ask a service for vectors.
    "rate limit",
    "status: 429",
    "status: 50",
)


def upsert(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> Written:
    """Write rows into a collection, addressed by its physical name.

    :returns: ids whose request got no answer or a passing error, and final refusals with the server's words.
    """
    written = Written()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="weaviate-batch") as threads:
        for part, errors in threads.map(
            lambda part: (part, _send(client, collection, part)), _requests(rows)
        ):
            if errors is None:
                written.uncertain.extend(row.id for row in part)
                continue
            for place, text in errors.items():
                if any(sign in text.lower() for sign in _PASSING):
                    written.uncertain.append(part[place].id)
                else:
                    written.refused[part[place].id] = text
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


def _send(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> dict[int, str] | None:
    """Errors by place in the request, or ``None`` if the answer was lost."""
    from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError

    request = _request(collection, rows)
    try:
        # Private, but the only way to the client's own channel; the contract tests fail when it changes.
        return dict(client._connection.grpc_batch_objects(request, timeout=_TIMEOUT, max_retries=_RETRIES))
    except UnexpectedStatusCodeError:
        raise
    except WeaviateBaseError:
        return None


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

"""Weaviate: writing many objects, each of them answered for.

Requests are made as bytes (see :mod:`.weaviate_wire`) and go over the client's own connection, which keeps its
credentials. That costs a fraction of the CPU time of ``insert_many`` and of the client's batch modes (see
``benchmarks/vector_ingest.py``), and it gives the answer of every single object, which the batch modes only log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.stores import weaviate_public
from airflow_provider_mlops.vector.stores.base import Row, Written
from airflow_provider_mlops.vector.stores.weaviate_errors import is_final, is_too_large, passes
from airflow_provider_mlops.vector.stores.weaviate_wire import RowEncoder, requests

if TYPE_CHECKING:
    from weaviate import WeaviateClient

#: Small requests leave few uncertain objects behind when an answer is lost, and are as fast as large ones.
OBJECTS_PER_REQUEST = 250
BYTES_PER_REQUEST = 2_000_000
IN_FLIGHT = 4
VECTOR_NAME = "default"
_METHOD = "/weaviate.v1.Weaviate/BatchObjects"
_TIMEOUT = 90.0
# Begins to send rows, which are also there as a request. Gives a future (gRPC's, or Python's, which has the same
# methods) of the errors by the place of their row.
_Start = Callable[[Sequence[Row], bytes], Any]


def upsert(client: WeaviateClient, collection: str, rows: Sequence[Row]) -> Written:
    """Write rows into a collection, addressed by its physical name.

    :returns: ids whose request got no answer or a passing error, and final refusals with the server's words.
    :raises weaviate.exceptions.WeaviateBaseError: the server refused a whole request for good.
    """
    encode = RowEncoder(collection, VECTOR_NAME)
    if not weaviate_public.needed(client, "write"):
        return _write(rows, encode, _channel(client))
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="weaviate-batch") as threads:

        def start(part: Sequence[Row], _: bytes) -> Any:
            return threads.submit(weaviate_public.insert, client, collection, part, VECTOR_NAME)

        return _write(rows, encode, start)


def _channel(client: WeaviateClient) -> _Start:
    """Over the client's channel, which is private. No retries: whoever sends decides, and remembers a server that crashed."""
    connection: Any = client._connection
    call = connection._grpc_channel.unary_unary(
        _METHOD, request_serializer=None, response_deserializer=_errors
    )

    def start(_: Sequence[Row], request: bytes) -> Any:
        return call.future(request, timeout=_TIMEOUT, metadata=connection.grpc_headers())

    return start


def _errors(answer: bytes) -> Mapping[int, str]:
    from weaviate.proto.v1 import batch_pb2

    return {error.index: error.error for error in batch_pb2.BatchObjectsReply.FromString(answer).errors}


def _write(rows: Sequence[Row], encode: Callable[[Row], bytes], start: _Start) -> Written:
    """Several requests at a time, and none any more when this returns or raises."""
    written = Written()
    under_way: deque[tuple[Sequence[Row], Any]] = deque()

    def take() -> None:
        part, answer = under_way.popleft()
        written.include(_outcome(part, answer, lambda half: _write(half, encode, start)))

    try:
        for part, request in requests(rows, encode, OBJECTS_PER_REQUEST, BYTES_PER_REQUEST):
            if len(under_way) == IN_FLIGHT:
                take()
            under_way.append((part, start(part, request)))
        while under_way:
            take()
    finally:
        for _, answer in under_way:
            answer.exception()  # when there is one, or an answer
    return written


def _outcome(rows: Sequence[Row], answer: Any, write: Callable[[Sequence[Row]], Written]) -> Written:
    """What became of one request; of several, where that one is too large for somebody on the way."""
    import grpc
    from weaviate.exceptions import WeaviateBaseError, WeaviateBatchError

    try:
        errors = answer.result()
    except (WeaviateBaseError, grpc.RpcError) as error:
        words = (isinstance(error, grpc.Call) and error.details()) or str(error)
        if is_too_large(error):
            if len(rows) == 1:
                return Written(refused={rows[0].id: words})
            middle = len(rows) // 2
            written = write(rows[:middle])
            written.include(write(rows[middle:]))
            return written
        if is_final(error):
            raise WeaviateBatchError(words) from error
        return Written(uncertain=[row.id for row in rows], trouble=words)
    written = Written()
    for place, text in errors.items():
        if passes(text):
            written.include(Written(uncertain=[rows[place].id], trouble=text))
        else:
            written.refused[rows[place].id] = text
    return written

"""Weaviate: every chunk of a collection with its document and digest, as fast as the server gives them.

Ids are hashes, so parts of their range hold about as many chunks each. The parts are read at the same time, and
a part's next page is on its way while this one is taken up. Answers are read from protobuf directly: the client's
iterator takes four times the CPU time, and waits for each page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.ids import address
from airflow_provider_mlops.vector.stores import weaviate_public

if TYPE_CHECKING:
    from weaviate import WeaviateClient

_PAGE = 1000
# Each part reaches from after one of these to the next one, inclusive.
_LIMITS = ("", *(f"{digit}fffffff-ffff-ffff-ffff-ffffffffffff" for digit in "37bf"))
# Ids with their documents and digests, in the order of the ids.
_Page = list[tuple[str, str, str]]


def scan(client: WeaviateClient, collection: str, tenant: str | None) -> Iterator[tuple[str, str, str]]:
    """Every chunk as (id, document key, digest).

    :param collection: its physical name.
    :param tenant: whose chunks; ``None`` in a collection without tenants.
    :raises weaviate.exceptions.WeaviateBaseError: the server did not answer.
    """
    if weaviate_public.needed(client, "scan"):
        chunks = weaviate_public.scan(client, collection, tenant, _PAGE)
    else:
        chunks = chain.from_iterable(_pages(client, collection, tenant))
    for chunk, doc, digest in chunks:
        yield address(tenant, chunk), doc, digest


def _pages(client: WeaviateClient, collection: str, tenant: str | None) -> Iterator[_Page]:
    with ThreadPoolExecutor(len(_LIMITS) - 1, thread_name_prefix="weaviate-scan") as threads:

        def ask(after: str) -> Future[_Page]:
            return threads.submit(_page, client, collection, tenant, after)

        asked = deque((ask(after), end) for after, end in pairwise(_LIMITS))
        while asked:
            answer, end = asked.popleft()
            page = answer.result()
            if page and page[-1][0] < end:
                asked.append((ask(page[-1][0]), end))
                yield page
            else:
                yield [found for found in page if found[0] <= end]


def _page(client: WeaviateClient, collection: str, tenant: str | None, after: str) -> _Page:
    """Up to a page of chunks, in the order of their ids."""
    from weaviate.proto.v1 import search_get_pb2

    request: Any = search_get_pb2.SearchRequest(
        collection=collection,
        tenant=tenant or "",
        limit=_PAGE,
        after=after,
        properties=search_get_pb2.PropertiesRequest(non_ref_properties=["doc", "digest"]),
        metadata=search_get_pb2.MetadataRequest(uuid=True),
        # Which form of answer this client understands: the newest.
        uses_123_api=True,
        uses_125_api=True,
        uses_127_api=True,
    )
    page = []
    for result in client._connection.grpc_search(request).results:
        values = result.properties.non_ref_props.fields
        page.append((result.metadata.id, values["doc"].text_value, values["digest"].text_value))
    return page

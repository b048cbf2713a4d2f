"""Weaviate: waiting for the queue of a server that indexes vectors after it has acknowledged them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.errors import WritesUnconfirmed
from airflow_provider_mlops.vector.progress import Progress
from airflow_provider_mlops.vector.stores.weaviate_client import translated

if TYPE_CHECKING:
    from weaviate import WeaviateClient

#: Seconds that a server with asynchronous indexing gets to empty its queue.
QUEUE_SECONDS = 3600.0
_LONGEST_PAUSE = 5.0


def wait_until_indexed(client: WeaviateClient, physical: str) -> None:
    """Return when every vector of a collection can be found; says now and then how many are left.

    :raises WritesUnconfirmed: the queue is not empty after :data:`QUEUE_SECONDS`.
    """
    subject = f"Collection {physical!r}"
    collection = client.collections.use(physical)
    deadline = time.monotonic() + QUEUE_SECONDS
    pause = 0.1
    progress: Progress | None = None
    longest = 0
    while True:
        # The shard's status tells when the queue is empty; the size that stands beside it is always 0.
        with translated(subject):
            states = {shard.status for shard in collection.config.get_shards()}
        if states <= {"READY", "READONLY"}:
            return
        if time.monotonic() > deadline:
            raise WritesUnconfirmed(f"{subject}: the index queue is not empty after {QUEUE_SECONDS:.0f} s")
        left = _queue_length(client, physical)
        if left is not None:
            if progress is None or left > longest:
                longest = left
                progress = Progress(subject, "queued vectors indexed", longest)
            progress.reach(longest - left)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _queue_length(client: WeaviateClient, physical: str) -> int | None:
    """Vectors that wait, on all nodes; ``None`` where the server does not say (the nodes may be closed to this user)."""
    from weaviate.exceptions import WeaviateBaseError

    with contextlib.suppress(WeaviateBaseError):
        nodes = client.cluster.nodes(physical, output="verbose")
        return sum(shard.vector_queue_length for node in nodes for shard in node.shards or ())
    return None

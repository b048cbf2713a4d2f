"""A reader, as services are: it searches the live index with the store's own client, all the time.

``python -m tests.campaign.vector.reader '{...}'`` prints one JSON line per search that did not find its document (``miss``)
or failed (``error``), each with its time, and at the end of its input one with the number of searches and the counts seen.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import VectorIndex
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.campaign.vector.world import EMBEDDER, STEADY, World, documents

PAUSE = 0.03


def lance_search(world: World) -> Callable[[Any], tuple[set[str], int]]:
    import lancedb

    def search(vector: Any) -> tuple[set[str], int]:
        table = lancedb.connect(world.index.uri).open_table(world.index.name)
        table.checkout("live")
        found = table.search(vector).distance_type("cosine").select(["doc", "_distance"]).limit(10).to_list()
        return {row["doc"] for row in found}, table.count_rows()

    return search


def weaviate_search(world: World) -> Callable[[Any], tuple[set[str], int]]:
    client = connect(ConnectionInfo("w", **world.connection))
    index = client.collections.use(world.index.name)

    def search(vector: Any) -> tuple[set[str], int]:
        found = index.query.near_vector(vector.tolist(), limit=10, target_vector="default")
        return {str(item.properties["doc"]) for item in found.objects}, 0

    return search


def main() -> None:
    told = json.loads(sys.argv[1])
    world = World(VectorIndex.from_json(told["index"]), told["connection"])
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
    search = (lance_search if world.index.backend == "lancedb" else weaviate_search)(world)
    # The first chunks of the steady documents: their texts hold whatever the chunks' size is.
    texts = [(doc["id"], doc["text"].split("\n")[0]) for doc in documents(0)[:STEADY]]
    searches, counts = 0, set()
    while not end.is_set():
        doc, text = random.choice(texts)
        started = time.time()
        try:
            found, count = search(EMBEDDER.embed([text])[0])
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is told
            print(json.dumps({"error": str(error)[:300], "at": started}), flush=True)
        else:
            counts.add(count)
            if doc not in found:
                print(json.dumps({"miss": doc, "at": started}), flush=True)
        searches += 1
        time.sleep(PAUSE)
    print(json.dumps({"searches": searches, "counts": sorted(counts)}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)

"""Runs in the environment of tests/servers/retrievers.py: one retriever of the examples, which answers line by line.

Arguments: module of the reader, and what to open as JSON. Each line that comes is a query as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import ExitStack
from typing import Any


def main(module: str, told: dict[str, Any]) -> None:
    reader = importlib.import_module(f"docs_search.readers.{module}")
    index = reader.VectorIndex.from_json(told["index"])
    with ExitStack() as stack:
        if index.backend == "lancedb":
            retriever = reader.lance_retriever(index.uri, index, k=3)
        else:
            import weaviate

            client = stack.enter_context(weaviate.connect_to_local(**told["server"]))
            try:
                retriever = reader.weaviate_retriever(client, index, k=3)
            except LookupError as error:
                say({"refused": str(error)})
                return
        # "airflow" alone: the package's own name begins with it as well.
        say({"ready": True, "airflow": "airflow" in sys.modules})
        for line in sys.stdin:
            query = json.loads(line)
            if module == "langchain_reader":
                found = [(item.page_content, item.metadata, item.id) for item in retriever.invoke(query)]
            else:
                nodes = [item.node for item in retriever.retrieve(query)]
                found = [(node.text, node.metadata, node.node_id) for node in nodes]
            say([{"text": text, **metadata, "id": key} for text, metadata, key in found])


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

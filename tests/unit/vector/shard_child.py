"""What tests of shards run in processes of their own: light, because it imports no Airflow."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from airflow_provider_mlops.vector.shard import ShardStage
from airflow_provider_mlops.vector.sources import Files, FoundFile
from airflow_provider_mlops.vector.sources.parts import part_of


def embed(texts: list[str]) -> Any:
    """Notes what it was asked; in a child it dies where the environment says so."""
    if path := os.environ.get("EMBEDDED_TEXTS"):
        with Path(path).open("a") as file:
            file.write("".join(f"{text}\n" for text in texts))
    left = os.environ.get("DIE_AFTER_TEXTS")
    if left is not None:
        os.environ["DIE_AFTER_TEXTS"] = str(int(left) - len(texts))
        if int(left) < len(texts):
            os.kill(os.getpid(), signal.SIGKILL)
    return HashEmbedder(64).embed(texts)


def child(arguments: dict[str, Any]) -> None:
    """One shard as a process of its own, without Airflow."""
    index, plan = VectorIndex.from_json(arguments["index"]), arguments["plan"]
    path = Path(arguments["source"])
    source = Files([FoundFile(path, path.name)], columns=index.fields)
    part = part_of(index, source, plan["by"], arguments["shard"], plan["shards"])
    stage = ShardStage(index, plan, batch_size=5)
    sys.stdout.write(f"{json.dumps(asdict(stage.run(part.records())))}\n")
    # Threads of older LanceDBs may meet an interpreter that is going down.
    sys.stdout.flush()
    os._exit(0)

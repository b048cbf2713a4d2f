"""Load an index with Ray Data: ``python vector_ray.py INDEX.json PLAN.json DOCUMENTS``."""

import json
import sys
from pathlib import Path

import ray

from airflow_provider_mlops.vector.shard import ShardStage


def load(index: dict, plan: dict, documents: str) -> dict[str, int]:
    counts = ray.data.read_json(documents, lines=True).map_batches(
        ShardStage,
        fn_constructor_args=(index, plan),
        # One actor at least: where they take all processors, none is left to read the documents.
        concurrency=(1, 4),
        batch_size=2000,
        batch_format="pyarrow",
    )
    rows = counts.take_all()
    return {name: sum(row[name] for row in rows) for name in ("chunks", "written", "bad")}


if __name__ == "__main__":
    declared, planned = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    print(json.dumps(load(declared, planned, sys.argv[3])))

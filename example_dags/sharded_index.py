"""Load a large index with many workers. Copy this file as a template.

It needs ``[mlops] artifacts``, which all workers reach, and documents as JSON Lines.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import Param, dag

from airflow_provider_mlops.operators import (
    VectorIndexOperator,
    VectorShardOperator,
    VectorShardPlanOperator,
)
from airflow_provider_mlops.vector import HashEmbedder, RecursiveChunker, VectorIndex

SHARDS = 8
PAGES = VectorIndex(
    "Pages", key="id", text="text", embedder=HashEmbedder(384), chunker=RecursiveChunker(max_size=1000)
)
SOURCE = "{{ params.documents }}"


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=2), "execution_timeout": timedelta(hours=6)},
    params={"documents": Param("/data/pages/*.jsonl", type="string")},
    tags=["mlops"],
)
def sharded_index():
    plan = VectorShardPlanOperator(task_id="plan", index=PAGES, source=SOURCE, shards=SHARDS)
    load = VectorShardOperator.partial(
        task_id="load", index=PAGES, source=SOURCE, plan=plan.output
    ).expand(shard=list(range(SHARDS)))  # fmt: skip
    VectorIndexOperator(task_id="index", index=PAGES, source=SOURCE, loaded=load.output)


sharded_index()

"""An index that mapped tasks load, in the classic style, which Airflow 2.11 and 3 both read.

Parameter: ``documents``, JSON Lines to index.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow import DAG

from airflow_provider_mlops.operators import (
    VectorIndexOperator,
    VectorShardOperator,
    VectorShardPlanOperator,
)
from airflow_provider_mlops.vector import HashEmbedder, VectorIndex

PAGES = VectorIndex("Pages", embedder=HashEmbedder(64))
SOURCE = "{{ params.documents }}"

with DAG(
    dag_id="sharded",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
    params={"documents": ""},
) as dag:
    plan = VectorShardPlanOperator(task_id="plan", index=PAGES, source=SOURCE, shards=3)
    load = VectorShardOperator.partial(task_id="load", index=PAGES, source=SOURCE, plan=plan.output).expand(
        shard=[0, 1, 2]
    )
    index = VectorIndexOperator(task_id="index", index=PAGES, source=SOURCE, loaded=load.output)

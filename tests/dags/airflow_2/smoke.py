"""From a pipeline to a release in the classic style, which Airflow 2.11 and 3 both read.

Parameters: ``image``, what the pipeline reports as published; ``documents``, JSON Lines to index.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow import DAG

from airflow_provider_mlops.operators import (
    GitlabTriggerOperator,
    ImageTagOperator,
    ReleaseOperator,
    VectorIndexOperator,
)
from airflow_provider_mlops.vector import HashEmbedder, VectorIndex

with DAG(
    dag_id="smoke",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1)},
    params={"image": "", "documents": ""},
) as dag:
    waiting = GitlabTriggerOperator(
        task_id="publish",
        project="ml/smoke",
        ref="main",
        inputs={"image": "{{ params.image }}"},
        outputs={"image": "publish:image.json"},
        key_input="airflow_key",
    )
    deferred = GitlabTriggerOperator(
        task_id="publish_deferred",
        project="ml/smoke",
        ref="main",
        inputs={"image": "{{ params.image }}"},
        outputs={"image": "publish:image.json"},
        key_input="airflow_key",
        deferrable=True,
    )
    tag = ImageTagOperator(task_id="tag", image=deferred.output["image"], tags=["smoke"])
    index = VectorIndexOperator(
        task_id="index",
        index=VectorIndex("Smoke", embedder=HashEmbedder(64)),
        source="{{ params.documents }}",
        activate=False,
    )
    release = ReleaseOperator(
        task_id="release",
        service="smoke",
        parts={"image": waiting.output["image"], "tagged": tag.output, "index": index.output},
    )

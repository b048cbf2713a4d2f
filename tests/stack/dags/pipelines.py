"""DAGs of the stack tests; written so that every supported Airflow reads them."""

from __future__ import annotations

from datetime import datetime, timedelta

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

from airflow_provider_mlops.operators import GitlabTriggerOperator

for name, deferrable in (("waiting", False), ("deferred", True)):
    with DAG(
        dag_id=name,
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    ) as globals()[name]:
        GitlabTriggerOperator(
            task_id="publish",
            project="ml/docs-search",
            ref="main",
            inputs={"seconds": "20"},
            deferrable=deferrable,
            poll_interval=1,
            outputs={"answer": "work:answer.json#/answer"},
        )

"""Put the previous release of a service back, or a chosen one. Started by hand, from the UI or a shell."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import Param, dag

from airflow_provider_mlops.operators import RollbackOperator


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    max_active_runs=1,
    params={
        "service": Param("docs-search", type="string"),
        "channel": Param("production", type="string"),
        "to": Param("previous", type="string", description="'previous', or a release id"),
    },
    tags=["mlops"],
)
def rollback():
    RollbackOperator(
        task_id="rollback",
        service="{{ params.service }}",
        channel="{{ params.channel }}",
        to="{{ params.to }}",
    )


rollback()

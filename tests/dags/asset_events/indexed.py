"""An index task with its asset as outlet, on every Airflow."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_mlops.compat import Asset
from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import Gate, HashEmbedder, Records, VectorIndex

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG


def documents() -> list[dict[str, str]]:
    return [{"id": f"doc{number}", "text": f"page {number}"} for number in range(20)]


with DAG("indexed", schedule=None, start_date=datetime(2026, 1, 1)):
    VectorIndexOperator(
        task_id="index",
        index=VectorIndex("Docs", embedder=HashEmbedder(64)),
        source=Records(documents),
        gate=Gate("{{ dag_run.conf['golden'] }}", min_recall=1.0),
        outlets=[Asset("vectorindex://Docs")],
    )

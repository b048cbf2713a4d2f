from datetime import datetime

from airflow_provider_mlops.operators import VectorIndexMaintenanceOperator
from airflow_provider_mlops.vector import VectorIndex

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

HANDBOOK = VectorIndex("Handbook", key="path")

with DAG("handbook_care", schedule="@weekly", start_date=datetime(2026, 1, 1), catchup=False):
    audit = VectorIndexMaintenanceOperator(task_id="audit", index=HANDBOOK, action="audit")
    tidy = VectorIndexMaintenanceOperator(task_id="tidy", index=HANDBOOK, action="collect_garbage", keep=2)
    audit >> tidy

with DAG("handbook_back", schedule=None, start_date=datetime(2026, 1, 1), params={"version": "v12_1f0c9a7e"}):
    VectorIndexMaintenanceOperator(
        task_id="back",
        index=HANDBOOK,
        action="rollback",
        version="{{ params.version }}",
    )

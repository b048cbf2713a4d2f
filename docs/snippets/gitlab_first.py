from datetime import datetime

from airflow.sdk import dag

from airflow_provider_mlops.operators import GitlabTriggerOperator


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def nightly():
    GitlabTriggerOperator(task_id="train", project="ml/search", retries=2, deferrable=True)


nightly()

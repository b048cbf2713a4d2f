from airflow_provider_mlops.gitlab import AutoRetry, Downstream, GitlabLogs, Play
from airflow_provider_mlops.operators import GitlabTriggerOperator

deploy = GitlabTriggerOperator(
    task_id="deploy",
    project="mlops/demo",
    on_manual=Play("deploy to staging", variables={"REPLICAS": 2}),
    on_retry=AutoRetry(timeouts=True),
    downstream=Downstream(depth=1),
    log_jobs=GitlabLogs("failed", max_bytes=100_000),
    outputs={"digest": "images > publish:image.json#/digest"},
)

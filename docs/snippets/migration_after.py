from airflow_provider_mlops.operators import GitlabTriggerOperator

publish = GitlabTriggerOperator(
    task_id="publish",
    project="ml/search",
    variables={"BENTO": "s3://ml-artifacts/search.tar"},
    outputs={"digest": "publish:image.json#/digest"},
    retries=2,
    deferrable=True,
)

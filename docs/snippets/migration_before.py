import json
import time

import gitlab
from airflow.sdk import BaseHook


def publish(bento: str) -> str:
    connection = BaseHook.get_connection("gitlab_default")
    client = gitlab.Gitlab(connection.host, private_token=connection.password)
    project = client.projects.get("ml/search")
    variables = [{"key": "BENTO", "value": bento}]
    pipeline = project.pipelines.create({"ref": "main", "variables": variables})
    while pipeline.status not in ("success", "failed", "canceled", "skipped"):
        time.sleep(30)
        pipeline.refresh()
    if pipeline.status != "success":
        raise RuntimeError(f"{pipeline.web_url} is {pipeline.status}")
    job = next(job for job in pipeline.jobs.list(iterator=True) if job.name == "publish")
    file = project.jobs.get(job.id, lazy=True).artifact("image.json")
    return json.loads(file)["digest"]

from datetime import datetime

from airflow.sdk import dag

from airflow_provider_mlops.operators import BentoBuildOperator, GitlabTriggerOperator, ImageTagOperator


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False, default_args={"retries": 2})
def bento_image():
    bento = BentoBuildOperator(task_id="bento", context="service")
    publish = GitlabTriggerOperator(
        task_id="publish",
        project="ml/search",
        inputs={"bento": bento.output["uri"], "bento_digest": bento.output["digest"]},
        key_input="airflow_key",
        outputs={"image": "publish:image.json"},
        deferrable=True,
    )
    ImageTagOperator(task_id="tag", image=publish.output["image"])


bento_image()

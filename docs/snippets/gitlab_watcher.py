from datetime import datetime

from airflow.sdk import Asset, AssetWatcher, dag, task

from airflow_provider_mlops.triggers import GitlabPipelineEventTrigger

NIGHTLY = Asset(
    "search_pipelines",
    watchers=[
        AssetWatcher(
            name="gitlab",
            trigger=GitlabPipelineEventTrigger(project="ml/search", ref="main", statuses=["success"]),
        )
    ],
)


@dag(schedule=[NIGHTLY], start_date=datetime(2026, 1, 1), catchup=False)
def after_pipeline():
    @task
    def evaluate(triggering_asset_events=None):
        for event in triggering_asset_events[NIGHTLY]:
            pipeline = event.extra["payload"]
            print(pipeline["pipeline_id"], pipeline["status"], pipeline["sha"], pipeline["url"])

    evaluate()


after_pipeline()

"""A DAG that runs when a pipeline of the branch ``watched`` has succeeded (Airflow 3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_mlops.compat import AIRFLOW_3

if AIRFLOW_3:
    from airflow.sdk import Asset, AssetWatcher, dag, task

    from airflow_provider_mlops.triggers import GitlabPipelineEventTrigger

    pipelines = Asset(
        "watched_pipelines",
        watchers=[
            AssetWatcher(
                name="gitlab",
                trigger=GitlabPipelineEventTrigger(
                    project="ml/docs-search",
                    ref="watched",
                    statuses=["success"],
                    poll_interval=2,
                ),
            )
        ],
    )

    @dag(schedule=[pipelines], start_date=datetime(2026, 1, 1), catchup=False)
    def watcher() -> None:
        @task
        def tell(triggering_asset_events: Any = None) -> list[Any]:
            return [event.extra["payload"] for events in triggering_asset_events.values() for event in events]

        tell()

    watcher()

"""Airflow plugin: writes what happens to each task as one JSON line, so that the demo can show progress."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


class ProgressListener:
    """Task events go to the file named by ``DEMO_EVENTS``."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        _write("running", task_instance)

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        _write("success", task_instance, result=task_instance.xcom_pull(task_ids=task_instance.task_id))

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        _write("failed", task_instance, error=f"{type(error).__name__}: {error}")


def _write(state: str, task_instance: Any, **more: Any) -> None:
    event = {"time": time.time(), "task": task_instance.task_id, "state": state, **more}
    with Path(os.environ["DEMO_EVENTS"]).open("a", encoding="utf-8") as sink:
        sink.write(json.dumps(event, default=str) + "\n")


class ProgressEventsPlugin(AirflowPlugin):
    name = "progress_events"
    listeners = [ProgressListener()] if "DEMO_EVENTS" in os.environ else []

"""Event-driven scheduling, on a real triggerer: a pipeline ends, the DAG runs."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3, AIRFLOW_3_3
from tests.stack.airflow_stack import AirflowStack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.server("postgres"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers"),
]


def told(stack: AirflowStack) -> list[dict[str, Any]]:
    """Payloads that successful runs of the DAG got."""
    runs = stack.query("select run_id from dag_run where dag_id = 'watcher' and state = 'success'")
    return [payload for (run_id,) in runs for payload in stack.returned("watcher", run_id, "tell")]


def test_a_dag_runs_once_for_each_pipeline_also_across_a_killed_triggerer(
    stack: AirflowStack, gitlab_server: dict[str, Any]
) -> None:
    client = gitlab_server["client"]
    client.branches.create({"branch": "watched", "ref": "main"})
    watchers = "select id, kwargs from trigger where classpath like '%%GitlabPipelineEventTrigger'"
    ((number, row),) = stack.wait_for(lambda: stack.query(watchers), "the watcher's row", 180)
    assert gitlab_server["token"] not in str(row)
    stack.wait_for(lambda: stack.files_with(f"trigger ID {number} starting"), "the watcher's start", 120)

    other = client.pipelines.create({"ref": "main", "inputs": {"seconds": "1"}})
    first = client.pipelines.create({"ref": "watched", "inputs": {"seconds": "1"}})
    stack.wait_for(lambda: told(stack), "a run for the pipeline", 180)
    payload = told(stack)[0]
    assert payload == {
        "kind": "gitlab.pipeline",
        "project": "ml/docs-search",
        "project_id": first.project_id,
        "pipeline_id": first.id,
        "status": "success",
        "ref": "watched",
        "sha": first.sha,
        "source": "api",
        "name": payload["name"],
        "url": first.web_url,
        "ended_at": client.pipelines.get(first.id).updated_at,
    }

    if not AIRFLOW_3_3:
        # Nothing is kept over a restart there.
        return
    second = client.pipelines.create({"ref": "watched", "inputs": {"seconds": "1"}})
    stack.restart("triggerer", signal.SIGKILL)
    stack.wait_for(
        lambda: second.id in [event["pipeline_id"] for event in told(stack)],
        "a run for the pipeline that ended while there was no triggerer",
        180,
    )
    numbers = [event["pipeline_id"] for event in told(stack)]
    assert other.id not in numbers
    assert sorted(numbers) == sorted({first.id, second.id})
    assert stack.files_with(gitlab_server["token"]) == []

"""One effect per attempt, on real schedulers and triggerers: a kill never makes a second pipeline, Clear does."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.stack.airflow_stack import AirflowStack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.server("postgres"),
    pytest.mark.timeout(400),
]


def pipelines(gitlab_server: dict[str, Any]) -> set[int]:
    return {pipeline.id for pipeline in gitlab_server["client"].pipelines.list(get_all=True)}


def test_killed_worker_finds_its_pipeline_again_and_clear_starts_a_new_one(
    stack: AirflowStack, gitlab_server: dict[str, Any]
) -> None:
    before = pipelines(gitlab_server)
    stack.trigger("waiting", "killed")
    stack.wait_for(lambda: pipelines(gitlab_server) - before, "the first pipeline", 120)
    first = stack.wait_for_state("waiting", "killed", "publish", "running")

    os.kill(first["pid"], signal.SIGKILL)
    ended = stack.wait_for_state("waiting", "killed", "publish", "success", "failed", within=150)

    log = stack.task_log("waiting", "killed", "publish")
    assert (ended["state"], ended["try_number"]) == ("success", 2), log
    assert len(pipelines(gitlab_server) - before) == 1, log

    assert stack.returned("waiting", "killed", "publish")["answer"] == 42

    stack.command("tasks", "clear", "waiting", "--task-regex", "publish", "--yes")
    stack.wait_for(lambda: len(pipelines(gitlab_server) - before) == 2, "the pipeline after Clear", 90)
    ended = stack.wait_for_state("waiting", "killed", "publish", "success", "failed", within=120)
    assert ended["state"] == "success", stack.task_log("waiting", "killed", "publish")
    assert len(pipelines(gitlab_server) - before) == 2
    statuses = {
        gitlab_server["client"].pipelines.get(number).status for number in pipelines(gitlab_server) - before
    }
    assert statuses == {"success"}


def test_killed_triggerer_goes_on_with_the_same_pipeline(
    stack: AirflowStack, gitlab_server: dict[str, Any]
) -> None:
    before = pipelines(gitlab_server)
    stack.trigger("deferred", "moved")
    stack.wait_for_state("deferred", "moved", "publish", "deferred", within=120)
    assert len(pipelines(gitlab_server) - before) == 1
    ((row,),) = stack.query("select kwargs from trigger where classpath like '%%ExternalJobTrigger'")
    assert "gitlab.pipeline" in row
    assert gitlab_server["token"] not in row

    stack.restart("triggerer", signal.SIGKILL)
    ended = stack.wait_for_state("deferred", "moved", "publish", "success", "failed", within=180)

    log = stack.task_log("deferred", "moved", "publish")
    assert (ended["state"], ended["try_number"]) == ("success", 1), log
    assert len(pipelines(gitlab_server) - before) == 1
    missing = [
        number for number in range(1, 21) if f"step {number}\n" not in log and f'step {number}"' not in log
    ]
    assert not missing, log
    assert stack.returned("deferred", "moved", "publish")["answer"] == 42
    assert stack.files_with("step 20")
    assert stack.files_with(gitlab_server["token"]) == []

"""What is played may come from other tasks: it makes the dependency, survives serialization and is rendered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow.serialization import serialized_objects

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.gitlab import Play
from airflow_provider_mlops.operators import GitlabTriggerOperator

if AIRFLOW_3:
    from airflow.sdk import DAG
else:
    from airflow.models.dag import DAG


def dag() -> Any:
    with DAG("release", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as made:
        build = GitlabTriggerOperator(task_id="build", project="a/b")
        GitlabTriggerOperator(
            task_id="deploy",
            project="a/b",
            on_manual=Play("deploy to {{ params.where }}", {"IMAGE": build.output["image"]}),
        )
    return made


def test_another_tasks_output_in_a_play_is_a_dependency() -> None:
    assert dag().get_task("deploy").upstream_task_ids == {"build"}


def test_a_dag_with_a_play_is_serialized() -> None:
    serializer = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    kept = json.dumps(serializer.to_dict(dag()))
    assert "deploy to {{ params.where }}" in kept
    assert "GitlabJobLink" in kept or "gitlab_job_url" in kept


def test_a_play_stays_a_play_when_it_is_rendered() -> None:
    operator = GitlabTriggerOperator(
        task_id="deploy", project="a/b", on_manual=[Play("deploy to {{ where }}", {"A": "{{ a }}"}, {"n": 1})]
    )
    operator.render_template_fields({"where": "staging", "a": "x"})
    assert operator.on_manual == [Play("deploy to staging", {"A": "x"}, {"n": 1})]
    assert isinstance(operator.on_manual[0], Play)

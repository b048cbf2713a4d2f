"""Waiting for a pipeline that somebody else started."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from airflow_provider_mlops.compat import AirflowFailException, TaskDeferred
from airflow_provider_mlops.errors import InvalidArgument, JobLost, RemoteObjectNotFound
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from airflow_provider_mlops.gitlab.errors import PipelineFailed
from airflow_provider_mlops.gitlab.sensors import GitlabPipelineSensor
from airflow_provider_mlops.testing.gitlab import Fail, Gate, GitlabStandIn, Scenario, ScriptedJob
from tests.wire.gitlab.conftest import Task, connect


def run(context: Any, **arguments: Any) -> Any:
    """A sensor to its end, through triggers if it defers."""
    sensor = GitlabPipelineSensor(task_id="wait", poke_interval=0.3, timeout=20, **arguments)
    try:
        return sensor.execute(context)
    except TaskDeferred as first:
        deferred = first
    while True:
        _, kwargs = json.loads(json.dumps(deferred.trigger.serialize()))
        event = asyncio.run(_event(ExternalJobTrigger(**kwargs)))
        try:
            return sensor.resume_execution(deferred.method_name, {"event": event}, context)
        except TaskDeferred as again:
            deferred = again


async def _event(trigger: ExternalJobTrigger) -> Any:
    (event,) = [event.payload async for event in trigger.run()]
    return event


waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])


@waiting_or_deferred
def test_it_takes_the_whole_output_of_an_operator(gitlab, deferrable):
    started = Task({"wait_for_completion": False}).attempt()
    payload = run(
        Task({}).context(),
        pipeline=started,
        outputs={"image": "publish:image.json#/image"},
        deferrable=deferrable,
    )
    assert payload["pipeline_id"] == started["pipeline_id"]
    assert payload["image"] == "registry.example.com/demo@sha256:1"
    assert payload["url"] == started["url"]


@waiting_or_deferred
def test_it_waits_until_the_pipeline_ends(monkeypatch, deferrable):
    scenario = Scenario({"train": [Gate("go"), Fail()]})
    with GitlabStandIn(executor=scenario) as gitlab:
        connect(monkeypatch, gitlab)
        number = Task({"wait_for_completion": False}).attempt()["pipeline_id"]
        scenario.wait_reached("go")
        looks = len(gitlab.requests)
        gitlab.faults.status(502, path=rf"/pipelines/{number}$", times=1)
        threading.Timer(1.0, scenario.release, ("go",)).start()
        with pytest.raises(PipelineFailed, match="train") as raised:
            run(Task({}).context(), pipeline=str(number), project="mlops/demo", deferrable=deferrable)
        assert isinstance(raised.value, AirflowFailException)
        assert len(gitlab.requests) > looks + 1
        assert gitlab.requests.count("POST") == 1


def test_a_pipeline_that_is_not_there_is_lost(gitlab):
    with pytest.raises(JobLost):
        run(Task({}).context(), pipeline=99, project="mlops/demo")


def test_a_project_that_is_not_there_is_named(gitlab):
    with pytest.raises(RemoteObjectNotFound, match="mlops/nothing"):
        run(Task({}).context(), pipeline=99, project="mlops/nothing")


@pytest.mark.parametrize(
    "arguments", [{"pipeline": "latest", "project": "a/b"}, {"pipeline": 1}, {"pipeline": {"x": 1}}]
)
def test_wrong_arguments_are_refused(gitlab, arguments):
    with pytest.raises(InvalidArgument):
        run(Task({}).context(), **arguments)
    assert len(gitlab.requests) == 0


def test_a_manual_job_is_waited_for(monkeypatch):
    gate = {"when": "manual", "allow_failure": False}
    with GitlabStandIn(executor=Scenario({"deploy": ScriptedJob(([],), keywords=gate)})) as gitlab:
        connect(monkeypatch, gitlab)
        number = Task({"wait_for_completion": False, "on_manual": "wait"}).attempt()["pipeline_id"]
        sensor = GitlabPipelineSensor(task_id="wait", pipeline=number, project="mlops/demo")
        gitlab.wait(number, {"manual"})
        assert not sensor.poke(Task({}).context()).is_done

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_mlops.compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_mlops.external_job.adapter import JobHandle, JobKey
from airflow_provider_mlops.external_job.sensors import ExternalJobSensor
from tests.unit.external_job.fake_remote import FakeAdapter, FakeJob, ScriptFailed


class FakeSensor(ExternalJobSensor):
    def __init__(self, *, remote: str, **kwargs: Any) -> None:
        super().__init__(task_id="t", poke_interval=0.05, **kwargs)
        self.remote = remote

    def adapter(self, context):
        return FakeAdapter(self.remote)

    def handle(self, context):
        return JobHandle(0, {"number": 1}, "https://remote.example.com/1")


@pytest.fixture
def job(remote) -> FakeJob:
    """A job that somebody else started."""
    remote.jobs.append(FakeJob(1, JobKey("other", "d", "r", "t", -1, 0), 1, ["running"]))
    return remote.jobs[0]


def wait(remote, context, deferrable, **arguments):
    sensor = FakeSensor(remote=remote.name, deferrable=deferrable, **arguments)
    if not deferrable:
        return sensor.execute(context)
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute(context)

    async def events():
        return [event.payload async for event in raised.value.trigger.run()]

    return sensor.resume_execution("resume", {"event": asyncio.run(events())[0]}, context)


@pytest.mark.parametrize("deferrable", [False, True])
def test_returns_the_payload_of_a_job_that_somebody_else_started(remote, job, new_context, deferrable):
    job.script = ["running", "running", "succeeded"]
    answer = wait(remote, new_context(), deferrable)
    assert answer["state"] == "succeeded"
    assert answer["number"] == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_job_fails_the_sensor_for_good(remote, job, new_context, deferrable):
    job.script = ["running", "running", "failed"]
    with pytest.raises(ScriptFailed) as raised:
        wait(remote, new_context(), deferrable)
    assert isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)]
)
def test_gives_up_at_its_timeout_and_leaves_the_job_alone(
    remote, job, new_context, deferrable, soft_fail, error
):
    with pytest.raises(error):
        wait(remote, new_context(), deferrable, timeout=0.3, soft_fail=soft_fail)
    assert not job.cancelled
    assert "cancel" not in remote.calls

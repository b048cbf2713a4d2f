from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3_3
from airflow_provider_mlops.errors import CredentialsRejected
from airflow_provider_mlops.external_job import registry, triggers
from airflow_provider_mlops.external_job.adapter import JobKey
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.errors import AdapterUnknown
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from tests.unit.external_job.fake_remote import FakeAdapter, FakeJob

KEY = JobKey("n", "d", "r", "t", 3, 0)


@pytest.fixture
def job(remote):
    remote.jobs.append(FakeJob(1, KEY, 1, ["running"]))
    return remote.jobs[0]


def trigger_for(remote, job, **arguments):
    now = datetime.now(UTC)
    attempt = Attempt(KEY, 1, now - timedelta(minutes=1), now - timedelta(minutes=2))
    return ExternalJobTrigger(
        kind="test.job",
        adapter=FakeAdapter(remote.name).to_json(),
        handle=job.handle.to_json(),
        attempt=attempt.to_json(),
        poll_interval=0.05,
        **arguments,
    )


def events(trigger):
    async def collect():
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def state_is(monkeypatch, state):
    asked = []

    async def atask_state(*args):
        asked.append(args)
        if isinstance(state, Exception):
            raise state
        return state

    monkeypatch.setattr(triggers, "atask_state", atask_state)
    return asked


def test_a_row_is_json_and_rebuilds_the_same_trigger(remote, job):
    path, kwargs = trigger_for(remote, job, cursor={"line": 3}).serialize()
    copy = json.loads(json.dumps(kwargs))
    assert copy == kwargs
    assert ExternalJobTrigger(**copy).serialize() == (path, kwargs)


def test_it_writes_the_log_line_by_line_from_its_cursor(remote, job, caplog):
    job.lines = [f"line {number}" for number in range(7)]
    job.script = ["running", "succeeded"]
    with caplog.at_level("INFO"):
        (event,) = events(trigger_for(remote, job, cursor=2))
    assert event["cursor"] == 7


def test_it_leaves_the_end_of_the_log_to_the_worker(remote, job, caplog):
    job.lines = [f"line {number}" for number in range(7)]
    job.script = ["succeeded"]
    with caplog.at_level("INFO"):
        (event,) = events(trigger_for(remote, job, cursor=2))
    assert event["cursor"] == 2
    assert not [record for record in caplog.records if "line" in record.getMessage()]


def test_a_permanent_error_wakes_the_operator(remote, job):
    remote.errors = {"status": [CredentialsRejected("401")]}
    (event,) = events(trigger_for(remote, job))
    assert event["status"] == "failed"
    assert "CredentialsRejected" in event["message"]


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", None])
def test_a_kill_by_a_person_cancels(remote, job, monkeypatch, state):
    asked = state_is(monkeypatch, state)
    asyncio.run(trigger_for(remote, job).on_kill())
    assert asked == [("d", "r", "t", 3)]
    assert job.cancelled


@pytest.mark.parametrize("state", ["deferred", "running", "scheduled", "queued", RuntimeError("no answer")])
def test_a_move_to_another_triggerer_cancels_nothing(remote, job, monkeypatch, state):
    state_is(monkeypatch, state)
    asyncio.run(trigger_for(remote, job).on_kill())
    assert not job.cancelled


def test_a_kill_cancels_nothing_where_asked_not_to(remote, job, monkeypatch):
    assert state_is(monkeypatch, "failed") == []
    asyncio.run(trigger_for(remote, job, cancel_on_kill=False).on_kill())
    assert not job.cancelled


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "deferred", "running", None])
def test_cleanup_cancels_only_before_3_3_and_only_for_a_task_that_is_over(remote, job, monkeypatch, state):
    state_is(monkeypatch, state)
    asyncio.run(trigger_for(remote, job).cleanup())
    assert job.cancelled is (not AIRFLOW_3_3 and state in ("failed", "success", "skipped"))


def test_cleanup_after_an_event_cancels_nothing(remote, job, monkeypatch):
    state_is(monkeypatch, "failed")
    job.script = ["failed"]
    trigger = trigger_for(remote, job)
    events(trigger)
    asyncio.run(trigger.cleanup())
    assert "cancel" not in remote.calls


def test_a_process_that_does_not_know_the_kind_finds_it_through_the_row(remote, job, monkeypatch):
    monkeypatch.delitem(registry._HOMES, "test.job")
    with pytest.raises(AdapterUnknown):
        registry.rebuild("test.job", {})
    job.script = ["succeeded"]
    (event,) = events(trigger_for(remote, job, home="tests.unit.external_job.fake_remote:FakeAdapter"))
    assert event["status"] == "ended"


@pytest.mark.parametrize("home", ["no colon", "module:", ":Class"])
def test_a_malformed_registration_is_refused(home):
    with pytest.raises(ValueError, match="module:ClassName"):
        registry.register("test.other", home)


def test_a_kind_cannot_be_taken_twice():
    with pytest.raises(ValueError, match="already registered"):
        registry.register("gitlab.pipeline", "other.module:Other")

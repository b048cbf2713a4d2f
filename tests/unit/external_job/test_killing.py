from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.external_job.adapter import JobKey, Strength
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.killing import cancel_unwanted
from tests.unit.external_job.fake_remote import FakeSession

NOW = datetime.now(UTC)
KEY = JobKey("n", "d", "r", "t", -1, epoch=2)
ATTEMPT = Attempt(KEY, 2, NOW - timedelta(minutes=5), NOW - timedelta(days=7))


def submit(remote, key=KEY, try_number=2):
    remote.script = ["running"]
    return asyncio.run(FakeSession(remote).submit(key, try_number))


def kill(remote, handle):
    asyncio.run(cancel_unwanted(FakeSession(remote), ATTEMPT, handle))
    return [job.number for job in remote.jobs if job.cancelled]


def test_a_job_whose_submission_was_not_answered_yet_is_found_and_cancelled(remote):
    submit(remote)
    assert kill(remote, None) == [1]


def test_the_known_job_is_cancelled_first_and_once_then_its_duplicates(remote):
    submit(remote, try_number=1)
    known = submit(remote)
    assert kill(remote, known) == [1, 2]
    assert remote.calls[-3:] == ["cancel", "find", "cancel"]


def test_the_known_job_is_cancelled_where_the_search_fails(remote):
    known = submit(remote)
    remote.errors = {"find": [RemoteUnavailable("503")]}
    with pytest.raises(RemoteUnavailable):
        kill(remote, known)
    assert remote.jobs[0].cancelled


def test_a_job_that_cannot_be_cancelled_keeps_no_other_from_it(remote):
    submit(remote, try_number=1)
    known = submit(remote)
    remote.errors = {"cancel": [RemoteUnavailable("503")]}
    with pytest.raises(RemoteUnavailable):
        kill(remote, known)
    assert [job.number for job in remote.jobs if job.cancelled] == [1]


def test_jobs_of_later_tries_other_epochs_and_other_tasks_go_on(remote):
    submit(remote, try_number=3)
    submit(remote, JobKey("n", "d", "r", "t", -1, epoch=5))
    submit(remote, JobKey("n", "d", "r", "other", -1, epoch=2))
    assert kill(remote, None) == []


def test_nothing_is_cancelled_where_the_remote_keeps_no_key(remote):
    remote.strength = Strength.NONE
    submit(remote)
    assert kill(remote, None) == []

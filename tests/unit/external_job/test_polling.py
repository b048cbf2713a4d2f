from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_mlops.errors import CredentialsRejected, RemoteUnavailable
from airflow_provider_mlops.external_job import polling
from airflow_provider_mlops.external_job.adapter import JobKey, JobState, WatchedJob
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.polling import shared_poller
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from tests.unit.external_job.fake_remote import FakeJob, GroupAdapter


def fill(remote, count, script=("running",)):
    for number in range(1, count + 1):
        remote.jobs.append(FakeJob(number, JobKey("n", "d", f"r{number}", "t", -1, 0), 1, list(script)))


async def no_connections():
    return {}


def test_many_waiting_triggers_ask_about_once_per_interval(remote):
    fill(remote, 40, ["running"] * 5 + ["succeeded"])

    async def watch(job):
        adapter = GroupAdapter(remote.name)
        trigger = ExternalJobTrigger(
            kind="test.group", adapter=adapter.to_json(), handle=job.handle.to_json(), poll_interval=0.1
        )
        return [event.payload["status"] async for event in trigger.run()]

    async def everyone():
        return await asyncio.gather(*[watch(job) for job in remote.jobs])

    assert asyncio.run(everyone()) == [["ended"]] * 40
    assert remote.calls.count("status") == 0
    # Six rounds in step; triggers that began while a round was under way need a few more.
    assert remote.calls.count("statuses") <= 12
    assert polling._pollers == {}


def test_a_job_that_the_groups_answer_leaves_out_is_asked_for_alone(remote):
    fill(remote, 1)
    remote.jobs[0].lines = ["left out"]

    async def work():
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            return await poller.ask(remote.jobs[0].handle)

    assert asyncio.run(work()).state is JobState.RUNNING
    assert remote.calls.count("statuses") == 3
    assert remote.calls.count("status") == 1


@pytest.mark.parametrize(
    "error", [RemoteUnavailable("503"), CredentialsRejected("401"), ZeroDivisionError("bug")]
)
def test_an_error_reaches_everyone_and_the_next_round_opens_a_new_session(remote, error):
    fill(remote, 3)
    remote.errors = {"statuses": [error]}

    async def work():
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            asked = [poller.ask(job.handle) for job in remote.jobs]
            first = await asyncio.gather(*asked, return_exceptions=True)
            return first, await poller.ask(remote.jobs[0].handle)

    first, again = asyncio.run(work())
    assert [type(each) for each in first] == [type(error)] * 3
    assert again.state is JobState.RUNNING
    assert remote.calls.count("open") == 2


def test_the_last_to_leave_closes_the_session(remote):
    fill(remote, 2)

    async def one(job):
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            await poller.ask(job.handle)

    async def work():
        await asyncio.gather(*[one(job) for job in remote.jobs])

    asyncio.run(work())
    assert remote.calls.count("open") == 1
    assert polling._pollers == {}


def test_a_state_that_is_no_news_wakes_nobody_before_its_time(remote):
    fill(remote, 1, ["running"] * 6 + ["succeeded"])

    async def work():
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            job = remote.jobs[0]
            first = await poller.ask(job.handle)
            asked = remote.calls.count("statuses")
            news = await poller.ask(job.handle, known=first, patience=60)
            rounds = remote.calls.count("statuses") - asked
            again = await poller.ask(job.handle, known=news, patience=0.05)
            return news.state, rounds, again.state, remote.calls.count("statuses") - asked - rounds

    news, rounds, again, more = asyncio.run(work())
    assert (news, rounds) == (JobState.SUCCEEDED, 6)
    assert again is JobState.SUCCEEDED
    assert 3 <= more <= 7


def test_duplicates_of_many_jobs_are_looked_for_together(remote):
    fill(remote, 30)
    since = remote.jobs[0].created_at

    async def work():
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            jobs = [WatchedJob(job.handle, job.key, 1, since) for job in remote.jobs]
            await poller.ask(remote.jobs[29].handle, job=jobs[29])
            found = await asyncio.gather(*[poller.find(job) for job in jobs[:29]])
            return [[job.handle.ref["number"] for job in each] for each in found]

    assert asyncio.run(work()) == [[number] for number in range(1, 30)]
    assert remote.calls.count("find_many") == 1
    assert remote.calls.count("find") == 0
    assert remote.watched == 1


def test_who_was_just_woken_looks_for_duplicates_in_the_same_round(remote):
    fill(remote, 2)
    jobs = [WatchedJob(job.handle, job.key, 1, job.created_at) for job in remote.jobs]

    async def watch(poller, job):
        await poller.ask(job.handle, job=job)
        rounds = remote.calls.count("statuses")
        await poller.find(job)
        return remote.calls.count("statuses") - rounds

    async def work():
        async with shared_poller(GroupAdapter(remote.name), no_connections, 0.01) as poller:
            return await asyncio.gather(*[watch(poller, job) for job in jobs])

    assert asyncio.run(work()) == [0, 0]
    assert remote.watched == 2


def test_a_trigger_leaves_the_second_look_to_the_group(remote):
    fill(remote, 10, ["running"] * 30 + ["succeeded"])
    now = datetime.now(UTC)

    async def watch(job):
        adapter = GroupAdapter(remote.name, settle=0.1)
        attempt = Attempt(job.key, 1, now - timedelta(minutes=1), now - timedelta(minutes=2))
        trigger = ExternalJobTrigger(
            kind="test.group",
            adapter=adapter.to_json(),
            handle=job.handle.to_json(),
            attempt=attempt.to_json(),
            poll_interval=0.02,
        )
        return [event.payload["status"] async for event in trigger.run()]

    async def everyone():
        return await asyncio.gather(*[watch(job) for job in remote.jobs])

    assert asyncio.run(everyone()) == [["ended"]] * 10
    assert remote.calls.count("find") == 0
    assert 1 <= remote.calls.count("find_many") <= 4

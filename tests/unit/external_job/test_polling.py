from __future__ import annotations

import asyncio

import pytest

from airflow_provider_mlops.errors import CredentialsRejected, RemoteUnavailable
from airflow_provider_mlops.external_job import polling
from airflow_provider_mlops.external_job.adapter import JobKey, JobState
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

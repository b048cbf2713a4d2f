"""The last look for duplicates, where listings lag."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_mlops.external_job.adapter import JobKey, JobState, JobStatus, Strength
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.engine import Engine, Outcome, Waited
from tests.unit.external_job.fake_remote import FakeJob, FakeRemote, FakeSession

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = JobKey("n", "d", "r", "t", -1, 2)
LAG, SETTLE = 20.0, 30.0


@dataclass
class Clock:
    slept: float = 0.0

    def now(self) -> float:
        return NOW.timestamp() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


@dataclass
class LaggingSession(FakeSession):
    clock: Clock = field(default_factory=Clock)

    async def find(self, key, since, *, any_epoch=False):
        found = await super().find(key, since, any_epoch=any_epoch)
        return [job for job in found if job.created_at.timestamp() <= self.clock.now() - LAG]


class NoMemory:
    durable = False

    async def load(self):
        return None

    async def save(self, record):
        pass


@pytest.mark.parametrize(("try_number", "cancelled", "slept"), [(2, True, SETTLE), (1, False, 0.0)])
def test_a_later_try_of_a_short_job_waits_until_what_its_predecessor_submitted_is_listed(
    try_number, cancelled, slept
):
    remote = FakeRemote(strength=Strength.KEYED)
    predecessors = FakeJob(1, JobKey("n", "d", "r", "t", -1, 1), 1, ["running"], created_at=NOW)
    own = FakeJob(2, KEY, try_number, ["succeeded"], created_at=NOW)
    remote.jobs += [predecessors, own]
    clock = Clock()
    engine = Engine(LaggingSession(remote, clock), "job", clock, settle=timedelta(seconds=SETTLE))
    attempt = Attempt(KEY, try_number, NOW - timedelta(minutes=1), NOW - timedelta(minutes=1))
    waited = Waited(Outcome.ENDED, own.handle, JobStatus(JobState.SUCCEEDED))
    assert asyncio.run(engine.finish(attempt, NoMemory(), waited)) == {"number": 2}
    assert (predecessors.cancelled, clock.slept) == (cancelled, slept)
    assert not own.cancelled

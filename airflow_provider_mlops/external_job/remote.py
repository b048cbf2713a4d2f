"""One open session, asked with patience: what starting, waiting and finishing share."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from airflow_provider_mlops.errors import SubmitUncertain, TemporaryError
from airflow_provider_mlops.external_job.adapter import FoundJob, JobHandle, JobSession, JobState, Restarts
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import Action, Decision, Record, start_of_attempt
from airflow_provider_mlops.external_job.errors import AttemptSuperseded
from airflow_provider_mlops.external_job.pacing import Clock, Pace, Pacer, deadline_of

T = TypeVar("T")


def _silent(_: str) -> None:
    return None


@dataclass(slots=True)
class Remote:
    """The remote system as one attempt sees it.

    :param session: open session of the adapter.
    :param what: name of the job in messages, such as ``gitlab.pipeline``.
    :param clock: time and sleep.
    :param pace: how patiently the remote is asked.
    :param settle: how long a fresh job may be missing from listings.
    :param say: writes one line about the engine's own doing to the task log.
    :param line: writes one line of the remote's log to the task log.
    :param random: uniform in [0, 1), for jitter.
    """

    session: JobSession
    what: str
    clock: Clock
    pace: Pace = field(default_factory=Pace)
    settle: timedelta = timedelta(0)
    say: Callable[[str], None] = _silent
    line: Callable[[str], None] = _silent
    random: Callable[[], float] = random.random

    async def look(self, attempt: Attempt) -> Sequence[FoundJob]:
        """Jobs of the attempt's task slot, any epoch."""
        return await self.patiently(
            lambda: self.session.find(attempt.key, attempt.look_back, any_epoch=True),
            "looking for earlier jobs",
        )

    def decide(
        self,
        attempt: Attempt,
        found: Sequence[FoundJob],
        *,
        record: Record | None = None,
        record_lost: bool = False,
        hidden: bool = False,
    ) -> Decision:
        """Ask the start-of-attempt table; see :func:`decision.start_of_attempt`."""
        return start_of_attempt(
            attempt.key,
            found,
            try_number=attempt.try_number,
            run_started=attempt.run_started,
            record=record,
            record_lost=record_lost,
            hidden=hidden,
            can_restart=isinstance(self.session, Restarts),
        )

    async def recheck(
        self,
        attempt: Attempt,
        handle: JobHandle,
        find: Callable[[], Awaitable[Sequence[FoundJob]]] | None = None,
    ) -> JobHandle:
        """Look for duplicates that were not listed yet when this attempt began; the job to go on with.

        :param find: another way to look for them.
        """
        found = await (self.patiently(find, "looking for duplicates") if find else self.look(attempt))
        decision = self.decide(attempt, found)
        if decision.action is Action.STEP_BACK:
            await self.cancel_all(decision.cancel)
            raise AttemptSuperseded(f"{self.what}: {decision.why}", url=handle.url)
        if decision.action not in (Action.ATTACH, Action.COLLECT) or decision.job is None:
            return handle
        await self.cancel_all(decision.cancel)
        if decision.job.handle.same_job(handle):
            return handle
        self.say(
            f"{self.what}: {name_of(handle)} is a younger duplicate; going on with {name_of(decision.job.handle)}"
        )
        return with_deadline(decision.job, attempt.timeout)

    async def failed_beside(self, attempt: Attempt, handle: JobHandle) -> JobHandle | None:
        """A job of the same submission that failed by itself, if there is one beside ``handle``."""
        for job in await self.look(attempt):
            same = job.epoch == attempt.key.epoch and job.handle.generation >= handle.generation
            if same and job.status.state is JobState.FAILED and not job.handle.same_job(handle):
                return job.handle
        return None

    async def cancel(self, handle: JobHandle) -> None:
        """Cancel the job; harmless if it has ended."""
        self.say(f"{self.what}: cancelling {name_of(handle)}")
        await self.patiently(lambda: self.session.cancel(handle), "cancelling")

    async def cancel_all(self, jobs: Sequence[FoundJob]) -> None:
        """Cancel superseded jobs and duplicates."""
        for job in jobs:
            self.say(f"{self.what}: {name_of(job.handle)} is superseded or a duplicate")
            await self.cancel(job.handle)

    async def patiently(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Repeat a repeatable call through transport errors, within the error budget."""
        pacer = Pacer(self.pace, self.clock.now, self.random)
        while True:
            try:
                return await call()
            except SubmitUncertain:
                raise
            except TemporaryError as error:
                pause = pacer.after_error(error, f"{self.what}: {what}")
                self.say(f"{self.what}: {what}: {error.message}; again in {pause:.0f} s")
                await self.clock.sleep(pause)


def with_deadline(job: FoundJob, timeout: timedelta | None) -> JobHandle:
    """The handle of an adopted job with the deadline it got when it was submitted."""
    return replace(job.handle, deadline=deadline_of(job.created_at.timestamp(), timeout))


def name_of(handle: JobHandle) -> str:
    """How messages call the job: its page, or what identifies it."""
    return handle.url or ", ".join(f"{name} {value}" for name, value in sorted(handle.ref.items()))

"""The start of an attempt: find the job of its key, or submit it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from airflow_provider_mlops.errors import ExactlyOnceUnavailable, JobLost, SubmitUncertain
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobSession,
    JobState,
    JobStatus,
    Json,
    Restarts,
    Strength,
)
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import Action, Decision, Memory, Record
from airflow_provider_mlops.external_job.errors import AttemptSuperseded
from airflow_provider_mlops.external_job.pacing import deadline_of, until
from airflow_provider_mlops.external_job.remote import Remote, name_of, with_deadline

#: How often a submission whose answer was lost is repeated within one attempt.
_SUBMISSIONS = 3

#: Awaited as soon as the job is known, before it is remembered: ``on_kill`` may come between the two.
OnHandle = Callable[[JobHandle], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Started:
    """What the start of an attempt led to.

    :param handle: the job that this attempt goes on with.
    :param status: its state, if it was learned just now.
    :param result: its persisted result: an earlier attempt had already finished.
    :param cursor: log position to go on from.
    :param adopted: the job had been submitted before.
    """

    handle: JobHandle
    status: JobStatus | None = None
    result: Mapping[str, Json] | None = None
    cursor: Json = None
    adopted: bool = False


async def start_attempt(
    remote: Remote,
    attempt: Attempt,
    memory: Memory,
    on_handle: OnHandle | None = None,
) -> Started:
    """Find the job of this attempt, or submit it.

    :param on_handle: awaited as soon as the job is known.
    :raises ExactlyOnceUnavailable: required, and the remote cannot keep the key; nothing was done.
    :raises AttemptSuperseded: a later attempt has taken over.
    :raises JobLost: the known job has vanished.
    """
    strength = await remote.patiently(
        lambda: remote.session.strength(attempt.key), "deciding how the key is kept"
    )
    remote.say(f"{remote.what}: exactly-once strength is {strength.kind}. {strength.explanation}".rstrip())
    if attempt.required and strength.kind in (Strength.WEAK, Strength.NONE):
        raise ExactlyOnceUnavailable(
            f"{remote.what}: exactly_once='required', but this remote keeps our key only as {strength.kind!r}"
            + (f": {strength.explanation}" if strength.explanation else "")
        )
    record = await memory.load()
    if record is not None and record.slot != attempt.key.slot:
        record = None
    if record is not None and record.result is not None and record.handle is not None:
        remote.say(f"{remote.what}: an earlier attempt had collected the result of {name_of(record.handle)}")
        return Started(record.handle, result=record.result, adopted=True)
    return await _Start(remote, attempt, memory, strength, record, on_handle).run()


@dataclass(slots=True)
class _Start:
    """The start of one attempt: look, decide, act, until there is a job to go on with."""

    remote: Remote
    attempt: Attempt
    memory: Memory
    strength: Strength
    record: Record | None
    on_handle: OnHandle | None
    #: The job that this attempt has submitted, as far as it knows it.
    mine: FoundJob | None = None
    #: A job may be missing from listings until then.
    settled_at: float = 0.0
    submissions: int = 0

    async def run(self) -> Started:
        remote, attempt = self.remote, self.attempt
        # What an earlier attempt of this slot did is known where memory survives; elsewhere a later
        # try has to assume that its predecessor submitted and died.
        intent = self.record is not None and self.record.handle is None
        if intent or (attempt.try_number > 1 and not self.memory.durable):
            self._unsettle()
        while True:
            found, lost = await self._found()
            hidden = remote.clock.now() < self.settled_at
            decision = remote.decide(attempt, found, record=self.record, record_lost=lost, hidden=hidden)
            if decision.action is Action.ATTACH and hidden and self._unsure(found):
                await self._pause()
                continue
            await remote.cancel_all(decision.cancel)
            remote.say(f"{remote.what}: {decision.action}: {decision.why}")
            match decision.action:
                case Action.SUBMIT:
                    await self._submit(decision.generation)
                case Action.LOOK_AGAIN:
                    await self._pause()
                case Action.STEP_BACK:
                    raise AttemptSuperseded(f"{remote.what}: {decision.why}")
                case Action.LOST:
                    assert self.record is not None
                    await self.memory.save(replace(self.record, ended="lost"))
                    raise JobLost(
                        f"{remote.what}: the job of the previous attempt has vanished",
                        next_step="Check who deleted it; the next attempt submits a new one.",
                    )
                case Action.RESTART:
                    return await self._restart(_job(decision))
                case _:
                    return await self._go_on(_job(decision))

    async def _found(self) -> tuple[Sequence[FoundJob], bool]:
        """Listed jobs, and those known otherwise; whether the recorded job has vanished."""
        remote, attempt, record = self.remote, self.attempt, self.record
        found = list(await remote.look(attempt))
        lost = False
        if record is not None and record.handle is not None and record.ended is None:
            lost = not await self._add(found, record.handle, record.try_number)
        if self.mine is not None:
            await self._add(found, self.mine.handle, attempt.try_number)
        return found, lost

    async def _add(self, found: list[FoundJob], handle: JobHandle, try_number: int) -> bool:
        if any(job.handle.same_job(handle) for job in found):
            return True
        remote = self.remote
        status = await remote.patiently(lambda: remote.session.status(handle), "asking for the known job")
        if status is None and self.mine is not None and remote.clock.now() < self.settled_at:
            status = self.mine.status
        if status is None:
            return False
        created = self.mine.created_at if self.mine else self.attempt.run_started
        found.append(FoundJob(handle, status, try_number, self.attempt.key.epoch, created))
        return True

    def _unsure(self, found: Sequence[FoundJob]) -> bool:
        """Whether a job of ours still lacks the remote's own creation time while another one is active too.

        Which of two is older must be judged by one clock, or both owners might cancel.
        """
        if self.mine is None:
            return False
        active = [job for job in found if job.status.state.active and job.epoch == self.attempt.key.epoch]
        return len(active) > 1 and any(
            job.handle.same_job(self.mine.handle) and job.created_at == self.mine.created_at for job in active
        )

    async def _submit(self, generation: int) -> None:
        remote, attempt = self.remote, self.attempt
        key = replace(attempt.key, generation=generation)
        intent = Record(key.slot, generation, attempt.try_number)
        await self.memory.save(intent)
        self.record = intent
        self.submissions += 1
        try:
            handle = await remote.patiently(
                lambda: remote.session.submit(key, attempt.try_number), "submitting"
            )
        except SubmitUncertain as error:
            findable = self.strength.kind in (Strength.UNIQUE, Strength.KEYED)
            if self.submissions >= _SUBMISSIONS or not findable:
                raise
            remote.say(f"{remote.what}: {error.message}; looking for the job")
            self._unsettle()
            return
        now = remote.clock.now()
        handle = replace(handle, generation=generation, deadline=deadline_of(now, attempt.timeout))
        remote.say(f"{remote.what}: submitted {name_of(handle)} as {key}")
        await self._known(handle)
        pending = JobStatus(JobState.PENDING)
        self.mine = FoundJob(handle, pending, attempt.try_number, key.epoch, datetime.fromtimestamp(now, UTC))
        self._unsettle()

    async def _restart(self, job: FoundJob) -> Started:
        remote = self.remote
        handle = await remote.patiently(lambda: _restarts(remote.session).restart(job.handle), "restarting")
        deadline = deadline_of(remote.clock.now(), self.attempt.timeout)
        handle = replace(handle, generation=job.handle.generation, deadline=deadline)
        await self._known(handle)
        return Started(handle, adopted=True)

    async def _go_on(self, job: FoundJob) -> Started:
        adopted = self.mine is None or not job.handle.same_job(self.mine.handle)
        cursor: Json = None
        handle = job.handle
        if adopted:
            handle = with_deadline(job, self.attempt.timeout)
            record = self.record
            if record is not None and record.handle is not None and record.handle.same_job(handle):
                handle, cursor = replace(handle, deadline=record.handle.deadline), record.cursor
            self.remote.say(
                f"{self.remote.what}: going on with {name_of(handle)}, submitted by try {job.try_number}"
            )
            await self._known(handle, cursor)
        elif self.mine is not None:
            handle = self.mine.handle
        return Started(handle, status=job.status, cursor=cursor, adopted=adopted)

    async def _known(self, handle: JobHandle, cursor: Json = None) -> None:
        record = Record(
            self.attempt.key.slot, handle.generation, self.attempt.try_number, handle, cursor=cursor
        )
        if self.on_handle is not None:
            await self.on_handle(handle)
        await self.memory.save(record)
        self.record = record

    def _unsettle(self) -> None:
        if self.strength.kind != Strength.NONE:
            self.settled_at = self.remote.clock.now() + self.remote.settle.total_seconds()

    async def _pause(self) -> None:
        left = until(self.settled_at, self.remote.clock.now())
        await self.remote.clock.sleep(min(left, max(1.0, self.remote.settle.total_seconds() / 6)))


def _restarts(session: JobSession) -> Restarts:
    assert isinstance(session, Restarts)
    return session


def _job(decision: Decision) -> FoundJob:
    assert decision.job is not None
    return decision.job

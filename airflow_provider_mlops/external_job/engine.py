"""Submit or adopt, wait, finish, cancel: one engine for every remote system.

Plain coroutines over a :class:`JobSession`; clock, memory and log are handed in, so the same code runs
in a worker (on a portal thread), in a triggerer and, step by step, in the model test. What to do is
decided in :mod:`decision`; this module only asks and acts. The promise: never two jobs left for one
slot, and never two made where the remote refuses a duplicate name.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from airflow_provider_mlops.errors import (
    DeadlineExceeded,
    ExactlyOnceUnavailable,
    JobLost,
    SubmitUncertain,
    TemporaryError,
)
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobKey,
    JobSession,
    JobState,
    JobStatus,
    Json,
    Releases,
    Restarts,
    StreamsLogs,
    Strength,
)
from airflow_provider_mlops.external_job.decision import Action, Decision, Record, start_of_attempt
from airflow_provider_mlops.external_job.errors import AttemptSuperseded
from airflow_provider_mlops.external_job.pacing import Clock, Pace, Pacer, deadline_of, until

T = TypeVar("T")

#: How often a submission whose answer was lost is repeated within one attempt.
_SUBMISSIONS = 3
#: How long a cancelled job is watched until it has really ended.
_CANCEL_PATIENCE = 30.0
_CANCEL_LOOKS = 2.0


class Memory(Protocol):
    """What survives an attempt. Reads nothing and keeps nothing where Airflow cannot."""

    @property
    def durable(self) -> bool:
        """Whether :meth:`save` really keeps the record."""
        ...

    async def load(self) -> Record | None: ...

    async def save(self, record: Record) -> None: ...


class Ask(Protocol):
    """A way to learn a job's state other than asking for it alone (see :mod:`polling`)."""

    async def __call__(self, handle: JobHandle) -> JobStatus | None: ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One Airflow attempt, as the engine sees it.

    :param key: its key, generation 0.
    :param run_started: start of the DAG run; older jobs are not ours.
    :param look_back: jobs of other epochs are looked for from here on (before a Clear, ``run_started``
        may have been earlier).
    :param timeout: of one remote job, from its submission.
    :param required: refuse to submit where the remote cannot keep the key.
    """

    key: JobKey
    try_number: int
    run_started: datetime
    look_back: datetime
    timeout: timedelta | None = None
    required: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "key": self.key.to_json(),
            "try_number": self.try_number,
            "run_started": self.run_started.timestamp(),
            "look_back": self.look_back.timestamp(),
            "timeout": self.timeout.total_seconds() if self.timeout is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        return cls(
            key=JobKey.from_json(data["key"]),
            try_number=data["try_number"],
            run_started=datetime.fromtimestamp(data["run_started"], UTC),
            look_back=datetime.fromtimestamp(data["look_back"], UTC),
            timeout=timedelta(seconds=data["timeout"]) if data["timeout"] is not None else None,
        )


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


class Outcome(StrEnum):
    """Why waiting stopped."""

    #: Only where it was asked to look once: the job goes on.
    ACTIVE = "active"
    ENDED = "ended"
    LOST = "lost"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Waited:
    """``status`` is the last one seen; ``handle`` differs from the first where a younger duplicate gave way."""

    outcome: Outcome
    handle: JobHandle
    status: JobStatus | None
    cursor: Json = None


def _silent(_: str) -> None:
    return None


@dataclass(slots=True)
class Engine:
    """Runs one attempt against one open session.

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

    # --- start ---------------------------------------------------------------------------------------

    async def start(
        self,
        attempt: Attempt,
        memory: Memory,
        on_handle: Callable[[JobHandle], Awaitable[None]] | None = None,
    ) -> Started:
        """Find the job of this attempt, or submit it.

        :param on_handle: awaited as soon as the job is known and remembered.
        :raises ExactlyOnceUnavailable: required, and the remote cannot keep the key; nothing was done.
        :raises AttemptSuperseded: a later attempt has taken over.
        :raises JobLost: the known job has vanished.
        """
        strength = await self._patiently(
            lambda: self.session.strength(attempt.key), "deciding how the key is kept"
        )
        self.say(f"{self.what}: exactly-once strength is {strength.kind}. {strength.explanation}".rstrip())
        if attempt.required and strength.kind in (Strength.WEAK, Strength.NONE):
            raise ExactlyOnceUnavailable(
                f"{self.what}: exactly_once='required', but this remote keeps our key only as {strength.kind!r}"
                + (f": {strength.explanation}" if strength.explanation else "")
            )
        record = await memory.load()
        if record is not None and record.slot != attempt.key.slot:
            record = None
        if record is not None and record.result is not None and record.handle is not None:
            self.say(f"{self.what}: an earlier attempt had collected the result of {_name(record.handle)}")
            return Started(record.handle, result=record.result, adopted=True)
        return await _Start(self, attempt, memory, strength, record, on_handle).run()

    # --- wait ----------------------------------------------------------------------------------------

    async def wait(
        self,
        attempt: Attempt | None,
        handle: JobHandle,
        *,
        cursor: Json = None,
        status: JobStatus | None = None,
        ask: Ask | None = None,
        once: bool = False,
        leave_end: bool = False,
    ) -> Waited:
        """Follow the job until it ends, vanishes or meets its deadline.

        :param attempt: to look again for duplicates once listings have settled; ``None`` for a mere watcher.
        :param cursor: the log up to here has been written.
        :param status: a state learned just now: not asked for again.
        :param ask: a paced source of states, instead of asking for this job alone.
        :param once: return after the first answer, even if the job goes on.
        :param leave_end: leave the end of the log to whoever goes on from the returned cursor.
        :raises WaitingFailed: no answer for longer than the error budget.
        :raises AttemptSuperseded: the task was cleared and a later attempt has taken over.
        """
        began = self.clock.now()
        settled = began + self.settle.total_seconds()
        pacer = Pacer(self.pace, self.clock.now, self.random)
        log = _Log(self, cursor)
        recheck = attempt is not None and bool(self.settle) and not once
        told = ""
        misses = 0
        known = status is not None
        while True:
            answered = False
            try:
                if not known:
                    status = await (ask or self.session.status)(handle)
                known = False
                if not (leave_end and self._is_last_look(status, handle)):
                    await log.follow(handle)
            except TemporaryError as error:
                pause = pacer.after_error(error, f"{self.what}: asking for the state of {_name(handle)}")
                self.say(f"{self.what}: {error.message}; asking again in {pause:.0f} s")
            else:
                answered = True
                now = self.clock.now()
                pause = pacer.after_answer(now - began, status.not_before if status else None)
                pause = 0.0 if ask else pause
                misses = misses + 1 if status is None else 0
                if status is not None and (words := _words(status)) != told:
                    told = words
                    self.say(f"{self.what}: {_name(handle)} is {words}")
                if status is not None and not status.state.active:
                    return Waited(Outcome.ENDED, handle, status, log.cursor)
                # A fresh job may not be readable everywhere yet.
                if misses > 1 and now >= settled:
                    return Waited(Outcome.LOST, handle, None, log.cursor)
            if self.clock.now() >= (handle.deadline or float("inf")):
                return Waited(Outcome.DEADLINE, handle, status, log.cursor)
            if once and answered:
                return Waited(Outcome.ACTIVE, handle, status, log.cursor)
            if attempt is not None and recheck and self.clock.now() >= settled:
                recheck = False
                kept = await self._recheck(attempt, handle)
                if not kept.same_job(handle):
                    handle, log = kept, _Log(self, None)
                    continue
            await self.clock.sleep(min(pause, until(handle.deadline, self.clock.now())))

    def _is_last_look(self, status: JobStatus | None, handle: JobHandle) -> bool:
        ended = status is not None and not status.state.active
        return ended or self.clock.now() >= (handle.deadline or float("inf"))

    async def _recheck(self, attempt: Attempt, handle: JobHandle) -> JobHandle:
        """Look for duplicates that were not listed yet when this attempt began; the job to go on with."""
        decision = self._decide(attempt, await self._look(attempt))
        if decision.action is Action.STEP_BACK:
            await self._cancel_all(decision.cancel)
            raise AttemptSuperseded(f"{self.what}: {decision.why}", url=handle.url)
        if decision.action not in (Action.ATTACH, Action.COLLECT) or decision.job is None:
            return handle
        await self._cancel_all(decision.cancel)
        if decision.job.handle.same_job(handle):
            return handle
        self.say(
            f"{self.what}: {_name(handle)} is a younger duplicate; going on with {_name(decision.job.handle)}"
        )
        return with_deadline(decision.job, attempt.timeout)

    # --- finish --------------------------------------------------------------------------------------

    async def finish(self, attempt: Attempt, memory: Memory, waited: Waited) -> Mapping[str, Json]:
        """Collect the result of a job that has ended, or raise its failure.

        Persists the outcome first where something survives, then cancels duplicates and lets the remote
        free what it keeps.

        :raises JobLost: the job has vanished.
        :raises Exception: the adapter's typed failure.
        """
        handle, status = waited.handle, waited.status
        record = Record(attempt.key.slot, handle.generation, attempt.try_number, handle, cursor=waited.cursor)
        if waited.outcome is Outcome.LOST or status is None:
            await memory.save(replace(record, ended="lost"))
            raise JobLost(
                f"{self.what}: {_name(handle)} has vanished",
                next_step="Check who deleted it; the next attempt submits a new one.",
                url=handle.url,
            )
        if status.state is JobState.CANCELLED:
            # Another attempt may have cancelled it as the younger duplicate: the kept one goes on.
            kept = await self._recheck(attempt, handle)
            if not kept.same_job(handle):
                raise AttemptSuperseded(
                    f"{self.what}: {_name(handle)} was a duplicate of {_name(kept)}",
                    next_step="Nothing: the next attempt goes on with the one that was kept.",
                    url=kept.url,
                )
        failure: Exception | None = None
        result: Mapping[str, Json] = {}
        if status.state is JobState.SUCCEEDED:
            result = await self._patiently(lambda: self.session.result(handle), "reading the result")
            await memory.save(replace(record, ended=status.state.value, result=result))
        else:
            failure = await self._patiently(
                lambda: self.session.failure(handle, status), "reading the failure"
            )
            await memory.save(replace(record, ended=status.state.value))
        await self._sweep(attempt, handle)
        if memory.durable and isinstance(self.session, Releases):
            session = self.session
            await self._patiently(lambda: session.release(handle, status), "releasing")
        if failure is not None:
            raise failure
        return result

    async def give_up(
        self, attempt: Attempt, memory: Memory, waited: Waited, *, cancel: bool
    ) -> Mapping[str, Json]:
        """At the deadline: cancel the job, or collect it if it has just ended.

        :param cancel: cancel the job; otherwise leave it running.
        :raises DeadlineExceeded: it did not end in time.
        """
        handle = waited.handle
        status = await self._patiently(lambda: self.session.status(handle), "asking for the state")
        if status is not None and not status.state.active:
            log = _Log(self, waited.cursor)
            await self._patiently(lambda: log.follow(handle), "reading the log")
            return await self.finish(attempt, memory, Waited(Outcome.ENDED, handle, status, log.cursor))
        if cancel:
            await self.cancel(handle)
            ended = await self._see_end(handle)
            await memory.save(
                Record(attempt.key.slot, handle.generation, attempt.try_number, handle, ended=ended)
            )
        raise DeadlineExceeded(
            f"{self.what}: {_name(handle)} did not end before its deadline"
            + (" and was cancelled" if cancel else "; it was left running"),
            url=handle.url,
        )

    async def cancel(self, handle: JobHandle) -> None:
        """Cancel the job; harmless if it has ended."""
        self.say(f"{self.what}: cancelling {_name(handle)}")
        await self._patiently(lambda: self.session.cancel(handle), "cancelling")

    async def _see_end(self, handle: JobHandle) -> str | None:
        """Watch a cancelled job until it has ended: an attempt that attached to a dying job would fail for nothing."""
        patience = self.clock.now() + _CANCEL_PATIENCE
        while True:
            status = await self._patiently(lambda: self.session.status(handle), "asking for the state")
            if status is None or not status.state.active:
                return status.state.value if status else "lost"
            if self.clock.now() >= patience:
                return None
            await self.clock.sleep(_CANCEL_LOOKS)

    async def _sweep(self, attempt: Attempt, handle: JobHandle) -> None:
        """Cancel what a thawed worker may have submitted beside the job that has just ended."""
        leftovers = [
            job
            for job in await self._look(attempt)
            if job.status.state.active
            and job.try_number <= attempt.try_number
            and not job.handle.same_job(handle)
        ]
        await self._cancel_all(leftovers)

    # --- shared --------------------------------------------------------------------------------------

    async def _look(self, attempt: Attempt) -> Sequence[FoundJob]:
        return await self._patiently(
            lambda: self.session.find(attempt.key, attempt.look_back, any_epoch=True),
            "looking for earlier jobs",
        )

    def _decide(
        self,
        attempt: Attempt,
        found: Sequence[FoundJob],
        *,
        record: Record | None = None,
        record_lost: bool = False,
        hidden: bool = False,
    ) -> Decision:
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

    async def _cancel_all(self, jobs: Sequence[FoundJob]) -> None:
        for job in jobs:
            self.say(f"{self.what}: {_name(job.handle)} is superseded or a duplicate")
            await self.cancel(job.handle)

    async def _patiently(self, call: Callable[[], Awaitable[T]], what: str) -> T:
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


@dataclass(slots=True)
class _Start:
    """The start of one attempt: look, decide, act, until there is a job to go on with."""

    engine: Engine
    attempt: Attempt
    memory: Memory
    strength: Strength
    record: Record | None
    on_handle: Callable[[JobHandle], Awaitable[None]] | None
    #: The job that this attempt has submitted, as far as it knows it.
    mine: FoundJob | None = None
    #: A job may be missing from listings until then.
    settled_at: float = 0.0
    submissions: int = 0

    async def run(self) -> Started:
        engine, attempt = self.engine, self.attempt
        # What an earlier attempt of this slot did is known where memory survives; elsewhere a later
        # try has to assume that its predecessor submitted and died.
        intent = self.record is not None and self.record.handle is None
        if intent or (attempt.try_number > 1 and not self.memory.durable):
            self._unsettle()
        while True:
            found, lost = await self._found()
            hidden = engine.clock.now() < self.settled_at
            decision = engine._decide(attempt, found, record=self.record, record_lost=lost, hidden=hidden)
            if decision.action is Action.ATTACH and hidden and self._unsure(found):
                await self._pause()
                continue
            await engine._cancel_all(decision.cancel)
            engine.say(f"{engine.what}: {decision.action}: {decision.why}")
            match decision.action:
                case Action.SUBMIT:
                    await self._submit(decision.generation)
                case Action.LOOK_AGAIN:
                    await self._pause()
                case Action.STEP_BACK:
                    raise AttemptSuperseded(f"{engine.what}: {decision.why}")
                case Action.LOST:
                    assert self.record is not None
                    await self.memory.save(replace(self.record, ended="lost"))
                    raise JobLost(
                        f"{engine.what}: the job of the previous attempt has vanished",
                        next_step="Check who deleted it; the next attempt submits a new one.",
                    )
                case Action.RESTART:
                    return await self._restart(_job(decision))
                case _:
                    return await self._go_on(_job(decision))

    async def _found(self) -> tuple[Sequence[FoundJob], bool]:
        """Listed jobs, and those known otherwise; whether the recorded job has vanished."""
        engine, attempt, record = self.engine, self.attempt, self.record
        found = list(await engine._look(attempt))
        lost = False
        if record is not None and record.handle is not None and record.ended is None:
            lost = not await self._add(found, record.handle, record.try_number)
        if self.mine is not None:
            await self._add(found, self.mine.handle, attempt.try_number)
        return found, lost

    async def _add(self, found: list[FoundJob], handle: JobHandle, try_number: int) -> bool:
        if any(job.handle.same_job(handle) for job in found):
            return True
        engine = self.engine
        status = await engine._patiently(lambda: engine.session.status(handle), "asking for the known job")
        if status is None and self.mine is not None and engine.clock.now() < self.settled_at:
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
        engine, attempt = self.engine, self.attempt
        key = replace(attempt.key, generation=generation)
        intent = Record(key.slot, generation, attempt.try_number)
        await self.memory.save(intent)
        self.record = intent
        self.submissions += 1
        try:
            handle = await engine._patiently(
                lambda: engine.session.submit(key, attempt.try_number), "submitting"
            )
        except SubmitUncertain as error:
            findable = self.strength.kind in (Strength.UNIQUE, Strength.KEYED)
            if self.submissions >= _SUBMISSIONS or not findable:
                raise
            engine.say(f"{engine.what}: {error.message}; looking for the job")
            self._unsettle()
            return
        now = engine.clock.now()
        handle = replace(handle, generation=generation, deadline=deadline_of(now, attempt.timeout))
        engine.say(f"{engine.what}: submitted {_name(handle)} as {key}")
        await self._known(handle)
        pending = JobStatus(JobState.PENDING)
        self.mine = FoundJob(handle, pending, attempt.try_number, key.epoch, datetime.fromtimestamp(now, UTC))
        self._unsettle()

    async def _restart(self, job: FoundJob) -> Started:
        engine = self.engine
        handle = await engine._patiently(lambda: _restarts(engine.session).restart(job.handle), "restarting")
        deadline = deadline_of(engine.clock.now(), self.attempt.timeout)
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
            self.engine.say(
                f"{self.engine.what}: going on with {_name(handle)}, submitted by try {job.try_number}"
            )
            await self._known(handle, cursor)
        elif self.mine is not None:
            handle = self.mine.handle
        return Started(handle, status=job.status, cursor=cursor, adopted=adopted)

    async def _known(self, handle: JobHandle, cursor: Json = None) -> None:
        record = Record(
            self.attempt.key.slot, handle.generation, self.attempt.try_number, handle, cursor=cursor
        )
        await self.memory.save(record)
        self.record = record
        if self.on_handle is not None:
            await self.on_handle(handle)

    def _unsettle(self) -> None:
        if self.strength.kind != Strength.NONE:
            self.settled_at = self.engine.clock.now() + self.engine.settle.total_seconds()

    async def _pause(self) -> None:
        left = until(self.settled_at, self.engine.clock.now())
        await self.engine.clock.sleep(min(left, max(1.0, self.engine.settle.total_seconds() / 6)))


@dataclass(slots=True)
class _Log:
    """Writes what the remote's log has beyond ``cursor``: every line, in order.

    Each follower announces itself once: lines repeat only after such a marker (a taken-over trigger
    starts again where its predecessor had started).
    """

    engine: Engine
    cursor: Json
    announced: bool = False

    async def follow(self, handle: JobHandle) -> None:
        session = self.engine.session
        if not isinstance(session, StreamsLogs):
            return
        while True:
            batch = await session.logs(handle, self.cursor)
            if batch.lines and not self.announced:
                self.announced = True
                where = "from the start" if self.cursor is None else "goes on"
                self.engine.say(f"{self.engine.what}: log of {_name(handle)} {where}:")
            for text in batch.lines:
                self.engine.line(text)
            self.cursor = batch.cursor
            if not batch.more or not batch.lines:
                return


def with_deadline(job: FoundJob, timeout: timedelta | None) -> JobHandle:
    """The handle of an adopted job with the deadline it got when it was submitted."""
    return replace(job.handle, deadline=deadline_of(job.created_at.timestamp(), timeout))


def _restarts(session: JobSession) -> Restarts:
    assert isinstance(session, Restarts)
    return session


def _job(decision: Decision) -> FoundJob:
    assert decision.job is not None
    return decision.job


def _name(handle: JobHandle) -> str:
    return handle.url or ", ".join(f"{name} {value}" for name, value in sorted(handle.ref.items()))


def _words(status: JobStatus) -> str:
    return ": ".join(part for part in (status.reason or status.state.value, status.detail) if part)

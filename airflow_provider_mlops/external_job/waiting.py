"""Following a job until it ends, vanishes or meets its deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Protocol

from airflow_provider_mlops.errors import TemporaryError
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobStatus,
    Json,
    StreamsLogs,
    WatchedJob,
)
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.pacing import Pacer, until
from airflow_provider_mlops.external_job.remote import Remote, name_of


class Group(Protocol):
    """Watchers who ask together instead of each for its own job, at a common pace (see :mod:`polling`)."""

    async def ask(
        self, handle: JobHandle, *, known: JobStatus | None, patience: float, job: WatchedJob | None
    ) -> JobStatus | None:
        """The job's state once it differs from ``known``, or after ``patience`` seconds."""
        ...

    async def find(self, job: WatchedJob) -> Sequence[FoundJob]:
        """Jobs of the same task slot, as far as earlier looks may have missed them."""
        ...


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


async def follow_job(
    remote: Remote,
    attempt: Attempt | None,
    handle: JobHandle,
    *,
    cursor: Json = None,
    status: JobStatus | None = None,
    group: Group | None = None,
    once: bool = False,
    leave_end: bool = False,
) -> Waited:
    """Follow the job until it ends, vanishes or meets its deadline.

    :param attempt: to look again for duplicates once listings have settled; ``None`` for a mere watcher.
    :param cursor: the log up to here has been written.
    :param status: a state learned just now: not asked for again.
    :param group: to ask together with others, instead of for this job alone.
    :param once: return after the first answer, even if the job goes on.
    :param leave_end: leave the end of the log to whoever goes on from the returned cursor.
    :raises WaitingFailed: no answer for longer than the error budget.
    :raises AttemptSuperseded: the task was cleared and a later attempt has taken over.
    """
    began = remote.clock.now()
    settled = began + remote.settle.total_seconds()
    pacer = Pacer(remote.pace, remote.clock.now, remote.random)
    log = Log(remote, cursor)
    watched = _watched(attempt, handle)
    recheck = attempt is not None and bool(remote.settle) and not once
    told = ""
    misses = 0
    known = status is not None
    while True:
        answered = False
        try:
            if not known:
                if group is None:
                    status = await remote.session.status(handle)
                else:
                    now = remote.clock.now()
                    patience = min(
                        log.due - now, until(handle.deadline, now), settled - now if recheck else float("inf")
                    )
                    status = await group.ask(handle, known=status, patience=patience, job=watched)
            known = False
            if not (leave_end and _is_last_look(remote, status, handle)):
                await log.follow(handle)
        except TemporaryError as error:
            pause = pacer.after_error(error, f"{remote.what}: asking for the state of {name_of(handle)}")
            remote.say(f"{remote.what}: {error.message}; asking again in {pause:.0f} s")
        else:
            answered = True
            now = remote.clock.now()
            pause = pacer.after_answer(now - began, status.not_before if status else None)
            pause = 0.0 if group else pause
            misses = misses + 1 if status is None else 0
            if status is not None and (words := _words(status)) != told:
                told = words
                remote.say(f"{remote.what}: {name_of(handle)} is {words}")
            if status is not None and not status.state.active:
                return Waited(Outcome.ENDED, handle, status, log.cursor)
            # A fresh job may not be readable everywhere yet.
            if misses > 1 and now >= settled:
                return Waited(Outcome.LOST, handle, None, log.cursor)
        if remote.clock.now() >= (handle.deadline or float("inf")):
            return Waited(Outcome.DEADLINE, handle, status, log.cursor)
        if once and answered:
            return Waited(Outcome.ACTIVE, handle, status, log.cursor)
        if attempt is not None and recheck and remote.clock.now() >= settled:
            recheck = False
            find = partial(group.find, watched) if group and watched else None
            kept = await remote.recheck(attempt, handle, find)
            if not kept.same_job(handle):
                handle, log, status = kept, Log(remote, None), None
                watched = _watched(attempt, handle)
                continue
        await remote.clock.sleep(min(pause, until(handle.deadline, remote.clock.now())))


def _watched(attempt: Attempt | None, handle: JobHandle) -> WatchedJob | None:
    if attempt is None:
        return None
    return WatchedJob(handle, attempt.key, attempt.try_number, attempt.look_back)


def _is_last_look(remote: Remote, status: JobStatus | None, handle: JobHandle) -> bool:
    ended = status is not None and not status.state.active
    return ended or remote.clock.now() >= (handle.deadline or float("inf"))


@dataclass(slots=True)
class Log:
    """Writes what the remote's log has beyond ``cursor``: every line, in order.

    Each follower announces itself once: lines repeat only after such a marker (a taken-over trigger
    starts again where its predecessor had started).
    """

    remote: Remote
    cursor: Json
    announced: bool = False
    due: float = 0.0

    async def follow(self, handle: JobHandle) -> None:
        """Write what has come since the last call; nothing where the remote has no log."""
        session = self.remote.session
        if not isinstance(session, StreamsLogs):
            self.due = float("inf")
            return
        self.due = 0.0
        while True:
            batch = await session.logs(handle, self.cursor)
            if batch.lines and not self.announced:
                self.announced = True
                where = "from the start" if self.cursor is None else "goes on"
                self.remote.say(f"{self.remote.what}: log of {name_of(handle)} {where}:")
            for text in batch.lines:
                self.remote.line(text)
            self.cursor = batch.cursor
            if not batch.more or not batch.lines:
                later = batch.not_before.total_seconds() if batch.not_before else 0.0
                self.due = self.remote.clock.now() + later
                return


def _words(status: JobStatus) -> str:
    return ": ".join(part for part in (status.reason or status.state.value, status.detail) if part)

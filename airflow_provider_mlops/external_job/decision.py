"""What an attempt does first, and when a kill may cancel: pure decisions, no I/O.

The heart is :func:`start_of_attempt`. The engine asks it at the start of an attempt, again right after
a submission (a frozen worker may have been faster) and again while it waits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, Self

from airflow_provider_mlops.external_job.adapter import FoundJob, JobHandle, JobKey, JobState, Json

#: The remote's clock may be behind Airflow's by this much before a job of ours looks older than its run.
CLOCK_SKEW = timedelta(minutes=1)

#: States of the task instance in which a kill means that nobody wants the job any more. ``None`` is a
#: cleared task that is not scheduled yet.
CANCELLING_STATES = frozenset({"failed", "success", "skipped", "removed", "restarting", None})


class Action(StrEnum):
    """What to do with the job of a slot."""

    SUBMIT = "submit"
    LOOK_AGAIN = "look again"
    ATTACH = "attach"
    COLLECT = "collect"
    RESTART = "restart"
    #: Raise the failure of a job that has ended.
    REPORT = "report"
    LOST = "lost"
    #: A later attempt has taken over.
    STEP_BACK = "step back"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the start-of-attempt table.

    :param job: the job that the action is about (none for a submission).
    :param generation: to submit as.
    :param cancel: jobs that are to be cancelled beside it: younger duplicates and superseded ones.
    :param why: one phrase for the task log.
    """

    action: Action
    job: FoundJob | None = None
    generation: int = 0
    cancel: Sequence[FoundJob] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What one slot's attempts remember between them, where something survives an attempt.

    :param slot: the record counts for this slot only.
    :param generation: last generation that was submitted or is about to be.
    :param try_number: attempt that wrote ``generation``.
    :param handle: its job; ``None`` between the intent and the answer.
    :param ended: state in which the job was seen to end, or ``"lost"``.
    :param result: its result, once it is persisted.
    :param cursor: the log up to here has been written.
    """

    slot: str
    generation: int
    try_number: int
    handle: JobHandle | None = None
    ended: str | None = None
    result: Mapping[str, Json] | None = None
    cursor: Json = None

    def to_json(self) -> dict[str, Json]:
        return {
            "slot": self.slot,
            "generation": self.generation,
            "try_number": self.try_number,
            "handle": self.handle.to_json() if self.handle else None,
            "ended": self.ended,
            "result": dict(self.result) if self.result is not None else None,
            "cursor": self.cursor,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        handle = data["handle"]
        return cls(
            slot=data["slot"],
            generation=data["generation"],
            try_number=data["try_number"],
            handle=JobHandle.from_json(handle) if handle else None,
            ended=data["ended"],
            result=data["result"],
            cursor=data["cursor"],
        )


class Memory(Protocol):
    """What survives an attempt. Reads nothing and keeps nothing where Airflow cannot."""

    @property
    def durable(self) -> bool:
        """Whether :meth:`save` really keeps the record."""
        ...

    async def load(self) -> Record | None: ...

    async def save(self, record: Record) -> None: ...


def may_cancel(state: str | None) -> bool:
    """Whether a kill of a task in ``state`` means that the remote job is unwanted.

    A kill also happens at deploys, evictions, lost heartbeats and when a trigger moves; the task is
    then running, deferred, queued, scheduled or up for retry, and the job has to go on.
    """
    return state in CANCELLING_STATES


def start_of_attempt(
    key: JobKey,
    found: Sequence[FoundJob],
    *,
    try_number: int,
    run_started: datetime,
    record: Record | None = None,
    record_lost: bool = False,
    hidden: bool = False,
    can_restart: bool = False,
) -> Decision:
    """The start-of-attempt table.

    :param key: key of this attempt; its generation is not looked at.
    :param found: jobs of the task slot, any epoch, any order.
    :param try_number: of this attempt.
    :param run_started: older jobs of this slot belong to a deleted run with the same name.
    :param record: what earlier attempts of this slot persisted.
    :param record_lost: the record's job was asked for and has vanished.
    :param hidden: a submission may be missing from ``found`` still.
    :param can_restart: the adapter implements :class:`Restarts`.
    """
    of_this_run = [job for job in found if job.created_at >= run_started - CLOCK_SKEW]
    ours = [job for job in of_this_run if job.epoch == key.epoch]
    others = [job for job in found if job.epoch != key.epoch]
    # Epochs have no order (an edit of retries may lower them), tries have: a later try of another epoch
    # says that the task was cleared while this attempt stood still.
    later = [job for job in of_this_run if job.epoch != key.epoch and job.try_number > try_number]
    active = sorted((job for job in ours if job.status.state.active), key=seniority)
    if later:
        mine = [job for job in active if job.try_number <= try_number]
        return Decision(Action.STEP_BACK, later[0], cancel=mine, why="the task was cleared and runs again")
    superseded = [job for job in others if job.status.state.active]

    succeeded = sorted((job for job in ours if job.status.state is JobState.SUCCEEDED), key=seniority)
    kept = succeeded[0] if succeeded else active[0] if active else None
    if kept is not None:
        # A later attempt's job is that attempt's to cancel: this one may be a leftover.
        duplicates = [job for job in active if job is not kept and job.try_number <= try_number]
        action = Action.COLLECT if succeeded else Action.ATTACH
        return Decision(
            action, kept, kept.handle.generation, superseded + duplicates, kept.status.state.value
        )

    ended = max(ours, key=_telling, default=None)
    reached = -1 if ended is None else ended.handle.generation
    if record is not None and record.generation > reached:
        if record.ended is not None:
            return Decision(
                Action.SUBMIT,
                None,
                record.generation + 1,
                superseded,
                f"the previous job was seen {record.ended}",
            )
        if record_lost:
            return Decision(Action.LOST, None, record.generation, superseded, "the known job has vanished")
        if hidden:
            return Decision(
                Action.LOOK_AGAIN, None, record.generation, superseded, "a job may have been started"
            )
        return Decision(
            Action.SUBMIT, None, record.generation, superseded, "the intended job was never started"
        )
    if ended is not None:
        if ended.try_number == try_number:
            return Decision(Action.REPORT, ended, reached, superseded, "this attempt's own job has ended")
        if ended.status.restartable and can_restart:
            return Decision(Action.RESTART, ended, reached, superseded, "it can be continued in place")
        if ended.status.permanent:
            return Decision(Action.REPORT, ended, reached, superseded, "a retry cannot cure its failure")
    # An attempt submits once: where the previous one's job is known, nothing of it can be hidden.
    if hidden and (ended is None or ended.try_number < try_number - 1):
        return Decision(Action.LOOK_AGAIN, None, reached + 1, superseded, "a job may have been started")
    why = f"the previous job {ended.status.state}" if ended else "there is none yet"
    return Decision(Action.SUBMIT, None, reached + 1, superseded, why)


def unwanted_beside(
    known: JobHandle | None, key: JobKey, found: Sequence[FoundJob], try_number: int
) -> Sequence[FoundJob]:
    """What else to cancel when a person ends the task: active jobs of its slot, but not those of later tries."""
    return [
        job
        for job in found
        if job.status.state.active
        and job.epoch == key.epoch
        and job.try_number <= try_number
        and not (known is not None and job.handle.same_job(known))
    ]


def seniority(job: FoundJob) -> tuple[datetime, str]:
    """Order of age that every observer agrees on."""
    return job.created_at, json.dumps(dict(job.handle.ref), sort_keys=True)


def _telling(job: FoundJob) -> tuple[int, bool, int, tuple[datetime, str]]:
    """Which ended job speaks for the slot: a cancelled one may just be a duplicate of one that really failed."""
    return job.handle.generation, job.status.state is JobState.FAILED, job.try_number, seniority(job)

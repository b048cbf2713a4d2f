"""The contract between the engine and a remote system.

A :class:`JobAdapter` describes one remote job as JSON: it is built in the worker, rebuilt in the
triggerer and stored in trigger rows by its ``kind``, never by class path. It opens a
:class:`JobSession`, which is async only: the triggerer awaits it, the worker runs it on a portal
thread. Nothing here imports Airflow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from airflow_provider_mlops.connection import ConnectionInfo

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class JobState(StrEnum):
    """State of a remote job. An unknown remote word is RUNNING; a vanished job is ``status() -> None``."""

    PENDING = "pending"
    RUNNING = "running"
    #: Waits for a person or a policy; does not go on by itself.
    BLOCKED = "blocked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether the job may still change by itself or by a person."""
        return self in (JobState.PENDING, JobState.RUNNING, JobState.BLOCKED)


@dataclass(frozen=True, slots=True)
class JobKey:
    """Names one submission; the same key always means the same remote job.

    :param namespace: ``[mlops] namespace``.
    :param epoch: ``ti.max_tries``, raw. Constant over retries and crashes; Clear raises it. Never
        subtract ``retries``: an edited DAG would change the key in the middle of a run.
    :param generation: raised when a retry follows a job that really ended badly.
    :param nonce: distinguishes runs where Airflow repeats the run_id (``dags test`` on 2.11).
    """

    namespace: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    epoch: int
    generation: int = 0
    nonce: str = ""

    @property
    def task_slot(self) -> str:
        """Hash without the epoch: finds the jobs of earlier epochs (superseded by Clear). DNS-label safe."""
        return "af-" + _hash(
            self.namespace, self.dag_id, self.run_id, self.task_id, self.map_index, self.nonce
        )

    @property
    def slot(self) -> str:
        """Hash with the epoch: what :meth:`JobSession.find` searches for. DNS-label safe."""
        return "af-" + _hash(
            self.namespace, self.dag_id, self.run_id, self.task_id, self.map_index, self.nonce, self.epoch
        )

    def __str__(self) -> str:
        return f"{self.slot}-{self.generation}"

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


def _hash(*parts: str | int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class JobHandle:
    """Where a submitted job is. JSON, no secrets: it goes to trigger rows, XCom, the state store and links.

    :param generation: generation it was submitted as.
    :param ref: the adapter's own identification (project and pipeline id, pod name and uid, ...).
    :param url: page of the job, if the remote has one.
    :param deadline: Unix time after which the job is given up; fixed once, at submit.
    """

    generation: int
    ref: Mapping[str, Json]
    url: str | None = None
    deadline: float | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "generation": self.generation,
            "ref": dict(self.ref),
            "url": self.url,
            "deadline": self.deadline,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["generation"], data["ref"], data.get("url"), data.get("deadline"))

    def same_job(self, other: JobHandle) -> bool:
        """Whether both point at one remote job (page and deadline do not count)."""
        return dict(self.ref) == dict(other.ref)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the remote says of a job.

    :param reason: the remote's own word.
    :param detail: one line for the task log, written when it changes.
    :param restartable: FAILED, and :meth:`Restarts.restart` can continue it in place.
    :param permanent: FAILED for a reason that a retry cannot cure.
    :param not_before: asking sooner is useless.
    """

    state: JobState
    reason: str = ""
    detail: str = ""
    restartable: bool = False
    permanent: bool = False
    not_before: timedelta | None = None


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job that :meth:`JobSession.find` found.

    :param try_number: Airflow try that submitted it.
    :param epoch: epoch of the key that it carries; tells a superseded job from one of ours.
    """

    handle: JobHandle
    status: JobStatus
    try_number: int
    epoch: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Complete lines, and the opaque JSON cursor after them.

    :param not_before: while the job's state stays as it is, asking sooner shows nothing new.
    """

    lines: Sequence[str] = ()
    cursor: Json = None
    more: bool = False
    not_before: timedelta | None = None


@dataclass(frozen=True, slots=True)
class WatchedJob:
    """A job that somebody waits for, and the key that it carries.

    :param key: its key; the generation is the handle's.
    :param try_number: Airflow try that waits for it.
    :param since: earlier jobs of the task slot are of no interest.
    """

    handle: JobHandle
    key: JobKey
    try_number: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly a remote keeps our key.

    :param kind: ``unique`` (the remote refuses a duplicate name), ``keyed`` (the key is stored with
        the job and can be searched; never two left), ``weak`` (only circumstantial evidence), ``none``.
    :param explanation: one sentence for the task log.
    """

    kind: str
    explanation: str = ""

    UNIQUE: ClassVar[str] = "unique"
    KEYED: ClassVar[str] = "keyed"
    WEAK: ClassVar[str] = "weak"
    NONE: ClassVar[str] = "none"


class JobSession(Protocol):
    """Open connection to the remote for one adapter. Every method raises TemporaryError or PermanentError, nothing else."""

    async def strength(self, key: JobKey) -> Strength:
        """How the key will be kept, decided before the first submission (may ask the remote once)."""
        ...

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        """Start the job, marked with slot, task slot, epoch, generation and try.

        :raises TemporaryError: nothing was started.
        :raises SubmitUncertain: the answer was lost; the engine looks for the job before it submits again.
        """
        ...

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        """Jobs of ``key.slot`` (with ``any_epoch``: of ``key.task_slot``) created after ``since``, newest first, whatever their state.

        Only jobs that carry the key, never mere evidence: the engine cancels superseded ones. Nothing
        where the remote does not keep the key.
        """
        ...

    async def status(self, handle: JobHandle) -> JobStatus | None:
        """State now, or ``None`` if the job has vanished."""
        ...

    async def result(self, handle: JobHandle) -> Mapping[str, Json]:
        """Result of a SUCCEEDED job. Repeatable."""
        ...

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        """The typed error for a FAILED or CANCELLED job, with its evidence. Repeatable."""
        ...

    async def cancel(self, handle: JobHandle) -> None:
        """Cancel the job. Harmless on a finished one; never somebody else's."""
        ...


@runtime_checkable
class StreamsLogs(Protocol):
    """Optional: the remote's log can be read piece by piece."""

    async def logs(self, handle: JobHandle, cursor: Json) -> LogBatch:
        """Lines after ``cursor`` (``None``: from the start)."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """Optional: a failed job can be continued in place."""

    async def restart(self, handle: JobHandle) -> JobHandle:
        """Continue the failed job; same generation."""
        ...


@runtime_checkable
class Releases(Protocol):
    """Optional: the remote keeps something that can be freed once the outcome is persisted."""

    async def release(self, handle: JobHandle, status: JobStatus) -> None:
        """Free it. Called only after the outcome is persisted; must be harmless when repeated."""
        ...


class JobAdapter(Protocol):
    """One remote job, as JSON."""

    #: Name in the registry, such as ``gitlab.pipeline``.
    kind: ClassVar[str]

    @property
    def conn_ids(self) -> Sequence[str]:
        """Airflow connections that :meth:`session` needs; the caller reads them beforehand."""
        ...

    @property
    def settle_time(self) -> timedelta:
        """How long a fresh job may be missing from listings (zero where the remote is consistent)."""
        ...

    def to_json(self) -> dict[str, Json]:
        """Everything needed to rebuild the adapter; no secrets."""
        ...

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self: ...

    def session(self, connections: Mapping[str, ConnectionInfo]) -> AbstractAsyncContextManager[JobSession]:
        """Open a session with the connections named by :attr:`conn_ids`."""
        ...


@runtime_checkable
class WatchesMany(Protocol):
    """Optional, on adapters: many jobs can be asked for at once by one shared poller."""

    @property
    def poll_group(self) -> str:
        """Jobs with the same group (connection and project) share one poller in a triggerer."""
        ...

    async def statuses(
        self, session: JobSession, handles: Sequence[JobHandle]
    ) -> Mapping[int, JobStatus | None]:
        """States by index into ``handles``; an index that is missing was not learned this time."""
        ...


@runtime_checkable
class FindsMany(Protocol):
    """Optional, on adapters that watch many: the jobs of many keys can be searched for at once."""

    async def find_many(
        self, session: JobSession, wanted: Sequence[WatchedJob], watched: Sequence[WatchedJob]
    ) -> Sequence[Sequence[FoundJob]]:
        """For each of ``wanted``, the jobs of its task slot that a look at its submission may have missed.

        :param watched: other jobs of the group whose keys are known, so that nobody needs to ask for them.
        """
        ...

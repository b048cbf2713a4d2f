"""A remote system in memory, and an adapter for it: jobs follow a script of states, calls can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import JobCancelled, PermanentError
from airflow_provider_mlops.external_job import registry
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Json,
    LogBatch,
    Strength,
    WatchedJob,
)

KIND = "test.job"


class ScriptFailed(PermanentError):
    """The fake job failed."""


@dataclass
class FakeJob:
    number: int
    key: JobKey
    try_number: int
    #: States still to come; the last one stays.
    script: list[str]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: list[str] = field(default_factory=list)
    cancelled: bool = False

    @property
    def state(self) -> JobState:
        return JobState.CANCELLED if self.cancelled else JobState(self.script[0])

    @property
    def handle(self) -> JobHandle:
        return JobHandle(
            self.key.generation, {"number": self.number}, f"https://remote.example.com/{self.number}"
        )


@dataclass
class FakeRemote:
    script: list[str] = field(default_factory=lambda: ["running", "succeeded"])
    lines: list[str] = field(default_factory=list)
    strength: str = Strength.KEYED
    jobs: list[FakeJob] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    #: How many jobs the last search for many was told of.
    watched: int = 0
    passwords: list[str | None] = field(default_factory=list)
    #: Errors to raise, by call, first come first served.
    errors: dict[str, list[Exception]] = field(default_factory=dict)
    many: bool = False

    def called(self, name: str) -> None:
        self.calls.append(name)
        if self.errors.get(name):
            raise self.errors[name].pop(0)

    def job(self, handle: JobHandle) -> FakeJob:
        return next(job for job in self.jobs if job.number == handle.ref["number"])

    def look(self, job: FakeJob) -> JobStatus:
        if len(job.script) > 1:
            state = job.state
            job.script.pop(0)
            return JobStatus(state)
        return JobStatus(job.state)


REMOTES: dict[str, FakeRemote] = {}


@dataclass
class FakeSession:
    remote: FakeRemote

    async def strength(self, key: JobKey) -> Strength:
        return Strength(self.remote.strength, "as the test says")

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        self.remote.called("submit")
        job = FakeJob(len(self.remote.jobs) + 1, key, try_number, list(self.remote.script))
        job.lines = list(self.remote.lines)
        self.remote.jobs.append(job)
        return job.handle

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        self.remote.called("find")
        return self.found(key, since, any_epoch=any_epoch)

    def found(self, key: JobKey, since: datetime, *, any_epoch: bool) -> Sequence[FoundJob]:
        if self.remote.strength == Strength.NONE:
            return []
        return [
            FoundJob(job.handle, JobStatus(job.state), job.try_number, job.key.epoch, job.created_at)
            for job in reversed(self.remote.jobs)
            if job.created_at >= since
            and (job.key.task_slot == key.task_slot if any_epoch else job.key.slot == key.slot)
        ]

    async def status(self, handle: JobHandle) -> JobStatus | None:
        self.remote.called("status")
        return self.remote.look(self.remote.job(handle))

    async def result(self, handle: JobHandle) -> Mapping[str, Json]:
        self.remote.called("result")
        return {"number": handle.ref["number"]}

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        if status.state is JobState.CANCELLED:
            return JobCancelled("job was cancelled", url=handle.url)
        return ScriptFailed("job failed", url=handle.url)

    async def cancel(self, handle: JobHandle) -> None:
        self.remote.called("cancel")
        self.remote.job(handle).cancelled = True

    async def logs(self, handle: JobHandle, cursor: Json) -> LogBatch:
        start = cursor if isinstance(cursor, int) else 0
        lines = self.remote.job(handle).lines[start : start + 2]
        end = start + len(lines)
        return LogBatch(lines, end, end < len(self.remote.job(handle).lines))


@dataclass
class FakeAdapter:
    remote: str
    conn_id: str | None = None
    settle: float = 0.0
    extra: Any = None
    kind: ClassVar[str] = KIND

    @property
    def conn_ids(self) -> Sequence[str]:
        return [self.conn_id] if self.conn_id else []

    @property
    def settle_time(self) -> timedelta:
        return timedelta(seconds=self.settle)

    def to_json(self) -> dict[str, Json]:
        return {"remote": self.remote, "conn_id": self.conn_id, "settle": self.settle, "extra": self.extra}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)

    @asynccontextmanager
    async def session(self, connections: Mapping[str, ConnectionInfo]) -> AsyncIterator[FakeSession]:
        remote = REMOTES[self.remote]
        remote.calls.append("open")
        remote.passwords += [info.password for info in connections.values()]
        yield FakeSession(remote)
        remote.calls.append("close")


class GroupAdapter(FakeAdapter):
    """The same, for many jobs at once."""

    kind: ClassVar[str] = "test.group"

    @property
    def poll_group(self) -> str:
        return self.remote

    async def statuses(
        self, session: FakeSession, handles: Sequence[JobHandle]
    ) -> Mapping[int, JobStatus | None]:
        session.remote.called("statuses")
        return {
            index: session.remote.look(session.remote.job(handle))
            for index, handle in enumerate(handles)
            if not session.remote.job(handle).lines
        }

    async def find_many(
        self, session: FakeSession, wanted: Sequence[WatchedJob], watched: Sequence[WatchedJob]
    ) -> Sequence[Sequence[FoundJob]]:
        session.remote.called("find_many")
        session.remote.watched = len(watched)
        return [session.found(job.key, job.since, any_epoch=True) for job in wanted]


registry.register(KIND, "tests.unit.external_job.fake_remote:FakeAdapter")
registry.register("test.group", "tests.unit.external_job.fake_remote:GroupAdapter")

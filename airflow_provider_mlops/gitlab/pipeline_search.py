"""Finding the pipelines that carry a job key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from airflow_provider_mlops.errors import PermissionDenied, RemoteObjectNotFound
from airflow_provider_mlops.external_job.adapter import FoundJob, JobKey, JobStatus, WatchedJob
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.entities import Entity, created_of, handle_of, parse_time, pipeline_id_of
from airflow_provider_mlops.gitlab.job_key import KEY_VARIABLE, Mark

#: Allowed difference between GitLab's clock and ours.
_CLOCK_SKEW = timedelta(minutes=1)

#: Whoever submits a pipeline looks right afterwards; what that look missed was created this shortly before.
_MISSED = timedelta(minutes=2)

#: Questions asked side by side.
_AT_ONCE = 8


class PipelineSearch:
    """Pipelines of one project and source by their marks. A mark never changes: each is read once.

    :param source: ``api`` or ``trigger``.
    :param state_of: turns an entity into the engine's state.
    """

    def __init__(
        self, client: GitlabClient, source: str, state_of: Callable[[Entity], Awaitable[JobStatus]]
    ) -> None:
        self._client = client
        self._source = source
        self._state_of = state_of
        self._marks: dict[int, Mark | None] = {}
        #: The mark is known to be in the pipeline's name or nowhere.
        self.by_name_only = False

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool) -> Sequence[FoundJob]:
        """Pipelines that carry the key, newest first."""
        rows = await self._rows(since)
        return await self._found([row for row in rows if row[1].belongs_to(key, any_epoch=any_epoch)])

    async def find_many(
        self, wanted: Sequence[WatchedJob], watched: Sequence[WatchedJob]
    ) -> Sequence[Sequence[FoundJob]]:
        """For each of ``wanted``, what the look at its submission may have missed, from one list."""
        for job in (*watched, *wanted):
            key = replace(job.key, generation=job.handle.generation)
            self._marks.setdefault(pipeline_id_of(job.handle), Mark.of(key, job.try_number))
        rows = await self._rows(min(_since(job) for job in wanted))
        slots: dict[str, list[tuple[Entity, Mark]]] = {}
        for row in rows:
            slots.setdefault(row[1].task_slot, []).append(row)
        return [await self._found(slots.get(job.key.task_slot, [])) for job in wanted]

    async def mark(self, row: Entity) -> Mark | None:
        """The mark of one pipeline, from its name or its variables."""
        number = row["id"]
        if mark := Mark.search(row.get("name")):
            return mark
        if number in self._marks:
            return self._marks[number]
        if self.by_name_only:
            return None
        try:
            variables = await self._client.variables(number)
        except PermissionDenied:
            # Started by another account: not ours.
            variables = []
        except RemoteObjectNotFound:
            # Listed, but not readable everywhere yet.
            return None
        values = (variable["value"] for variable in variables if variable["key"] == KEY_VARIABLE)
        self._marks[number] = Mark.search(next(values, None))
        return self._marks[number]

    async def _rows(self, since: datetime) -> list[tuple[Entity, Mark]]:
        if not self._client.has_token:
            return []
        created_after = (since - _CLOCK_SKEW).isoformat()
        rows = await self._client.pipelines(source=self._source, created_after=created_after)
        marked = []
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            # All are awaited, also when one fails: none may outlive the session.
            answers = await asyncio.gather(*map(self.mark, part), return_exceptions=True)
            for row, answer in zip(part, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                if answer is not None:
                    marked.append((row, answer))
        return marked

    async def _found(self, rows: Sequence[tuple[Entity, Mark]]) -> Sequence[FoundJob]:
        found = []
        for row, mark in rows:
            status = await self._state_of(row)
            created = parse_time(row["created_at"]) or datetime.now(UTC)
            found.append(
                FoundJob(handle_of(row, mark.generation), status, mark.try_number, mark.epoch, created)
            )
        return sorted(found, key=lambda job: job.created_at, reverse=True)


def _since(job: WatchedJob) -> datetime:
    created = created_of(job.handle)
    return max(job.since, datetime.fromtimestamp(created, UTC) - _MISSED) if created else job.since

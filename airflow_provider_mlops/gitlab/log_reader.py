"""Reads the logs of a pipeline's jobs piece by piece, so that no line is lost or shown twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    PermanentError,
    PermissionDenied,
    RemoteObjectNotFound,
)
from airflow_provider_mlops.external_job.adapter import Json, LogBatch
from airflow_provider_mlops.gitlab.client import LOG_WINDOW, GitlabClient
from airflow_provider_mlops.gitlab.downstream import Downstream, Node
from airflow_provider_mlops.gitlab.entities import Entity, parse_time
from airflow_provider_mlops.gitlab.log_text import (
    TAIL,
    LogPosition,
    find_continuation,
    is_last_word,
    render,
    take_lines,
)
from airflow_provider_mlops.gitlab.options import GitlabLogs
from airflow_provider_mlops.gitlab.pipeline_status import COMPLETE

#: How far around the expected place a moved log is searched.
_SEARCH = 8192

#: Windows read in one go; then the engine gets its turn.
_WINDOWS = 8

#: A list of jobs this young (seconds) is not asked for again.
_LIST_AGE = 0.5

#: How often a list of jobs is asked for that says "running" after the pipeline's end.
_STALE_LOOKS = 5

#: A runner's last words may arrive this much later than the job's last state.
_LATE_WORDS = 3.0
_LATE_WORDS_AGE = 60.0

_WITHOUT_LOG = frozenset(
    {"created", "waiting_for_resource", "preparing", "pending", "manual", "scheduled", "skipped"}
)


def wants(logs: GitlabLogs, job: Mapping[str, Any], label: str) -> bool:
    """Whether the log of this job is shown at all.

    :param label: the job's name, behind those of the trigger jobs that lead to it.
    """
    if job["status"] in _WITHOUT_LOG or not job.get("started_at"):
        return False
    if logs.jobs == "failed":
        return str(job["status"]) == "failed"
    if isinstance(logs.jobs, str):
        return logs.jobs == "all"
    return job["name"] in logs.jobs or label in logs.jobs


@dataclass(frozen=True, slots=True)
class _Unread:
    """Unread bytes, at most one window.

    :param before: the bytes just before them.
    :param position: where they begin (another place than asked for, if the log moved).
    :param notes: lines for the task log that come first.
    """

    data: bytes
    before: bytes
    position: LogPosition
    notes: tuple[str, ...] = ()


class LogReader:
    """Reads on from a cursor that holds the position in every job's log.

    :param downstream: finds the pipelines whose logs are shown too.
    :param now: monotonic seconds.
    """

    def __init__(
        self,
        client: GitlabClient,
        policy: GitlabLogs,
        downstream: Downstream,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._policy = policy
        self._downstream = downstream
        self._now = now
        self._due: dict[int, float] = {}
        self._left: dict[int, bytes] = {}
        self._late_since: dict[int, float] = {}
        self._listed: dict[int, tuple[float, bool, list[Entity]]] = {}

    async def read(self, pipeline_id: int, cursor: Json, *, over: bool = False) -> LogBatch:
        """New lines since ``cursor`` of all jobs.

        :param over: the pipeline is known to have ended: a list of jobs that says otherwise is stale.
        """
        if self._policy.jobs == "none":
            return LogBatch((), cursor, not_before=timedelta.max)
        positions: dict[str, Any] = dict(cursor) if isinstance(cursor, Mapping) else {}
        lines: list[str] = []
        jobs = await self._all_jobs(pipeline_id, over=over)
        more = await self._read_jobs(jobs, positions, lines)
        if not more and any(self._is_late(job, positions) for _, job in jobs):
            await asyncio.sleep(_LATE_WORDS)
            more = await self._read_jobs(jobs, positions, lines)
        return LogBatch(lines, positions, more, timedelta(seconds=self._policy.interval))

    async def tail(self, client: GitlabClient, job_id: int, count: int) -> list[str]:
        """The last ``count`` lines of an ended job's log; none if it cannot be read.

        :param client: of the job's project.
        """
        data, offset = b"", 0
        try:
            while offset < self._policy.max_bytes:
                part = await client.log(job_id, offset, LOG_WINDOW)
                data, offset = (data + part)[-2 * LOG_WINDOW :], offset + len(part)
                if len(part) < LOG_WINDOW:
                    break
        except PermanentError:
            return []
        shown, _ = render(take_lines(data, ended=True)[0], "", ())
        words = [line.strip() for line in shown if not line.startswith("::")]
        return [line for line in words if line][-count:]

    async def _all_jobs(self, pipeline_id: int, *, over: bool) -> list[tuple[Node, Entity]]:
        root = Node(self._client, pipeline_id)
        jobs = await self._jobs(root, over=over)
        found = [(root, job) for job in jobs]
        for node in await self._downstream.below(root, jobs, over=over):
            try:
                found += [(node, job) for job in await self._jobs(node, over=over)]
            except (RemoteObjectNotFound, PermissionDenied) as error:
                self._downstream.hide(node, error)
        return found

    async def _jobs(self, node: Node, *, over: bool) -> list[Entity]:
        pipeline_id = node.pipeline_id
        at, was_over, jobs = self._listed.get(pipeline_id, (float("-inf"), False, []))
        # Between two stages no job runs either: a list from before the end does not do.
        if self._now() - at < _LIST_AGE and (not over or (was_over and _at_rest(jobs))):
            return jobs
        for _ in range(_STALE_LOOKS):
            jobs = sorted(await node.client.jobs(pipeline_id, retried=True), key=lambda job: int(job["id"]))
            if not over or _at_rest(jobs) or await self._only_triggers(node, jobs):
                break
            await asyncio.sleep(1.0)
        self._listed[pipeline_id] = (self._now(), over, jobs)
        return jobs

    async def _only_triggers(self, node: Node, jobs: Sequence[Entity]) -> bool:
        return not jobs and bool(await self._downstream.trigger_jobs(node, known=False))

    async def _read_jobs(
        self, jobs: Sequence[tuple[Node, Entity]], positions: dict[str, Any], lines: list[str]
    ) -> bool:
        windows = 0
        for node, job in jobs:
            position = _position(job, positions)
            due = job["status"] in COMPLETE or self._now() >= self._due.get(job["id"], float("-inf"))
            if position.done or not due or not wants(self._policy, job, node.label(job["name"])):
                continue
            more = True
            while more:
                if windows >= _WINDOWS:
                    return True
                windows += 1
                new, position, more = await self._read_on(node, job, position)
                lines += new
                positions[str(job["id"])] = position.to_json()
            self._due[job["id"]] = self._now() + self._policy.interval
        return False

    def _is_late(self, job: Entity, positions: Mapping[str, Any]) -> bool:
        return job["id"] in self._late_since and not _position(job, positions).done

    async def _read_on(
        self, node: Node, job: Entity, position: LogPosition
    ) -> tuple[list[str], LogPosition, bool]:
        prefix = f"[{node.label(job['stage'] + '/' + job['name'])}]"
        try:
            unread = await self._unread(node.client, job, position, prefix)
        except CredentialsRejected:
            # Whoever renews the token gets the rest of the log.
            raise
        except PermanentError as error:
            if isinstance(error, RemoteObjectNotFound) and job["status"] not in COMPLETE:
                return [], position, False
            return [f"{prefix} The log cannot be read: {error.message}"], replace(position, done=True), False
        data = unread.data
        full = len(data) >= LOG_WINDOW
        ended = not full and job["status"] in COMPLETE and not self._ends_late(job, data)
        lines, used = take_lines(data, ended=ended, settled=self._left.get(job["id"]) == data)
        if full and not lines:
            lines, used = take_lines(data, ended=False, overlong=True)
        self._left[job["id"]] = data[used:]
        shown, sections = render(lines, prefix, unread.position.sections)
        offset = unread.position.offset + used
        position = replace(
            unread.position.after(unread.before + data[:used], offset), sections=sections, done=ended
        )
        if offset >= self._policy.max_bytes and not ended:
            shown.append(f"{prefix} The log is cut after {offset} bytes; the rest is at {job.get('web_url')}")
            position, full = replace(position, done=True), False
        return [*unread.notes, *shown], position, full

    def _ends_late(self, job: Entity, data: bytes) -> bool:
        """Whether the runner's last words are still to come: they are sent around the job's last state."""
        finished = parse_time(job.get("finished_at"))
        if finished is None or (datetime.now(UTC) - finished).total_seconds() > _LATE_WORDS_AGE:
            return False
        if any(is_last_word(line) for line in take_lines(data, ended=True)[0][-3:]):
            return False
        return self._now() - self._late_since.setdefault(job["id"], self._now()) < _LATE_WORDS

    async def _unread(self, client: GitlabClient, job: Entity, position: LogPosition, prefix: str) -> _Unread:
        window = await client.log(job["id"], position.start, LOG_WINDOW + position.tail)
        place = find_continuation(window[: position.tail], position, position.tail)
        if place is not None:
            return _Unread(window[place:], window[:place], position)
        if not window and job.get("erased_at"):
            return _Unread(b"", b"", position)
        start = max(position.start - _SEARCH, 0)
        window = await client.log(job["id"], start, LOG_WINDOW + 2 * _SEARCH)
        place = find_continuation(window[: 2 * _SEARCH + TAIL], position, position.offset - start)
        if place is not None:
            moved = replace(position, offset=start + place)
            return _Unread(window[place : place + LOG_WINDOW], window[max(place - TAIL, 0) : place], moved)
        window = await client.log(job["id"], 0, LOG_WINDOW)
        note = f"{prefix} GitLab has rewritten this log; it is repeated from its start"
        return _Unread(window, b"", LogPosition(), (note,))


def _at_rest(jobs: Sequence[Entity]) -> bool:
    """Whether no job runs, as it has to be once the pipeline is over; an empty list is not known to be whole."""
    return bool(jobs) and all(job["status"] in COMPLETE or job["status"] in _WITHOUT_LOG for job in jobs)


def _position(job: Entity, positions: Mapping[str, Any]) -> LogPosition:
    known = positions.get(str(job["id"]))
    return LogPosition.from_json(known) if known else LogPosition()

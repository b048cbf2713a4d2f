"""Triggers for event-driven scheduling."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_mlops.base.hook import aconnection_info
from airflow_provider_mlops.compat import AIRFLOW_3, BaseEventTrigger, TriggerEvent
from airflow_provider_mlops.errors import InvalidArgument, MlopsError, TemporaryError
from airflow_provider_mlops.gitlab.access import GitlabAccess, project_path
from airflow_provider_mlops.gitlab.client import open_client
from airflow_provider_mlops.gitlab.entities import Entity
from airflow_provider_mlops.gitlab.pipeline_events import OVERLAP, EndedPipelines, PipelineFilter, event_of

log = logging.getLogger(__name__)

#: Seconds between two writes of the cursor while nothing fires.
_CURSOR_EVERY = timedelta(minutes=5)

#: Seconds after a failure before GitLab is asked again; the connection is read anew then.
_AFTER_FAILURE = 30.0


class GitlabPipelineEventTrigger(BaseEventTrigger):
    """For :class:`AssetWatcher`: an event for each pipeline of a project that comes to an end.

    Each end is one event; a pipeline that is retried in GitLab may end again. From Airflow 3.3 on all watchers of one
    connection, project and interval share one list request per interval, and what was seen is kept with the asset: a
    watcher that is started again goes on from there, and repeats an event only if it was killed between the event
    and the note of it. Before 3.3 nothing is kept: set ``look_back`` to bridge restarts of the triggerer, at the
    price of repeated events. A watcher never gives up: while GitLab cannot be asked, or refuses, it says why in the
    triggerer's log and asks again.

    The payload of the event has ``pipeline_id``, ``status``, ``ref``, ``sha``, ``url``, ``source``, ``name``,
    ``project``, ``project_id`` and ``ended_at``. Child pipelines have no events of their own.

    :param project: number or full path.
    :param ref: branch or tag, or a shell-style pattern such as ``"release/*"``; default: all.
    :param source: GitLab's word, such as ``push``, ``schedule`` or ``api``; default: all.
    :param statuses: some of ``success``, ``failed``, ``canceled``, ``skipped``; default: all of them.
    :param name: the pipeline's name (``workflow:name``), or a pattern; default: all.
    :param poll_interval: seconds between two questions.
    :param look_back: seconds before the start of the watcher in which pipelines may have ended.
    :param gitlab_conn_id: connection of type ``gitlab`` with an access token of scope ``read_api``.

    :raises InvalidArgument: an argument is wrong, or this is Airflow 2, which has no asset watchers.
    """

    def __init__(
        self,
        *,
        project: str | int,
        ref: str | None = None,
        source: str | None = None,
        statuses: Sequence[str] | None = None,
        name: str | None = None,
        poll_interval: float = 30.0,
        look_back: float = 0.0,
        gitlab_conn_id: str = "gitlab_default",
    ) -> None:
        if not AIRFLOW_3:
            raise InvalidArgument(
                "GitlabPipelineEventTrigger: Airflow 2 has no asset watchers",
                next_step="Use a GitlabPipelineSensor, or Airflow 3.",
            )
        super().__init__()  # type: ignore[no-untyped-call]
        project_path(project)
        if poll_interval <= 0 or look_back < 0:
            raise InvalidArgument(
                f"poll_interval is {poll_interval}, look_back is {look_back}", next_step="Give seconds."
            )
        PipelineFilter.checked(ref=ref, source=source, statuses=statuses, name=name)
        self.project = project
        self.ref = ref
        self.source = source
        self.statuses = list(statuses) if statuses is not None else None
        self.name = name
        self.poll_interval = poll_interval
        self.look_back = look_back
        self.gitlab_conn_id = gitlab_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and JSON arguments."""
        return (
            "airflow_provider_mlops.gitlab.triggers.GitlabPipelineEventTrigger",
            {
                "project": self.project,
                "ref": self.ref,
                "source": self.source,
                "statuses": self.statuses,
                "name": self.name,
                "poll_interval": self.poll_interval,
                "look_back": self.look_back,
                "gitlab_conn_id": self.gitlab_conn_id,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """Watchers of one connection, project and interval share their questions (Airflow 3.3)."""
        return ("gitlab.pipelines", self.gitlab_conn_id, str(self.project), self.poll_interval)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Pipelines that changed lately, in batches; the same ones come again for a while."""
        interval = kwargs["poll_interval"]
        overlap = OVERLAP + timedelta(seconds=2 * interval)
        asked_from = datetime.now(UTC)
        while True:
            asked_at = datetime.now(UTC)
            rows, pause = await _changed_since(
                kwargs["gitlab_conn_id"], kwargs["project"], asked_from - overlap
            )
            if rows is not None:
                asked_from = asked_at
                yield rows
            await asyncio.sleep(max(interval, pause))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """This watcher's events from the batches."""
        wanted = PipelineFilter.checked(
            ref=self.ref, source=self.source, statuses=self.statuses, name=self.name
        )
        started = datetime.now(UTC) - timedelta(seconds=self.look_back)
        ended = EndedPipelines(wanted, started)
        cursor = _Cursor(self)
        if (known := await cursor.load()) is not None:
            ended.resume(known)
        if ended.since < datetime.now(UTC) - OVERLAP:
            # What the shared batches do not reach back to.
            for event in self._events(ended, await self._backlog(ended.since)):
                yield event
        async for rows in shared_stream:
            events = self._events(ended, rows)
            for event in events:
                yield event
            await cursor.save(ended, urgent=bool(events))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same with questions of its own, where nothing is shared (Airflow before 3.3)."""
        stream = type(self).open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event

    def _events(self, ended: EndedPipelines, rows: Sequence[Entity]) -> list[TriggerEvent]:
        return [TriggerEvent(event_of(row, self.project)) for row in ended.take(rows)]  # type: ignore[no-untyped-call]

    async def _backlog(self, since: datetime) -> Sequence[Entity]:
        while True:
            rows, pause = await _changed_since(self.gitlab_conn_id, self.project, since)
            if rows is not None:
                return rows
            await asyncio.sleep(max(self.poll_interval, pause))


class _Cursor:
    """What was seen, kept with the asset where Airflow keeps something with assets (3.3)."""

    def __init__(self, trigger: GitlabPipelineEventTrigger) -> None:
        self._store: Any = getattr(trigger, "asset_state_store", None)
        text = json.dumps(trigger.serialize()[1], sort_keys=True)
        self._key = f"airflow_provider_mlops.gitlab.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._saved_at = datetime.fromtimestamp(0, UTC)

    async def load(self) -> dict[str, Any] | None:
        if self._store is None:
            return None
        try:
            known = await self._store.aget(self._key)
        except ValueError:
            # One trigger may serve several assets; then there is no asset of its own to keep something with.
            self._store = None
            return None
        return known if isinstance(known, dict) else None

    async def save(self, ended: EndedPipelines, *, urgent: bool) -> None:
        if self._store is None or not (urgent or datetime.now(UTC) - self._saved_at >= _CURSOR_EVERY):
            return
        await self._store.aset(self._key, ended.to_json())
        self._saved_at = datetime.now(UTC)


async def _changed_since(
    conn_id: str, project: str | int, since: datetime
) -> tuple[Sequence[Entity] | None, float]:
    """Pipelines that changed since then, or ``None`` and how long to wait before GitLab is asked again."""
    try:
        access = GitlabAccess.from_connection(await aconnection_info(conn_id))
        async with open_client(access, project) as client:
            rows = await client.pipelines(updated_after=since.isoformat(), order_by="updated_at")
    except MlopsError as error:
        log.warning("Watching the pipelines of %r: %s", project, error)
        delay = error.delay if isinstance(error, TemporaryError) else None
        return None, max(_AFTER_FAILURE, delay.total_seconds() if delay else 0.0)
    return rows, 0.0

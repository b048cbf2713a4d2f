"""The trigger that watches one remote job for a deferred task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from airflow_provider_mlops import config
from airflow_provider_mlops.base.hook import aconnection_info
from airflow_provider_mlops.compat import AIRFLOW_3_3, BaseTrigger, TriggerEvent, atask_state
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.external_job import registry
from airflow_provider_mlops.external_job.adapter import JobAdapter, JobHandle, Json, WatchesMany
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import may_cancel
from airflow_provider_mlops.external_job.engine import Engine
from airflow_provider_mlops.external_job.events import JobEvent
from airflow_provider_mlops.external_job.killing import cancel_unwanted
from airflow_provider_mlops.external_job.pacing import Pace
from airflow_provider_mlops.external_job.polling import shared_poller
from airflow_provider_mlops.external_job.portal import WallClock

#: Seconds for a cancellation in :meth:`ExternalJobTrigger.on_kill`; Airflow allows 30.
_KILL_SECONDS = 20.0
#: Before 3.3 only these states tell, in ``cleanup``, that nobody wants the job any more.
_ENDED_STATES = frozenset({"failed", "success", "skipped"})


class ExternalJobTrigger(BaseTrigger):
    """Watch a remote job until it ends, vanishes or meets its deadline; write its log meanwhile.

    The row holds JSON and connection ids, never a credential. The event is a wake-up call: the operator
    asks the remote itself.

    :param kind: kind of the adapter, see :mod:`registry`.
    :param home: ``"module:Class"`` of an adapter that is not built in; ``None`` for those that are.
    :param adapter: the adapter as JSON.
    :param handle: the job, with its deadline.
    :param attempt: the attempt that waits, to look for duplicates and to ask for the task's state; ``None``
        for a mere watcher (a sensor), which never cancels.
    :param cursor: the log up to here has been written.
    :param poll_interval: seconds between two looks; ``None``: ``[mlops] poll_interval``.
    :param cancel_on_kill: cancel the job when a person ends the task while it is deferred.
    """

    def __init__(
        self,
        *,
        kind: str,
        adapter: dict[str, Any],
        handle: dict[str, Any],
        home: str | None = None,
        attempt: dict[str, Any] | None = None,
        cursor: Json = None,
        poll_interval: float | None = None,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.adapter = adapter
        self.handle = handle
        self.home = home
        self.attempt = attempt
        self.cursor = cursor
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self._woken = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and JSON arguments."""
        return (
            "airflow_provider_mlops.external_job.triggers.ExternalJobTrigger",
            {
                "kind": self.kind,
                "adapter": self.adapter,
                "handle": self.handle,
                "home": self.home,
                "attempt": self.attempt,
                "cursor": self.cursor,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch; yield one event and return."""
        handle = JobHandle.from_json(self.handle)
        try:
            event = await self._watch(handle)
        except MlopsError as error:
            self.log.warning("Watching %s stopped: %s", self.kind, error)
            event = JobEvent("failed", handle, self.cursor, f"{type(error).__name__}: {error}")
        self._woken = True
        yield TriggerEvent(event.to_json())  # type: ignore[no-untyped-call]

    async def _watch(self, handle: JobHandle) -> JobEvent:
        adapter = self._adapter()
        interval = timedelta(seconds=self.poll_interval) if self.poll_interval else config.poll_interval()
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(adapter.session(await _connections(adapter)))
            group = None
            if isinstance(adapter, WatchesMany):
                group = await stack.enter_async_context(
                    shared_poller(
                        adapter,
                        lambda: _connections(adapter),
                        interval.total_seconds(),
                    )
                )
            engine = Engine(
                session,
                self.kind,
                WallClock(),
                Pace(interval, config.error_budget(), config.retry_after_cap()),
                adapter.settle_time,
                say=lambda text: self.log.info("%s", text),
                line=lambda text: self.log.info("%s", text),
            )
            attempt = Attempt.from_json(self.attempt) if self.attempt is not None else None
            # A triggerer closes a trigger's log when it ends and drops lines that are still on their way:
            # the worker that resumes the task writes the end of the log.
            waited = await engine.wait(attempt, handle, cursor=self.cursor, group=group, leave_end=True)
        return JobEvent(waited.outcome.value, waited.handle, waited.cursor)

    async def on_kill(self) -> None:
        """Airflow 3.3: cancel the job if nobody wants it any more. Also called when the trigger just moves."""
        await self._cancel_if(may_cancel)

    async def cleanup(self) -> None:
        """Runs at every exit. Before 3.3, where there is no ``on_kill``, cancel if the task has ended meanwhile."""
        if not AIRFLOW_3_3 and not self._woken:
            await self._cancel_if(lambda state: state in _ENDED_STATES)

    async def _cancel_if(self, unwanted: Any) -> None:
        if self.attempt is None or not self.cancel_on_kill:
            return
        attempt = Attempt.from_json(self.attempt)
        key = attempt.key
        handle = JobHandle.from_json(self.handle)
        async with asyncio.timeout(_KILL_SECONDS):
            try:
                state = await atask_state(key.dag_id, key.run_id, key.task_id, key.map_index)
            except Exception as error:  # noqa: BLE001 - whatever Airflow raises: an unanswered question cancels nothing
                self.log.warning("The task's state is unknown (%s): %s goes on", error, self.kind)
                return
            if not unwanted(state):
                self.log.info("The task is %s: %s goes on", state, self.kind)
                return
            self.log.info(
                "The task is %s: cancelling %s %s", state, self.kind, handle.url or dict(handle.ref)
            )
            adapter = self._adapter()
            async with adapter.session(await _connections(adapter)) as session:
                await cancel_unwanted(session, attempt, handle)

    def _adapter(self) -> JobAdapter:
        return registry.rebuild(self.kind, self.adapter, self.home)


async def _connections(adapter: JobAdapter) -> Mapping[str, ConnectionInfo]:
    return {conn_id: await aconnection_info(conn_id) for conn_id in adapter.conn_ids}

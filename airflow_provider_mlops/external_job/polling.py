"""One poller for many waiting jobs: in one triggerer, N jobs of a group cost about one question per interval.

Adapters that implement :class:`WatchesMany` name their group (connection and project). The first watcher
of a group starts its poller, the last one to leave ends it. A poller serves everyone who waits at its
next round; a job that the group's answer leaves out for long is asked for alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from airflow_provider_mlops.errors import MlopsError, TemporaryError
from airflow_provider_mlops.external_job.adapter import (
    JobAdapter,
    JobHandle,
    JobSession,
    JobStatus,
    WatchesMany,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_mlops.connection import ConnectionInfo

#: Rounds that may leave a job out before it is asked for alone.
_OVERLOOKED = 3
_JITTER = 0.15


class GroupAdapter(JobAdapter, WatchesMany, Protocol):
    """An adapter whose jobs can be asked for together."""


#: Reads the connections that a session needs.
ReadConnections = Callable[[], Awaitable["Mapping[str, ConnectionInfo]"]]


@dataclass(slots=True, eq=False)
class _Waiting:
    handle: JobHandle
    answer: asyncio.Future[JobStatus | None]
    overlooked: int = 0


@dataclass(slots=True)
class GroupPoller:
    """The shared poller of one group.

    :param adapter: any adapter of the group.
    :param read: reads its connections, anew for every session.
    :param interval: seconds between two questions.
    :param sleep: for tests.
    """

    adapter: GroupAdapter
    read: ReadConnections
    interval: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    members: int = 0
    _waiting: list[_Waiting] = field(default_factory=list)
    _awaited: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, handle: JobHandle) -> JobStatus | None:
        """State of one job at the next round. Raises what the round raised."""
        waiting = _Waiting(handle, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._awaited.set()
        try:
            return await waiting.answer
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def run(self) -> None:
        """Serve rounds until cancelled. A failed session is opened anew: its credentials may have been renewed."""
        while True:
            await self._awaited.wait()
            try:
                async with AsyncExitStack() as stack:
                    session = await stack.enter_async_context(self.adapter.session(await self.read()))
                    while True:
                        await self._awaited.wait()
                        await self._pause()
                        await self._round(session)
            except MlopsError as error:
                self._fail(error)
                delay = error.delay if isinstance(error, TemporaryError) else None
                await self._pause(delay.total_seconds() if delay else 0.0)
            except Exception as error:  # noqa: BLE001 - handed to every watcher, where it fails loudly
                self._fail(error)

    async def _pause(self, at_least: float = 0.0) -> None:
        spread = 1 + _JITTER * (2 * random.random() - 1)
        await self.sleep(max(self.interval * spread, at_least))

    async def _round(self, session: JobSession) -> None:
        asked = list(self._waiting)
        answers = await self.adapter.statuses(session, [waiting.handle for waiting in asked])
        for index, waiting in enumerate(asked):
            if index in answers:
                self._answer(waiting, answers[index])
                continue
            waiting.overlooked += 1
            if waiting.overlooked >= _OVERLOOKED:
                self._answer(waiting, await session.status(waiting.handle))
        if not self._waiting:
            self._awaited.clear()

    def _answer(self, waiting: _Waiting, status: JobStatus | None) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        if not waiting.answer.done():
            waiting.answer.set_result(status)

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiting:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        self._waiting.clear()
        self._awaited.clear()


_Group = tuple[int, str, str, float]
_pollers: dict[_Group, tuple[GroupPoller, asyncio.Task[None]]] = {}


@asynccontextmanager
async def shared_poller(
    adapter: GroupAdapter,
    read: ReadConnections,
    interval: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[GroupPoller]:
    """Join the poller of the adapter's group in this event loop; leave it at the end.

    :param interval: seconds between two questions; watchers with another interval form another group.
    """
    group = (id(asyncio.get_running_loop()), adapter.kind, adapter.poll_group, interval)
    if group not in _pollers:
        poller = GroupPoller(adapter, read, interval, sleep)
        # In a context of its own: the poller outlives the watcher that started it.
        task = asyncio.create_task(poller.run(), context=contextvars.Context())
        _pollers[group] = poller, task
    poller, task = _pollers[group]
    poller.members += 1
    try:
        yield poller
    finally:
        poller.members -= 1
        if not poller.members:
            del _pollers[group]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

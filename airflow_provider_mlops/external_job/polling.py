"""One poller for many waiting jobs: in one triggerer, N jobs of a group cost about one question per interval.

Adapters that implement :class:`WatchesMany` name their group (connection and project). The first watcher
of a group starts its poller, the last one to leave ends it. A poller wakes those whose job's state is
news, so that a round costs little where nothing has happened; a job that the group's answer leaves out for
long is asked for alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_mlops.errors import MlopsError, TemporaryError
from airflow_provider_mlops.external_job.adapter import (
    FindsMany,
    FoundJob,
    JobAdapter,
    JobHandle,
    JobSession,
    JobStatus,
    WatchedJob,
    WatchesMany,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_mlops.connection import ConnectionInfo

#: Rounds that may leave a job out before it is asked for alone.
_OVERLOOKED = 3
_JITTER = 0.15

T = TypeVar("T")


class GroupAdapter(JobAdapter, WatchesMany, Protocol):
    """An adapter whose jobs can be asked for together."""


#: Reads the connections that a session needs.
ReadConnections = Callable[[], Awaitable["Mapping[str, ConnectionInfo]"]]


@dataclass(slots=True, eq=False)
class _Waiting:
    handle: JobHandle
    known: JobStatus | None
    wake_at: float
    job: WatchedJob | None
    answer: asyncio.Future[JobStatus | None]
    overlooked: int = 0

    def is_due(self, status: JobStatus | None, now: float) -> bool:
        return self.known is None or status != self.known or now >= self.wake_at


@dataclass(slots=True, eq=False)
class _Searching:
    job: WatchedJob
    answer: asyncio.Future[Sequence[FoundJob]]


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
    _waiting: dict[_Waiting, None] = field(default_factory=dict)
    _searching: dict[_Searching, None] = field(default_factory=dict)
    _awaited: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(
        self,
        handle: JobHandle,
        *,
        known: JobStatus | None = None,
        patience: float = 0.0,
        job: WatchedJob | None = None,
    ) -> JobStatus | None:
        """State of one job, from the next round on which it is news. Raises what the round raised.

        :param known: a state that is no news.
        :param patience: seconds after which it is told nevertheless (at the nearest round).
        :param job: the same job with its key, for those who look for jobs meanwhile.
        """
        loop = asyncio.get_running_loop()
        wake_at = loop.time() + patience - self.interval / 2
        waiting = _Waiting(handle, known, wake_at, job, loop.create_future())
        self._waiting[waiting] = None
        self._awaited.set()
        try:
            return await waiting.answer
        finally:
            self._waiting.pop(waiting, None)

    async def find(self, job: WatchedJob) -> Sequence[FoundJob]:
        """Jobs of the same task slot, whatever their epoch, at the next round. Raises what the round raised."""
        searching = _Searching(job, asyncio.get_running_loop().create_future())
        self._searching[searching] = None
        self._awaited.set()
        try:
            return await searching.answer
        finally:
            self._searching.pop(searching, None)

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
        if asked:
            answers = await self.adapter.statuses(session, [waiting.handle for waiting in asked])
            now = asyncio.get_running_loop().time()
            for index, waiting in enumerate(asked):
                if index in answers:
                    waiting.overlooked = 0
                    status = answers[index]
                else:
                    waiting.overlooked += 1
                    if waiting.overlooked < _OVERLOOKED:
                        continue
                    status = await session.status(waiting.handle)
                if waiting.is_due(status, now):
                    self._waiting.pop(waiting, None)
                    _answer(waiting.answer, status)
        # Who was just woken may want to look for duplicates right away, not an interval later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self._search(session, [waiting.job for waiting in asked if waiting.job is not None])
        if not self._waiting and not self._searching:
            self._awaited.clear()

    async def _search(self, session: JobSession, watched: Sequence[WatchedJob]) -> None:
        searching = list(self._searching)
        if not searching:
            return
        if isinstance(self.adapter, FindsMany):
            wanted = [each.job for each in searching]
            found = await self.adapter.find_many(session, wanted, watched)
        else:
            found = [await session.find(each.job.key, each.job.since, any_epoch=True) for each in searching]
        for each, jobs in zip(searching, found, strict=True):
            self._searching.pop(each, None)
            _answer(each.answer, jobs)

    def _fail(self, error: Exception) -> None:
        answers: list[asyncio.Future[Any]] = [waiting.answer for waiting in self._waiting]
        answers += [searching.answer for searching in self._searching]
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
        self._waiting.clear()
        self._searching.clear()
        self._awaited.clear()


def _answer(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


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

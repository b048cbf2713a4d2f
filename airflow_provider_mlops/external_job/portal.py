"""Async from sync: coroutines on a portal thread while the main thread stays free for signals and Airflow.

``asyncio.run`` in ``execute`` is no alternative: an alarm raised inside a loop callback is swallowed there,
and ``on_kill`` could not use the loop. Calls into Airflow must come from the main thread (its channel to
the supervisor is not made for two), so a coroutine hands them back with :meth:`Portal.in_main_thread`.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")


class WallClock:
    """The engine's clock outside of tests."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@dataclass(slots=True)
class _MainCall(Generic[T]):
    """A function to run in the main thread, and where its answer goes."""

    call: Callable[[], T]
    answered: anyio.Event
    value: T | None = None
    error: Exception | None = None


class Portal:
    """An event loop in a thread of its own.

    Waiting happens in a lock that signals interrupt: an exception raised by a signal handler (timeout,
    SIGTERM) leaves :meth:`run` at once, and the coroutine is cancelled when the portal closes.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._inbox: queue.SimpleQueue[_MainCall[Any] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._portal = self._stack.enter_context(start_blocking_portal())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, trace)

    @property
    def open(self) -> bool:
        """Whether the loop runs."""
        return self._portal is not None

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run the coroutine function to its end; serve its calls into the main thread meanwhile."""
        future = self._start(call)
        # The wake-up: SimpleQueue.put is safe in whatever thread the future ends.
        inbox = self._inbox
        future.add_done_callback(lambda _: inbox.put(None))
        try:
            while not future.done():
                request = inbox.get()
                if request is not None:
                    self._serve(request)
        except BaseException:
            future.cancel()
            # What the cancelled coroutine still asked for must not be served later.
            self._inbox = queue.SimpleQueue()
            raise
        return future.result()

    def run_briefly(self, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Run a coroutine function beside the current :meth:`run`, for use in a signal handler.

        It must not need the main thread, which is the one that waits here.

        :raises TimeoutError: it was not done in time.
        """
        future = self._start(call)
        try:
            return future.result(timeout=seconds)
        except TimeoutError:
            future.cancel()
            raise

    async def in_main_thread(self, call: Callable[[], T]) -> T:
        """Have the main thread call a function, and await its answer."""
        request: _MainCall[T] = _MainCall(call, anyio.Event())
        self._inbox.put(request)
        await request.answered.wait()
        if request.error is not None:
            raise request.error
        return request.value  # type: ignore[return-value]

    def _start(self, call: Callable[[], Awaitable[T]]) -> Future[T]:
        if self._portal is None:
            raise RuntimeError("the portal is closed")
        return self._portal.start_task_soon(call)

    def _serve(self, request: _MainCall[Any]) -> None:
        try:
            request.value = request.call()
        except Exception as error:  # noqa: BLE001 - handed to the coroutine that asked
            request.error = error
        if self._portal is not None:
            self._portal.start_task_soon(_set, request.answered)


async def _set(event: anyio.Event) -> None:
    event.set()

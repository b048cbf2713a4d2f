"""Processes that can be killed or frozen at any await point of theirs."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """The process is gone; whatever it still tries has no effect."""


@dataclass(eq=False)
class Life:
    """Of one simulated process, on one event loop.

    :param kill_at: await point at which it is killed.
    :param freeze_at: await point at which it freezes.
    """

    kill_at: int | None = None
    freeze_at: int | None = None
    steps: int = 0
    dead: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    _thawed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._thawed.set()

    def kill(self) -> None:
        self.dead = True
        self.died.set()
        self._thawed.set()

    def freeze(self) -> None:
        self.frozen.set()
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def moving(self) -> None:
        """Returns while the process is not frozen."""
        await self._thawed.wait()

    def check(self) -> None:
        """:raises Killed: it is dead."""
        if self.dead:
            raise Killed

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            self.kill()
        if self.steps == self.freeze_at:
            self.freeze()

    @types.coroutine
    def lead(self, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Drive a coroutine as this process would."""
        value: Any = None
        error: BaseException | None = None
        ended = False
        while True:
            if not ended:
                self.step()
                while not self._thawed.is_set():
                    try:
                        yield from self._thawed.wait().__await__()
                    except asyncio.CancelledError as cancelled:
                        error = cancelled
                if self.dead:
                    # Its sockets close; that is all that it leaves behind.
                    ended, error = True, Killed()
            try:
                yielded = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as done:
                return done.value
            except BaseException:
                if ended:
                    # A task group would wrap it.
                    raise Killed from None
                raise
            value, error = None, None
            try:
                value = yield yielded
            except BaseException as raised:  # noqa: BLE001 - handed to the coroutine
                error = raised

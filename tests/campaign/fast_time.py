"""Time that passes :data:`SPEED` times as fast, so that settle times and backoffs need not be changed for tests."""

from __future__ import annotations

import asyncio
import selectors
import time

#: Seconds of the engine in one second of the wall clock.
SPEED = 40.0


class _Selector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None):  # type: ignore[no-untyped-def]
        return super().select(timeout / SPEED if timeout else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs fast."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return super().time() * SPEED


class FastPolicy(asyncio.DefaultEventLoopPolicy):
    """Makes every loop of a process a fast one."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return FastLoop()


class FastClock:
    """The engine's clock: right at ``start``, fast from then on."""

    def __init__(self, start: float) -> None:
        self.start = start

    def now(self) -> float:
        return self.fast(time.time())

    def fast(self, moment: float) -> float:
        """What this clock shows at a moment of the wall clock."""
        return self.start + (moment - self.start) * SPEED

    def real(self, moment: float) -> float:
        """The reverse."""
        return self.start + (moment - self.start) / SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def fast_monotonic() -> float:
    return time.monotonic() * SPEED

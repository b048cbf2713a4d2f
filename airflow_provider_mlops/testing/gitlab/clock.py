"""One thread that calls functions later."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Clock:
    """Timers that all end with :meth:`close`."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="gitlab-clock", daemon=True)
        self._thread.start()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call ``action`` in ``seconds``."""
        with self._condition:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._closed:
                    return
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._condition.wait(wait)
                    continue
                action = heapq.heappop(self._due)[2]
            action()

    def close(self) -> None:
        """Forget what is due and end the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

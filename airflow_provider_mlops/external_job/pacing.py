"""When to ask a remote job for its state again, and when to give up asking.

Decisions only: clock, sleep and randomness come from the caller, so tests run on fake time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from airflow_provider_mlops.errors import TemporaryError, WaitingFailed

#: A young job is asked for after this fraction of its age, so short jobs are noticed soon.
_AGE_FRACTION = 0.1
_SOONEST = 1.0
_JITTER = 0.15
_LONGEST_BACKOFF = 60.0


class Clock(Protocol):
    """Time, as the engine sees it."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How patiently a remote is asked.

    :param interval: between two looks at a job that has run for a while.
    :param error_budget: how long the remote may be unreachable before waiting fails.
    :param retry_after_cap: the longest ``Retry-After`` that is obeyed.
    """

    interval: timedelta = timedelta(seconds=15)
    error_budget: timedelta = timedelta(minutes=10)
    retry_after_cap: timedelta = timedelta(minutes=5)


def deadline_of(started: float, timeout: timedelta | None) -> float | None:
    """The moment at which a job that started at ``started`` is given up; ``None``: never."""
    return None if timeout is None else started + timeout.total_seconds()


def until(deadline: float | None, now: float) -> float:
    """Seconds left, not negative."""
    return float("inf") if deadline is None else max(deadline - now, 0.0)


@dataclass(slots=True)
class Pacer:
    """Chooses the next wait for one stream of questions.

    :param pace: settings.
    :param now: clock.
    :param random: uniform in [0, 1).
    """

    pace: Pace
    now: Callable[[], float]
    random: Callable[[], float] = random.random
    _failing_since: float | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    def after_answer(self, age: float, not_before: timedelta | None = None) -> float:
        """Seconds until the next question.

        :param age: seconds since this waiting began: early on it asks more often.
        :param not_before: the remote knows that asking sooner is useless (obeyed up to the Retry-After cap).
        """
        self._failing_since, self._failures = None, 0
        longest = self.pace.interval.total_seconds()
        wait = min(longest, max(_SOONEST, age * _AGE_FRACTION))
        if not_before is not None:
            wait = max(wait, min(not_before, self.pace.retry_after_cap).total_seconds())
        return self._jittered(wait)

    def after_error(self, error: TemporaryError, what: str) -> float:
        """Seconds until the next try after a transport error.

        :param what: what was asked, for the message.
        :raises WaitingFailed: errors have followed each other for longer than the budget.
        """
        now = self.now()
        if self._failing_since is None:
            self._failing_since = now
        budget = self.pace.error_budget.total_seconds()
        failing = now - self._failing_since
        if failing >= budget:
            raise WaitingFailed(
                f"{what}: no answer for {failing:.0f} s (budget {budget:.0f} s); the last error was: {error.message}",
                next_step="Check the remote and its connection; the next attempt finds the job and goes on.",
                url=error.url,
            ) from error
        self._failures += 1
        if error.delay is not None:
            return self._jittered(min(error.delay, self.pace.retry_after_cap).total_seconds(), shorter=False)
        backoff = min(_LONGEST_BACKOFF, _SOONEST * 2.0 ** min(self._failures, 10))
        return min(self._jittered(backoff), budget - failing)

    def _jittered(self, seconds: float, *, shorter: bool = True) -> float:
        """Spread over +-15 %, so that many tasks do not ask in step; upwards only where sooner is not allowed."""
        spread = 2 * self.random() - 1 if shorter else self.random()
        return seconds * (1 + _JITTER * spread)

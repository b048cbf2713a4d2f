"""How far a run is: a line now and then while it works, and one at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from airflow_provider_mlops.vector.embedding import RowMaker
    from airflow_provider_mlops.vector.indexing import Outcome

log = logging.getLogger(__name__)

#: Seconds between two lines. What is shorter than that says nothing.
LINE_SECONDS = 10.0
T = TypeVar("T")


class Progress:
    """One stretch of work, counted.

    :param subject: what the lines begin with: ``Index Docs``.
    :param counted: what is counted, and what becomes of it: ``chunks written``.
    :param total: how many there will be, where that is known.
    :param say: takes a line.
    :param clock: seconds, from any moment on.
    """

    def __init__(
        self,
        subject: str,
        counted: str,
        total: int | None = None,
        *,
        say: Callable[[str], None] = log.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subject, self._counted, self._total = subject, counted, total
        self._say, self._clock = say, clock
        self._done = 0
        self._started = clock()
        self._due = self._started + LINE_SECONDS

    def reach(self, done: int) -> None:
        """So many are done in all; says so if the last line is long enough ago."""
        self._done = done
        now = self._clock()
        if now >= self._due:
            self._due = now + LINE_SECONDS
            self._say(f"{self._subject}: {self._line(now - self._started)}")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each of them done when the next one is asked for.

        Whoever gathers them into batches is between two batches when the time for a line has come, so what the line
        says is what the batches so far have done.
        """
        for number, item in enumerate(items, start=1):
            yield item
            # Not more than this per item: a run without changes does little else.
            if self._clock() >= self._due:
                self.reach(number)

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds if seconds > 0 else 0.0
        if not self._total:
            return f"{self._done:,} {self._counted}, {_rate(rate)}"
        share = min(100 * self._done // self._total, 100)
        line = f"{self._done:,} of {self._total:,} {self._counted} ({share} %), {_rate(rate)}"
        left = max(self._total - self._done, 0)
        return f"{line}, about {duration(left / rate)} left" if rate else line


def summary(index: str, outcome: Outcome, maker: RowMaker) -> str:
    """What a run has done, in one line.

    :param maker: has counted what was embedded.
    """
    plan, found = outcome.plan, outcome.survey
    place = "live" if outcome.active else "not live"
    rate = found.chunks / outcome.seconds if outcome.seconds > 0 else 0.0
    return (
        f"Index {index}: {outcome.action}, version {outcome.version.name} ({place}) has {found.documents:,} documents "
        f"in {found.chunks:,} chunks: {plan.added:,} added, {plan.updated:,} updated, {plan.deleted:,} deleted; "
        f"{maker.embedded:,} embedded, {maker.cached:,} had their vector; {duration(outcome.seconds)}, {_rate(rate)}"
    )


def duration(seconds: float) -> str:
    """A time as people say it: ``0.4 s``, ``31 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s" if per_second >= 9.95 else f"{per_second:.1f}/s"

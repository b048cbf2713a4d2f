"""Sending rows to a build: again while answers are lost, not on after a refusal, and confirmed in few commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import ObjectsRefused, WritesUnconfirmed
from airflow_provider_mlops.vector.stores.base import Build, Joined, Row, Written

#: How often a portion is sent before the run gives up, and the longest pause in between (seconds).
TRIES = 7
LONGEST_PAUSE = 30.0
#: After so many seconds, or bytes of vectors and texts, what was sent is committed: so much work a kill can undo.
SECONDS_PER_COMMIT = 30.0
BYTES_PER_COMMIT = 250_000_000


class Outbox:
    """Rows on their way into a build.

    :param sleep: waits between two tries.
    :param clock: seconds, from any moment on.
    """

    def __init__(
        self,
        build: Build,
        lease: Joined,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build, self._lease, self._sleep, self._clock = build, lease, sleep, clock
        #: Whether every write was confirmed at once. Else the store may have crashed meanwhile, and lost of earlier
        #: writes too what it had confirmed.
        self.smooth = True
        self._bytes = 0
        self._since = 0.0

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Confirm what was sent, as far as that goes: also when the next rows could not be made, since these are paid for."""
        if error is None:
            self.flush()
        elif not isinstance(error, Exception) or isinstance(error, WritesUnconfirmed):
            # The process is about to end, or the store has had its tries.
            self._build.abandon()
        else:
            try:
                self.flush()
            except MlopsError as another:
                error.add_note(f"What was sent before is not confirmed: {another}")

    def send(self, rows: Sequence[Row], *, lacking: bool) -> None:
        """Send rows, and have all that was sent confirmed when it is much, or long ago.

        :param lacking: the build holds none of them.
        :raises ObjectsRefused: the store refused objects for good.
        :raises WritesUnconfirmed: the store did not confirm a portion within :data:`TRIES` tries.
        :raises IndexBusy: another run has taken over.
        """
        if not self._bytes:
            self._since = self._clock()
        self._send(rows, lacking=lacking)
        self._bytes += sum([row.vector_bytes + len(row.text) for row in rows]) + 1
        if self._bytes > BYTES_PER_COMMIT or self._clock() - self._since > SECONDS_PER_COMMIT:
            self.flush()

    def flush(self) -> None:
        """Returns when the store has confirmed all that was sent. Raises as :meth:`send`."""
        self._bytes = 0
        try:
            self._lease.renew()
            if closing := self._build.flush():
                self._send(closing, lacking=False)
        except BaseException:
            self._build.abandon()
            raise

    def _send(self, rows: Sequence[Row], *, lacking: bool) -> None:
        pending, size = rows, len(rows)
        for attempt in range(TRIES):
            if attempt:
                self.smooth = False
                self._sleep(min(2.0**attempt, LONGEST_PAUSE))
            self._lease.renew()
            written = Written()
            for part in batches(pending, size):
                written.include(self._build.upsert(part, lacking=lacking and not attempt))
            if refused := written.refused:
                # A store may keep an object that it says it refused.
                self._build.delete(sorted(refused))
                first = min(refused)
                raise ObjectsRefused(
                    f"Version {self._build.version.name}: {len(refused)} of {len(rows)} objects were refused, "
                    f"the first with: {refused[first]}",
                    refused=len(refused),
                )
            if not written.uncertain:
                return
            uncertain = set(written.uncertain)
            pending = [row for row in pending if row.id in uncertain]
            size = max(1, len(pending) // 2)
        raise WritesUnconfirmed(
            f"Version {self._build.version.name}: {len(pending)} writes were not confirmed in {TRIES} tries; "
            f"the last answer: {written.trouble}"
        )

"""One run at a time in a channel: a lease with owner and expiry, as a file beside the records.

On a local folder taking it is atomic. On an object store, which has no such thing everywhere, it is
written and looked at again: enough to keep runs apart that do not start in the same instant.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow_provider_mlops.release.errors import ReleaseBusy
from airflow_provider_mlops.release.files import alone, read_json, remove, uri_of, write_json

#: A run that was killed keeps others out for this long; its own retry goes on at once.
DURATION = timedelta(minutes=10)


class Lease:
    """The right to move a channel. Get one from :func:`lease`."""

    def __init__(self, folder: Any, owner: str, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._file = folder / "lease.json"
        self._owner = owner
        self._token = secrets.token_hex(8)
        self._clock = clock

    def take(self) -> None:
        """Become the owner.

        :raises ReleaseBusy: somebody else is, and the lease has not run out.
        """
        with alone(self._folder):
            found = read_json(self._file)
            left = found["expires"] - self._clock() if found else 0.0
            if found and found["owner"] != self._owner and left > 0:
                raise ReleaseBusy(
                    f"{uri_of(self._folder)} is in use by {found['owner']} for at most {left:.0f} s more",
                    delay=timedelta(seconds=left),
                )
            self._write()
        self._check()

    def renew(self) -> None:
        """Prove that it is still ours, and keep it. Called before every step.

        :raises ReleaseBusy: another run has taken over.
        """
        with alone(self._folder):
            self._check()
            self._write()

    def give_back(self) -> None:
        """Let the next one in, unless another run has taken over."""
        with alone(self._folder):
            found = read_json(self._file)
            if found and found["token"] == self._token:
                remove(self._file)

    def _check(self) -> None:
        found = read_json(self._file)
        if found is None or found["token"] != self._token:
            other = found["owner"] if found else "another run"
            raise ReleaseBusy(f"{uri_of(self._folder)} was taken over by {other}")

    def _write(self) -> None:
        expires = self._clock() + DURATION.total_seconds()
        write_json(self._file, {"owner": self._owner, "token": self._token, "expires": expires})


@contextmanager
def lease(folder: Any, owner: str, *, clock: Callable[[], float] = time.time) -> Iterator[Lease]:
    """Hold the lease of a folder.

    :param owner: the same for all tries of one task, which take over from each other at once.
    :raises ReleaseBusy: somebody else holds it.
    """
    held = Lease(folder, owner, clock)
    held.take()
    try:
        yield held
    finally:
        held.give_back()

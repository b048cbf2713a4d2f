"""Ending a job's processes, also those that left its process group or session.

Such processes are found by the job's marker in their environment, which they all inherit.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_LOOK_EVERY = 0.05


def marked(marker: str) -> list[int]:
    """Processes whose environment holds ``marker`` (``NAME=value``); empty where there is no ``/proc``."""
    wanted = b"\0" + marker.encode() + b"\0"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            block = (folder / "environ").read_bytes()
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if wanted in b"\0" + block + b"\0" and state != b"Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def send(pids: list[int], number: int, group: int | None = None) -> None:
    """Send a signal to processes, and to a process group; those already gone do not matter."""
    if group is not None:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            group = None
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end(marker: str, *, group: int | None = None, grace: float = 0.0) -> None:
    """SIGTERM, up to ``grace`` seconds, then SIGKILL until nothing with the marker is left.

    :param group: The process group of a process that is not reaped yet (its id is still ours).
    """
    if grace > 0:
        send(marked(marker), signal.SIGTERM, group)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and marked(marker):
            time.sleep(_LOOK_EVERY)
    send([], signal.SIGKILL, group)
    while left := marked(marker):
        send(left, signal.SIGKILL)
        time.sleep(_LOOK_EVERY / 5)

"""Runs one server and ends it when the test run ends, also when the test run was killed.

Usage: ``python guard.py PARENT GRACE SIGNAL FOLDER COMMAND...``. A process of its own, because a parent's exit
handlers do not run on SIGKILL, and because the kernel forgets a parent-death signal when a server changes
its user. It asks who its parent is instead of reading a pipe: a forked task would keep a pipe open.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from types import FrameType

LOOK_SECONDS = 0.5
TOLD_BY = (signal.SIGTERM, signal.SIGUSR1)


class Told(Exception):
    """The test run asks for an end: orderly on SIGTERM, as by a crash on SIGUSR1."""


def _tell(number: int, _frame: FrameType | None) -> None:
    raise Told(number)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD_BY)


def end(server: subprocess.Popen[bytes], ask: int, grace: float) -> None:
    """Ask the server to stop; after ``grace`` seconds kill its whole process group."""
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(ask)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def main(parent: int, grace: float, ask: int, folder: str, command: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_BY)
    server = subprocess.Popen(command, start_new_session=True, preexec_fn=_unblock)
    try:
        for number in TOLD_BY:
            signal.signal(number, _tell)
        _unblock()
        while os.getppid() == parent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return server.wait(LOOK_SECONDS)
    except Told as told:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end(server, *((ask, grace) if told.args[0] == signal.SIGTERM else (signal.SIGKILL, 0.0)))
        return 0
    end(server, ask, grace)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]))

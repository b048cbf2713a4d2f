"""Child processes that never outlive the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from airflow_provider_mlops.example_dags.docs_search.gitlab_project.serving import descendants

STOP_WITHIN = 5.0


@contextlib.contextmanager
def child(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path | None, pipe: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own; it and everything it started is stopped when the block ends.

    :param log: file that receives standard error, and standard output unless ``pipe``; ``None``: the
        caller's own output.
    :param pipe: give the caller the child's standard output and input as text.
    """
    with contextlib.ExitStack() as files:
        sink = files.enter_context(log.open("a", encoding="utf-8")) if log else None
        process = subprocess.Popen(
            list(command), env=dict(environment), start_new_session=True, text=True,
            stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else sink, stderr=sink,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """SIGTERM, five seconds, SIGKILL: to the child's group and to descendants that left it."""
    pids = [process.pid, *descendants(process.pid)]
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN)
    deadline = time.monotonic() + 1
    while any(_alive(pid) for pid in pids[1:]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in pids:
        if pid == process.pid and process.poll() is not None:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

"""A child process under control: its output line by line, its result on a pipe of its own, and its death.

A build starts further processes (uv, git, what the user's code starts), some in sessions of their own,
where a signal to the group does not reach them. Every descendant inherits a marker in its environment
and is found by it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_mlops.bento.errors import BentoBuildInterrupted

_MARKER = "MLOPS_PROCESS_TREE"
_PROC = Path("/proc")
_BLOCK = 1 << 16
_BLOCKS_AT_ONCE = 64
#: The longest line that is kept whole; a program that writes without line ends must not fill the memory.
_LINE_MAX = 1 << 14
_RESULT_MAX = 1 << 22
_TAIL_LINES = 30
_TICK = 0.5
_REAP = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    :param returncode: exit code; negative for a signal.
    :param result: bytes that it wrote to its result pipe.
    :param tail: its last lines of output.
    """

    returncode: int
    result: bytes
    tail: tuple[str, ...]

    def last_words(self, lines: int = 6) -> str:
        """The end of the output as one line."""
        return " | ".join(line.strip() for line in self.tail[-lines:] if line.strip())


class ChildProcess:
    """Runs one program at a time, in a session of its own, until it ends, times out or is killed.

    :param grace: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, *, grace: float = 5.0) -> None:
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._marker = ""
        self._killed = False

    def run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: str | Path,
        on_line: Callable[[str], None],
        timeout: float | None,
        result_fd_argument: bool = False,
    ) -> Ended:
        """Run ``argv`` and wait; whatever happens, nothing of it is left running.

        :param environment: its whole environment.
        :param on_line: gets every line of standard output and standard error as it comes.
        :param timeout: seconds, or ``None`` for no limit.
        :param result_fd_argument: open a result pipe and append its descriptor's number to ``argv``.
        :raises BentoBuildInterrupted: :meth:`kill` was called, or the timeout passed.
        """
        if self._killed:
            raise self._interrupted(argv, "it was stopped before it began")
        self._marker = uuid.uuid4().hex
        read_fd, write_fd = os.pipe() if result_fd_argument else (-1, -1)
        try:
            self._process = subprocess.Popen(
                [*argv, str(write_fd)] if result_fd_argument else list(argv),
                cwd=cwd,
                env={**environment, _MARKER: self._marker},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(write_fd,) if result_fd_argument else (),
            )
        except OSError:
            if result_fd_argument:
                os.close(read_fd)
            raise
        finally:
            if result_fd_argument:
                os.close(write_fd)
        try:
            ended = self._follow(self._process, read_fd, on_line, timeout)
        finally:
            # Also on an exception that Airflow raises here from a signal handler (execution_timeout).
            self._end_all()
            if self._process.stdout:
                self._process.stdout.close()
            if result_fd_argument:
                os.close(read_fd)
        if self._killed:
            raise self._interrupted(argv, "it was stopped")
        if ended is None:
            raise self._interrupted(argv, f"it took longer than {timeout:g} s")
        return ended

    def kill(self) -> None:
        """Stop the program and all its descendants: SIGTERM, then SIGKILL. Safe in a signal handler, and twice."""
        self._killed = True
        self._end_all()

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        read_fd: int,
        on_line: Callable[[str], None],
        timeout: float | None,
    ) -> Ended | None:
        assert process.stdout is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        lines, result = _Lines(on_line), bytearray()
        takers: dict[int, Callable[[bytes], object]] = {process.stdout.fileno(): lines.feed}
        if read_fd >= 0:
            takers[read_fd] = result.extend
        with selectors.DefaultSelector() as selector, _exit_descriptor(process.pid) as exit_fd:
            for fd in takers:
                os.set_blocking(fd, False)
            for fd in (*takers, *exit_fd):
                selector.register(fd, selectors.EVENT_READ)
            while True:
                # A daemon may hold the pipes open: the program's end counts, not theirs.
                ended = process.poll() is not None
                if not ended:
                    left = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
                    if left <= 0:
                        return None
                    selector.select(left)
                for fd in [fd for fd, take in takers.items() if not _drain(fd, take)]:
                    selector.unregister(fd)
                    del takers[fd]
                if ended:
                    break
        lines.close()
        return Ended(
            returncode=process.returncode, result=bytes(result[:_RESULT_MAX]), tail=tuple(lines.tail)
        )

    def _end_all(self) -> None:
        process = self._process
        if process is None:
            return
        for number, patience in ((signal.SIGTERM, self._grace), (signal.SIGKILL, _REAP)):
            if not self._signal_all(process, number):
                break
            deadline = time.monotonic() + patience
            while (process.poll() is None or _marked(self._marker)) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _signal_all(self, process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
        """Signal the group and the strays; whether there was anybody."""
        reached = False
        # Once its leader is reaped the group's number may belong to somebody else; the marker finds the rest.
        if process.poll() is None or not _PROC.is_dir():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
                reached = True
        for pid in _marked(self._marker):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                reached = True
        return reached

    def _interrupted(self, argv: Sequence[str], why: str) -> BentoBuildInterrupted:
        return BentoBuildInterrupted(f"{Path(argv[0]).name} did not end: {why}")


class _Lines:
    """Cuts a byte stream into lines of bounded length and remembers the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def feed(self, block: bytes) -> None:
        *whole, self._rest = (self._rest + block).split(b"\n")
        for line in whole:
            self._emit(line)
        if len(self._rest) > _LINE_MAX:
            self.close()

    def close(self) -> None:
        if self._rest:
            self._emit(self._rest)
            self._rest = b""

    def _emit(self, raw: bytes) -> None:
        # A progress bar redraws its line with carriage returns: the last drawing is the line.
        line = raw.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        self.tail.append(line)
        self._on_line(line)


def _drain(fd: int, take: Callable[[bytes], object]) -> bool:
    """Read what is there now, though not without end; whether the other end is still open."""
    for _ in range(_BLOCKS_AT_ONCE):
        try:
            block = os.read(fd, _BLOCK)
        except BlockingIOError:
            return True
        if not block:
            return False
        take(block)
    return True


@contextlib.contextmanager
def _exit_descriptor(pid: int) -> Iterator[tuple[int, ...]]:
    """A descriptor that becomes readable when the process ends, where the system has one (Linux)."""
    opened = getattr(os, "pidfd_open", None)
    if opened is None:
        yield ()
        return
    try:
        fd = opened(pid)
    except OSError:
        yield ()
        return
    try:
        yield (fd,)
    finally:
        os.close(fd)


def _marked(marker: str) -> list[int]:
    """Living processes that carry the marker in their environment (Linux; elsewhere none is found)."""
    if not _PROC.is_dir():
        return []
    wanted, found = f"{_MARKER}={marker}".encode(), []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        # Other users' processes cannot be read, and any process may be gone by now.
        with contextlib.suppress(OSError):
            # Variables are read as they were at the start, which is where the marker is. Zombies have none.
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found

"""What every server has in common: start, wait until it answers, stop, and its log when that fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self
from urllib.error import URLError
from urllib.request import urlopen

from tests.servers import guard
from tests.servers.ports import free_ports

ATTEMPTS = 3
LOOK_SECONDS = 0.1
LOG_LINES = 40


class ServerFailed(Exception):
    """The server ended before it answered, or did not answer in time; the message ends with its log."""


class Program(ABC):
    """Something from outside that tests need: where it comes from, and whether it is here."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """The version that is used, or would be."""

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why it cannot be used on this machine, and what to do about it; None where it can."""

    @classmethod
    @abstractmethod
    def build(cls) -> None:
        """Get it. Does nothing where it is there.

        :raises CannotInstall: this machine cannot get it.
        """


class Server(Program):
    """One real server on loopback, with data of its own that goes when it stops.

    Use it as a context manager, or through :meth:`start` and :meth:`stop`. :meth:`kill` and another
    :meth:`launch` keep data and ports: the way to test what a crash of the server does.

    :param environment: variables on top of the server's usual ones.
    """

    #: How many neighbouring ports it needs.
    port_count: ClassVar[int] = 1
    start_timeout: ClassVar[float] = 60.0
    stop_timeout: ClassVar[float] = 10.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    host = "127.0.0.1"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(environment or {})
        self.folder = Path()
        self.first_port = 0
        self._guard: subprocess.Popen[bytes] | None = None

    # --- what a server says about itself ---

    @property
    @abstractmethod
    def ports(self) -> dict[str, int]:
        """Port per purpose."""

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients are given."""

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that make Airflow use this server."""
        return {}

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments."""

    def settings(self) -> dict[str, str]:
        """The server's usual environment."""
        return {}

    def prepare(self) -> None:  # most servers need nothing
        """Fill :attr:`folder` before the first launch."""

    def settle(self) -> None:  # most servers need nothing
        """Last steps once it answers for the first time."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers as it should."""

    # --- life ---

    @property
    def log(self) -> Path:
        """Everything it printed."""
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Take free ports and a new folder, launch, and wait until it answers.

        Ports are free when chosen, not when used; a start that lost such a race is repeated.
        """
        for attempt in range(1, ATTEMPTS + 1):
            # Not below pytest's own folder: that is closed to other users, and some servers change theirs.
            self.folder = Path(tempfile.mkdtemp(prefix=f"mlops-{self.name}-"))
            self.first_port = free_ports(self.port_count)
            try:
                self.prepare()
                self.launch()
                self.settle()
                return
            except BaseException as error:
                self.stop()
                lost_port = isinstance(error, ServerFailed) and "address already in use" in str(error).lower()
                if not lost_port or attempt == ATTEMPTS:
                    raise

    def launch(self) -> None:
        """Run the program on the ports and data it has, and wait until it answers.

        :raises ServerFailed: it ended, or did not answer in time.
        """
        plain = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [
                    sys.executable,
                    "-IS",
                    str(Path(guard.__file__).resolve()),
                    str(os.getpid()),
                    str(self.stop_timeout),
                    str(int(self.stop_signal)),
                    str(self.folder),
                    *self.command(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**plain, **self.settings(), **self.environment},
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + self.start_timeout
        while not self.ready():
            if not self.running:
                raise ServerFailed(f"{self.name} ended while starting. Its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.name} did not answer within {self.start_timeout:.0f} s. Its log:\n{self.log_tail()}"
                )
            time.sleep(LOOK_SECONDS)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would; data and ports stay for another :meth:`launch`."""
        if self._guard is not None and self.running:
            self._guard.send_signal(signal.SIGUSR1)
            self._guard.wait()

    def stop(self) -> None:
        """Ask it to stop, kill it when it does not, and remove its data."""
        if self._guard is not None and self.running:
            self._guard.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(self.stop_timeout + 5)
        shutil.rmtree(self.folder)

    def log_tail(self) -> str:
        """The last lines it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def answers(url: str) -> bool:
    """Whether a GET gives 2xx."""
    try:
        with urlopen(url, timeout=2) as response:
            return bool(200 <= response.status < 300)
    except (URLError, OSError):
        return False

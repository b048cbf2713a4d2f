"""PostgreSQL with a database for Airflow, tuned to be fast and forgetful."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.servers.base import Server, ServerFailed
from tests.servers.install import apt_install

USER = "airflow"
DATABASE = "airflow"
PROGRAMS = ("initdb", "postgres", "pg_isready", "createdb", "psql")
#: PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"


def _programs() -> Path | None:
    """Folder that has all of :data:`PROGRAMS`: one of PATH, else the newest of Debian's version folders."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]), reverse=True
    )
    folders = [*map(Path, os.get_exec_path()), *versions]
    return next((folder for folder in folders if all((folder / name).is_file() for name in PROGRAMS)), None)


def _as_user(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=nogroup", "--clear-groups", "--", *command]


class Postgres(Server):
    """User and database ``airflow``, no password."""

    name = "postgres"
    # The default signal waits for clients to leave; this one sends them away.
    stop_signal = signal.SIGINT

    @classmethod
    def version(cls) -> str:
        programs = _programs()
        if programs is None:
            return "15"
        said = subprocess.run(
            [programs / "postgres", "--version"], check=True, capture_output=True, text=True
        )
        found = re.search(r"\d+(\.\d+)*", said.stdout)
        return found[0] if found else said.stdout.strip()

    @classmethod
    def missing(cls) -> str | None:
        if _programs() is None:
            return f"no folder of PATH has {', '.join(PROGRAMS)}; install Debian's package postgresql-15"
        if os.geteuid() == 0 and shutil.which("setpriv") is None:
            return "it refuses to run as root, and setpriv (util-linux) is not on PATH"
        return None

    @classmethod
    def build(cls) -> None:
        if _programs() is None:
            apt_install("postgresql-15")

    @property
    def ports(self) -> dict[str, int]:
        return {"postgres": self.first_port}

    @property
    def url(self) -> str:
        """An SQLAlchemy URL."""
        return self.database_url(DATABASE)

    def database_url(self, database: str) -> str:
        """SQLAlchemy URL of one database; see :meth:`create_database`."""
        return f"postgresql+psycopg2://{USER}@{self.host}:{self.first_port}/{database}"

    @property
    def env(self) -> dict[str, str]:
        return {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.url}

    def prepare(self) -> None:
        self.folder.chmod(0o755)
        for name in ("data", "socket"):
            inner = self.folder / name
            inner.mkdir(mode=0o700)
            if os.geteuid() == 0:
                account = pwd.getpwnam(UNPRIVILEGED)
                os.chown(inner, account.pw_uid, account.pw_gid)
        self._run(
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.first_port),
            "unix_socket_directories": str(self.folder / "socket"),
            "max_connections": "200",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return _as_user([self._program("postgres"), "-D", str(self.folder / "data"), *options])

    def ready(self) -> bool:
        command = [self._program("pg_isready"), "-q", "-h", self.host, "-p", str(self.first_port), "-U", USER]
        return subprocess.run(command, check=False).returncode == 0

    def settle(self) -> None:
        self.create_database(DATABASE)

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its SQLAlchemy URL."""
        self._run("createdb", "-h", self.host, "-p", str(self.first_port), "-U", USER, name)
        return self.database_url(name)

    def sql(self, statement: str, database: str = DATABASE) -> list[str]:
        """Run a statement; returns its rows, columns separated by ``|``."""
        options = ["-h", self.host, "-p", str(self.first_port), "-U", USER, "-v", "ON_ERROR_STOP=1", "-qAt"]
        return self._run("psql", *options, "-c", statement, database).splitlines()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            _as_user([self._program(program), *arguments]),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        if done.returncode:
            raise ServerFailed(f"{program} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _program(self, name: str) -> str:
        programs = _programs()
        if programs is None:
            raise ServerFailed(f"{self.name}: {self.missing()}")
        return str(programs / name)

"""A real Airflow of the running interpreter: scheduler, triggerer, PostgreSQL and, on 3.x, API server and DAG processor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2

from airflow_provider_mlops.compat import AIRFLOW_3

START_WITHIN = 120.0


class AirflowStack:
    """Processes of one Airflow, started in sessions of their own and stopped with everything they started.

    :param home: ``AIRFLOW_HOME``; logs of the components are ``<home>/<component>.log``.
    :param dags: folder of DAG files.
    :param database: SQLAlchemy URL of an empty PostgreSQL database.
    :param environment: further variables (connections, configuration).
    """

    def __init__(self, home: Path, dags: Path, database: str, environment: Mapping[str, str]) -> None:
        self.home = home
        self._database = database
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        port = _free_port()
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # Rows stay readable, so that tests see what is in them.
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "stack-tests-only-" + "0" * 48,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "15",
            "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "3",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            **environment,
        }

    def command(self, *words: str, timeout: float = 120) -> str:
        """Run one ``airflow`` command to its end and return what it printed.

        :raises AssertionError: it failed; carries its output.
        """
        ended = subprocess.run(
            ["airflow", *words], env=self._environment, capture_output=True, text=True, timeout=timeout
        )
        assert ended.returncode == 0, f"airflow {' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def start(self) -> None:
        """Migrate the database and start every component."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.command("db", "migrate")
        components = ["scheduler", "triggerer", *(["dag-processor", "api-server"] if AIRFLOW_3 else [])]
        for component in components:
            self._start(component)

    def _start(self, component: str) -> None:
        with (self.home / f"{component}.log").open("ab") as sink:
            self._processes[component] = subprocess.Popen(
                ["airflow", component], env=self._environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def restart(self, component: str, with_signal: signal.Signals) -> None:
        """End a component and everything of its session with the signal, then start it again."""
        _end_session(self._processes[component], with_signal)
        self._start(component)

    def stop(self) -> None:
        """End every component, and whatever is left of its session."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            _end_session(process, signal.SIGKILL)

    def trigger(self, dag_id: str, run_id: str) -> None:
        """Start a run, once the DAG is known to the scheduler."""
        self.wait_for(
            lambda: self.query("select 1 from serialized_dag where dag_id = %s", dag_id),
            f"DAG {dag_id} in the database",
            START_WITHIN,
        )
        self.command("dags", "trigger", dag_id, "--run-id", run_id)

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """State, try number, process id and hostname of a task instance."""
        rows = self.query(
            "select state, try_number, pid from task_instance where dag_id = %s and run_id = %s and task_id = %s",
            dag_id, run_id, task_id,
        )  # fmt: skip
        return dict(zip(("state", "try_number", "pid"), rows[0], strict=True)) if rows else {}

    def wait_for_state(
        self, dag_id: str, run_id: str, task_id: str, *states: str, within: float = 90
    ) -> dict[str, Any]:
        """Wait until the task instance is in one of the states."""
        self.wait_for(
            lambda: self.task(dag_id, run_id, task_id).get("state") in states,
            f"{dag_id}.{task_id} in {states}, is {self.task(dag_id, run_id, task_id)}",
            within,
        )
        return self.task(dag_id, run_id, task_id)

    def wait_for(self, happened: Callable[[], Any], what: str, within: float) -> Any:
        """Poll until ``happened`` gives something true.

        :raises AssertionError: it did not happen in time; carries the ends of the components' logs.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := happened():
                return found
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.tails()}"
            time.sleep(0.5)
        raise AssertionError(f"Waited {within:.0f} s for {what}\n{self.tails()}")

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Every log file of the task instance, worker's and triggerer's, all tries."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')}" for path in sorted(folder.glob("*"))
        )

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What the task instance returned, from its XCom row."""
        ((value,),) = self.query(
            "select value from xcom where dag_id = %s and run_id = %s and task_id = %s and key = 'return_value'",
            dag_id, run_id, task_id,
        )  # fmt: skip
        # 2.11 stores JSON as bytes, 3.x in a JSON column, some releases as a string within it.
        value = bytes(value).decode() if isinstance(value, memoryview) else value
        while isinstance(value, str):
            value = json.loads(value)
        return value

    def files_with(self, text: str) -> list[str]:
        """Log files, of tasks and of components, that contain the text."""
        return [
            str(path.relative_to(self.home))
            for path in self.home.rglob("*.log")
            if text in path.read_text(errors="replace")
        ]

    def tails(self, lines: int = 25) -> str:
        """Ends of the components' logs."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(self.home.glob("*.log"))
        )

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read from the metadata database."""
        database = self._database.replace("postgresql+psycopg2", "postgresql")
        with contextlib.closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()


@contextlib.contextmanager
def running(home: Path, dags: Path, database: str, environment: Mapping[str, str]) -> Iterator[AirflowStack]:
    """A stack that is stopped when the block ends."""
    stack = AirflowStack(home, dags, database, environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def connection_json(**fields: Any) -> str:
    """Value of an ``AIRFLOW_CONN_...`` variable."""
    return json.dumps(fields)


def _end_session(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    for pid in _session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, with_signal)
    process.wait()


def _session(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                found.append(int(folder.name))
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

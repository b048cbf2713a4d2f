"""The Python handle that tests hold."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from airflow_provider_mlops.testing.gitlab import merging, statuses
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.creation import Creator
from airflow_provider_mlops.testing.gitlab.entities import Entities
from airflow_provider_mlops.testing.gitlab.errors import PortTaken, ToolMissing
from airflow_provider_mlops.testing.gitlab.executors import Executor
from airflow_provider_mlops.testing.gitlab.faults import Faults
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.limits import Limits
from airflow_provider_mlops.testing.gitlab.model import Pipeline, Project
from airflow_provider_mlops.testing.gitlab.routes import (
    commit_statuses,
    control,
    creation,
    general,
    jobs,
    merge_requests,
    pipelines,
    projects,
    repository,
    storage,
)
from airflow_provider_mlops.testing.gitlab.routes.api import Api, dispatch
from airflow_provider_mlops.testing.gitlab.sockets import HttpServer
from airflow_provider_mlops.testing.gitlab.store import Store
from airflow_provider_mlops.testing.gitlab.switching import SwitchingExecutor
from airflow_provider_mlops.testing.gitlab.web import Request, Response
from airflow_provider_mlops.testing.gitlab.webhooks import Webhooks

# The most frequent ones first.
ROUTES = [
    *pipelines.ROUTES,
    *jobs.ROUTES,
    *creation.ROUTES,
    *projects.ROUTES,
    *repository.ROUTES,
    *commit_statuses.ROUTES,
    *merge_requests.ROUTES,
    *general.ROUTES,
    *storage.ROUTES,
]


class GitlabStandIn:
    """A GitLab in this process, on its own port; use it as a context manager, or ``start`` and ``close``.

    :param root: Folder for repositories and job folders; a temporary one by default.
    :param executor: How jobs run; really, in bash, by default. A :class:`Scenario` plays scripts instead.
    :param port: 0 picks a free one.
    :param project: Full path of the first project.
    :param knobs: Behaviour to begin with.

    :raises ToolMissing: git or bash is not installed.
    :raises PortTaken: another program uses the port.

    Attributes: ``url``, ``token`` (scope ``api``), ``read_token`` (scope ``read_api``), ``trigger_token``,
    ``project``, ``faults``, ``knobs``, ``requests``, ``store``, ``user``.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        executor: Executor | None = None,
        port: int = 0,
        project: str = "mlops/demo",
        knobs: Knobs | None = None,
    ) -> None:
        for tool in ("git", "bash"):
            if shutil.which(tool) is None:
                raise ToolMissing(f"{tool} is not installed", tool=tool)
        self.faults = Faults()
        try:
            self._server = HttpServer(port, self._respond, self.faults, control.PREFIX)
        except OSError as error:
            raise PortTaken(f"port {port} cannot be used: {error.strerror}", port=port) from error
        self._temporary = tempfile.mkdtemp(prefix="gitlab-") if root is None else None
        self.root = Path(self._temporary or root or "").resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root / "builds", ignore_errors=True)
        self.executor = executor or SwitchingExecutor()
        self.knobs = knobs or Knobs()
        self.store = Store(self.root)
        self.requests = self._server.requests
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._clock = Clock()
        limits = Limits()
        self._creator = Creator(self.store, self.knobs, self.executor, self._clock, limits, self.url)
        self._webhooks = Webhooks(self.url)
        self._creator.lifecycle.listeners += [merging.merge_what_waits, self._webhooks.look]
        entities = Entities(self.url, self.knobs)
        self.api = Api(self.store, self.knobs, self._creator, entities, limits, self.url, self.add_project)
        self.user = self.store.add_user("airflow", "Airflow")
        self.token = self.store.add_token(self.user).value
        self.read_token = self.store.add_token(self.user, "read_api").value
        self.project = self.add_project(project)
        self.trigger_token = next(iter(self.project.trigger_tokens))
        self._thread: threading.Thread | None = None

    def start(self) -> GitlabStandIn:
        """Answer requests from now on."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="gitlab-http", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering, cancel every job, leave no process, thread or temporary folder."""
        self._server.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.end_connections()
        self._creator.lifecycle.close()
        self._clock.close()
        self._webhooks.close()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> GitlabStandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _respond(self, request: Request) -> Response:
        if request.path.startswith(control.PREFIX):
            return control.respond(self, request)
        return dispatch(self.api, ROUTES, request)

    def add_project(self, path: str) -> Project:
        """Make a project whose repository holds the executor's first files."""
        project = self.store.add_project(path, self.user)
        if project.repository.resolve(project.default_branch) is None:
            for name, content in self.executor.initial_files().items():
                project.add(name, content, message="Add CI configuration")
        return project

    def revoke(self, token: str) -> None:
        """Let a token answer 401 from now on."""
        self.store.tokens[token].revoked = True

    def pipelines(self, project: Project | None = None) -> list[Pipeline]:
        """A project's pipelines, oldest first."""
        with self.store.lock:
            return list((project or self.project).pipelines.values())

    def wait(
        self,
        pipeline: Pipeline | int,
        status: str | Collection[str] = statuses.COMPLETE,
        timeout: float = 30.0,
    ) -> Pipeline:
        """Wait until a pipeline has one of the statuses.

        :raises TimeoutError: it did not get there; the text tells its jobs' statuses.
        """
        found = self.project.pipelines[pipeline] if isinstance(pipeline, int) else pipeline
        wanted = {status} if isinstance(status, str) else set(status)
        with self.store.changed:
            if self.store.changed.wait_for(lambda: found.status in wanted, timeout):
                return found
            rows = ", ".join(f"{job.name} {job.status}" for job in found.latest())
            raise TimeoutError(f"pipeline {found.id} is {found.status} after {timeout} s: {rows}")

"""The server: sockets, faults, and the Python handle that tests hold."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from airflow_provider_mlops.testing.gitlab import statuses
from airflow_provider_mlops.testing.gitlab.bash_executor import BashExecutor
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.creation import Creator
from airflow_provider_mlops.testing.gitlab.entities import Entities
from airflow_provider_mlops.testing.gitlab.executors import Executor
from airflow_provider_mlops.testing.gitlab.faults import Fault, Faults
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import Pipeline, Project, Store
from airflow_provider_mlops.testing.gitlab.routes import general, jobs, merge_requests, pipelines, repository
from airflow_provider_mlops.testing.gitlab.routes.api import Api, dispatch
from airflow_provider_mlops.testing.gitlab.web import ApiError, Request, Response, parse_parameters

ROUTES = [*general.ROUTES, *pipelines.ROUTES, *jobs.ROUTES, *repository.ROUTES, *merge_requests.ROUTES]


@dataclass(frozen=True)
class Recorded:
    """A request that came in; ``status`` is None when its answer was lost on purpose."""

    method: str
    path: str
    query: str
    status: int | None
    at: float


class Requests(list[Recorded]):
    """All requests in the order of their answers."""

    def count(self, method: str | None = None, path: str = "") -> int:  # type: ignore[override]
        """How many had this method and a decoded path matching the regular expression."""
        return sum(
            (method is None or row.method == method) and re.search(path, row.path) is not None
            for row in list(self)
        )


class _Broken(Exception):
    """The connection shall break here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _HttpServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: requests are recorded, not printed."""

    def _answer(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        stand_in = self.server.stand_in
        fault = stand_in.faults.take(self.command, unquote(self.path))
        status: int | None = None
        try:
            response = self._respond(fault, path, query, data)
            status = response.status
            self._send(response, fault.truncate if fault else None)
        except _Broken:
            self._break()
        finally:
            stand_in.requests.append(
                Recorded(self.command, unquote(path), unquote(query), status, time.time())
            )

    def _respond(self, fault: Fault | None, path: str, query: str, data: bytes) -> Response:
        if fault is not None and not fault.after:
            self.server.stopping.wait(fault.delay)
            if fault.reset:
                raise _Broken
            if fault.status is not None:
                return _injected(fault)
        response = self._work(path, query, data)
        if fault is not None and fault.after:
            self.server.stopping.wait(fault.delay)
            if fault.reset:
                raise _Broken
            if fault.status is not None:
                return _injected(fault)
        return response

    def _work(self, path: str, query: str, data: bytes) -> Response:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            parameters = parse_parameters(query, headers.get("content-type", ""), data)
        except ApiError as error:
            return Response(error.status, error.body)
        if not path.startswith("/api/v4/"):
            return Response(404, {"error": "404 Not Found"})
        return dispatch(
            self.server.stand_in.api, ROUTES, Request(self.command, path, query, headers, parameters)
        )

    def _send(self, response: Response, truncate: int | None) -> None:
        payload, content_type = response.payload()
        self.send_response(response.status)
        self.send_header("Content-Type", content_type)
        if response.status != 204:
            self.send_header("Content-Length", str(len(payload)))
        for name, value in response.headers.items():
            if name != "Content-Type":
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload if truncate is None else payload[:truncate])
        if truncate is not None:
            raise _Broken

    def _break(self) -> None:
        """Close with a reset, so that the client sees no clean end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer


def _injected(fault: Fault) -> Response:
    body = fault.body.encode() if isinstance(fault.body, str) else fault.body
    headers = {"Content-Type": "text/html", **fault.headers} if isinstance(fault.body, str) else fault.headers
    return Response(fault.status or 500, body, headers)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    # Many clients may knock at once; the default backlog of 5 would refuse some.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], stand_in: GitlabStandIn) -> None:
        self.stand_in = stand_in
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        linger = struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        if linger == (1, 0):
            # No shutdown first: that would end the connection in good order.
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def end_connections(self) -> None:
        """Wake handlers that wait for the next request of a kept connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class GitlabStandIn:
    """A GitLab in this process, on its own port; use it as a context manager, or ``start`` and ``close``.

    :param root: Folder for repositories and job folders; a temporary one by default.
    :param executor: How jobs run; really, in bash, by default. A :class:`Scenario` plays scripts instead.
    :param port: 0 picks a free one.
    :param project: Full path of the first project.
    :param knobs: Behaviour to begin with.

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
        self._temporary = tempfile.mkdtemp(prefix="gitlab-") if root is None else None
        self.root = Path(self._temporary or root or "").resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.root / "builds", ignore_errors=True)
        self.executor = executor or BashExecutor()
        self.knobs = knobs or Knobs()
        self.faults = Faults()
        self.requests = Requests()
        self.store = Store(self.root)
        self._server = _HttpServer(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._clock = Clock()
        self._creator = Creator(self.store, self.knobs, self.executor, self._clock, self.url)
        self.api = Api(self.store, self.knobs, self._creator, Entities(self.url, self.knobs), self.url)
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
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> GitlabStandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

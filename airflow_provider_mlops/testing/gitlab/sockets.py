"""HTTP on sockets: what the API answers, unless a fault comes in between."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from airflow_provider_mlops.testing.gitlab.faults import Fault, Faults
from airflow_provider_mlops.testing.gitlab.web import ApiError, Request, Response, parse_parameters

log = logging.getLogger(__name__)

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Recorded:
    """A request that came in; ``status`` is None when its answer was lost on purpose."""

    method: str
    path: str
    query: str
    status: int | None
    at: float


class Requests:
    """All requests so far, in the order of their answers."""

    def __init__(self) -> None:
        self._rows: list[Recorded] = []

    def record(self, row: Recorded) -> None:
        """Remember one."""
        self._rows.append(row)

    def find(self, method: str | None = None, path: str = "") -> list[Recorded]:
        """Those with this method whose decoded path, without its query, matches the regular expression."""
        return [
            row
            for row in list(self._rows)
            if (method is None or row.method == method) and re.search(path, row.path) is not None
        ]

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many :meth:`find` finds."""
        return len(self.find(method, path))

    def clear(self) -> None:
        """Forget them."""
        self._rows.clear()

    def __iter__(self) -> Iterator[Recorded]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    disable_nagle_algorithm = True
    server: HttpServer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: requests are recorded, not printed."""

    def _answer(self) -> None:
        data = self._body()
        path, _, query = self.path.partition("?")
        if path.startswith(self.server.control):
            self._send(self._work(path, query, data), None)
            return
        fault = self.server.faults.take(self.command, unquote(self.path))
        response = self._response(fault, path, query, data)
        status = None if response is None else response.status
        row = Recorded(self.command, unquote(path), unquote(query), status, time.time())
        self.server.requests.record(row)
        if response is None:
            self._break()
        else:
            self._send(response, fault.truncate if fault else None)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0].strip() or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return b"".join(chunks)

    def _response(self, fault: Fault | None, path: str, query: str, data: bytes) -> Response | None:
        """The answer, or None when the connection shall break."""
        if fault is None:
            return self._work(path, query, data)
        worked = self._work(path, query, data) if fault.after else None
        self.server.stopping.wait(fault.delay)
        if fault.reset:
            return None
        if fault.status is not None:
            return _injected(fault, fault.status)
        return worked or self._work(path, query, data)

    def _work(self, path: str, query: str, data: bytes) -> Response:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            parameters = parse_parameters(query, headers.get("content-type", ""), data)
        except ApiError as error:
            return Response(error.status, error.body)
        try:
            return self.server.respond(Request(self.command, path, query, headers, parameters))
        except Exception:
            log.exception("%s %s failed", self.command, path)
            return Response(500, {"message": "500 Internal Server Error"})

    def _send(self, response: Response, truncate: int | None) -> None:
        payload, content_type = response.payload()
        self.send_response(response.status)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", content_type)
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(payload)))
        for name, value in response.headers.items():
            if name != "Content-Type":
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload if truncate is None else payload[:truncate])
        if truncate is not None:
            # In good order: a reset could take the bytes along that were sent already.
            self.close_connection = True

    def _break(self) -> None:
        """Close with a reset, so that the client sees no clean end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer


def _injected(fault: Fault, status: int) -> Response:
    if isinstance(fault.body, str):
        return Response(status, fault.body.encode(), {"Content-Type": "text/html", **fault.headers})
    return Response(status, fault.body, fault.headers)


class HttpServer(ThreadingHTTPServer):
    """One thread per connection; ``respond`` does the work.

    Requests below ``control`` are spared from faults, and not recorded.
    """

    daemon_threads = True
    # Many clients may knock at once; the default backlog of 5 would refuse some.
    request_queue_size = 128

    def __init__(
        self, port: int, respond: Callable[[Request], Response], faults: Faults, control: str
    ) -> None:
        self.respond = respond
        self.control = control
        self.faults = faults
        self.requests = Requests()
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET_ON_CLOSE)) == _RESET_ON_CLOSE:
            # A shutdown first would end the connection in good order.
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            log.exception("a connection failed")

    def end_connections(self) -> None:
        """Wake handlers that wait for the next request of a kept connection."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

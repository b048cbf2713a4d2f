"""Two transparent proxies in front of a real Weaviate, for gRPC and for REST, that do one scripted wrong thing.

Bytes pass through untouched, except where a :class:`Fault` says otherwise.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

#: What a fault does with a gRPC request: its bytes, and the call to the server; returns the answer or raises.
Deed = Callable[[bytes, Callable[[bytes], bytes], Any], bytes]


@dataclass
class Fault:
    """One wrong thing, done a number of times.

    :param call: gRPC method (``BatchObjects``, ``BatchDelete``, ``Search``, ``Aggregate``) or, for REST, a pattern that
        ``"METHOD /path"`` must match.
    :param deed: what happens instead: see the functions below.
    :param times: how often; then the proxy is transparent again.
    :param after: how many such calls pass before.
    :param holding: bytes that the request must contain, to meet calls of one collection only.
    """

    call: str
    deed: Any
    times: int = 10**9
    after: int = 0
    holding: bytes = b""
    done: int = 0


class Refused(Exception):
    """A gRPC status instead of an answer."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


# --- what can be done to a gRPC call -----------------------------------------------------------------


def refuse(code: str, details: str = "injected") -> Deed:
    """Answer with a status; the server never sees the request."""

    def deed(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
        raise Refused(code, details)

    return deed


def lose_answer(code: str = "UNAVAILABLE", details: str = "connection reset") -> Deed:
    """Let the server do it, and answer with a status."""

    def deed(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
        forward(request)
        raise Refused(code, details)

    return deed


def hang(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
    """Let the server do it, and give no answer before the client has given up."""
    answer = forward(request)
    over = threading.Event()
    if context.add_callback(over.set):
        over.wait(60)
    return answer


def _batch(request: bytes) -> Any:
    from weaviate.proto.v1 import batch_pb2

    return batch_pb2.BatchObjectsRequest.FromString(request)


def lose_objects(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
    """Pass on two thirds of the objects, and answer that all were stored."""
    batch = _batch(request)
    kept = [item for place, item in enumerate(batch.objects) if place % 3]
    del batch.objects[:]
    batch.objects.extend(kept)
    return forward(batch.SerializeToString()) if kept else b""


def lose_vectors(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
    """Have every third object stored, but not where vector searches look."""
    batch = _batch(request)
    for item in batch.objects[::3]:
        del item.vectors[:]
    return forward(batch.SerializeToString())


def object_errors(text: str, *, stored: bool = False) -> Deed:
    """Answer for every third object with an error.

    :param stored: the server gets them all the same.
    """

    def deed(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
        from weaviate.proto.v1 import batch_pb2

        batch = _batch(request)
        count = len(batch.objects)
        if not stored:
            kept = [item for place, item in enumerate(batch.objects) if place % 3]
            del batch.objects[:]
            batch.objects.extend(kept)
        if batch.objects:
            forward(batch.SerializeToString())
        reply = batch_pb2.BatchObjectsReply()
        for place in range(0, count, 3):
            reply.errors.add(index=place, error=text)
        return reply.SerializeToString()

    return deed


def at_most(size: int) -> Deed:
    """A server, or a gateway before it, that takes no messages above ``size`` bytes."""

    def deed(request: bytes, forward: Callable[[bytes], bytes], context: Any) -> bytes:
        if len(request) > size:
            raise Refused(
                "RESOURCE_EXHAUSTED", f"grpc: received message larger than max ({len(request)} vs. {size})"
            )
        return forward(request)

    return deed


# --- what can be done to a REST call -----------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """Answer with this status; the server never sees the request."""

    code: int


@dataclass(frozen=True)
class Reset:
    """Cut the connection.

    :param passed_on: the server does it first, so only the answer is lost.
    """

    passed_on: bool


class FaultyWeaviate:
    """Both proxies. :attr:`faults` may be changed at any time; :attr:`seen` counts calls by name.

    :param host: of the real server.
    :param http: its port for REST.
    :param grpc: its port for gRPC.
    """

    def __init__(self, host: str, http: int, grpc: int) -> None:
        self._host, self._http, self._grpc = host, http, grpc
        self._lock = threading.Lock()
        self.faults: list[Fault] = []
        self.http_port = self.grpc_port = 0

    def __enter__(self) -> Self:
        import grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"{self._host}:{self._grpc}", options=options)
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        self._server.add_generic_rpc_handlers((self._handler(grpc),))
        self.grpc_port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._rest = _Rest(("127.0.0.1", 0), _Handler)
        self._rest.owner, self._rest.target = self, (self._host, self._http)
        self.http_port = self._rest.server_address[1]
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        self._server.stop(0).wait()
        self._channel.close()

    def happened(self) -> bool:
        """Whether every fault was met."""
        return all(fault.done for fault in self.faults)

    def due(self, matches: Callable[[Fault], bool]) -> Fault | None:
        """The fault that this call meets, which is then used up once."""
        with self._lock:
            for fault in self.faults:
                if not matches(fault):
                    continue
                if fault.after:
                    fault.after -= 1
                elif fault.done < fault.times:
                    fault.done += 1
                    return fault
        return None

    def _handler(self, grpc: Any) -> Any:
        proxy = self

        class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, details: Any) -> Any:
                method = details.method
                call = proxy._channel.unary_unary(method)

                def answer(request: bytes, context: Any) -> bytes:
                    name = method.rsplit("/", 1)[1]
                    fault = proxy.due(lambda fault: fault.call == name and fault.holding in request)
                    try:
                        if fault is None:
                            return bytes(call(request))
                        return bytes(fault.deed(request, call, context))
                    except Refused as refused:
                        context.abort(getattr(grpc.StatusCode, refused.code), refused.details)
                    except grpc.RpcError as error:
                        context.abort(error.code(), error.details())
                    raise AssertionError("abort raises")

                return grpc.unary_unary_rpc_method_handler(answer)

        return Handler()


class _Rest(ThreadingHTTPServer):
    daemon_threads = True
    owner: FaultyWeaviate
    target: tuple[str, int]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Or else every answer waits 40 ms: the body for the client's acknowledgement of the headers.
    disable_nagle_algorithm = True
    server: _Rest

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {self.path}"
        fault = self.server.owner.due(
            lambda fault: re.match(fault.call, line) is not None and fault.holding in body
        )
        if fault is not None and isinstance(fault.deed, Status):
            self._answer(fault.deed.code, b'{"error": [{"message": "injected"}]}')
            return
        if fault is None or fault.deed.passed_on:
            status, answer = self._forward(body)
        if fault is not None:
            self._reset()
            return
        self._answer(status, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _do

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.server.target, timeout=60)
        kept = {
            name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers
        }
        connection.request(self.command, self.path, body or None, kept)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

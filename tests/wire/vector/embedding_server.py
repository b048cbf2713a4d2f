"""A stand-in for an OpenAI-compatible embedding server, with faults.

It copies, from OpenAI's documented API and the sources of vLLM and text-embeddings-inference:

- ``POST /v1/embeddings`` with ``model``, ``input`` (a list of texts), ``encoding_format`` and ``dimensions``; the answer's
  ``data`` with ``index`` and ``embedding`` (numbers, or base64 of little-endian float32), and ``usage``;
- the bearer key, and the error object with ``message``, ``type`` and ``code``;
- refusals: 400 for a text or request with too many tokens (OpenAI's words), 422 for too many texts (text-embeddings-inference's
  words), 400 for ``encoding_format`` (servers that validate strictly), 413 with a page of HTML (a reverse proxy);
- ``x-ratelimit-*`` headers and ``Retry-After``.

A token is a word here. Vectors depend on the text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import numpy as np

KEY = "sk-stand-in-0123456789"


def vector(text: str, dimension: int) -> np.ndarray:
    """The vector of a text."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(dimension).astype("<f4")


#: Answers a request by itself, instead of the server.
Fault = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, body: str = "{}", **headers: str) -> Fault:
    """Answer with a status and nothing useful."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, code, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection so that the client sees a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    # The socket is closed when its last user is.
    for user in (handler.rfile, handler.wfile, handler.connection):
        user.close()


def silent(seconds: float) -> Fault:
    """Take the request and say nothing for a while, then break off."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return answer


def send(
    handler: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(code)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class EmbeddingServer:
    """The server, on a free port of loopback. Use it as a context manager; set its attributes at any time."""

    def __init__(self) -> None:
        self.dimension = 8
        #: Faults, one per request, used up first; ``None`` answers properly.
        self.faults: deque[Fault | None] = deque()
        #: Changes the answer before it is sent.
        self.garble: Callable[[dict[str, Any]], Any] | None = None
        self.truncate = False
        self.max_texts = 2048
        self.max_text_tokens = 8192
        self.max_request_tokens = 300_000
        self.max_bytes = 10_000_000
        self.slow_texts = 10**9
        self.base64 = True
        self.ignores_encoding = False
        self.headers: dict[str, str] = {}
        #: Bodies of the requests that were read.
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Base URL, without ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def texts(self) -> list[str]:
        """Every text that was asked for, again and again if it was."""
        return [text for request in self.requests for text in request["input"]]

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body leave in two packets; without this each answer waits for an acknowledgement.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                with outer._lock:
                    outer._running += 1
                    outer.most_at_once = max(outer.most_at_once, outer._running)
                try:
                    outer._answer(self)
                finally:
                    with outer._lock:
                        outer._running -= 1

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that breaks off is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        request = json.loads(raw)
        with self._lock:
            self.requests.append(request)
            fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            fault(handler)
            return
        refusal = self._refusal(handler, raw, request)
        if refusal is not None:
            code, body = refusal
            send(handler, code, body.encode(), self.headers)
            return
        if len(request["input"]) >= self.slow_texts:
            time.sleep(1.0)
        dimension = request.get("dimensions", self.dimension)
        plain = self.ignores_encoding or request.get("encoding_format") != "base64"
        data = []
        for index, text in enumerate(request["input"]):
            values = vector(text, dimension)
            embedding: Any = values.tolist() if plain else base64.b64encode(values.tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        tokens = sum(len(text.split()) for text in request["input"])
        answer: Any = {
            "object": "list", "data": data, "model": request["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }  # fmt: skip
        if self.garble is not None:
            answer = self.garble(answer)
        body = json.dumps(answer).encode()
        send(handler, 200, body[: len(body) // 2] if self.truncate else body, self.headers)

    def _refusal(
        self, handler: BaseHTTPRequestHandler, raw: bytes, request: dict[str, Any]
    ) -> tuple[int, str] | None:
        def error(message: str, kind: str = "invalid_request_error", code: str | None = None) -> str:
            return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})

        if handler.path != "/v1/embeddings":
            return 404, error(f"Unknown request URL: POST {handler.path}")
        if handler.headers.get("Authorization") != f"Bearer {KEY}":
            said = str(handler.headers.get("Authorization")).removeprefix("Bearer ")
            return 401, error(f"Incorrect API key provided: {said}.", code="invalid_api_key")
        if len(raw) > self.max_bytes:
            return 413, "<html><body>413 Request Entity Too Large</body></html>"
        if "encoding_format" in request and not self.base64:
            return 400, error("Unrecognized request argument supplied: encoding_format")
        texts = request["input"]
        if len(texts) > self.max_texts:
            return 422, json.dumps(
                {
                    "error": f"batch size {len(texts)} > maximum allowed batch size {self.max_texts}",
                    "error_type": "Validation",
                }
            )
        counts = [len(text.split()) for text in texts]
        if max(counts) > self.max_text_tokens:
            return 400, error(
                f"This model's maximum context length is {self.max_text_tokens} tokens, however you requested {max(counts)} tokens."
            )
        if sum(counts) > self.max_request_tokens:
            return 400, error(
                f"Requested {sum(counts)} tokens, max {self.max_request_tokens} tokens per request",
                "max_tokens_per_request", "max_tokens_per_request",
            )  # fmt: skip
        return None

"""A TCP proxy before GitLab that loses requests and answers, holds them up, and cuts them short."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from tests.campaign.fast_time import FastClock
from tests.campaign.life import Life

_RESET = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CREATION = re.compile(r"/(?:trigger/)?pipeline$")

_MOMENT = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_BOUND = re.compile(rb"((?:created|updated)_after=)([^& ]+)")

KINDS = ("reset before", "reset after", "held up before", "held up after", "slow", "cut", "502 after")


@dataclass
class NetworkFault:
    """What happens to one request.

    :param kind: one of :data:`KINDS`; "after": the request has had its effect, only the answer suffers.
    :param method: of the requests it is meant for; ``""``: any.
    :param path: regular expression for their path.
    :param skip: so many of them pass first.
    :param seconds: how long a request or answer is held up.
    """

    kind: str
    method: str
    path: str
    skip: int = 0
    seconds: float = 0.0
    hit: bool = False

    def takes(self, method: str, path: str) -> bool:
        if self.hit or (self.method and self.method != method) or not re.search(self.path, path):
            return False
        self.skip -= 1
        self.hit = self.skip < 0
        return self.hit


@dataclass
class Proxy:
    """Listens once for each process, so that it knows whose request it carries.

    :param port: GitLab's.
    :param faults: shared by all listeners; each happens once.
    :param read_token: put into requests that carry no token, as if the project were public.
    :param clock: GitLab's moments are shown as this clock would have told them.
    :param created: told the id of each new pipeline and whose request made it.
    """

    port: int
    faults: list[NetworkFault]
    clock: FastClock
    created: Callable[[int, str], None]
    read_token: str | None = None
    requests: int = 0
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def listen(self, name: str, life: Life) -> str:
        """The address for one process."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await self._serve(reader, writer, name, life)
            except (OSError, EOFError, asyncio.CancelledError):
                _break(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, life: Life
    ) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head, body = await _message(reader)
                method, target = head.split(b" ", 2)[:2]
                path = target.decode().partition("?")[0]
                if self.read_token and b"private-token" not in head.lower():
                    head = head[:-2] + f"PRIVATE-TOKEN: {self.read_token}\r\n\r\n".encode()
                fault = next((each for each in self.faults if each.takes(method.decode(), path)), None)
                kind = fault.kind if fault else ""
                self.requests += 1
                await life.moving()
                if life.dead or kind == "reset before":
                    break
                if fault and kind == "held up before":
                    await asyncio.sleep(fault.seconds)
                upstream = upstream or await asyncio.open_connection("127.0.0.1", self.port)
                upstream[1].write(_BOUND.sub(self._real, head) + body)
                answer, content = self._fast(*await _message(upstream[0]))
                self._note(method, path, answer, content, name)
                if fault and kind == "held up after":
                    await asyncio.sleep(fault.seconds)
                await life.moving()
                if life.dead or kind == "reset after":
                    break
                if kind == "502 after":
                    answer, content = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\n", b"bad"
                if kind == "cut":
                    writer.write(answer + content[: len(content) // 2])
                    await writer.drain()
                    writer.close()
                    return
                await _send(writer, answer + content, slow=kind == "slow")
            _break(writer)
        finally:
            if upstream is not None:
                upstream[1].close()

    def _fast(self, head: bytes, content: bytes) -> tuple[bytes, bytes]:
        if b"application/json" not in head:
            return head, content

        def shown(match: re.Match[bytes]) -> bytes:
            moment = datetime.fromisoformat(match[0].decode()).timestamp()
            fast = datetime.fromtimestamp(self.clock.fast(moment), UTC)
            return fast.strftime("%Y-%m-%dT%H:%M:%S.").encode() + b"%03dZ" % (fast.microsecond // 1000)

        # As long as before.
        return head, _MOMENT.sub(shown, content)

    def _real(self, match: re.Match[bytes]) -> bytes:
        moment = datetime.fromisoformat(unquote(match[2].decode())).timestamp()
        real = datetime.fromtimestamp(self.clock.real(moment), UTC).isoformat()
        return match[1] + quote(real).encode()

    def _note(self, method: bytes, path: str, answer: bytes, content: bytes, name: str) -> None:
        if method == b"POST" and _CREATION.search(path) and b" 201 " in answer[:20]:
            self.created(json.loads(content)["id"], name)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def _send(writer: asyncio.StreamWriter, data: bytes, *, slow: bool) -> None:
    if slow:
        for start in range(0, min(len(data), 40), 8):
            writer.write(data[start : start + 8])
            await writer.drain()
            await asyncio.sleep(3.0)
        data = data[40:]
    writer.write(data)
    await writer.drain()


def _break(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

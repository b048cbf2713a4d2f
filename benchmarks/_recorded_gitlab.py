"""A GitLab that only repeats itself, cheap enough to answer thousands of watchers beside which it runs.

The shapes of its answers are recorded from the package's GitLab stand-in when it starts: a pipeline, a row of
the list of pipelines, a job. What differs from pipeline to pipeline (ids, status, moments) is filled in. It
copies the filters ``updated_after`` and ``created_after``, the paging by ``X-Next-Page``, and the byte windows
of a job's log, which grows by a line every two seconds. Every pipeline runs from the start; once
``/begin?first=S&last=S`` was asked for, they end one after the other between these seconds from then on.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
import urllib.request
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit

from airflow_provider_mlops.testing.gitlab import Gate, GitlabStandIn, Log, Scenario

FIRST_ID = 100_001
_PATHS = re.compile(r"/projects/[^/]+/(pipelines|jobs)(?:/(\d+)(?:/(\w+))?)?$")


def moment(at: float) -> str:
    """As GitLab writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record() -> dict[str, Any]:
    """One pipeline, one row and one job of the stand-in, as decoded from its answers."""
    scenario = Scenario({"train": [Log("epoch 1\n"), Gate("never")]})
    with GitlabStandIn(executor=scenario) as gitlab:
        pipeline = gitlab.api.creator.create(gitlab.project, ref="main", source="api", user=gitlab.user)
        scenario.wait_reached("never")

        def get(path: str) -> Any:
            url = f"{gitlab.url}/api/v4/projects/{gitlab.project.id}/{path}"
            request = urllib.request.Request(url, headers={"PRIVATE-TOKEN": gitlab.token})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        return {
            "pipeline": get(f"pipelines/{pipeline.id}"),
            "row": get("pipelines")[0],
            "job": get(f"pipelines/{pipeline.id}/jobs")[0],
        }


class Recorded:
    """The answers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.requests = 0
        self.started = time.time()
        self.begun: tuple[float, float] | None = None
        self._shapes = record()

    def ends(self, number: int) -> float:
        """When a pipeline ends; not before ``/begin``."""
        if self.begun is None:
            return float("inf")
        first, last = self.begun
        return first + (last - first) * (number - FIRST_ID) / self.count

    def answer(self, target: str) -> tuple[Any, dict[str, str]]:
        """Body and headers."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/begin":
            now = time.time()
            self.begun = now + float(query["first"]), now + float(query["last"])
            return [self.ends(FIRST_ID + index) for index in range(self.count)], {}
        if parts.path == "/requests":
            return self.requests, {}
        self.requests += 1
        match = _PATHS.search(parts.path)
        if match is None:
            return {"message": "404 Not Found"}, {}
        kind, number, what = match[1], int(match[2] or 0), match[3]
        if kind == "jobs":
            return self._log(number, query), {}
        if not number:
            return self._list(query)
        if what is None:
            return self._filled("pipeline", number), {}
        return [self._job(number)] if what == "jobs" else [], {}

    def _filled(self, shape: str, number: int) -> dict[str, Any]:
        over = time.time() >= self.ends(number)
        return {
            **self._shapes[shape],
            "id": number,
            "status": "success" if over else "running",
            "created_at": moment(self.started),
            "updated_at": moment(self.ends(number) if over else self.started),
        }

    def _list(self, query: dict[str, str]) -> tuple[Any, dict[str, str]]:
        numbers = range(FIRST_ID, FIRST_ID + self.count)
        now = time.time()
        if "updated_after" in query:
            after = datetime.fromisoformat(query["updated_after"]).timestamp()
            numbers = [n for n in numbers if (self.ends(n) if now >= self.ends(n) else self.started) >= after]
        if (
            "created_after" in query
            and self.started < datetime.fromisoformat(query["created_after"]).timestamp()
        ):
            numbers = []
        page, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        rows = [self._filled("row", number) for number in numbers[(page - 1) * size : page * size]]
        return rows, {"X-Next-Page": str(page + 1) if page * size < len(numbers) else ""}

    def _job(self, number: int) -> dict[str, Any]:
        return {**self._shapes["job"], "id": number, "status": "running", "started_at": moment(self.started)}

    def _log(self, number: int, query: dict[str, str]) -> bytes:
        lines = int((time.time() - self.started) / 2)
        text = b"".join(b"line %06d of the job\n" % line for line in range(lines))
        offset, limit = int(query.get("byte_offset", 0)), int(query.get("byte_limit", 512_000))
        return text[offset : offset + limit]


class _Connection(asyncio.Protocol):
    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            body, headers = self._recorded.answer(head.split(b" ", 2)[1].decode())
            is_text = isinstance(body, bytes)
            payload = body if is_text else json.dumps(body).encode()
            lines = [
                "HTTP/1.1 200 OK",
                f"Content-Type: {'text/plain' if is_text else 'application/json'}",
                f"Content-Length: {len(payload)}",
                f"Date: {formatdate(usegmt=True)}",
                *(f"{name}: {value}" for name, value in headers.items()),
            ]
            self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)


async def serve(count: int) -> None:
    """Serve until killed; print the port first."""
    recorded = Recorded(count)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(recorded), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

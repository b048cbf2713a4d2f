"""Bad days of single requests: wrong answers, lost answers, slow answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any


@dataclass
class Fault:
    """What happens to the requests that match.

    :param method: HTTP method, None for every one.
    :param path: A regular expression searched in the decoded path and query, such as ``/pipelines/\\d+$``.
    :param skip: Let this many matching requests pass first.
    :param times: How many requests it hits; None for all until :meth:`Faults.clear`.
    :param status: Answer with this status.
    :param body: The answer's body: text as it is, anything else as JSON.
    :param headers: Headers of the answer.
    :param reset: Break the connection without an answer.
    :param after: Do the request's work first: the side effect stays, the answer is lost.
    :param delay: Seconds to wait before going on (after the work when ``after`` is set).
    :param truncate: Send only this many bytes of the real body, then break the connection.
    """

    method: str | None = None
    path: str = ""
    skip: int = 0
    times: int | None = 1
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False
    after: bool = False
    delay: float = 0.0
    truncate: int | None = None
    hits: int = 0

    def matches(self, method: str, target: str) -> bool:
        return (self.method is None or self.method == method) and re.search(self.path, target) is not None


class Faults:
    """The faults that wait for their requests; the first that matches wins."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Add a fault; its ``hits`` tells how often it happened."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._faults.clear()

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(list(self._faults))

    def take(self, method: str, target: str) -> Fault | None:
        """The fault for a request, counted as having happened."""
        with self._lock:
            for fault in self._faults:
                if not fault.matches(method, target):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times is not None and fault.hits >= fault.times:
                    continue
                fault.hits += 1
                return fault
        return None

    def status(
        self,
        status: int,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = 1,
        skip: int = 0,
        after: bool = False,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Answer with a status, such as 502; with ``after`` only once the work is done."""
        text = {"message": f"{status} Injected"} if body is None else body
        return self.add(Fault(method, path, skip, times, status, text, dict(headers or {}), after=after))

    def rate_limit(
        self,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = 1,
        retry_after: float | str | None = None,
        reset: int | None = None,
    ) -> Fault:
        """Answer 429: with ``Retry-After`` and ``RateLimit-*`` headers, or bare as the application's limits do."""
        headers = {}
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        if reset is not None:
            headers |= {
                "RateLimit-Limit": "2000",
                "RateLimit-Name": "throttle_authenticated_api",
                "RateLimit-Observed": "2001",
                "RateLimit-Remaining": "0",
                "RateLimit-Reset": str(reset),
                "RateLimit-ResetTime": format_datetime(datetime.fromtimestamp(reset, UTC), usegmt=True),
            }
        body: Any = (
            "Retry later\n"
            if headers
            else {"message": {"error": "This endpoint has been requested too many times. Try again later."}}
        )
        return self.add(Fault(method, path, times=times, status=429, body=body, headers=headers))

    def reset(
        self,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = 1,
        skip: int = 0,
        after: bool = False,
    ) -> Fault:
        """Break the connection before the work, or with ``after`` behind it."""
        return self.add(Fault(method, path, skip, times, reset=True, after=after))

    def slow(
        self,
        seconds: float,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = 1,
        after: bool = False,
    ) -> Fault:
        """Answer late; with ``after`` the work is done at once and only the answer is late."""
        return self.add(Fault(method, path, times=times, delay=seconds, after=after))

    def unauthorized(self, *, path: str = "", times: int | None = 1, skip: int = 0) -> Fault:
        """Answer 401 as for a token that expired in the middle."""
        body = {
            "error": "invalid_token",
            "error_description": "Token is expired. You can either do re-authorization or token refresh.",
        }
        return self.add(Fault(None, path, skip, times, 401, body))

    def redirect(
        self, location: str, *, method: str | None = None, path: str = "", status: int = 301
    ) -> Fault:
        """Answer with a redirect, as for a moved project."""
        return self.add(
            Fault(method, path, times=None, status=status, body="", headers={"Location": location})
        )

    def truncate(
        self, count: int, *, method: str | None = None, path: str = "", times: int | None = 1
    ) -> Fault:
        """Break the connection after ``count`` bytes of the body."""
        return self.add(Fault(method, path, times=times, truncate=count))

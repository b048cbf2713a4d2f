"""Rate limits: per token for all requests, with headers, and per user for single endpoints, without."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime

from airflow_provider_mlops.testing.gitlab.web import ApiError

_PERIOD = 60
_APPLICATION_LIMIT = "This endpoint has been requested too many times. Try again later."


class Limits:
    """Counts per minute of the clock."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def _count(self, name: str, who: str) -> int:
        minute = int(time.time()) // _PERIOD
        with self._lock:
            counted, number = self._counts.get((name, who), (minute, 0))
            number = number + 1 if counted == minute else 1
            self._counts[name, who] = (minute, number)
        return number

    def within(self, name: str, who: str, limit: int) -> bool:
        """Count one more; whether it is still within the limit (0 is none)."""
        return limit <= 0 or self._count(name, who) <= limit

    def endpoint(self, name: str, who: str, limit: int) -> None:
        """Count a request to an endpoint that the application itself limits.

        :raises ApiError: 429 without any header.
        """
        if not self.within(name, who, limit):
            raise ApiError(429, {"message": {"error": _APPLICATION_LIMIT}})

    def request(self, who: str, limit: int) -> dict[str, str]:
        """Count a request; gives the headers that its answer carries.

        :raises ApiError: 429 with these headers and ``Retry-After``.
        """
        if limit <= 0:
            return {}
        number = self._count("requests", who)
        now = int(time.time())
        reset = (now // _PERIOD + 1) * _PERIOD
        headers = {
            "RateLimit-Limit": str(limit),
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Observed": str(number),
            "RateLimit-Remaining": str(max(limit - number, 0)),
            "RateLimit-Reset": str(reset),
            "RateLimit-ResetTime": format_datetime(datetime.fromtimestamp(reset, UTC), usegmt=True),
        }
        if number > limit:
            raise ApiError(429, "Retry later\n", {**headers, "Retry-After": str(reset - now)})
        return headers

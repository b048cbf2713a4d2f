"""httpx clients and what their answers mean: timeouts, TLS, ``Retry-After``, redaction.

One translation of transport and status failures into the error tree serves every station.
"""

from __future__ import annotations

import email.utils
import functools
import logging
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    MlopsError,
    PermissionDenied,
    RateLimited,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)

if TYPE_CHECKING:
    import httpx

#: Seconds to connect, and seconds between two bytes of an answer.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0

#: What asks for more than this is broken. How long anybody really waits is said by whoever waits.
LONGEST_RETRY_AFTER = timedelta(days=1)

_SHOWN_BODY = 300


def async_client(
    base_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    verify: bool | str = True,
    proxy: str | None = None,
) -> httpx.AsyncClient:
    """An async client with timeouts set and redirects not followed.

    Redirects are left to the caller: following one may send a token to another host.

    :param base_url: scheme, host and path prefix.
    :param headers: sent with every request (tokens go here, never into URLs).
    :param verify: ``False`` to accept any certificate, or the path of a CA bundle.
    :param proxy: proxy URL; without it the usual environment variables count.
    """
    import httpx

    # Airflow 3 does the same; elsewhere every question would leave a line in the task log.
    requests_log = logging.getLogger("httpx")
    if requests_log.level == logging.NOTSET:
        requests_log.setLevel(logging.WARNING)
    return httpx.AsyncClient(
        base_url=base_url,
        headers=dict(headers or {}),
        verify=_tls(verify),
        proxy=proxy,
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        follow_redirects=False,
    )


@functools.lru_cache(maxsize=16)
def _tls(verify: bool | str) -> ssl.SSLContext:
    """Shared by all clients of a process: reading the CA bundle takes 25 ms and 800 KiB each time."""
    import httpx

    if isinstance(verify, str):
        return ssl.create_default_context(cafile=verify)
    return httpx.create_ssl_context(verify=verify)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """The wait that an answer asks for, at most :data:`LONGEST_RETRY_AFTER`.

    Understands ``Retry-After`` in seconds or as an HTTP date, and GitLab's ``RateLimit-Reset``
    (a Unix time). ``None`` if the answer does not say, or says nonsense.
    """
    seconds: float | None = None
    value = headers.get("Retry-After") or headers.get("retry-after")
    if value:
        try:
            seconds = float(value)
        except ValueError:
            parsed = email.utils.parsedate_tz(value)
            seconds = email.utils.mktime_tz(parsed) - time.time() if parsed else None
    elif reset := headers.get("RateLimit-Reset") or headers.get("ratelimit-reset"):
        try:
            seconds = float(reset) - time.time()
        except ValueError:
            seconds = None
    if seconds is None or seconds != seconds:
        return None
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_RETRY_AFTER.total_seconds()))


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """The server's clock when it answered: header ``Date``, or ``None`` if it is missing or unreadable."""
    try:
        return email.utils.parsedate_to_datetime(headers.get("Date") or headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def status_error(
    what: str,
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    body: str = "",
    conn_id: str | None = None,
) -> MlopsError:
    """The typed error for an HTTP answer that is not a success.

    :param what: what was asked, as the start of a sentence: ``"GitLab project 'ml/search'"``.
    :param status: the HTTP status code.
    :param body: the answer's text; its first line is quoted.
    :param conn_id: connection whose credentials were used.
    """
    words = " ".join(body.split())[:_SHOWN_BODY]
    said = f": {words}" if words else ""
    using = f" (connection {conn_id!r})" if conn_id else ""
    if status == 401:
        return CredentialsRejected(
            f"{what}: credentials rejected (401){said}{using}", status=status, conn_id=conn_id
        )
    if status == 403:
        return PermissionDenied(f"{what}: not allowed (403){said}{using}", status=status, conn_id=conn_id)
    if status == 404:
        return RemoteObjectNotFound(f"{what}: not found (404){said}{using}", status=status, conn_id=conn_id)
    if status == 429:
        return RateLimited(
            f"{what}: too many requests (429){said}", delay=retry_after(headers or {}), status=status
        )
    if status >= 500 or status in (408, 425):
        return RemoteUnavailable(
            f"{what}: the server answered {status}{said}",
            delay=retry_after(headers or {}),
            status=status,
        )
    return RequestRefused(f"{what}: refused ({status}){said}{using}", status=status, conn_id=conn_id)


def redact(text: str, *secrets: str | None) -> str:
    """The text with every given secret replaced by ``***`` (the empty and very short ones are ignored)."""
    for secret in secrets:
        if secret and len(secret) >= 4:
            text = text.replace(secret, "***")
    return text

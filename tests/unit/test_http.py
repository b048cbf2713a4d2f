"""What an answer that is not a success means, and how long it asks to wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    PermissionDenied,
    RateLimited,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.http import (
    LONGEST_RETRY_AFTER,
    _tls,
    date_of,
    redact,
    retry_after,
    status_error,
)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, timedelta(seconds=7)),
        ({"retry-after": "0.5"}, timedelta(seconds=0.5)),
        ({"Retry-After": "900"}, timedelta(minutes=15)),
        ({"Retry-After": "-3"}, timedelta(0)),
        ({"Retry-After": "inf"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "1e300"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit-Reset": "tomorrow"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_is_asked_for_is_told_whole_unless_it_is_nonsense(headers, wait):
    assert retry_after(headers) == wait


def test_a_date_and_a_unix_time_are_understood():
    soon = time.time() + 60
    for headers in ({"Retry-After": formatdate(soon, usegmt=True)}, {"RateLimit-Reset": f"{soon:.0f}"}):
        wait = retry_after(headers)
        assert wait is not None
        assert 55 <= wait.total_seconds() <= 61


@pytest.mark.parametrize(
    ("headers", "clock"),
    [
        ({"Date": "Sun, 22 Nov 2026 04:05:06 GMT"}, datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC)),
        ({"date": "Sun, 22 Nov 2026 05:05:06 +0100"}, datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC)),
        ({"Date": "Sun, 99 Nov 2026 04:05:06 GMT"}, None),
        ({"Date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_the_clock_of_a_server(headers, clock):
    assert date_of(headers) == clock


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, CredentialsRejected),
        (403, PermissionDenied),
        (404, RemoteObjectNotFound),
        (408, RemoteUnavailable),
        (422, RequestRefused),
        (425, RemoteUnavailable),
        (429, RateLimited),
        (500, RemoteUnavailable),
        (503, RemoteUnavailable),
    ],
)
def test_the_status_decides_whether_a_retry_makes_sense(status, kind):
    error = status_error("GitLab project 'a'", status, headers={"Retry-After": "9"}, body="why\n not")
    assert type(error) is kind
    assert "GitLab project 'a'" in str(error)
    assert "why not" in str(error)
    assert error.status == status
    if kind in (RateLimited, RemoteUnavailable):
        assert error.delay == timedelta(seconds=9)


def test_secrets_are_replaced_but_not_every_letter():
    assert redact("token abcd1234 of a", "abcd1234", "a", None) == "token *** of a"


def test_clients_of_a_process_share_what_they_trust(tmp_path):
    import ssl

    assert _tls(True) is _tls(True)
    assert _tls(True).verify_mode is ssl.CERT_REQUIRED
    assert _tls(False).verify_mode is ssl.CERT_NONE
    with pytest.raises(FileNotFoundError):
        _tls(str(tmp_path / "missing.pem"))

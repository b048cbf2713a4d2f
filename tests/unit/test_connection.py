"""A connection's fields, as forms, URIs and files write them."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.connection import ConnectionInfo, is_loopback


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *((value, True) for value in (True, "true", " YES ", "1", "on")),
        *((value, False) for value in (False, "false", "no", "0", "", None)),
    ],
)
def test_flags_are_booleans_or_texts(value, meaning):
    assert ConnectionInfo("c", extra={"allow_http": value}).flag("allow_http", default=not meaning) is meaning


def test_a_flag_that_is_not_there_has_its_default():
    assert ConnectionInfo("c").flag("allow_http", default=True) is True
    assert ConnectionInfo("c").flag("allow_http", default=False) is False


@pytest.mark.parametrize(
    ("extra", "verify"),
    [
        ({}, True),
        ({"ca_path": "/ca.pem"}, "/ca.pem"),
        ({"ca_path": ""}, True),
        ({"verify_tls": "false", "ca_path": "/ca.pem"}, False),
    ],
)
def test_certificates_are_checked_unless_the_connection_says_no(extra, verify):
    assert ConnectionInfo("c", extra=extra).verify == verify


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("gitlab", False),
        (None, False),
    ],
)
def test_only_this_machine_is_loopback(host, here):
    assert is_loopback(host) is here

"""A GitLab connection is checked before a token travels."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, InvalidArgument
from airflow_provider_mlops.gitlab.access import GitlabAccess, project_path


def access(host: str | None, *, password: str | None = "glpat-secret", **extra: object) -> GitlabAccess:
    return GitlabAccess.from_connection(ConnectionInfo("git", host=host, password=password, extra=extra))


@pytest.mark.parametrize("host", ["http://gitlab.example.com", "http://10.0.0.7:8080"])
def test_a_token_does_not_travel_over_plain_http(host: str) -> None:
    with pytest.raises(ConnectionIncomplete, match="unencrypted"):
        access(host)
    with pytest.raises(ConnectionIncomplete, match="unencrypted"):
        access(host, password=None, trigger_token="glptt-secret")
    assert access(host, allow_http="true").url == host
    assert access(host, password=None).url == host


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:9", "http://localhost:9", "http://[::1]:9", "https://g.example"]
)
def test_loopback_and_https_need_no_leave(host: str) -> None:
    assert access(host).url == host


def test_api_suffix_and_relative_path_are_understood() -> None:
    assert access("https://example.com/gitlab/api/v4").url == "https://example.com/gitlab"
    assert access("gitlab.example.com").url == "https://gitlab.example.com"


def test_no_host_is_incomplete() -> None:
    with pytest.raises(ConnectionIncomplete, match="no host"):
        access(None)


@pytest.mark.parametrize(
    ("extra", "verify"),
    [
        ({}, True),
        ({"verify_tls": False}, False),
        ({"verify_tls": "false"}, False),
        ({"ca_path": "ca.pem"}, "ca.pem"),
    ],
)
def test_tls_settings(extra: dict[str, object], verify: object) -> None:
    assert access("gitlab.example.com", **extra).verify == verify


def test_repr_shows_no_secret() -> None:
    assert "secret" not in repr(access("gitlab.example.com", trigger_token="trigger-secret"))


@pytest.mark.parametrize(
    ("project", "path"), [("a/b/c", "a%2Fb%2Fc"), (42, "42"), ("/a/b/", "a%2Fb"), ("a/b c", "a%2Fb%20c")]
)
def test_projects_are_one_path_segment(project: str | int, path: str) -> None:
    assert project_path(project) == path


@pytest.mark.parametrize("project", ["", "/", "https://gitlab.example.com/a/b"])
def test_other_names_of_projects_are_refused(project: str) -> None:
    with pytest.raises(InvalidArgument, match="project"):
        project_path(project)

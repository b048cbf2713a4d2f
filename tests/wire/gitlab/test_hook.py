"""The hook: python-gitlab with timeouts and safe retries, and this package's errors."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    ConnectionMissing,
    CredentialsRejected,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.gitlab.hook import GitlabHook
from tests.wire.gitlab.conftest import connect


def test_the_connection_test_names_the_account(gitlab):
    assert GitlabHook().test_connection() == (True, f"{gitlab.url} answers; the token belongs to airflow")


def test_the_connection_test_says_why_it_fails(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, password="glpat-wrong")
    works, words = GitlabHook().test_connection()
    assert not works
    assert "401" in words
    assert "glpat-wrong" not in words


def test_missing_parts_are_named(gitlab, monkeypatch):
    with pytest.raises(ConnectionMissing, match="nothing"):
        GitlabHook("nothing").check()
    connect(monkeypatch, gitlab, password=None)
    with pytest.raises(ConnectionIncomplete, match="trigger token"):
        GitlabHook().check()


def test_a_read_is_repeated_and_a_write_is_not(gitlab):
    hook = GitlabHook()
    project = hook.client.projects.get("mlops/demo", lazy=True)
    gitlab.faults.status(502, path="/pipelines", times=2)
    with hook.errors("project 'mlops/demo'"):
        assert project.pipelines.list(get_all=True) == []
    gitlab.faults.status(502, method="POST", path="/pipeline$", after=True)
    with pytest.raises(RemoteUnavailable, match="502"), hook.errors("project 'mlops/demo'"):
        project.pipelines.create({"ref": "main"})
    assert len(gitlab.pipelines()) == 1
    gitlab.faults.reset(method="POST", path="/pipeline$", after=True)
    with pytest.raises(RemoteUnavailable, match="cannot be reached"), hook.errors("project 'mlops/demo'"):
        project.pipelines.create({"ref": "main"})
    assert len(gitlab.pipelines()) == 2


def test_errors_are_translated(gitlab):
    hook = GitlabHook()
    project = hook.client.projects.get("mlops/demo", lazy=True)
    with (
        pytest.raises(RemoteObjectNotFound, match=r"pipeline 99.*gitlab_default"),
        hook.errors("pipeline 99"),
    ):
        project.pipelines.get(99)
    with pytest.raises(RequestRefused, match="Reference not found"), hook.errors("project"):
        project.pipelines.create({"ref": "nothing"})
    gitlab.revoke(gitlab.token)
    with pytest.raises(CredentialsRejected), hook.errors("project"):
        project.pipelines.list(get_all=True)


def test_every_request_has_a_timeout(gitlab):
    assert GitlabHook().client.timeout == 30


def test_subgroups_need_no_encoding(gitlab):
    gitlab.add_project("a/b/c")
    hook = GitlabHook()
    with hook.errors("project 'a/b/c'"):
        assert hook.client.projects.get("a/b/c").path_with_namespace == "a/b/c"

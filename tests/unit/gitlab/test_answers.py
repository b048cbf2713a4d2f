"""GitLab's refusals are told apart by their sentences."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    PermissionDenied,
    RateLimited,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.gitlab.answers import answer_error, creation_error, words_of
from airflow_provider_mlops.gitlab.errors import (
    InputsRefused,
    PipelineConfigInvalid,
    PipelineEmpty,
    ProjectMoved,
    ReferenceNotFound,
    VariablesForbidden,
)


def refused(words: str, status: int = 400, *, by_trigger: bool = False) -> Any:
    body = json.dumps({"message": {"base": [words]}})
    return creation_error("project 'a/b'", status, body, headers={}, conn_id="git", by_trigger=by_trigger)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Insufficient permissions to set pipeline variables", VariablesForbidden),
        ("Reference not found", ReferenceNotFound),
        (
            "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs",
            PipelineEmpty,
        ),
        ("Pipeline filtered out by workflow rules.", PipelineEmpty),
        ("No stages / jobs for this pipeline.", PipelineEmpty),
        (
            "Given inputs not defined in the `spec` section of the included configuration file: `x`",
            InputsRefused,
        ),
        ("`model` input: required value has not been provided", InputsRefused),
        ("`gpus` input: provided value is not a number", InputsRefused),
        ("Pipeline inputs cannot exceed the limit of 20", InputsRefused),
        ("jobs:train config contains unknown keys: skript", PipelineConfigInvalid),
        ("Invalid configuration format in .gitlab-ci.yml", PipelineConfigInvalid),
        ("Missing CI config file", PipelineConfigInvalid),
        ("Something that nobody has seen yet", RequestRefused),
    ],
)
def test_a_refused_creation_is_named(words: str, kind: type) -> None:
    error = refused(words)
    assert type(error) is kind
    assert words in error.message
    assert "git" in error.message


def test_too_many_pipelines_is_a_rate_limit() -> None:
    error = refused("Too many pipelines created in the last minute. Try again later.")
    assert type(error) is RateLimited
    assert error.delay == timedelta(minutes=1)


def test_a_wrong_trigger_token_looks_like_a_missing_project() -> None:
    assert type(refused("404 Not Found", 404, by_trigger=True)) is CredentialsRejected
    assert type(refused("404 Project Not Found", 404)) is RemoteObjectNotFound


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ProjectMoved),
        (401, CredentialsRejected),
        (403, PermissionDenied),
        (404, RemoteObjectNotFound),
        (409, RequestRefused),
        (429, RateLimited),
        (520, RemoteUnavailable),
    ],
)
def test_other_answers_have_the_shared_errors(status: int, kind: type) -> None:
    headers = {"Location": "https://g/new"}
    assert type(answer_error("x", status, "", headers=headers, conn_id="git")) is kind


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"message": "401 Unauthorized"}', "401 Unauthorized"),
        ('{"error": "ref is missing"}', "ref is missing"),
        ('{"message": {"base": ["a", "b"], "name": ["is bad"]}}', "a; b; name: is bad"),
        ("<html>502</html>", "<html>502</html>"),
        ("{}", "{}"),
    ],
)
def test_sentences_are_found_in_any_wrapping(body: str, words: str) -> None:
    assert words_of(body) == words

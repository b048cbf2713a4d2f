"""What GitLab's refusals mean. Pure.

GitLab says most of what goes wrong at the creation of a pipeline with status 400 and a sentence; only the
sentence tells a typing error from a rate limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.errors import CredentialsRejected, MlopsError, RateLimited, RemoteObjectNotFound
from airflow_provider_mlops.gitlab.errors import (
    TOO_MANY_PIPELINES_DELAY,
    InputsRefused,
    PipelineConfigInvalid,
    PipelineEmpty,
    ProjectMoved,
    ReferenceNotFound,
    VariablesForbidden,
)
from airflow_provider_mlops.http import status_error

_REFUSALS: tuple[tuple[re.Pattern[str], type[MlopsError]], ...] = (
    (re.compile(r"insufficient permissions to set pipeline variables", re.I), VariablesForbidden),
    (
        re.compile(
            r"reference not found|ref(erence)? .*(does not exist|is invalid)|missing branch or tag", re.I
        ),
        ReferenceNotFound,
    ),
    (
        re.compile(
            r"pipeline will not run for the selected trigger|no stages\s*/\s*jobs for this pipeline"
            r"|filtered out by (workflow )?rules|pipeline filtered out",
            re.I,
        ),
        PipelineEmpty,
    ),
    (
        re.compile(
            r"\binputs? not defined|\binput: |\binputs?` |required value has not been provided|provided value is not|\btoo many inputs|\binputs cannot exceed",
            re.I,
        ),
        InputsRefused,
    ),
    (
        re.compile(r"yaml|\bci config|\.gitlab-ci\.yml|jobs?( |:).*config|config contains|root config", re.I),
        PipelineConfigInvalid,
    ),
)
_TOO_MANY = re.compile(r"too many pipelines", re.I)


def words_of(body: str) -> str:
    """The sentences in an error answer, whatever JSON wraps them."""
    try:
        decoded = json.loads(body)
    except ValueError:
        return body
    return "; ".join(_sentences(decoded)) or body


def _sentences(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [sentence for item in value for sentence in _sentences(item)]
        case dict():
            return [
                sentence if key in ("message", "error", "base", "error_description") else f"{key}: {sentence}"
                for key, item in value.items()
                for sentence in _sentences(item)
            ]
        case _:
            return []


def answer_error(
    what: str, status: int, body: str, *, headers: Mapping[str, str], conn_id: str
) -> MlopsError:
    """The typed error for any answer that is not a success."""
    if 300 <= status < 400:
        return ProjectMoved(
            f"{what}: GitLab redirects to {headers.get('Location', 'another address')} ({status})",
            status=status,
            conn_id=conn_id,
        )
    return status_error(what, status, headers=headers, body=words_of(body), conn_id=conn_id)


def creation_error(
    what: str, status: int, body: str, *, headers: Mapping[str, str], conn_id: str, by_trigger: bool
) -> MlopsError:
    """The typed error for a refused creation of a pipeline. Nothing was created.

    :param by_trigger: a trigger token was used; GitLab answers 404 to a wrong one.
    """
    words = words_of(body)
    if status in (400, 422):
        if _TOO_MANY.search(words):
            return RateLimited(f"{what}: {words}", delay=TOO_MANY_PIPELINES_DELAY, status=status)
        for pattern, kind in _REFUSALS:
            if pattern.search(words):
                return kind(f"{what}: {words} (connection {conn_id!r})", status=status, conn_id=conn_id)
    if status == 404 and by_trigger:
        return CredentialsRejected(
            f"{what}: not found (404): {words} (connection {conn_id!r})",
            next_step="GitLab answers so to a wrong or expired trigger token too: check both the project's path "
            "and the trigger token of the connection.",
            status=status,
            conn_id=conn_id,
        )
    return answer_error(what, status, body, headers=headers, conn_id=conn_id)


def is_missing_project(error: RemoteObjectNotFound) -> bool:
    """Whether a 404 is about the project rather than about something in it."""
    return "project not found" in error.message.lower()

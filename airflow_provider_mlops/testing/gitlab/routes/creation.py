"""Creating pipelines: with an access token, with a trigger or job token, and trying one out (lint)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlops.testing.gitlab import environment
from airflow_provider_mlops.testing.gitlab.creation import BrokenPipelineSaved
from airflow_provider_mlops.testing.gitlab.model import Pipeline, User, Variable, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.specs import ConfigError
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Response,
    bad_request,
    forbidden,
    invalid,
    missing,
    not_a_value,
    not_found,
)

VARIABLES_SHAPE = "variables needs to be a map of key-valued strings"
LINT_LIMIT = "ci_lint"


def _create(
    call: Call,
    source: str,
    user: User,
    ref: str,
    variables: Sequence[Variable],
    *,
    save_broken: bool = False,
) -> Pipeline:
    inputs = call.request.parameters.get("inputs")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise invalid("inputs")
    try:
        return call.api.creator.create(
            call.project,
            ref=ref,
            source=source,
            user=user,
            variables=variables,
            inputs=inputs,
            save_broken=save_broken,
        )
    except ConfigError as error:
        raise bad_request({"base": error.messages}) from error
    except BrokenPipelineSaved as error:
        raise ApiError(422, {"message": {"base": error.messages}}) from error


def _created(call: Call, pipeline: Pipeline) -> Response:
    return Response(201, call.api.entities.pipeline(pipeline, stale=True))


def _array_of_variables(rows: Any) -> list[Variable]:
    if not isinstance(rows, list):
        raise invalid("variables")
    variables = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise invalid("variables")
        if "key" not in row:
            raise missing(f"variables[{number}][key]")
        kind = str(row.get("variable_type", "env_var"))
        if kind not in ("env_var", "file"):
            raise not_a_value(f"variables[{number}][variable_type]")
        variables.append(Variable(str(row["key"]), str(row.get("value", "")), kind))
    return variables


def create(call: Call) -> Response:
    ref = call.request.text("ref")
    variables = _array_of_variables(call.request.parameters.get("variables") or [])
    return _created(call, _create(call, "api", call.who, ref, variables))


def trigger(call: Call) -> Response:
    """The one call that a trigger token may make; a job token works too, while its job runs."""
    request = call.request
    ref = call.parts.get("ref")
    request.require(*(["token"] if ref is not None else ["ref", "token"]))
    ref = str(request.parameters["ref"]) if ref is None else ref
    if not ref.strip():
        raise ApiError(400, {"error": "ref is empty"})
    if request.headers.get("x-gitlab-event") == "Pipeline Hook":
        raise forbidden()
    given = request.parameters.get("variables") or {}
    if not isinstance(given, Mapping):
        raise invalid("variables")
    if not all(isinstance(value, str) for value in given.values()):
        raise bad_request(VARIABLES_SHAPE)
    variables = [Variable(key, value) for key, value in given.items()]
    project, value = call.project, request.text("token")
    token = project.trigger_tokens.get(value)
    if token is not None and not token.expired:
        token.last_used = now()
        save = call.api.knobs.broken_pipelines_saved
        made = _create(call, "trigger", token.owner, ref, variables, save_broken=save)
        return _created(call, made)
    job = call.api.store.job_tokens.get(value)
    # A wrong token must not tell that the project exists.
    if job is None:
        raise not_found()
    if job.status != "running":
        raise bad_request("400 Job has to be running")
    return _created(call, _create(call, "pipeline", job.user, ref, variables))


def lint(call: Call) -> Response:
    """Validation of the project's own file, or of ``content`` when it is posted."""
    call.api.limits.endpoint(LINT_LIMIT, str(call.who.id), call.api.knobs.lint_per_minute)
    project, parameters = call.project, call.request.parameters
    if call.request.method == "POST":
        call.request.require("content")
    ref = str(
        parameters.get("ref")
        or parameters.get("dry_run_ref")
        or parameters.get("content_ref")
        or project.default_branch
    )
    sha = project.repository.resolve(ref)
    if sha is None:
        raise not_found("Reference")
    content = parameters.get("content")
    text = call.api.creator.config(project, sha) if content is None else str(content)
    predefined = environment.of_creation(
        project, server_url=call.api.url, ref=ref, sha=sha, tag=False, source="push", user=call.who
    )
    errors: list[str] = []
    jobs: list[dict[str, Any]] = []
    try:
        plan = call.api.creator.plan(project, sha, predefined, [], {}, text)
        jobs = [
            {
                "name": spec.name,
                "stage": spec.stage,
                "script": list(spec.script),
                "after_script": list(spec.after_script),
                "tag_list": list(spec.tags),
                "when": spec.when,
                "allow_failure": spec.allow_failure,
            }
            for spec in plan.jobs
        ]
    except ConfigError as error:
        errors = error.messages
    body = {"valid": not errors, "errors": errors, "warnings": [], "merged_yaml": text, "includes": []}
    if call.request.flag("include_jobs"):
        body["jobs"] = jobs
    return Response(body=body)


ROUTES = [
    Route("POST", "/projects/:project/pipeline", create),
    Route("POST", "/projects/:project/trigger/pipeline", trigger, open=True),
    Route("POST", "/projects/:project/ref/:ref/trigger/pipeline", trigger, open=True),
    Route("GET", "/projects/:project/ci/lint", lint),
    Route("POST", "/projects/:project/ci/lint", lint),
]

"""Pipelines: creating, finding, reading, cancelling and retrying them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_mlops.testing.gitlab import environment
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, User, Variable, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.specs import ConfigError
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Request,
    Response,
    bad_request,
    forbidden,
    missing,
    not_found,
    paged,
)

VARIABLES_SHAPE = "variables needs to be a map of key-valued strings"
_ORDERS: dict[str, Callable[[Pipeline], Any]] = {
    "id": lambda pipeline: pipeline.id,
    "status": lambda pipeline: pipeline.status,
    "ref": lambda pipeline: pipeline.ref,
    "updated_at": lambda pipeline: pipeline.updated_at,
    "user_id": lambda pipeline: pipeline.user.id,
}


def _created(
    call: Call, source: str, user: User, ref: str, variables: Iterable[Variable], inputs: Any
) -> Response:
    if inputs is not None and not isinstance(inputs, Mapping):
        raise ApiError(400, {"error": "inputs is invalid"})
    try:
        pipeline = call.api.creator.create(
            call.project, ref=ref, source=source, user=user, variables=list(variables), inputs=inputs
        )
    except ConfigError as error:
        raise bad_request({"base": error.messages}) from error
    return Response(201, call.api.entities.pipeline(pipeline, stale=True))


def create(call: Call) -> Response:
    ref = call.request.text("ref")
    rows = call.request.parameters.get("variables") or []
    if not isinstance(rows, list):
        raise ApiError(400, {"error": "variables is invalid"})
    variables = []
    for row in rows:
        if not isinstance(row, Mapping) or "key" not in row:
            raise ApiError(400, {"error": "variables[0][key] is missing"})
        kind = str(row.get("variable_type", "env_var"))
        if kind not in ("env_var", "file"):
            raise ApiError(400, {"error": "variables[0][variable_type] does not have a valid value"})
        variables.append(Variable(str(row["key"]), str(row.get("value", "")), kind))
    return _created(call, "api", call.who, ref, variables, call.request.parameters.get("inputs"))


def trigger(call: Call) -> Response:
    """The one call that a trigger token may make; a job token works too, while its job runs."""
    request = call.request
    if request.headers.get("x-gitlab-event") == "Pipeline Hook":
        raise forbidden()
    token = request.text("token")
    ref = call.parts.get("ref") or request.parameters.get("ref")
    if ref is None:
        raise missing("ref")
    variables = request.parameters.get("variables") or {}
    if not isinstance(variables, Mapping) or not all(isinstance(value, str) for value in variables.values()):
        raise bad_request(VARIABLES_SHAPE)
    project = call.project
    source, owner = "trigger", project.trigger_tokens.get(token)
    if owner is None:
        job = call.api.store.job_of_token(token)
        # A wrong token must not tell that the project exists.
        if job is None:
            raise not_found()
        source, owner = "pipeline", job.user
    rows = [Variable(key, value) for key, value in variables.items()]
    return _created(call, source, owner, str(ref), rows, request.parameters.get("inputs"))


def _when(request: Request, name: str) -> datetime | None:
    value = request.parameters.get(name)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value).replace(" ", "+"))
    except ValueError:
        raise ApiError(400, {"error": f"{name} is invalid"}) from None
    return found if found.tzinfo else found.astimezone()


def _filters(request: Request) -> list[Callable[[Pipeline], bool]]:
    equal: dict[str, Callable[[Pipeline], Any]] = {
        "source": lambda pipeline: pipeline.source,
        "ref": lambda pipeline: pipeline.ref,
        "sha": lambda pipeline: pipeline.sha,
        "status": lambda pipeline: pipeline.status,
        "username": lambda pipeline: pipeline.user.username,
        "name": lambda pipeline: pipeline.name,
    }
    filters: list[Callable[[Pipeline], bool]] = []
    for name, value_of in equal.items():
        wanted = request.parameters.get(name)
        if wanted is not None:
            filters.append(lambda pipeline, value_of=value_of, wanted=wanted: value_of(pipeline) == wanted)  # type: ignore[misc]
    bounds: dict[str, Callable[[Pipeline, datetime], bool]] = {
        "created_after": lambda pipeline, moment: pipeline.created_at >= moment,
        "created_before": lambda pipeline, moment: pipeline.created_at <= moment,
        "updated_after": lambda pipeline, moment: pipeline.updated_at >= moment,
        "updated_before": lambda pipeline, moment: pipeline.updated_at <= moment,
    }
    for name, inside in bounds.items():
        moment = _when(request, name)
        if moment is not None:
            filters.append(lambda pipeline, inside=inside, moment=moment: inside(pipeline, moment))  # type: ignore[misc]
    return filters


def index(call: Call) -> Response:
    request = call.request
    order = str(request.parameters.get("order_by", "id"))
    direction = str(request.parameters.get("sort", "desc"))
    if order not in _ORDERS:
        raise ApiError(400, {"error": "order_by does not have a valid value"})
    if direction not in ("asc", "desc"):
        raise ApiError(400, {"error": "sort does not have a valid value"})
    filters = _filters(request)
    knobs = call.api.knobs
    with call.api.store.lock:
        pipelines = [
            pipeline
            for pipeline in call.project.pipelines.values()
            if not call.younger(pipeline, max(knobs.list_lag, knobs.hidden_after_create))
            # Lists leave out child pipelines unless they are asked for.
            and (
                pipeline.source != "parent_pipeline" or request.parameters.get("source") == "parent_pipeline"
            )
            and all(matches(pipeline) for matches in filters)
        ]
        pipelines.sort(key=_ORDERS[order], reverse=direction == "desc")
        rows = [call.api.entities.pipeline_row(pipeline) for pipeline in pipelines]
    return paged(request, rows, call.api.url, totals=not knobs.hide_total_headers)


def show(call: Call) -> Response:
    with call.api.store.lock:
        pipeline = call.pipeline
        stale = call.younger(pipeline, call.api.knobs.stale_after_create)
        return Response(body=call.api.entities.pipeline(pipeline, stale=stale))


def latest(call: Call) -> Response:
    project = call.project
    ref = str(call.request.parameters.get("ref", project.default_branch))
    with call.api.store.lock:
        found = [pipeline for pipeline in project.pipelines.values() if pipeline.ref == ref]
        if not found:
            raise not_found()
        return Response(body=call.api.entities.pipeline(found[-1]))


def variables(call: Call) -> Response:
    return Response(body=[call.api.entities.variable(variable) for variable in call.pipeline.variables])


def put_metadata(call: Call) -> Response:
    name = call.request.text("name")
    with call.api.store.lock:
        pipeline = call.pipeline
        pipeline.name = name
        pipeline.updated_at = now()
        return Response(body=call.api.entities.pipeline(pipeline))


def delete(call: Call) -> Response:
    with call.api.store.lock:
        pipeline = call.pipeline
        call.api.creator.lifecycle.cancel_pipeline(pipeline)
        del pipeline.project.pipelines[pipeline.id]
    return Response(204)


def cancel(call: Call) -> Response:
    """Always 200, also when nothing can be canceled any more."""
    pipeline = call.pipeline
    call.api.creator.lifecycle.cancel_pipeline(pipeline)
    with call.api.store.lock:
        return Response(200, call.api.entities.pipeline(pipeline))


def retry(call: Call) -> Response:
    pipeline = call.pipeline
    call.api.creator.lifecycle.retry_pipeline(pipeline, call.who)
    with call.api.store.lock:
        return Response(201, call.api.entities.pipeline(pipeline))


def _scoped(call: Call, jobs: Iterable[Job]) -> list[Job]:
    scopes = call.request.many("scope")
    return [job for job in jobs if not scopes or job.status in scopes]


def _visible(call: Call) -> list[Job]:
    pipeline = call.pipeline
    if call.younger(pipeline, call.api.knobs.stale_after_create):
        return []
    jobs = pipeline.jobs if call.request.flag("include_retried") else pipeline.latest()
    return _scoped(call, sorted(jobs, key=lambda job: job.id, reverse=True))


def jobs(call: Call) -> Response:
    """Without bridges; retried jobs only with ``include_retried``, and nothing marks them."""
    with call.api.store.lock:
        rows = [call.api.entities.job(job) for job in _visible(call) if not job.is_bridge]
    return paged(call.request, rows, call.api.url, totals=not call.api.knobs.hide_total_headers)


def bridges(call: Call) -> Response:
    with call.api.store.lock:
        rows = [call.api.entities.bridge(job) for job in _visible(call) if job.is_bridge]
    return paged(call.request, rows, call.api.url)


def trigger_jobs(call: Call) -> Response:
    if not call.api.knobs.trigger_jobs:
        raise ApiError(404, {"error": "404 Not Found"})
    return bridges(call)


def test_report_summary(call: Call) -> Response:
    with call.api.store.lock:
        return Response(body=call.api.entities.test_summary(call.pipeline))


def lint(call: Call) -> Response:
    """Validation of the project's own file, or of ``content`` when it is posted."""
    project = call.project
    ref = str(
        call.request.parameters.get("ref")
        or call.request.parameters.get("content_ref")
        or project.default_branch
    )
    sha = project.repository.resolve(ref)
    if sha is None:
        raise not_found("Reference")
    content = call.request.parameters.get("content")
    errors: list[str] = []
    predefined = environment.of_creation(
        project, server_url=call.api.url, ref=ref, sha=sha, tag=False, source="push", user=call.who
    )
    try:
        call.api.creator.plan(project, sha, predefined, [], {}, None if content is None else str(content))
    except ConfigError as error:
        errors = error.messages
    return Response(
        body={"valid": not errors, "errors": errors, "warnings": [], "merged_yaml": content, "includes": []}
    )


_PIPELINE = "/projects/:project/pipelines/:pipeline"
ROUTES = [
    Route("POST", "/projects/:project/pipeline", create),
    Route("POST", "/projects/:project/trigger/pipeline", trigger, open=True),
    Route("POST", "/projects/:project/ref/:ref/trigger/pipeline", trigger, open=True),
    Route("GET", "/projects/:project/pipelines", index),
    Route("GET", "/projects/:project/pipelines/latest", latest),
    Route("GET", _PIPELINE, show, job_token=True),
    Route("DELETE", _PIPELINE, delete),
    Route("GET", f"{_PIPELINE}/variables", variables),
    Route("PUT", f"{_PIPELINE}/metadata", put_metadata, job_token=True),
    Route("POST", f"{_PIPELINE}/cancel", cancel),
    Route("POST", f"{_PIPELINE}/retry", retry),
    Route("GET", f"{_PIPELINE}/jobs", jobs, job_token=True),
    Route("GET", f"{_PIPELINE}/bridges", bridges, job_token=True),
    Route("GET", f"{_PIPELINE}/trigger_jobs", trigger_jobs, job_token=True),
    Route("GET", f"{_PIPELINE}/test_report_summary", test_report_summary),
    Route("GET", "/projects/:project/ci/lint", lint),
    Route("POST", "/projects/:project/ci/lint", lint),
]

"""Pipelines: creating, finding, reading, cancelling and retrying them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_mlops.testing.gitlab import reports, statuses
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Request,
    Response,
    bad_request,
    forbidden,
    invalid,
    not_a_value,
    not_found,
    paged,
)

_NAME_LENGTH = 255
_SOURCES = (
    "unknown",
    "push",
    "web",
    "trigger",
    "schedule",
    "api",
    "external",
    "pipeline",
    "chat",
    "webide",
    "merge_request_event",
    "external_pull_request_event",
    "parent_pipeline",
    "ondemand_dast_scan",
    "ondemand_dast_validation",
    "security_orchestration_policy",
    "container_registry_push",
    "duo_workflow",
    "pipeline_execution_policy_schedule",
)
_FINISHED = ("success", "failed", "canceled", "skipped")
_ORDERS: dict[str, Callable[[Pipeline], Any]] = {
    "id": lambda pipeline: pipeline.id,
    "status": lambda pipeline: pipeline.status,
    "ref": lambda pipeline: pipeline.ref,
    "updated_at": lambda pipeline: pipeline.updated_at,
    "user_id": lambda pipeline: pipeline.user.id,
}


def _when(request: Request, name: str) -> datetime | None:
    value = request.parameters.get(name)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value).replace(" ", "+"))
    except ValueError:
        raise invalid(name) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _scope(request: Request) -> Callable[[Pipeline], bool] | None:
    """The filter of ``scope``; of branches and tags it lets the newest pipeline of each pass."""
    scope = request.choice("scope", ("running", "pending", "finished", "branches", "tags"))
    if scope in ("branches", "tags"):
        seen: set[str] = set()

        def newest(pipeline: Pipeline) -> bool:
            if pipeline.tag is not (scope == "tags") or pipeline.ref in seen:
                return False
            seen.add(pipeline.ref)
            return True

        return newest
    if scope == "finished":
        return lambda pipeline: pipeline.status in _FINISHED
    return None if scope is None else lambda pipeline: pipeline.status == scope


def _filters(request: Request) -> list[Callable[[Pipeline], bool]]:
    request.choice("status", statuses.JOB_STATUSES)
    request.choice("source", _SOURCES)
    equal: dict[str, Callable[[Pipeline], Any]] = {
        "source": lambda pipeline: pipeline.source,
        "ref": lambda pipeline: pipeline.ref,
        "sha": lambda pipeline: pipeline.sha,
        "status": lambda pipeline: pipeline.status,
        "username": lambda pipeline: pipeline.user.username,
        "name": lambda pipeline: pipeline.name,
    }
    filters: list[Callable[[Pipeline], bool]] = []
    if request.parameters.get("source") != "parent_pipeline":
        # Lists leave out child pipelines unless they are asked for.
        filters.append(lambda pipeline: pipeline.source != "parent_pipeline")
    for name, value_of in equal.items():
        wanted = request.parameters.get(name)
        if wanted not in (None, ""):
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
    if "yaml_errors" in request.parameters:
        broken = request.flag("yaml_errors")
        filters.append(lambda pipeline: (pipeline.yaml_errors is not None) is broken)
    if scope := _scope(request):
        filters.append(scope)
    return filters


def index(call: Call) -> Response:
    request, knobs = call.request, call.api.knobs
    order = str(request.choice("order_by", _ORDERS, "id"))
    descending = request.choice("sort", ("asc", "desc"), "desc") == "desc"
    filters = _filters(request)
    lag = max(knobs.list_lag, knobs.hidden_after_create)
    if lag > 0:
        filters.insert(0, lambda pipeline: not call.younger(pipeline, lag))
    with call.api.store.lock:
        # By id, newest first, as they were added; the scopes count on that.
        rows = [
            pipeline
            for pipeline in reversed(call.project.pipelines.values())
            if all(matches(pipeline) for matches in filters)
        ]
        if order != "id":
            rows.sort(key=_ORDERS[order], reverse=descending)
        elif not descending:
            rows.reverse()
        return paged(
            request,
            rows,
            call.api.url,
            call.api.entities.pipeline_row,
            totals=not knobs.hide_total_headers,
        )


def show(call: Call) -> Response:
    with call.api.store.lock:
        pipeline = call.pipeline
        stale = call.younger(pipeline, call.api.knobs.stale_after_create)
        return Response(body=call.api.entities.pipeline_with_metadata(pipeline, stale=stale))


def latest(call: Call) -> Response:
    project = call.project
    ref = str(call.request.parameters.get("ref", project.default_branch))
    with call.api.store.lock:
        for pipeline in reversed(project.pipelines.values()):
            if pipeline.ref == ref and pipeline.source != "parent_pipeline":
                return Response(body=call.api.entities.pipeline_with_metadata(pipeline))
    raise not_found()


def variables(call: Call) -> Response:
    """What the pipeline was created with; only its creator and maintainers may see that."""
    if call.api.knobs.variables_hidden:
        raise forbidden()
    return Response(body=[call.api.entities.variable(variable) for variable in call.pipeline.variables])


def put_metadata(call: Call) -> Response:
    name = call.request.text("name")
    if len(name) > _NAME_LENGTH:
        raise bad_request(
            f"Failed to update pipeline - Name is too long (maximum is {_NAME_LENGTH} characters)"
        )
    with call.api.store.lock:
        pipeline = call.pipeline
        pipeline.name = name
        pipeline.updated_at = now()
        return Response(body=call.api.entities.pipeline_with_metadata(pipeline))


def delete(call: Call) -> Response:
    call.unless_refreshing()
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


def scoped(request: Request, jobs: Iterable[Job]) -> list[Job]:
    """The jobs with one of the statuses of ``scope``.

    :raises ApiError: a status does not exist.
    """
    scopes = set(request.many("scope"))
    if not scopes <= set(statuses.JOB_STATUSES):
        raise not_a_value("scope")
    return [job for job in jobs if not scopes or job.status in scopes]


def _visible(call: Call, *, bridges: bool) -> Response:
    """Bridges or all others, newest first; retried ones only with ``include_retried``, and nothing marks them."""
    render = call.api.entities.bridge if bridges else call.api.entities.job
    with call.api.store.lock:
        pipeline = call.pipeline
        found = pipeline.jobs if call.request.flag("include_retried") else pipeline.latest()
        if call.younger(pipeline, call.api.knobs.stale_after_create):
            found = []
        newest = sorted((job for job in found if job.is_bridge is bridges), key=lambda job: -job.id)
        rows = scoped(call.request, newest)
        totals = not call.api.knobs.hide_total_headers
        return paged(call.request, rows, call.api.url, render, totals=totals)


def jobs(call: Call) -> Response:
    return _visible(call, bridges=False)


def bridges(call: Call) -> Response:
    return _visible(call, bridges=True)


def trigger_jobs(call: Call) -> Response:
    if not call.api.knobs.trigger_jobs:
        raise ApiError(404, {"error": "404 Not Found"})
    return bridges(call)


def test_report_summary(call: Call) -> Response:
    with call.api.store.lock:
        return Response(body=reports.summary(call.pipeline))


def test_report(call: Call) -> Response:
    with call.api.store.lock:
        return Response(body=reports.full(call.pipeline))


_PIPELINE = "/projects/:project/pipelines/:pipeline"
ROUTES = [
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
    Route("GET", f"{_PIPELINE}/test_report", test_report),
]

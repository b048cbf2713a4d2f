"""Jobs: reading them, their logs and artifacts, and acting on them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_mlops.testing.gitlab import artifacts, statuses
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact
from airflow_provider_mlops.testing.gitlab.lifecycle import NotAllowed
from airflow_provider_mlops.testing.gitlab.model import Job, now
from airflow_provider_mlops.testing.gitlab.routes import storage
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.routes.pipelines import scoped
from airflow_provider_mlops.testing.gitlab.trace import WINDOW_LIMIT
from airflow_provider_mlops.testing.gitlab.web import (
    Response,
    bad_request,
    forbidden,
    invalid,
    keyset_paged,
    missing,
    not_found,
    paged,
)

INDEX_LIMIT = "jobs_index"


def index(call: Call) -> Response:
    """Jobs of all pipelines, by pages or, as large projects need it, by ``pagination=keyset``."""
    request, entities = call.request, call.api.entities
    call.api.limits.endpoint(INDEX_LIMIT, str(call.who.id), call.api.knobs.jobs_index_per_minute)
    with call.api.store.lock:
        newest = sorted(
            (
                job
                for pipeline in call.project.pipelines.values()
                for job in pipeline.jobs
                if not job.is_bridge
            ),
            key=lambda job: -job.id,
        )
        found = scoped(request, newest)
        if request.parameters.get("pagination") == "keyset":
            return keyset_paged(request, found, call.api.url, entities.job, lambda job: job.id)
        return paged(request, found, call.api.url, entities.job, totals=False)


def show(call: Call) -> Response:
    with call.api.store.lock:
        job = call.job_of_path
        if job.is_bridge:
            raise not_found()
        return Response(body=call.api.entities.job(job))


def current(call: Call) -> Response:
    """The job that a job token belongs to."""
    job = call.api.store.job_tokens.get(str(call.request.headers.get("job-token")))
    if job is None:
        raise not_found("Job")
    with call.api.store.lock:
        return Response(body=call.api.entities.job(job))


def trace(call: Call) -> Response:
    """The log, whole or a window of it; servers before 19.1 ignore the window."""
    job = call.job_of_path
    offset, limit = 0, None
    if call.api.knobs.trace_windows:
        offset = call.request.number("byte_offset", 0, low=0)
        if "byte_limit" in call.request.parameters:
            limit = call.request.number("byte_limit", WINDOW_LIMIT, low=1, high=WINDOW_LIMIT)
        elif "byte_offset" in call.request.parameters:
            limit = WINDOW_LIMIT
    every = call.api.knobs.trace_every
    if every > 0 and not job.complete:
        there = max(job.trace.pushed(every) - offset, 0)
        limit = there if limit is None else min(limit, there)
    headers = {"Content-Type": "text/plain", "Content-Disposition": f'infile; filename="{job.id}.log"'}
    return Response(200, job.trace.window(offset, limit), headers)


def _archive(call: Call, job: Job) -> StoredArtifact:
    stored = None if call.api.knobs.artifacts_expired else job.archive(now())
    if stored is None:
        raise not_found()
    return stored


def _sent(call: Call, stored: StoredArtifact) -> Response:
    """An artifact as a file, or the address of the storage that has it."""
    if call.api.knobs.artifacts_redirect:
        return Response(302, b"", {"Location": storage.keep(call, stored.content)})
    name = quote(stored.filename)
    disposition = f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    kind = "application/zip" if stored.file_format == "zip" else "application/octet-stream"
    return Response(200, stored.content, {"Content-Type": kind, "Content-Disposition": disposition})


def _member(stored: StoredArtifact, path: str) -> Response:
    if ".." in path.split("/") or path.startswith("/"):
        raise bad_request("400 Bad request")
    content = artifacts.member(stored.content, path)
    if content is None:
        raise not_found()
    return Response(200, content, {"Content-Type": "application/octet-stream"})


def download(call: Call) -> Response:
    """The archive; servers that know ``file_type`` send that report instead, others do not look at it."""
    job = call.job_of_path
    wanted = call.request.parameters.get("file_type", "archive")
    if wanted != "archive" and call.api.knobs.reports_downloadable:
        report = job.artifacts.get(str(wanted))
        if report is None:
            raise not_found()
        return _sent(call, report)
    return _sent(call, _archive(call, job))


def download_file(call: Call) -> Response:
    return _member(_archive(call, call.job_of_path), call.parts["path"])


def _latest(call: Call) -> StoredArtifact:
    """Of the newest successful pipeline of a ref: racy, which is why nobody should use it."""
    name = call.request.text("job")
    with call.api.store.lock:
        for pipeline in reversed(call.project.pipelines.values()):
            if pipeline.ref != call.parts["ref"] or pipeline.status != "success":
                continue
            for job in pipeline.latest():
                if job.name == name and job.archive(now()) is not None:
                    return _archive(call, job)
    raise not_found()


def download_latest(call: Call) -> Response:
    return _sent(call, _latest(call))


def download_latest_file(call: Call) -> Response:
    return _member(_latest(call), call.parts["path"])


def keep_artifacts(call: Call) -> Response:
    with call.api.store.lock:
        job = call.job_of_path
        _archive(call, job)
        job.artifacts_expire_at = None
        return Response(200, call.api.entities.job(job))


def delete_artifacts(call: Call) -> Response:
    call.unless_refreshing()
    with call.api.store.lock:
        call.job_of_path.artifacts.clear()
    return Response(204)


def _entity(call: Call, job: Job) -> dict[str, object]:
    return call.api.entities.bridge(job) if job.is_bridge else call.api.entities.job(job)


def _check_inputs(call: Call, name: str) -> None:
    given = call.request.parameters.get(name)
    if given is not None and not isinstance(given, Mapping):
        raise invalid(name)


def cancel(call: Call) -> Response:
    job = call.job_of_path
    call.api.creator.lifecycle.cancel_job(job, force=call.request.flag("force"))
    with call.api.store.lock:
        return Response(201, _entity(call, job))


def retry(call: Call) -> Response:
    _check_inputs(call, "inputs")
    try:
        job = call.api.creator.lifecycle.retry_job(call.job_of_path, call.who)
    except NotAllowed as error:
        raise forbidden(str(error)) from error
    with call.api.store.lock:
        return Response(201, _entity(call, job))


def play(call: Call) -> Response:
    rows = call.request.parameters.get("job_variables_attributes") or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise invalid("job_variables_attributes")
    for number, row in enumerate(rows):
        absent = [key for key in ("key", "value") if key not in row]
        if absent:
            raise missing(*(f"job_variables_attributes[{number}][{key}]" for key in absent))
    _check_inputs(call, "job_inputs")
    inputs = call.request.parameters.get("job_inputs")
    variables = {str(row["key"]): str(row["value"]) for row in rows}
    job = call.job_of_path
    try:
        call.api.creator.lifecycle.play(job, call.who, variables, inputs)
    except NotAllowed as error:
        raise bad_request(f"400 Bad request - {error}") from error
    with call.api.store.lock:
        return Response(200, _entity(call, job))


def erase(call: Call) -> Response:
    with call.api.store.lock:
        job = call.job_of_path
        if job.status not in statuses.COMPLETE or job.erased_at is not None:
            raise forbidden("Job is not erasable!")
        call.unless_refreshing()
        job.trace.erase()
        job.artifacts.clear()
        job.erased_at = now()
        return Response(201, call.api.entities.job(job))


_JOB = "/projects/:project/jobs/:job"
_LATEST = "/projects/:project/jobs/artifacts/:ref"
ROUTES = [
    Route("GET", "/job", current, job_token=True),
    Route("GET", "/projects/:project/jobs", index, job_token=True),
    Route("GET", f"{_LATEST}/download", download_latest, job_token=True),
    Route("GET", f"{_LATEST}/raw/*path", download_latest_file, job_token=True),
    Route("GET", _JOB, show),
    Route("GET", f"{_JOB}/trace", trace),
    Route("GET", f"{_JOB}/artifacts", download, job_token=True),
    Route("DELETE", f"{_JOB}/artifacts", delete_artifacts),
    Route("POST", f"{_JOB}/artifacts/keep", keep_artifacts),
    Route("GET", f"{_JOB}/artifacts/*path", download_file, job_token=True),
    Route("POST", f"{_JOB}/cancel", cancel),
    Route("POST", f"{_JOB}/retry", retry),
    Route("POST", f"{_JOB}/play", play),
    Route("POST", f"{_JOB}/erase", erase),
]

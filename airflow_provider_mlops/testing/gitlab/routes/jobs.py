"""Jobs: reading them, their logs and artifacts, and acting on them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import quote

from airflow_provider_mlops.testing.gitlab import artifacts, statuses
from airflow_provider_mlops.testing.gitlab.lifecycle import NotAllowed
from airflow_provider_mlops.testing.gitlab.model import Job, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.trace import WINDOW_LIMIT
from airflow_provider_mlops.testing.gitlab.web import (
    Response,
    bad_request,
    forbidden,
    not_found,
    paged,
)


def index(call: Call) -> Response:
    scopes = call.request.many("scope")
    with call.api.store.lock:
        found = [
            call.api.entities.job(job)
            for pipeline in call.project.pipelines.values()
            for job in pipeline.jobs
            if not job.is_bridge and (not scopes or job.status in scopes)
        ]
    return paged(call.request, found[::-1], call.api.url)


def show(call: Call) -> Response:
    with call.api.store.lock:
        job = call.job_of_path
        return Response(body=call.api.entities.bridge(job) if job.is_bridge else call.api.entities.job(job))


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
    return Response(200, job.trace.window(offset, limit), {"Content-Type": "text/plain"})


def _archive(call: Call) -> bytes:
    stored = call.job_of_path.artifacts.get("archive")
    if stored is None or call.api.knobs.artifacts_expired:
        raise not_found()
    return stored.content


def download(call: Call) -> Response:
    stored = call.job_of_path.artifacts.get("archive")
    content = _archive(call)
    if call.api.knobs.artifacts_redirect:
        key = secrets.token_urlsafe(12)
        call.api.storage[key] = content
        return Response(302, b"", {"Location": f"{call.api.url}/api/v4/storage/{key}"})
    name = stored.filename if stored else "artifacts.zip"
    disposition = f"attachment; filename=\"{quote(name)}\"; filename*=UTF-8''{quote(name)}"
    return Response(200, content, {"Content-Type": "application/zip", "Content-Disposition": disposition})


def download_file(call: Call) -> Response:
    path = call.parts["path"]
    if ".." in path.split("/"):
        raise bad_request("400 Bad request")
    content = artifacts.member(_archive(call), path)
    if content is None:
        raise not_found()
    return Response(200, content, {"Content-Type": "application/octet-stream"})


def download_latest(call: Call) -> Response:
    """A file of the newest successful pipeline of a ref: racy, which is why nobody should use it."""
    name = call.request.text("job")
    with call.api.store.lock:
        found: list[Job] = [
            job
            for pipeline in call.project.pipelines.values()
            if pipeline.ref == call.parts["ref"] and pipeline.status == "success"
            for job in pipeline.latest()
            if job.name == name and "archive" in job.artifacts
        ]
    content = artifacts.member(found[-1].artifacts["archive"].content, call.parts["path"]) if found else None
    if content is None:
        raise not_found()
    return Response(200, content)


def delete_artifacts(call: Call) -> Response:
    with call.api.store.lock:
        call.job_of_path.artifacts.clear()
    return Response(204)


def cancel(call: Call) -> Response:
    job = call.job_of_path
    call.api.creator.lifecycle.cancel_job(job, force=call.request.flag("force"))
    with call.api.store.lock:
        return Response(201, call.api.entities.job(job))


def retry(call: Call) -> Response:
    try:
        job = call.api.creator.lifecycle.retry_job(call.job_of_path, call.who)
    except NotAllowed as error:
        raise forbidden(str(error)) from error
    with call.api.store.lock:
        return Response(201, call.api.entities.job(job))


def play(call: Call) -> Response:
    rows = call.request.parameters.get("job_variables_attributes") or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and "key" in row for row in rows):
        raise bad_request("job_variables_attributes is invalid")
    inputs = call.request.parameters.get("job_inputs") or {}
    if not isinstance(inputs, Mapping):
        raise bad_request("job_inputs is invalid")
    job = call.job_of_path
    try:
        call.api.creator.lifecycle.play(
            job, call.who, {str(row["key"]): str(row.get("value", "")) for row in rows}, inputs
        )
    except NotAllowed as error:
        raise bad_request(f"400 Bad request - {error}") from error
    with call.api.store.lock:
        return Response(200, call.api.entities.job(job))


def erase(call: Call) -> Response:
    with call.api.store.lock:
        job = call.job_of_path
        if job.status not in statuses.COMPLETE or job.erased_at is not None:
            raise forbidden("Job is not erasable!")
        job.trace.erase()
        job.artifacts.clear()
        job.erased_at = now()
        return Response(201, call.api.entities.job(job))


_JOB = "/projects/:project/jobs/:job"
ROUTES = [
    Route("GET", "/projects/:project/jobs", index, job_token=True),
    Route("GET", "/projects/:project/jobs/artifacts/:ref/raw/*path", download_latest, job_token=True),
    Route("GET", _JOB, show),
    Route("GET", f"{_JOB}/trace", trace),
    Route("GET", f"{_JOB}/artifacts", download, job_token=True),
    Route("DELETE", f"{_JOB}/artifacts", delete_artifacts),
    Route("GET", f"{_JOB}/artifacts/*path", download_file, job_token=True),
    Route("POST", f"{_JOB}/cancel", cancel),
    Route("POST", f"{_JOB}/retry", retry),
    Route("POST", f"{_JOB}/play", play),
    Route("POST", f"{_JOB}/erase", erase),
]

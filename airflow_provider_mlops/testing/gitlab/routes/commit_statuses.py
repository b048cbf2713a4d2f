"""Statuses that others put on commits."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.model import CommitStatus, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.routes.repository import sha_of
from airflow_provider_mlops.testing.gitlab.web import Response, bad_request, not_a_value, not_found, paged

STATES = ("pending", "running", "success", "failed", "canceled", "skipped")


def set_status(call: Call) -> Response:
    """Put a status on a commit; saying pending or running twice is refused."""
    request, project = call.request, call.project
    sha = sha_of(project, call.parts["sha"])
    state = request.text("state")
    if state not in STATES:
        raise not_a_value("state")
    pipeline_id = request.number("pipeline_id", 0)
    if pipeline_id and pipeline_id not in project.pipelines:
        raise not_found("Pipeline")
    name = str(request.parameters.get("name") or request.parameters.get("context") or "default")
    with call.api.store.lock:
        found = next((row for row in project.commit_statuses if (row.sha, row.name) == (sha, name)), None)
        if found is None:
            number = call.api.store.next_id("commit status")
            ref = request.parameters.get("ref")
            found = CommitStatus(number, sha, None if ref is None else str(ref), state, name, call.who)
            project.commit_statuses.append(found)
        elif found.status == state and state in ("pending", "running"):
            event = {"pending": "enqueue", "running": "run"}[state]
            reason = f'Reason: [Status cannot transition via "{event}"]'
            raise bad_request(f"Cannot transition status via :{event} from :{state} ({reason})")
        found.status = state
        for key in ("target_url", "description", "coverage", "pipeline_id"):
            if request.parameters.get(key) is not None:
                setattr(found, key, request.parameters[key])
        if state == "running":
            found.started_at = now()
        elif state != "pending":
            found.finished_at = now()
        return Response(201, call.api.entities.commit_status(found))


def list_statuses(call: Call) -> Response:
    project, parameters = call.project, call.request.parameters
    sha = sha_of(project, call.parts["sha"])
    rows = [
        row
        for row in project.commit_statuses
        if row.sha == sha
        and parameters.get("name") in (None, row.name)
        and parameters.get("ref") in (None, row.ref)
    ]
    return paged(call.request, rows, call.api.url, call.api.entities.commit_status)


ROUTES = [
    Route("POST", "/projects/:project/statuses/:sha", set_status),
    Route("GET", "/projects/:project/repository/commits/:sha/statuses", list_statuses),
]

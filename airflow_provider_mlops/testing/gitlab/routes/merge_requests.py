"""Merge requests: creating, finding and merging them."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.model import MergeRequest, Project, now
from airflow_provider_mlops.testing.gitlab.repository import Entry, RepositoryError
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import ApiError, Response, not_found, paged


class _Conflict(Exception):
    """Both sides changed a file."""


def _merged_tree(project: Project, source: str, target: str) -> dict[str, Entry]:
    """A three-way merge by whole files."""
    repository = project.repository
    try:
        base_sha = repository.git("merge-base", source, target).decode().strip()
    except RepositoryError as error:
        raise _Conflict from error
    base, ours, theirs = repository.tree(base_sha), repository.tree(target), repository.tree(source)
    merged: dict[str, Entry] = {}
    for path in base.keys() | ours.keys() | theirs.keys():
        before, here, there = base.get(path), ours.get(path), theirs.get(path)
        if here != there and before not in (here, there):
            raise _Conflict
        entry = there if here == before else here
        if entry is not None:
            merged[path] = entry
    return merged


def _conflicts(project: Project, request: MergeRequest) -> bool:
    branches = project.repository.branches()
    source, target = branches.get(request.source_branch), branches.get(request.target_branch)
    if request.state != "opened" or source is None or target is None:
        return False
    try:
        _merged_tree(project, source, target)
    except _Conflict:
        return True
    return False


def _entity(call: Call, request: MergeRequest) -> dict[str, object]:
    project = call.project
    return call.api.entities.merge_request(project, request, conflicts=_conflicts(project, request))


def _find(call: Call) -> MergeRequest:
    number = call.parts["iid"]
    found = call.project.merge_requests.get(int(number)) if number.isdigit() else None
    if found is None:
        raise not_found()
    return found


def _labels(call: Call) -> list[str]:
    labels = call.request.parameters.get("labels") or []
    return (
        [label.strip() for label in labels.split(",")]
        if isinstance(labels, str)
        else [str(row) for row in labels]
    )


def create(call: Call) -> Response:
    request, project = call.request, call.project
    source, target = request.text("source_branch"), request.text("target_branch")
    title = request.text("title")
    with call.api.store.lock:
        for other in project.merge_requests.values():
            if other.state == "opened" and (other.source_branch, other.target_branch) == (source, target):
                message = f"Another open merge request already exists for this source branch: !{other.iid}"
                raise ApiError(409, {"message": [message]})
        branches = project.repository.branches()
        for name, side in ((source, "Source"), (target, "Target")):
            if name not in branches:
                raise ApiError(422, {"message": {"base": [f'{side} branch "{name}" does not exist']}})
        if source == target:
            raise ApiError(
                422, {"message": {"base": ["You can't use same project/branch for source and target"]}}
            )
        iid = call.api.store.next_id(f"merge request of {project.id}")
        made = MergeRequest(
            id=call.api.store.next_id("merge request", 301),
            iid=iid,
            author=call.who,
            source_branch=source,
            target_branch=target,
            title=title,
            description=str(request.parameters.get("description") or ""),
            labels=_labels(call),
            remove_source_branch=request.flag("remove_source_branch"),
        )
        project.merge_requests[iid] = made
        return Response(201, _entity(call, made))


def index(call: Call) -> Response:
    parameters = call.request.parameters
    state = parameters.get("state", "all")
    with call.api.store.lock:
        rows = [
            _entity(call, found)
            for found in reversed(call.project.merge_requests.values())
            if state in ("all", found.state)
            and parameters.get("source_branch") in (None, found.source_branch)
            and parameters.get("target_branch") in (None, found.target_branch)
        ]
    return paged(call.request, rows, call.api.url)


def show(call: Call) -> Response:
    with call.api.store.lock:
        return Response(body=_entity(call, _find(call)))


def update(call: Call) -> Response:
    parameters = call.request.parameters
    with call.api.store.lock:
        found = _find(call)
        for key in ("title", "description", "target_branch"):
            if parameters.get(key) is not None:
                setattr(found, key, str(parameters[key]))
        if "labels" in parameters:
            found.labels = _labels(call)
        event = parameters.get("state_event")
        if event == "close" and found.state == "opened":
            found.state = "closed"
        elif event == "reopen" and found.state == "closed":
            found.state = "opened"
        found.updated_at = now()
        return Response(body=_entity(call, found))


def merge(call: Call) -> Response:
    """405 when it cannot be merged, 409 when ``sha`` is not the source branch's head."""
    project = call.project
    with call.api.store.lock:
        found = _find(call)
        branches = project.repository.branches()
        source, target = branches.get(found.source_branch), branches.get(found.target_branch)
        if found.state != "opened" or source is None or target is None:
            raise ApiError(405, {"message": "405 Method Not Allowed"})
        wanted = call.request.parameters.get("sha")
        if wanted and wanted != source:
            raise ApiError(409, {"message": f"SHA does not match HEAD of source branch: {source}"})
        try:
            tree = _merged_tree(project, source, target)
        except _Conflict as error:
            raise ApiError(422, {"message": "Branch cannot be merged"}) from error
        message = str(
            call.request.parameters.get("merge_commit_message")
            or f"Merge branch '{found.source_branch}' into '{found.target_branch}'\n\n{found.title}"
        )
        sha = project.repository.commit(
            found.target_branch, tree, message, parents=(target, source), expected=target
        )
        found.state, found.merge_commit_sha, found.final_sha = "merged", sha, source
        found.merged_at = found.updated_at = now()
        found.merged_by = call.who
        if call.request.flag("should_remove_source_branch") or found.remove_source_branch:
            project.repository.git("update-ref", "-d", f"refs/heads/{found.source_branch}", source)
        return Response(body=_entity(call, found))


_ONE = "/projects/:project/merge_requests/:iid"
ROUTES = [
    Route("POST", "/projects/:project/merge_requests", create),
    Route("GET", "/projects/:project/merge_requests", index),
    Route("GET", _ONE, show),
    Route("PUT", _ONE, update),
    Route("PUT", f"{_ONE}/merge", merge),
]

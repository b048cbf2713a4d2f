"""Merge requests: creating, finding and merging them, and comments on them."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.testing.gitlab import merging, statuses
from airflow_provider_mlops.testing.gitlab.entities import moment
from airflow_provider_mlops.testing.gitlab.model import AutoMerge, MergeRequest, Note, Project, User, now
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import ApiError, Response, conflict, not_found, paged


def _conflicts(project: Project, request: MergeRequest) -> bool:
    branches = project.repository.branches()
    source, target = branches.get(request.source_branch), branches.get(request.target_branch)
    if request.state != "opened" or source is None or target is None:
        return False
    try:
        merging.merged_tree(project, source, target)
    except merging.Conflict:
        return True
    return False


def _entity(call: Call, request: MergeRequest) -> dict[str, Any]:
    project = call.project
    entity = call.api.entities.merge_request(project, request, conflicts=_conflicts(project, request))
    made = [row for row in merging.pipelines_of(project, request) if row.sha == entity["sha"]]
    return {**entity, "head_pipeline": call.api.entities.pipeline(made[0]) if made else None}


def _find(call: Call) -> MergeRequest:
    number = call.parts["iid"]
    found = call.project.merge_requests.get(int(number)) if number.isdigit() else None
    if found is None:
        raise not_found()
    return found


def _unprocessable(message: str) -> ApiError:
    return ApiError(422, {"message": [message]})


def _people(call: Call, key: str) -> list[User]:
    numbers = {str(number) for number in call.request.parameters.get(key) or []}
    return [user for user in call.api.store.users if str(user.id) in numbers]


def _labels(call: Call, key: str = "labels") -> list[str]:
    labels = call.request.parameters.get(key) or []
    return (
        [label.strip() for label in labels.split(",")]
        if isinstance(labels, str)
        else [str(row) for row in labels]
    )


def create(call: Call) -> Response:
    request, project = call.request, call.project
    request.require("title", "source_branch", "target_branch")
    source, target = request.text("source_branch"), request.text("target_branch")
    with call.api.store.lock:
        if source == target:
            raise _unprocessable("You can't use same project/branch for source and target")
        branches = project.repository.branches()
        for name, side in ((source, "Source"), (target, "Target")):
            if name not in branches:
                raise _unprocessable(f'{side} branch "{name}" does not exist')
        for other in project.merge_requests.values():
            if other.state == "opened" and (other.source_branch, other.target_branch) == (source, target):
                raise conflict(
                    [f"Another open merge request already exists for this source branch: !{other.iid}"]
                )
        iid = call.api.store.next_id(f"merge request of {project.id}")
        made = MergeRequest(
            id=call.api.store.next_id("merge request", 301),
            iid=iid,
            author=call.who,
            source_branch=source,
            target_branch=target,
            title=request.text("title"),
            description=str(request.parameters.get("description") or ""),
            labels=_labels(call),
            remove_source_branch=request.flag("remove_source_branch"),
            assignees=_people(call, "assignee_ids"),
            reviewers=_people(call, "reviewer_ids"),
            squash=request.flag("squash"),
        )
        project.merge_requests[iid] = made
        return Response(201, _entity(call, made))


def index(call: Call) -> Response:
    request, parameters = call.request, call.request.parameters
    state = request.choice("state", ("opened", "closed", "locked", "merged", "all"), "all")
    iids = {int(value) for value in request.many("iids") if value.isdigit()}
    with call.api.store.lock:
        rows = [
            found
            for found in reversed(call.project.merge_requests.values())
            if state in ("all", found.state)
            and parameters.get("source_branch") in (None, found.source_branch)
            and parameters.get("target_branch") in (None, found.target_branch)
            and (not iids or found.iid in iids)
        ]
        return paged(request, rows, call.api.url, lambda found: _entity(call, found))


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
        found.labels += [label for label in _labels(call, "add_labels") if label not in found.labels]
        for key, people in (("assignee_ids", "assignees"), ("reviewer_ids", "reviewers")):
            if key in parameters:
                setattr(found, people, _people(call, key))
        event = parameters.get("state_event")
        if event == "close" and found.state == "opened":
            found.state = "closed"
            found.closed_at, found.closed_by = now(), call.who
        elif event == "reopen" and found.state == "closed":
            found.state = "opened"
        found.updated_at = now()
        return Response(body=_entity(call, found))


def _auto_merge(call: Call, found: MergeRequest, sha: str, message: str | None) -> bool:
    """Whether the merge waits for a pipeline of the source branch that still runs."""
    flags = call.request.flag("auto_merge") or call.request.flag("merge_when_pipeline_succeeds")
    active = [
        pipeline
        for pipeline in merging.pipelines_of(call.project, found)
        if pipeline.sha == sha and pipeline.status not in statuses.COMPLETE
    ]
    if not flags or not active:
        return False
    remove = call.request.flag("should_remove_source_branch")
    found.auto_merge = AutoMerge(call.who, sha, message, remove)
    return True


def merge(call: Call) -> Response:
    """405 when it cannot be merged, 409 when ``sha`` is not the source branch's head, 422 for a conflict."""
    project, parameters = call.project, call.request.parameters
    with call.api.store.lock:
        found = _find(call)
        branches = project.repository.branches()
        source, target = branches.get(found.source_branch), branches.get(found.target_branch)
        draft = found.title.lower().startswith("draft:")
        shown = call.api.knobs.merge_statuses.get(found.iid, "draft_status" if draft else "mergeable")
        if found.state != "opened" or source is None or target is None or shown != "mergeable":
            raise ApiError(405, {"message": "405 Method Not Allowed"})
        wanted = parameters.get("sha")
        if wanted and wanted != source:
            raise conflict(f"SHA does not match HEAD of source branch: {source}")
        message = parameters.get("merge_commit_message")
        found.squash = found.squash or call.request.flag("squash")
        text = None if message is None else str(message)
        if not _auto_merge(call, found, source, text):
            try:
                remove = call.request.flag("should_remove_source_branch")
                merging.merge(project, found, call.who, message=text, remove_source_branch=remove)
            except merging.Conflict as error:
                raise ApiError(422, {"message": "Branch cannot be merged"}) from error
        return Response(body=_entity(call, found))


def cancel_auto_merge(call: Call) -> Response:
    with call.api.store.lock:
        found = _find(call)
        if found.auto_merge is None:
            raise ApiError(406, {"message": "406 Not Acceptable"})
        found.auto_merge = None
        return Response(201, _entity(call, found))


def delete(call: Call) -> Response:
    with call.api.store.lock:
        del call.project.merge_requests[_find(call).iid]
    return Response(204)


def pipelines(call: Call) -> Response:
    """Those of the source branch."""
    with call.api.store.lock:
        rows = merging.pipelines_of(call.project, _find(call))
        return paged(call.request, rows, call.api.url, call.api.entities.pipeline_basic)


def _note_entity(call: Call, found: MergeRequest, note: Note) -> dict[str, object]:
    return {
        "id": note.id,
        "type": None,
        "body": note.body,
        "author": call.api.entities.user(note.author),
        "created_at": moment(note.created_at),
        "updated_at": moment(note.updated_at),
        "system": False,
        "noteable_id": found.id,
        "noteable_type": "MergeRequest",
        "noteable_iid": found.iid,
        "project_id": call.project.id,
        "resolvable": False,
        "confidential": False,
        "internal": False,
    }


def notes(call: Call) -> Response:
    found = _find(call)
    newest_first = call.request.choice("sort", ("asc", "desc"), "desc") == "desc"
    rows = sorted(found.notes.values(), key=lambda note: note.id, reverse=newest_first)
    return paged(call.request, rows, call.api.url, lambda note: _note_entity(call, found, note))


def create_note(call: Call) -> Response:
    found, body = _find(call), call.request.text("body")
    note = Note(call.api.store.next_id("note"), call.who, body)
    found.notes[note.id] = note
    return Response(201, _note_entity(call, found, note))


def _note(call: Call) -> tuple[MergeRequest, Note]:
    found, number = _find(call), call.parts["note"]
    note = found.notes.get(int(number)) if number.isdigit() else None
    if note is None:
        raise not_found()
    return found, note


def show_note(call: Call) -> Response:
    return Response(body=_note_entity(call, *_note(call)))


def update_note(call: Call) -> Response:
    found, note = _note(call)
    if note.author != call.who:
        raise ApiError(403, {"message": "403 Forbidden"})
    note.body, note.updated_at = call.request.text("body"), now()
    return Response(body=_note_entity(call, found, note))


def delete_note(call: Call) -> Response:
    found, note = _note(call)
    del found.notes[note.id]
    return Response(204)


_ONE = "/projects/:project/merge_requests/:iid"
ROUTES = [
    Route("POST", "/projects/:project/merge_requests", create),
    Route("GET", "/projects/:project/merge_requests", index),
    Route("GET", _ONE, show),
    Route("PUT", _ONE, update),
    Route("DELETE", _ONE, delete),
    Route("PUT", f"{_ONE}/merge", merge),
    Route("POST", f"{_ONE}/cancel_merge_when_pipeline_succeeds", cancel_auto_merge),
    Route("GET", f"{_ONE}/pipelines", pipelines),
    Route("GET", f"{_ONE}/notes", notes),
    Route("POST", f"{_ONE}/notes", create_note),
    Route("GET", f"{_ONE}/notes/:note", show_note),
    Route("PUT", f"{_ONE}/notes/:note", update_note),
    Route("DELETE", f"{_ONE}/notes/:note", delete_note),
]

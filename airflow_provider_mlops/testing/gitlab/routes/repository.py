"""Commits, files, branches and commit statuses."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.testing.gitlab.model import CommitStatus, Project, now
from airflow_provider_mlops.testing.gitlab.repository import Entry, RepositoryError
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Response,
    bad_request,
    missing,
    not_found,
    paged,
)

STATES = ("pending", "running", "success", "failed", "canceled", "skipped")


def _sha(project: Project, ref: str, what: str = "Commit") -> str:
    sha = project.repository.resolve(ref)
    if sha is None:
        raise not_found(what)
    return sha


def _content(action: Mapping[str, Any]) -> bytes:
    text = str(action.get("content") or "")
    if action.get("encoding") != "base64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise bad_request("content is not valid base64") from error


def _unchanged(project: Project, head: str, path: str, last_commit: Any, message: str) -> None:
    """The optimistic lock of ``last_commit_id``."""
    if last_commit and project.repository.last_commit_touching(head, path) != str(last_commit):
        raise bad_request(message)


def _apply(project: Project, tree: dict[str, Entry], action: Mapping[str, Any], head: str) -> None:
    kind, path = action.get("action"), action.get("file_path")
    if kind not in ("create", "update", "move", "delete", "chmod"):
        raise ApiError(400, {"error": "actions[0][action] does not have a valid value"})
    if not path:
        raise missing("actions[0][file_path]")
    path = str(path)
    store = project.repository.store
    if kind == "create":
        if path in tree:
            raise bad_request("A file with this name already exists")
        mode = "100755" if action.get("execute_filemode") else "100644"
        tree[path] = Entry(mode, store(_content(action)))
        return
    origin = str(action.get("previous_path") or "") if kind == "move" else path
    if origin not in tree:
        raise bad_request("A file with this name doesn't exist")
    stale = f"The file has changed since you started editing it: {origin}"
    _unchanged(project, head, origin, action.get("last_commit_id"), stale)
    if kind == "delete":
        del tree[path]
    elif kind == "update":
        tree[path] = Entry(tree[path].mode, store(_content(action)))
    elif kind == "chmod":
        tree[path] = Entry("100755" if action.get("execute_filemode") else "100644", tree[path].blob)
    else:
        if path in tree:
            raise bad_request("A file with this name already exists")
        entry = tree.pop(origin)
        blob = entry.blob if action.get("content") is None else store(_content(action))
        tree[path] = Entry(entry.mode, blob)


def create_commit(call: Call) -> Response:
    request, project = call.request, call.project
    branch = request.text("branch")
    message = request.text("commit_message")
    actions = request.parameters.get("actions")
    if not isinstance(actions, list):
        raise missing("actions")
    start = request.parameters.get("start_branch") or request.parameters.get("start_sha")
    with call.api.store.lock:
        repository = project.repository
        existing = repository.branches().get(branch)
        if existing and start and str(start) != branch and not request.flag("force"):
            raise bad_request(
                f"A branch called '{branch}' already exists. Switch to that branch in order to make changes"
            )
        if existing is None and start is None:
            raise bad_request("You can only create or edit files when you are on a branch")
        base = repository.resolve(str(start)) if start is not None else existing
        if base is None:
            raise bad_request(f"Cannot find start_branch '{start}'")
        tree = repository.tree(base)
        for action in actions:
            _apply(project, tree, action, base)
        author = (
            str(request.parameters.get("author_name") or call.who.name),
            str(request.parameters.get("author_email") or f"{call.who.username}@example.com"),
        )
        try:
            sha = repository.commit(branch, tree, message, parents=(base,), expected=existing, author=author)
        except RepositoryError as error:
            raise bad_request(f"Could not update {branch}. Please refresh and try again.") from error
        stats = {"additions": 0, "deletions": 0, "total": 0}
        entity = call.api.entities.commit(project, sha)
    return Response(
        201, {**entity, "stats": stats, "status": None, "project_id": project.id, "last_pipeline": None}
    )


def commits(call: Call) -> Response:
    project = call.project
    sha = _sha(project, str(call.request.parameters.get("ref_name") or project.default_branch))
    arguments = ["log", "--format=%H", sha]
    if path := call.request.parameters.get("path"):
        arguments += ["--", str(path)]
    rows = project.repository.git(*arguments).decode().split()
    return paged(call.request, [call.api.entities.commit(project, row) for row in rows], call.api.url)


def commit(call: Call) -> Response:
    project = call.project
    sha = _sha(project, call.parts["sha"])
    last = [pipeline for pipeline in project.pipelines.values() if pipeline.sha == sha]
    return Response(
        body={
            **call.api.entities.commit(project, sha),
            "stats": {"additions": 0, "deletions": 0, "total": 0},
            "status": last[-1].status if last else None,
            "project_id": project.id,
            "last_pipeline": call.api.entities.pipeline_row(last[-1]) if last else None,
        }
    )


def _file(call: Call) -> tuple[Project, str, str, bytes]:
    project = call.project
    sha = _sha(project, str(call.request.parameters.get("ref") or "HEAD"))
    content = project.repository.read(sha, call.parts["path"])
    if content is None:
        raise not_found("File")
    return project, sha, call.parts["path"], content


def _file_facts(project: Project, sha: str, path: str, content: bytes, ref: str) -> dict[str, Any]:
    entry = project.repository.tree(sha)[path]
    return {
        "file_name": path.rpartition("/")[2],
        "file_path": path,
        "size": len(content),
        "encoding": "base64",
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "blob_id": entry.blob,
        "commit_id": sha,
        "last_commit_id": project.repository.last_commit_touching(sha, path),
        "execute_filemode": entry.mode == "100755",
    }


def file_raw(call: Call) -> Response:
    _, _, _, content = _file(call)
    return Response(200, content, {"Content-Type": "text/plain"})


def file_show(call: Call) -> Response:
    project, sha, path, content = _file(call)
    facts = _file_facts(project, sha, path, content, str(call.request.parameters.get("ref") or "HEAD"))
    return Response(body={**facts, "content": base64.b64encode(content).decode()})


def file_head(call: Call) -> Response:
    project, sha, path, content = _file(call)
    facts = _file_facts(project, sha, path, content, str(call.request.parameters.get("ref") or "HEAD"))
    names = {name: "X-Gitlab-" + "-".join(part.capitalize() for part in name.split("_")) for name in facts}
    return Response(200, b"", {names[name]: str(value) for name, value in facts.items()})


def _write_file(call: Call, kind: str) -> Response:
    request, project = call.request, call.project
    path, branch = call.parts["path"], request.text("branch")
    message = request.text("commit_message")
    with call.api.store.lock:
        head = project.repository.branches().get(branch)
        if head is None:
            raise bad_request("You can only create or edit files when you are on a branch")
        if kind == "update":
            stale = "You are attempting to update a file that has changed since you started editing it."
            _unchanged(project, head, path, request.parameters.get("last_commit_id"), stale)
        tree = project.repository.tree(head)
        action = {key: value for key, value in request.parameters.items() if key in ("content", "encoding")}
        _apply(project, tree, {**action, "action": kind, "file_path": path}, head)
        project.repository.commit(branch, tree, message, parents=(head,), expected=head)
    if kind == "delete":
        return Response(204)
    return Response(201 if kind == "create" else 200, {"file_path": path, "branch": branch})


def branches(call: Call) -> Response:
    project = call.project
    rows = [
        call.api.entities.branch(project, name, sha) for name, sha in project.repository.branches().items()
    ]
    return paged(call.request, rows, call.api.url)


def branch(call: Call) -> Response:
    project = call.project
    sha = project.repository.branches().get(call.parts["branch"])
    if sha is None:
        raise not_found("Branch")
    return Response(body=call.api.entities.branch(project, call.parts["branch"], sha))


def create_branch(call: Call) -> Response:
    project = call.project
    name, ref = call.request.text("branch"), call.request.text("ref")
    with call.api.store.lock:
        if name in project.repository.branches():
            raise bad_request("Branch already exists")
        sha = project.repository.resolve(ref)
        if sha is None:
            raise bad_request(f"Invalid reference name: {ref}")
        project.repository.git("update-ref", f"refs/heads/{name}", sha, "0" * 40)
    return Response(201, call.api.entities.branch(project, name, sha))


def delete_branch(call: Call) -> Response:
    project = call.project
    sha = project.repository.branches().get(call.parts["branch"])
    if sha is None:
        raise not_found("Branch")
    project.repository.git("update-ref", "-d", f"refs/heads/{call.parts['branch']}", sha)
    return Response(204)


def set_status(call: Call) -> Response:
    """Put a status on a commit; saying pending or running twice is refused."""
    request, project = call.request, call.project
    sha = _sha(project, call.parts["sha"])
    state = request.text("state")
    if state not in STATES:
        raise ApiError(400, {"error": "state does not have a valid value"})
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
    sha = _sha(call.project, call.parts["sha"])
    rows = [call.api.entities.commit_status(row) for row in call.project.commit_statuses if row.sha == sha]
    return paged(call.request, rows, call.api.url)


_FILE = "/projects/:project/repository/files/:path"
ROUTES = [
    Route("POST", "/projects/:project/repository/commits", create_commit),
    Route("GET", "/projects/:project/repository/commits", commits),
    Route("GET", "/projects/:project/repository/commits/:sha/statuses", list_statuses),
    Route("GET", "/projects/:project/repository/commits/:sha", commit),
    Route("GET", f"{_FILE}/raw", file_raw),
    Route("GET", _FILE, file_show),
    Route("HEAD", _FILE, file_head),
    Route("POST", _FILE, lambda call: _write_file(call, "create")),
    Route("PUT", _FILE, lambda call: _write_file(call, "update")),
    Route("DELETE", _FILE, lambda call: _write_file(call, "delete")),
    Route("GET", "/projects/:project/repository/branches", branches),
    Route("POST", "/projects/:project/repository/branches", create_branch),
    Route("GET", "/projects/:project/repository/branches/:branch", branch),
    Route("DELETE", "/projects/:project/repository/branches/:branch", delete_branch),
    Route("POST", "/projects/:project/statuses/:sha", set_status),
]

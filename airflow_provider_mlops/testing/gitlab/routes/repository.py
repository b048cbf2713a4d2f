"""Commits, files, branches and tags."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.testing.gitlab.model import Project
from airflow_provider_mlops.testing.gitlab.repository import Entry, RepositoryError
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Response,
    bad_request,
    invalid,
    missing,
    not_a_value,
    not_found,
    paged,
)

# The words differ from those of commits, and from each other.
_STALE = {
    "update": "You are attempting to update a file that has changed since you started editing it.",
    "delete": "You are attempting to delete a file that has been previously updated.",
}


def sha_of(project: Project, ref: str, what: str = "Commit") -> str:
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


def _apply(
    project: Project, tree: dict[str, Entry], action: Mapping[str, Any], head: str, name: str = "action"
) -> None:
    kind, path = action.get("action"), action.get("file_path")
    if kind not in ("create", "update", "move", "delete", "chmod"):
        raise not_a_value(f"{name}[action]")
    if not path:
        raise missing(f"{name}[file_path]")
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
    request.require("branch", "commit_message", "actions")
    branch, message = request.text("branch"), request.text("commit_message")
    actions = request.parameters["actions"]
    if not isinstance(actions, list) or not all(isinstance(action, Mapping) for action in actions):
        raise invalid("actions")
    if "start_branch" in request.parameters and "start_sha" in request.parameters:
        raise ApiError(400, {"error": "start_branch, start_sha are mutually exclusive"})
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
        for number, action in enumerate(actions):
            _apply(project, tree, action, base, f"actions[{number}]")
        author = (
            str(request.parameters.get("author_name") or call.who.name),
            str(request.parameters.get("author_email") or f"{call.who.username}@example.com"),
        )
        try:
            sha = repository.commit(branch, tree, message, parents=(base,), expected=existing, author=author)
        except RepositoryError as error:
            raise bad_request(f"Could not update {branch}. Please refresh and try again.") from error
        entity = call.api.entities.commit(project, sha)
        if str(request.parameters.get("stats", "true")).lower() != "false":
            entity["stats"] = repository.stats(sha)
    return Response(201, {**entity, "status": None, "project_id": project.id, "last_pipeline": None})


def compare(call: Call) -> Response:
    """Commits of ``to`` that ``from`` lacks, oldest first; changes of lines are not shown."""
    project = call.project
    ends = [sha_of(project, call.request.text(name), "Ref") for name in ("from", "to")]
    rows = project.repository.git("log", "--reverse", "--format=%H", f"{ends[0]}..{ends[1]}").decode().split()
    listed = [call.api.entities.commit(project, row) for row in rows]
    return Response(
        body={
            "commit": listed[-1] if listed else None,
            "commits": listed,
            "diffs": [],
            "compare_timeout": False,
            "compare_same_ref": ends[0] == ends[1],
        }
    )


def commits(call: Call) -> Response:
    project = call.project
    sha = sha_of(project, str(call.request.parameters.get("ref_name") or project.default_branch))
    arguments = ["log", "--format=%H", sha]
    if since := call.request.parameters.get("since"):
        arguments.append(f"--since={since}")
    if path := call.request.parameters.get("path"):
        arguments += ["--", str(path)]
    rows = project.repository.git(*arguments).decode().split()
    return paged(call.request, rows, call.api.url, lambda row: call.api.entities.commit(project, row))


def commit(call: Call) -> Response:
    project = call.project
    sha = sha_of(project, call.parts["sha"])
    with call.api.store.lock:
        last = [pipeline for pipeline in project.pipelines.values() if pipeline.sha == sha]
    return Response(
        body={
            **call.api.entities.commit(project, sha),
            "stats": project.repository.stats(sha),
            "status": last[-1].status if last else None,
            "project_id": project.id,
            "last_pipeline": call.api.entities.pipeline_row(last[-1]) if last else None,
        }
    )


def _file(call: Call) -> tuple[Project, str, str, bytes]:
    project = call.project
    sha = sha_of(project, str(call.request.parameters.get("ref") or "HEAD"))
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
    request.require("branch", "commit_message", *(() if kind == "delete" else ("content",)))
    path, branch = call.parts["path"], request.text("branch")
    message = request.text("commit_message")
    with call.api.store.lock:
        head = project.repository.branches().get(branch)
        if head is None:
            raise bad_request("You can only create or edit files when you are on a branch")
        if kind in _STALE:
            _unchanged(project, head, path, request.parameters.get("last_commit_id"), _STALE[kind])
        tree = project.repository.tree(head)
        action = {key: value for key, value in request.parameters.items() if key in ("content", "encoding")}
        _apply(project, tree, {**action, "action": kind, "file_path": path}, head)
        project.repository.commit(branch, tree, message, parents=(head,), expected=head)
    if kind == "delete":
        return Response(204)
    return Response(201 if kind == "create" else 200, {"file_path": path, "branch": branch})


def branches(call: Call) -> Response:
    project = call.project
    wanted = str(call.request.parameters.get("search", ""))
    rows = [(name, sha) for name, sha in project.repository.branches().items() if wanted in name]
    return paged(call.request, rows, call.api.url, lambda row: call.api.entities.branch(project, *row))


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


def tree(call: Call) -> Response:
    """Files and folders; ``recursive`` goes down into folders."""
    project, parameters = call.project, call.request.parameters
    sha = sha_of(project, str(parameters.get("ref") or project.default_branch), "Tree")
    inside = str(parameters.get("path") or "").strip("/")
    rows = project.repository.listing(sha, inside, recursive=call.request.flag("recursive"))
    if inside and not rows:
        raise not_found("Tree")
    return paged(call.request, rows, call.api.url, lambda row: row)


def _tag_entity(call: Call, project: Project, name: str, sha: str) -> dict[str, Any]:
    return {
        "name": name,
        "message": "",
        "target": sha,
        "commit": call.api.entities.commit(project, sha),
        "release": None,
        "protected": False,
        "created_at": None,
    }


def tags(call: Call) -> Response:
    project = call.project
    rows = list(project.repository.tags().items())
    return paged(call.request, rows, call.api.url, lambda row: _tag_entity(call, project, *row))


def create_tag(call: Call) -> Response:
    project = call.project
    call.request.require("tag_name", "ref")
    name, ref = call.request.text("tag_name"), call.request.text("ref")
    with call.api.store.lock:
        if name in project.repository.tags():
            raise bad_request(f"Tag {name} already exists")
        sha = project.repository.resolve(ref)
        if sha is None:
            raise bad_request(f"Target {ref} is invalid")
        project.repository.git("update-ref", f"refs/tags/{name}", sha, "0" * 40)
    return Response(201, _tag_entity(call, project, name, sha))


_FILE = "/projects/:project/repository/files/:path"
ROUTES = [
    Route("POST", "/projects/:project/repository/commits", create_commit),
    Route("GET", "/projects/:project/repository/commits", commits),
    Route("GET", "/projects/:project/repository/commits/:sha", commit),
    Route("GET", "/projects/:project/repository/compare", compare),
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
    Route("GET", "/projects/:project/repository/tree", tree),
    Route("GET", "/projects/:project/repository/tags", tags),
    Route("POST", "/projects/:project/repository/tags", create_tag),
]

"""Merging branches by whole files, at once or when a pipeline has succeeded."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.model import MergeRequest, Pipeline, Project, User, now
from airflow_provider_mlops.testing.gitlab.repository import Entry, RepositoryError


class Conflict(Exception):
    """Both sides changed a file."""


def merged_tree(project: Project, source: str, target: str) -> dict[str, Entry]:
    """A three-way merge by whole files.

    :raises Conflict: both sides changed one.
    """
    repository = project.repository
    try:
        base_sha = repository.git("merge-base", source, target).decode().strip()
    except RepositoryError as error:
        raise Conflict from error
    base, ours, theirs = repository.tree(base_sha), repository.tree(target), repository.tree(source)
    merged: dict[str, Entry] = {}
    for path in base.keys() | ours.keys() | theirs.keys():
        before, here, there = base.get(path), ours.get(path), theirs.get(path)
        if here != there and before not in (here, there):
            raise Conflict
        entry = there if here == before else here
        if entry is not None:
            merged[path] = entry
    return merged


def merge(
    project: Project, request: MergeRequest, user: User, *, message: str | None, remove_source_branch: bool
) -> None:
    """Merge an open request whose branches exist.

    :raises Conflict: it cannot be merged.
    """
    branches = project.repository.branches()
    source, target = branches[request.source_branch], branches[request.target_branch]
    text = message or (
        f"Merge branch '{request.source_branch}' into '{request.target_branch}'\n\n{request.title}"
    )
    tree = merged_tree(project, source, target)
    parents = (target,) if request.squash else (target, source)
    words = request.title if request.squash else text
    sha = project.repository.commit(request.target_branch, tree, words, parents=parents, expected=target)
    if request.squash:
        request.squash_commit_sha = sha
    else:
        request.merge_commit_sha = sha
    request.state, request.final_sha = "merged", source
    request.merged_at = request.updated_at = now()
    request.merged_by, request.auto_merge = user, None
    if remove_source_branch or request.remove_source_branch:
        project.repository.git("update-ref", "-d", f"refs/heads/{request.source_branch}", source)


def pipelines_of(project: Project, request: MergeRequest) -> list[Pipeline]:
    """The pipelines of a request's source branch, newest first."""
    return [
        pipeline
        for pipeline in reversed(project.pipelines.values())
        if pipeline.ref == request.source_branch and pipeline.source != "parent_pipeline"
    ]


def merge_what_waits(pipeline: Pipeline) -> None:
    """Merge the requests that waited for this pipeline's success; to be called whenever one moves."""
    project = pipeline.project
    for request in project.merge_requests.values():
        waits = request.auto_merge
        if request.state != "opened" or waits is None or waits.sha != pipeline.sha:
            continue
        if pipeline.ref != request.source_branch or pipeline.status not in ("success", "failed", "canceled"):
            continue
        branches = project.repository.branches()
        request.auto_merge = None
        moved = branches.get(request.source_branch) != waits.sha or request.target_branch not in branches
        if pipeline.status != "success" or moved:
            continue
        try:
            merge(
                project,
                request,
                waits.user,
                message=waits.message,
                remove_source_branch=waits.remove_source_branch,
            )
        except Conflict:
            continue

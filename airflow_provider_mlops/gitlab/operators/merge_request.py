"""Operator for merge requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlops.base.operators import product_field
from airflow_provider_mlops.compat import Context
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState, Json
from airflow_provider_mlops.external_job.operators import ExternalJobOperator
from airflow_provider_mlops.gitlab.merge_request import MergeRequestAdapter, MergeRequestSpec
from airflow_provider_mlops.gitlab.merge_request_status import MergePolicy


class GitlabMergeRequestOperator(ExternalJobOperator):
    """Open a merge request, or take the one that is open for the same branches, and wait until it is merged.

    GitLab keeps one open merge request for a pair of branches, so neither a retry nor a Clear opens a second one.
    One that a task has opened gets the new title, description and further fields; one that a person has opened is
    waited for as it is. A merge request that merged the source branch's head already is taken as the result, and if
    the target branch has every commit of the source branch there is nothing to open (``status`` is ``unchanged``).
    Ending the task leaves the merge request to the people who read it, unless ``close_on_kill``.

    Returns :class:`~airflow_provider_mlops.payloads.GitlabMergeRequestPayload`. Every argument from ``project`` to
    ``gitlab_conn_id`` is templated.

    :param source_branch: name, or the whole ``.output`` of a
        :class:`~airflow_provider_mlops.operators.GitlabCommitOperator`, whose commit then is the only one that is
        merged.
    :param project: number or full path; not needed if ``source_branch`` is such an output.
    :param target_branch: branch to merge into.
    :param title: default: names both branches.
    :param description: Markdown. A comment that GitLab does not show is added, by which later tries find it.
    :param labels: names.
    :param reviewers: user names.
    :param assignees: user names.
    :param sha: the only commit that this task may merge; if the source branch has another head, it fails. Without
        it, the head whose checks were looked at is merged.
    :param gitlab_conn_id: connection of type ``gitlab``.
    :param merge: ``never``: people (or GitLab's auto-merge) do it, and the task waits for them.
        ``when_checks_pass``: the task does it as soon as its pipeline has succeeded and GitLab calls it mergeable;
        it waits for approvals and open threads. ``now``: the task does it without waiting for either.
    :param remove_source_branch: remove the branch with the merge.
    :param squash: squash the commits; ``None`` leaves it to the project.
    :param close_on_kill: close the merge request when a person ends the task.

    :raises InvalidArgument: an argument is wrong; nothing was done.
    :raises BranchNotFound: one of the branches does not exist; nothing was done.
    :raises MergeRequestClosed: somebody closed it.
    :raises MergeRequestConflict: it conflicts with the target branch (not with ``merge="never"``).
    :raises MergeRequestPipelineFailed: its pipeline failed (with ``when_checks_pass``).
    :raises MergeRequestNotMergeable: GitLab does not allow the merge (with ``now``: not yet).
    :raises SourceBranchMoved: the source branch has another head than ``sha``.
    :raises PermissionDenied: the account may not merge into the target branch.
    """

    template_fields: Sequence[str] = (
        "source_branch",
        "project",
        "target_branch",
        "title",
        "description",
        "labels",
        "reviewers",
        "assignees",
        "sha",
        "gitlab_conn_id",
    )
    template_fields_renderers = {"description": "md"}  # noqa: RUF012 - Airflow declares it as an instance attribute
    ui_color = "#fc6d26"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        source_branch: str | Mapping[str, Any],
        project: str | int | None = None,
        target_branch: str = "main",
        title: str | None = None,
        description: str = "",
        labels: Sequence[str] | None = None,
        reviewers: Sequence[str] | None = None,
        assignees: Sequence[str] | None = None,
        sha: str | None = None,
        gitlab_conn_id: str = "gitlab_default",
        merge: MergePolicy = "never",
        remove_source_branch: bool = False,
        squash: bool | None = None,
        close_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        # Whether time is over or a person ends the task: what people review is not taken from them.
        super().__init__(cancel_on_kill=close_on_kill, cancel_on_timeout=False, **kwargs)
        self.source_branch = source_branch
        self.project = project
        self.target_branch = target_branch
        self.title = title
        self.description = description
        self.labels = labels
        self.reviewers = reviewers
        self.assignees = assignees
        self.sha = sha
        self.gitlab_conn_id = gitlab_conn_id
        self.merge = merge
        self.remove_source_branch = remove_source_branch
        self.squash = squash
        self.close_on_kill = close_on_kill

    def adapter(self, context: Context) -> MergeRequestAdapter:
        """The merge request, from the rendered arguments.

        :raises InvalidArgument: one of them is wrong.
        """
        project, sha = self.project, self.sha
        if isinstance(self.source_branch, Mapping):
            if project is None:
                project = product_field(self.source_branch, "project", argument="source_branch")
            sha = sha or product_field(self.source_branch, "sha", argument="source_branch")
        if self.merge != "never" and not self.wait_for_completion:
            raise InvalidArgument(
                f"merge={self.merge!r} needs wait_for_completion=True: it is this task that merges",
                next_step="Let it wait, or use merge='never'.",
            )
        return MergeRequestAdapter(
            conn_id=self.gitlab_conn_id,
            spec=MergeRequestSpec.checked(
                project="" if project is None else project,
                source_branch=product_field(self.source_branch, "branch", argument="source_branch"),
                target_branch=self.target_branch,
                title=self.title,
                description=self.description,
                labels=self.labels,
                reviewers=self.reviewers,
                assignees=self.assignees,
                remove_source_branch=self.remove_source_branch,
                squash=self.squash,
            ),
            merge=self.merge,
            sha=sha,
            close_on_kill=self.close_on_kill,
        )

    def payload(
        self, context: Context, *, state: JobState, handle: JobHandle, result: Mapping[str, Json] | None
    ) -> dict[str, Any]:
        """What the task returns; one that was only opened has no commits yet."""
        spec = self.adapter(context).spec
        known = result or {
            "project": str(spec.project),
            "source_branch": spec.source_branch,
            "target_branch": spec.target_branch,
            "iid": handle.ref["iid"],
            "status": "opened",
            "sha": None,
            "merge_commit_sha": None,
        }
        return super().payload(context, state=state, handle=handle, result=known)

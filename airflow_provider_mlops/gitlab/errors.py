"""Failures of GitLab pipelines. Those of reading and writing over HTTP are the shared leaves."""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_mlops.errors import (
    InvalidArgument,
    PermanentError,
    PermissionDenied,
    RemoteObjectNotFound,
    RequestRefused,
    TemporaryError,
)


class PipelineFailed(PermanentError):
    """A job of the pipeline failed for a reason that a retry cannot cure (its script, its configuration, a missing right).

    Fields: ``pipeline_id``, ``pipeline_url``, ``status``, ``log_tail`` and ``jobs`` (id, name, stage, reason and url
    of each failed job; the name of one in a downstream pipeline stands behind its trigger jobs).
    """

    remedy = "Correct what the job log shows, then clear the task."


class PipelineFailedRetryable(TemporaryError):
    """The pipeline failed, and the operator was told (``on_retry``) to try again after any failure.

    Fields as :class:`PipelineFailed`.
    """

    remedy = "The next try of the task goes on from here."


class PipelineInfrastructureFailed(TemporaryError):
    """The pipeline failed because of runners or GitLab itself; the next try runs its failed jobs again.

    Fields as :class:`PipelineFailed`.
    """

    remedy = "If it happens again, look at the runners of the project."


class PipelineSkipped(PermanentError):
    """GitLab skipped the whole pipeline."""

    remedy = "Look for [skip ci] in the commit and at the workflow rules, or set on_skipped."


class ManualJobUnknown(InvalidArgument):
    """``on_manual`` names a job that the pipeline does not have; the pipeline was cancelled."""

    remedy = "Correct the name, or look at the job's rules."


class PipelineEmpty(RequestRefused):
    """No pipeline was created, because no job would run in it."""

    remedy = "Check workflow:rules and the jobs' rules for pipelines whose source is 'api' or 'trigger'."


class PipelineConfigInvalid(RequestRefused):
    """No pipeline was created, because .gitlab-ci.yml is not valid on this ref."""

    remedy = "Correct .gitlab-ci.yml; GitLab's CI lint shows the same message."


class InputsRefused(RequestRefused):
    """No pipeline was created: an input is not declared, missing, or not of the declared type."""

    remedy = "Compare `inputs` with spec:inputs of .gitlab-ci.yml on this ref."


class VariablesForbidden(PermissionDenied):
    """No pipeline was created: the project does not let this account set pipeline variables."""

    remedy = (
        "Use `inputs`, or let the account set variables (project settings, CI/CD, Variables, "
        "'Minimum role to use pipeline variables')."
    )


class ReferenceNotFound(RemoteObjectNotFound):
    """No pipeline was created: the project has no such branch or tag."""

    remedy = "Check the spelling of `ref`."


class ProjectMoved(PermanentError):
    """The project has another path now; GitLab redirects, and a POST is not repeated there."""

    remedy = "Use the new path, or the project's number, which never changes."


class OutputInvalid(InvalidArgument):
    """An entry of ``outputs`` is malformed, or uses a name that the payload itself needs."""


class OutputMissing(PermanentError):
    """The pipeline succeeded, but a declared output is not there."""

    remedy = "Keep the file with artifacts:paths in the named job (report artifacts alone cannot be read)."


class OutputUnreadable(PermanentError):
    """A declared output is there, but too large or not of the expected format."""


class BranchNotFound(RemoteObjectNotFound):
    """The project has no branch of that name."""

    remedy = "Check the spelling, or name a start_branch for a branch that is to be made."


class BranchProtected(PermissionDenied):
    """The account may not push to the branch."""

    remedy = "Commit to another branch and open a merge request, or let the account push to this one."


class FileMissing(RemoteObjectNotFound):
    """A file that is to be changed is not on the branch. Field: ``paths``."""

    remedy = "Check the path; use the action 'write' for a file that may not be there yet."


class FileConflict(PermanentError):
    """The branch holds something else than the commit expects; nothing was committed.

    Fields: ``paths``, ``commit_id`` (the change that stands in the way).
    """

    remedy = "Look at that change, adapt the action or its last_commit_id, then clear the task."


class FileChanged(TemporaryError):
    """Somebody changed a file between our look and our commit; nothing was committed. Field: ``paths``."""

    remedy = "The next try of the task looks at the branch again."


class MergeRequestClosed(PermanentError):
    """Somebody closed the merge request without merging it. Field: ``iid``."""

    remedy = "Ask why; clear the task to open another one."


class MergeRequestConflict(PermanentError):
    """The merge request cannot be merged before somebody solves a conflict or rebases it. Field: ``iid``."""

    remedy = "Solve it in the source branch, then clear the task: it goes on with the same merge request."


class MergeRequestPipelineFailed(PermanentError):
    """The pipeline of the merge request failed or was cancelled. Fields: ``iid``, ``pipeline_id``."""

    remedy = "Correct the source branch, or retry the pipeline, then clear the task."


class MergeRequestNotMergeable(PermanentError):
    """GitLab does not allow the merge. Fields: ``iid``, ``reason`` (GitLab's own word)."""

    remedy = (
        "Do what GitLab asks for, or use merge='when_checks_pass', which waits for it; then clear the task."
    )


class SourceBranchMoved(PermanentError):
    """The source branch has another head than the one that may be merged; nothing was merged. Field: ``iid``."""

    remedy = "Look at the commits that came in, then clear the task that made the commit."


#: Wait before the next try when GitLab refuses a pipeline because too many were created.
TOO_MANY_PIPELINES_DELAY = timedelta(minutes=1)

#: Wait before the next try when no runner could take the jobs.
NO_CAPACITY_DELAY = timedelta(minutes=5)

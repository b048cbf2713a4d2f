"""Operator for commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_mlops import config
from airflow_provider_mlops.base.operators import MlopsOperator
from airflow_provider_mlops.compat import AIRFLOW_3, Context, ObjectStoragePath
from airflow_provider_mlops.errors import InvalidArgument, SourceEmpty
from airflow_provider_mlops.external_job.attempt import attempt_of
from airflow_provider_mlops.external_job.decision import CLOCK_SKEW
from airflow_provider_mlops.external_job.links import URL_KEY, RemoteJobLink
from airflow_provider_mlops.gitlab.commit_plan import FileAction, checked_actions
from airflow_provider_mlops.gitlab.hook import GitlabHook
from airflow_provider_mlops.payloads import SCHEMA, GitlabCommitPayload


class GitlabCommitOperator(MlopsOperator):
    """Change several files of a branch in one commit: once, however often Airflow starts over.

    Each action says how a file should be; what is on the branch already is left out, and if nothing is left, no
    commit is made (``changed`` is false in the payload). The commit carries the job key as trailer
    ``Airflow-Job-Key``, and a retry that finds it on the branch is done, even if somebody has put the files back
    since. Clearing the task begins anew: it compares the files again.

    An action is an object with these keys, which are those of GitLab's commit API except where noted:

    - ``action``: ``create``, ``update``, ``delete``, ``move``, ``chmod``, or ``write`` (ours: create or update);
    - ``file_path``, and for a move ``previous_path``;
    - ``content``, a text (Jinja takes one line break away from its end, so end with two); or ``content_uri`` (ours):
      where the bytes are, a path or any ObjectStoragePath URI;
    - ``execute_filemode``: true or false; needed for ``chmod``, possible everywhere but with ``delete``;
    - ``last_commit_id``: the last change of the file that the author knows of; a later one is a conflict.

    Returns :class:`~airflow_provider_mlops.payloads.GitlabCommitPayload`. Every argument is templated.

    :param project: number or full path, such as ``"group/subgroup/name"``.
    :param branch: branch to commit to.
    :param message: commit message.
    :param actions: what to change; each file is named once.
    :param start_branch: where the branch begins if there is none of that name yet. If the files are there as wanted
        already, no branch is made, and ``branch`` of the payload is this one.
    :param gitlab_conn_id: connection of type ``gitlab``.

    :raises InvalidArgument: an argument is wrong; nothing was done.
    :raises BranchNotFound: neither the branch nor ``start_branch`` exists.
    :raises FileMissing: a file that is to be updated, moved or made executable is not there.
    :raises FileConflict: a file has other content than expected; the message says who changed it.
    :raises FileChanged: somebody changed a file at the same moment; the next try looks again.
    :raises BranchProtected: the account may not push to the branch.
    :raises SubmitUncertain: GitLab did not answer; the next try looks for the commit first.
    """

    template_fields: Sequence[str] = (
        "project",
        "branch",
        "message",
        "actions",
        "start_branch",
        "gitlab_conn_id",
    )
    template_fields_renderers = {"actions": "json"}  # noqa: RUF012 - Airflow declares it as an instance attribute
    operator_extra_links = (RemoteJobLink(),)
    ui_color = "#fc6d26"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        project: str | int,
        branch: str,
        message: str,
        actions: Sequence[Mapping[str, Any]],
        start_branch: str | None = None,
        gitlab_conn_id: str = "gitlab_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.branch = branch
        self.message = message
        self.actions = actions
        self.start_branch = start_branch
        self.gitlab_conn_id = gitlab_conn_id

    def execute(self, context: Context) -> GitlabCommitPayload:
        """Compare and commit."""
        for name in ("branch", "message"):
            if not str(getattr(self, name) or "").strip():
                raise InvalidArgument(f"{name} is empty")
        actions = [_with_content(action, uri) for action, uri in checked_actions(self.actions)]
        attempt = attempt_of(
            context, namespace=config.namespace(), timeout=None, required=False, run_ids_repeat=not AIRFLOW_3
        )
        made = (
            GitlabHook(self.gitlab_conn_id)
            .repository(self.project)
            .commit(
                branch=self.branch,
                message=self.message,
                actions=actions,
                key=attempt.key.slot,
                since=attempt.look_back - CLOCK_SKEW,
                start_branch=self.start_branch,
            )
        )
        self.log.info(
            "Commit %s on %s: %s",
            made.url or made.sha,
            made.branch,
            "has the changes" if made.made else "nothing to change",
        )
        if made.url:
            context["ti"].xcom_push(key=URL_KEY, value=made.url)
        return {
            "schema": SCHEMA,
            "kind": "gitlab.commit",
            "project": str(self.project),
            "branch": made.branch,
            "sha": made.sha,
            "url": made.url,
            "changed": made.made,
            "paths": [action.path for action in actions],
        }


def _with_content(action: FileAction, uri: str | None) -> FileAction:
    if uri is None:
        return action
    try:
        return replace(action, content=ObjectStoragePath(uri).read_bytes())
    except FileNotFoundError as error:
        raise SourceEmpty(f"{action.path}: its content_uri {uri!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{action.path}: its content_uri {uri!r} cannot be read ({error})") from error

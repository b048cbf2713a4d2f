"""Notifiers: a task's state on a commit, and words about it on a merge request."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from airflow_provider_mlops import config
from airflow_provider_mlops.base.hook import aconnection_info, connection_info
from airflow_provider_mlops.base.operators import product_field
from airflow_provider_mlops.compat import BaseNotifier, Context
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, InvalidArgument
from airflow_provider_mlops.external_job.portal import Portal
from airflow_provider_mlops.gitlab.access import GitlabAccess
from airflow_provider_mlops.gitlab.client import GitlabClient, open_client
from airflow_provider_mlops.gitlab.notices import put_comment, set_commit_status

CommitState = Literal["pending", "running", "success", "failed", "canceled", "skipped"]


class _GitlabNotifier(BaseNotifier):
    """What both share: the connection, and one way to send, awaited or not."""

    project: str | int
    gitlab_conn_id: str

    def notify(self, context: Context) -> None:
        """Send it, from a task, or from the DAG processor for a callback of a whole DAG run."""
        info = connection_info(self.gitlab_conn_id)
        with Portal() as portal:
            portal.run(lambda: self._connected(info, context))

    async def async_notify(self, context: Context) -> None:
        """Send it from a triggerer, where deadline alerts run."""
        await self._connected(await aconnection_info(self.gitlab_conn_id), context)

    async def _connected(self, info: ConnectionInfo, context: Context) -> None:
        access = GitlabAccess.from_connection(info)
        if access.token is None:
            raise ConnectionIncomplete(
                f"Connection {self.gitlab_conn_id!r} has no access token", conn_id=self.gitlab_conn_id
            )
        async with open_client(access, self.project) as client:
            await self._send(client, context, access.secrets)

    @abstractmethod
    async def _send(self, client: GitlabClient, context: Context, hidden: tuple[str, ...]) -> None: ...


class GitlabCommitStatusNotifier(_GitlabNotifier):
    """Show a task's state on a commit, beside the commit's pipelines, with a link to the task in Airflow.

    For the whole life of a task::

        default_args = {**GitlabCommitStatusNotifier.callbacks(project="ml/search", sha="{{ params.sha }}")}

    or for one moment of it::

        on_failure_callback=GitlabCommitStatusNotifier(project="ml/search", sha="{{ params.sha }}", state="failed")

    A retry of a task finds the status as it left it. Failures to send are errors in the log, and no failure of the
    task. Every argument but ``state`` is templated.

    :param project: number or full path.
    :param sha: the commit.
    :param state: ``pending``, ``running``, ``success``, ``failed``, ``canceled`` or ``skipped``.
    :param name: tells this status from others of the commit; default: ``dag_id.task_id``, for a callback of the DAG
        ``dag_id``.
    :param description: one line, cut after 255 characters.
    :param target_url: page that the status leads to; default: the task in Airflow.
    :param gitlab_conn_id: connection of type ``gitlab``; its token needs the scope ``api``.
    """

    template_fields: Sequence[str] = (
        "project",
        "sha",
        "name",
        "description",
        "target_url",
        "gitlab_conn_id",
    )

    _CALLBACKS: ClassVar[Mapping[str, CommitState]] = {
        "on_execute_callback": "running",
        "on_success_callback": "success",
        "on_failure_callback": "failed",
        "on_skipped_callback": "skipped",
    }

    def __init__(
        self,
        *,
        project: str | int,
        sha: str,
        state: CommitState,
        name: str | None = None,
        description: str = "",
        target_url: str | None = None,
        gitlab_conn_id: str = "gitlab_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.sha = sha
        self.state = state
        self.name = name
        self.description = description
        self.target_url = target_url
        self.gitlab_conn_id = gitlab_conn_id

    @classmethod
    def callbacks(cls, **arguments: Any) -> dict[str, GitlabCommitStatusNotifier]:
        """A notifier for each callback of a task, to be spread into its arguments or into ``default_args``.

        :param arguments: those of the notifier, without ``state``.
        """
        return {name: cls(state=state, **arguments) for name, state in cls._CALLBACKS.items()}

    async def _send(self, client: GitlabClient, context: Context, hidden: tuple[str, ...]) -> None:
        if self.state not in get_args(CommitState):
            raise InvalidArgument(
                f"state is {self.state!r}", next_step=f"Use one of {', '.join(get_args(CommitState))}."
            )
        if not self.sha:
            raise InvalidArgument("sha is empty", next_step="Check the template that gives the commit.")
        ti: Any = context.get("ti")
        await set_commit_status(
            client,
            self.sha,
            state=self.state,
            name=self.name or ".".join(_who(context)) or "airflow",
            description=self.description,
            target_url=self.target_url or getattr(ti, "log_url", None),
            hidden=hidden,
        )


class GitlabMergeRequestCommentNotifier(_GitlabNotifier):
    """Comment on a merge request; a task that has commented before changes that comment instead.

    ::

        on_failure_callback=GitlabMergeRequestCommentNotifier(
            project="ml/search", merge_request="{{ params.merge_request }}",
            body="Training **failed**: [log]({{ ti.log_url }})",
        )

    The earlier comment is found by an HTML comment in it that names the task, which GitLab does not show. Every
    argument is templated.

    :param project: number or full path.
    :param merge_request: its number in the project (``iid``), or the whole output of a
        :class:`~airflow_provider_mlops.operators.GitlabMergeRequestOperator`; if that had nothing to merge, nothing
        is said.
    :param body: Markdown. Tokens of the connection are replaced by ``***``.
    :param gitlab_conn_id: connection of type ``gitlab``; its token needs the scope ``api``.
    """

    template_fields: Sequence[str] = ("project", "merge_request", "body", "gitlab_conn_id")

    def __init__(
        self,
        *,
        project: str | int,
        merge_request: int | str | Mapping[str, Any],
        body: str,
        gitlab_conn_id: str = "gitlab_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.merge_request = merge_request
        self.body = body
        self.gitlab_conn_id = gitlab_conn_id

    async def _send(self, client: GitlabClient, context: Context, hidden: tuple[str, ...]) -> None:
        if isinstance(self.merge_request, Mapping) and self.merge_request.get("status") == "unchanged":
            self.log.info("There is no merge request to comment on: nothing was to be merged")
            return
        number = str(product_field(self.merge_request, "iid", argument="merge_request")).lstrip("!")
        if not number.isascii() or not number.isdigit():
            raise InvalidArgument(f"merge_request {number!r} is no number of a merge request")
        ti: Any = context.get("ti")
        who = [config.namespace(), *_who(context), str(getattr(ti, "map_index", -1))]
        digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:16]
        await put_comment(
            client, int(number), self.body, marker=f"<!-- airflow-note: {digest} -->", hidden=hidden
        )


def _who(context: Context) -> list[str]:
    """DAG and task that a callback is about; in callbacks of a DAG run the DAG alone."""
    about: Any = context.get("ti") or context.get("dag_run") or context.get("dag")
    names = (getattr(about, "dag_id", None), getattr(about, "task_id", None))
    return [name for name in names if name]

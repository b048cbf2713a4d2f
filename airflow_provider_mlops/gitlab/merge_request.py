"""A merge request as an external job: what the engine needs to know, as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self, get_args

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, InvalidArgument
from airflow_provider_mlops.external_job.adapter import Json
from airflow_provider_mlops.gitlab.access import GitlabAccess, project_path
from airflow_provider_mlops.gitlab.client import open_client
from airflow_provider_mlops.gitlab.merge_request_session import MergeRequestSession
from airflow_provider_mlops.gitlab.merge_request_status import MergePolicy


@dataclass(frozen=True, slots=True)
class MergeRequestSpec:
    """What the merge request should be.

    :param project: number or full path.
    :param reviewers: user names.
    :param assignees: user names.
    :param squash: ``None`` leaves it to the project.
    """

    project: str | int
    source_branch: str
    target_branch: str
    title: str
    description: str = ""
    labels: Sequence[str] = ()
    reviewers: Sequence[str] = ()
    assignees: Sequence[str] = ()
    remove_source_branch: bool = False
    squash: bool | None = None

    @classmethod
    def checked(cls, *, title: str | None, **fields: Any) -> Self:
        """Check what the author gave, before anything is sent.

        :raises InvalidArgument: something is empty, or no list of names.
        """
        project_path(fields["project"])
        for name in ("source_branch", "target_branch"):
            if not isinstance(fields[name], str) or not fields[name].strip():
                raise InvalidArgument(f"{name} is {fields[name]!r}", next_step="Give the name of a branch.")
        for name in ("labels", "reviewers", "assignees"):
            given = fields[name] or []
            if isinstance(given, str) or not all(isinstance(item, str) and item for item in given):
                raise InvalidArgument(f"{name} is {given!r}", next_step="Give a list of names.")
            fields[name] = list(given)
        words = title or f"Merge {fields['source_branch']} into {fields['target_branch']}"
        return cls(**{**fields, "title": words, "description": fields["description"] or ""})


@dataclass(frozen=True, slots=True)
class MergeRequestAdapter:
    """One merge request. Holds no secret.

    :param merge: who merges, see :class:`~airflow_provider_mlops.operators.GitlabMergeRequestOperator`.
    :param sha: the only commit that may be merged; ``None``: the one whose checks were looked at.
    :param close_on_kill: cancelling closes it.
    """

    kind: ClassVar[str] = "gitlab.merge_request"

    conn_id: str
    spec: MergeRequestSpec
    merge: MergePolicy = "never"
    sha: str | None = None
    close_on_kill: bool = False

    def __post_init__(self) -> None:
        if self.merge not in get_args(MergePolicy):
            raise InvalidArgument(
                f"merge is {self.merge!r}", next_step=f"Use one of {', '.join(get_args(MergePolicy))}."
            )

    @property
    def conn_ids(self) -> Sequence[str]:
        """The GitLab connection."""
        return (self.conn_id,)

    @property
    def settle_time(self) -> timedelta:
        """Zero: a second open merge request of the same branches is refused, whatever a list shows."""
        return timedelta(0)

    def to_json(self) -> dict[str, Json]:
        """As JSON, for trigger rows."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`."""
        return cls(**{**data, "spec": MergeRequestSpec(**data["spec"])})

    @asynccontextmanager
    async def session(self, connections: Mapping[str, ConnectionInfo]) -> AsyncIterator[MergeRequestSession]:
        """Open a session.

        :raises ConnectionIncomplete: the connection has no access token.
        """
        access = GitlabAccess.from_connection(connections[self.conn_id])
        if access.token is None:
            raise ConnectionIncomplete(
                f"Connection {self.conn_id!r} has no access token", conn_id=self.conn_id
            )
        async with open_client(access, self.spec.project) as client:
            yield MergeRequestSession(
                client,
                asdict(self.spec),
                merge=self.merge,
                guard=self.sha,
                close_on_cancel=self.close_on_kill,
            )

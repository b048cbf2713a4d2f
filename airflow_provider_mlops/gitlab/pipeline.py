"""A GitLab pipeline as an external job: what the engine needs to know, as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Self

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobSession,
    JobStatus,
    Json,
    WatchedJob,
)
from airflow_provider_mlops.gitlab.access import GitlabAccess
from airflow_provider_mlops.gitlab.client import open_client
from airflow_provider_mlops.gitlab.options import GitlabLogs
from airflow_provider_mlops.gitlab.outputs import parse_outputs
from airflow_provider_mlops.gitlab.pipeline_session import PipelineSession
from airflow_provider_mlops.gitlab.pipeline_status import Policy
from airflow_provider_mlops.gitlab.request import PipelineRequest


@dataclass(frozen=True, slots=True)
class PipelineAdapter:
    """One pipeline of one project. Holds no secret: those are read from connections when a session opens.

    :param conn_id: Airflow connection of type ``gitlab``.
    :param request: what is started.
    :param policy: what the author wants of unusual outcomes.
    :param log: which job logs are shown.
    :param outputs: payload key to ``job:path`` or ``job:path#/pointer``.
    :param require_key: refuse a submission whose key GitLab does not keep.
    """

    kind: ClassVar[str] = "gitlab.pipeline"

    conn_id: str
    request: PipelineRequest
    policy: Policy = field(default_factory=Policy)
    log: GitlabLogs = field(default_factory=GitlabLogs)
    outputs: Mapping[str, str] = field(default_factory=dict)
    require_key: bool = False

    @property
    def conn_ids(self) -> Sequence[str]:
        """The GitLab connection, and those whose passwords are sent as variables."""
        return (self.conn_id, *sorted(set(self.request.secret_variables.values()) - {self.conn_id}))

    @property
    def settle_time(self) -> timedelta:
        """GitLab's lists may come from a replica that lags."""
        return timedelta(seconds=30)

    @property
    def poll_group(self) -> str:
        """Pipelines of one connection, project, source and policy are asked for together."""
        policy = json.dumps(self.policy.to_json(), sort_keys=True)
        return f"{self.conn_id}|{self.request.project}|{self.request.source}|{policy}"

    def to_json(self) -> dict[str, Json]:
        """As JSON, for trigger rows."""
        jobs = self.log.jobs
        return {
            "conn_id": self.conn_id,
            "request": self.request.to_json(),
            "policy": self.policy.to_json(),
            "log": {**asdict(self.log), "jobs": jobs if isinstance(jobs, str) else list(jobs)},
            "outputs": dict(self.outputs),
            "require_key": self.require_key,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`."""
        return cls(
            conn_id=data["conn_id"],
            request=PipelineRequest.from_json(data["request"]),
            policy=Policy.from_json(data["policy"]),
            log=GitlabLogs(**data["log"]),
            outputs=data["outputs"],
            require_key=data["require_key"],
        )

    @asynccontextmanager
    async def session(self, connections: Mapping[str, ConnectionInfo]) -> AsyncIterator[PipelineSession]:
        """Open a session.

        :raises ConnectionIncomplete: a field of a connection is missing.
        """
        access = GitlabAccess.from_connection(connections[self.conn_id])
        if self.request.use_trigger_token and access.trigger_token is None:
            raise ConnectionIncomplete(
                f"Connection {self.conn_id!r} has no trigger token, but use_trigger_token is set",
                conn_id=self.conn_id,
            )
        if not self.request.use_trigger_token and access.token is None:
            raise ConnectionIncomplete(
                f"Connection {self.conn_id!r} has no access token", conn_id=self.conn_id
            )
        secrets = {name: _password(connections[conn]) for name, conn in self.request.secret_variables.items()}
        async with open_client(access, self.request.project) as client:
            yield PipelineSession(
                client,
                self.request,
                self.policy,
                self.log,
                parse_outputs(self.outputs),
                secret_values=secrets,
                hidden=(*access.secrets, *secrets.values()),
                require_key=self.require_key,
            )

    async def statuses(
        self, session: JobSession, handles: Sequence[JobHandle]
    ) -> Mapping[int, JobStatus | None]:
        """States of many pipelines of the same :attr:`poll_group`, by index into ``handles``."""
        assert isinstance(session, PipelineSession)
        return await session.watch.statuses(handles)

    async def find_many(
        self, session: JobSession, wanted: Sequence[WatchedJob], watched: Sequence[WatchedJob]
    ) -> Sequence[Sequence[FoundJob]]:
        """Duplicates of many pipelines of the same :attr:`poll_group`."""
        assert isinstance(session, PipelineSession)
        return await session.search.find_many(wanted, watched)


def _password(info: ConnectionInfo) -> str:
    if not info.password:
        raise ConnectionIncomplete(
            f"Connection {info.conn_id!r} has no password, which is to be sent as a secret variable",
            conn_id=info.conn_id,
        )
    return info.password

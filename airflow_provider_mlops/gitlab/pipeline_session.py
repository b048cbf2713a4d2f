"""Open connection to one project's pipelines: what the engine asks for, done with the client."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from airflow_provider_mlops.errors import RemoteObjectNotFound, RemoteUnavailable
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Json,
    LogBatch,
    Strength,
)
from airflow_provider_mlops.gitlab.answers import is_missing_project
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.collecting import collect
from airflow_provider_mlops.gitlab.downstream import Downstream, Failure, Node
from airflow_provider_mlops.gitlab.entities import Entity, created_of, pipeline_id_of
from airflow_provider_mlops.gitlab.failure_reasons import FAILURE_REASONS
from airflow_provider_mlops.gitlab.intervening import Interventions
from airflow_provider_mlops.gitlab.log_reader import LogReader
from airflow_provider_mlops.gitlab.manual import plan_manual
from airflow_provider_mlops.gitlab.options import GitlabLogs
from airflow_provider_mlops.gitlab.outputs import Output
from airflow_provider_mlops.gitlab.pipeline_search import PipelineSearch
from airflow_provider_mlops.gitlab.pipeline_status import COMPLETE, Policy, failure_of, is_warning, status_of
from airflow_provider_mlops.gitlab.pipeline_watch import PipelineWatch
from airflow_provider_mlops.gitlab.request import PipelineRequest
from airflow_provider_mlops.gitlab.submission import Submission
from airflow_provider_mlops.http import redact

log = logging.getLogger(__name__)

#: A pipeline may be unreadable (404) for this long after its creation: reads may go to a replica.
_FRESH = 60.0

_TAIL_LINES = 30


class PipelineSession:
    """A :class:`~airflow_provider_mlops.external_job.adapter.JobSession` that also streams logs and restarts.

    :param secret_values: values of secret variables.
    :param hidden: texts that must not get into the task log.
    :param require_key: refuse a submission whose key GitLab does not keep.
    """

    def __init__(
        self,
        client: GitlabClient,
        request: PipelineRequest,
        policy: Policy,
        logs: GitlabLogs,
        outputs: Sequence[Output],
        *,
        secret_values: Mapping[str, str],
        hidden: Sequence[str],
        require_key: bool,
    ) -> None:
        self._client = client
        self._request = request
        self._policy = policy
        self._outputs = outputs
        self._hidden = hidden
        self.search = PipelineSearch(client, request.source, self._look_at)
        self._submission = Submission(
            client, request, self.search, secret_values=secret_values, require_key=require_key
        )
        self._downstream = Downstream(policy.depth, policy.limit)
        self._reader = LogReader(client, logs, self._downstream)
        self._acts = Interventions(policy, self._downstream, repr(str(request.project)))
        self._over: set[int] = set()
        self._told: set[str | None] = set()
        self.watch = PipelineWatch(client, self._state_of, self._deep_state_of)

    # --- starting and finding --------------------------------------------------------------------

    async def strength(self, key: JobKey) -> Strength:
        """How the key will be kept. Also shows, before any effect, that the project can be read."""
        return await self._submission.strength(key)

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        """Start the pipeline, marked with ``key`` and ``try_number``."""
        return await self._submission.submit(key, try_number)

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        """Pipelines that carry the key, newest first."""
        return await self.search.find(key, since, any_epoch=any_epoch)

    # --- watching --------------------------------------------------------------------------------

    async def status(self, handle: JobHandle) -> JobStatus | None:
        """State of the pipeline; ``None`` if it was deleted. Starts the manual jobs that the author names."""
        try:
            pipeline = await self._client.pipeline(pipeline_id_of(handle))
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            fresh = _is_fresh(handle)
            return JobStatus(JobState.PENDING, "created") if fresh else None
        await self._acts.end_hanging(self._root(pipeline), pipeline["status"])
        return await self._deep_state_of(pipeline)

    async def _deep_state_of(self, pipeline: Entity) -> JobStatus:
        return await self._state_of(await self._effective(pipeline))

    async def _effective(self, pipeline: Entity) -> Entity:
        """The pipeline, called ``manual`` too if only those below it wait for a manual job."""
        passive = self._policy.on_manual == "wait" and not self._policy.plays
        if pipeline["status"] != "running" or passive:
            return pipeline
        return (
            {**pipeline, "status": "manual"}
            if await self._downstream.blocked(self._root(pipeline))
            else pipeline
        )

    async def _look_at(self, pipeline: Entity) -> JobStatus:
        # What is merely found may belong to an attempt that another one has superseded.
        return await self._state_of(pipeline, act=False)

    async def _state_of(self, pipeline: Entity, *, act: bool = True) -> JobStatus:
        root = self._root(pipeline)
        status = await self._acts.play(root, pipeline["status"], act=act)
        if status is None:
            failures = await self._failures(root, pipeline)
            status = status_of(pipeline, [failure.job for failure in failures], self._policy)
        if pipeline["status"] in COMPLETE and not status.state.active:
            self._over.add(pipeline["id"])
        return status

    def _root(self, pipeline: Entity) -> Node:
        return Node(
            self._client,
            pipeline["id"],
            project_id=pipeline.get("project_id"),
            status=pipeline["status"],
            url=pipeline.get("web_url"),
        )

    async def _failures(self, root: Node, pipeline: Entity) -> list[Failure]:
        if pipeline["status"] == "failed":
            failures = await self._downstream.failures(root)
        elif pipeline["status"] == "success" and not self._policy.allow_warnings:
            failures = await self._downstream.failures(root, is_warning)
        else:
            return []
        for reason in {failure.job.reason for failure in failures} - FAILURE_REASONS.keys() - self._told:
            self._told.add(reason)
            if reason is not None:
                log.warning("GitLab's failure reason %r is unknown here and counts as infrastructure", reason)
        return failures

    async def logs(self, handle: JobHandle, cursor: Json) -> LogBatch:
        """New lines of the jobs' logs."""
        pipeline_id = pipeline_id_of(handle)
        try:
            batch = await self._reader.read(pipeline_id, cursor, over=pipeline_id in self._over)
        except RemoteObjectNotFound:
            # Not readable yet, or deleted: the state tells which.
            return LogBatch((), cursor)
        return replace(batch, lines=[redact(line, *self._hidden) for line in batch.lines])

    # --- ending ----------------------------------------------------------------------------------

    async def result(self, handle: JobHandle) -> Mapping[str, Json]:
        """The payload of a pipeline that succeeded, with its outputs."""
        pipeline = await self._client.pipeline(pipeline_id_of(handle))
        return {
            "status": str(pipeline["status"]),
            "url": pipeline.get("web_url"),
            "project": str(self._request.project),
            "project_id": pipeline["project_id"],
            "pipeline_id": pipeline["id"],
            "ref": pipeline["ref"],
            "sha": pipeline["sha"],
            "duration": pipeline.get("duration"),
            **await collect(self._root(pipeline), pipeline, self._downstream, self._outputs),
        }

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        """The typed error of a pipeline that did not succeed, with failed jobs and the end of the first one's log."""
        pipeline = await self._effective(await self._client.pipeline(pipeline_id_of(handle)))
        root = self._root(pipeline)
        await self._acts.play(root, pipeline["status"])
        if problem := self._acts.problems.get(root.pipeline_id):
            return problem
        failures = await self._failures(root, pipeline)
        tail: list[str] = []
        if failures:
            tail = await self._reader.tail(failures[0].node.client, failures[0].job.id, _TAIL_LINES)
        manual: Sequence[str] = ()
        if pipeline["status"] == "manual":
            manual = plan_manual((), await self._acts.jobs(root, deep=True)).waiting
        return failure_of(
            f"GitLab pipeline {pipeline['id']} of project {str(self._request.project)!r}",
            pipeline,
            [failure.job for failure in failures],
            self._policy,
            log_tail=[redact(line, *self._hidden) for line in tail],
            manual=manual,
        )

    async def cancel(self, handle: JobHandle) -> None:
        """Cancel the pipeline, and those below it that it waits for.

        :raises RemoteUnavailable: it is so fresh that GitLab does not know it everywhere yet.
        """
        node = self._node(handle)
        if not await self._acts.cancel(node) and _is_fresh(handle):
            raise RemoteUnavailable(
                f"GitLab pipeline {node.pipeline_id} cannot be cancelled yet: not found (404)"
            )

    async def restart(self, handle: JobHandle) -> JobHandle:
        """Run the failed jobs again in the same pipelines."""
        root = self._node(handle)
        pipeline = await self._client.pipeline(root.pipeline_id)
        await self._acts.restart(root, await self._failures(root, pipeline))
        self._over.discard(root.pipeline_id)
        return handle

    def _node(self, handle: JobHandle) -> Node:
        project_id = handle.ref.get("project_id")
        return Node(
            self._client,
            pipeline_id_of(handle),
            project_id=project_id if isinstance(project_id, int) else None,
            url=handle.url,
        )


def _is_fresh(handle: JobHandle) -> bool:
    return time.time() - created_of(handle) < _FRESH

"""Open connection to one project's pipelines: what the engine asks for, done with the client."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    PermanentError,
    PermissionDenied,
    RemoteObjectNotFound,
    SubmitUncertain,
    TemporaryError,
)
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
from airflow_provider_mlops.gitlab.entities import Entity, created_of, handle_of, pipeline_id_of
from airflow_provider_mlops.gitlab.errors import OutputMissing, VariablesForbidden
from airflow_provider_mlops.gitlab.job_key import (
    KEY_VARIABLE,
    KeyChannel,
    Mark,
    choose_channel,
    strength_of,
    variables_allowed,
)
from airflow_provider_mlops.gitlab.log_reader import LogReader
from airflow_provider_mlops.gitlab.outputs import MAX_FILE, Output, find_job, read_value
from airflow_provider_mlops.gitlab.pipeline_search import PipelineSearch
from airflow_provider_mlops.gitlab.pipeline_status import (
    FailedJob,
    Policy,
    failed_jobs,
    failure_of,
    latest,
    status_of,
    warnings,
)
from airflow_provider_mlops.gitlab.pipeline_watch import PipelineWatch
from airflow_provider_mlops.gitlab.request import PipelineRequest
from airflow_provider_mlops.http import redact

log = logging.getLogger(__name__)

#: A pipeline may be unreadable (404) for this long after its creation: reads may go to a replica.
_FRESH = 60.0

#: How long a retried pipeline may still be shown as failed.
_RETRY_LAG = 15

#: Seconds and looks for a pipeline whose creation was not answered and that carries no key.
_EVIDENCE_LOOKS = (1.0, 2.0, 4.0, 8.0)

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
        reader: LogReader,
        outputs: Sequence[Output],
        *,
        secret_values: Mapping[str, str],
        hidden: Sequence[str],
        require_key: bool,
    ) -> None:
        self._client = client
        self._request = request
        self._policy = policy
        self._reader = reader
        self._outputs = outputs
        self._secret_values = secret_values
        self._hidden = hidden
        self._require_key = require_key
        self._channel: KeyChannel | None = None
        self._over: set[int] = set()
        self.watch = PipelineWatch(client, self._state_of)
        self.search = PipelineSearch(client, request.source, self._state_of)

    # --- starting --------------------------------------------------------------------------------

    async def strength(self, key: JobKey) -> Strength:
        """How the key will be kept. Also shows, before any effect, that the project can be read."""
        return strength_of(await self._choose(), self._request.key_input)

    async def _choose(self) -> KeyChannel:
        if self._channel is None:
            try:
                project = await self._client.project()
            except (RemoteObjectNotFound, CredentialsRejected) as error:
                if self._client.has_token:
                    raise
                raise ConnectionIncomplete(
                    f"{error.message}: a trigger token starts pipelines, but cannot read them",
                    next_step="Put an access token with the scope read_api into the connection's password too.",
                ) from error
            self._channel = choose_channel(
                key_input=self._request.key_input,
                has_token=self._client.has_token,
                variables_allowed=variables_allowed(project),
                sends_variables=self._request.sends_variables,
            )
            self.search.by_name_only = self._channel in (KeyChannel.INPUT, KeyChannel.NAME)
        return self._channel

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        """Start the pipeline, marked with ``key`` and ``try_number``."""
        mark = Mark.of(key, try_number)
        channel = await self._choose()
        try:
            pipeline = await self._create(mark, channel)
        except VariablesForbidden as error:
            if channel is not KeyChannel.VARIABLE or self._request.sends_variables or self._require_key:
                raise
            log.warning("%s; the job key goes into the pipeline's name instead", error.message)
            self._channel = channel = KeyChannel.NAME
            self.search.by_name_only = True
            pipeline = await self._create(mark, channel)
        await self._show_mark(pipeline, mark, channel)
        return handle_of(pipeline, key.generation)

    async def _create(self, mark: Mark, channel: KeyChannel) -> Entity:
        request = self._request
        variables = [dict(variable) for variable in request.variables]
        variables += [{"key": name, "value": value} for name, value in self._secret_values.items()]
        inputs = dict(request.inputs)
        if channel is KeyChannel.VARIABLE:
            variables.append({"key": KEY_VARIABLE, "value": str(mark)})
        elif channel is KeyChannel.INPUT and request.key_input:
            inputs[request.key_input] = str(mark)
        newest = await self._newest() if channel is KeyChannel.NAME else 0
        try:
            if request.use_trigger_token:
                texts = {variable["key"]: variable["value"] for variable in variables}
                return await self._client.trigger(request.ref, texts, inputs)
            return await self._client.create(request.ref, variables, inputs)
        except SubmitUncertain:
            found = await self._by_evidence(newest) if channel is KeyChannel.NAME else None
            if found is None:
                raise
            log.warning("The creation was not answered; pipeline %s is taken for ours", found["id"])
            return found

    async def _show_mark(self, pipeline: Entity, mark: Mark, channel: KeyChannel) -> None:
        """Put the mark into the pipeline's name where nothing else shows it to our token."""
        if channel is KeyChannel.NONE:
            return
        if channel is KeyChannel.VARIABLE and not self._request.use_trigger_token:
            return
        try:
            shown = pipeline if pipeline.get("name") else await self._client.pipeline(pipeline["id"])
            name = shown.get("name")
            # The account of a trigger token is another one, and its variables may be hidden from ours.
            if await self.search.mark(shown) == mark:
                return
            if channel is KeyChannel.INPUT:
                log.warning(
                    "workflow:name does not show input %r, so the key is put into the pipeline's name afterwards",
                    self._request.key_input,
                )
            await self._client.rename(pipeline["id"], mark.as_name(name))
        except (TemporaryError, PermanentError) as error:
            log.warning("Pipeline %s could not be named: %s", pipeline["id"], error.message)

    async def _newest(self) -> int:
        return max((row["id"] for row in await self._client.pipelines(pages=1)), default=0)

    async def _by_evidence(self, newest: int) -> Entity | None:
        """The pipeline that our unanswered request created, as far as account, ref and time tell."""
        filters = {"ref": self._request.ref, "source": self._request.source}
        try:
            if not self._request.use_trigger_token:
                filters["username"] = (await self._client.user())["username"]
            for wait in _EVIDENCE_LOOKS:
                await asyncio.sleep(wait)
                rows = await self._client.pipelines(pages=1, **filters)
                ours = [row for row in rows if row["id"] > newest and Mark.search(row.get("name")) is None]
                if ours:
                    return min(ours, key=lambda row: int(row["id"]))
        except (TemporaryError, PermanentError) as error:
            log.warning("The pipeline could not be looked for: %s", error.message)
        return None

    # --- finding ---------------------------------------------------------------------------------

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        """Pipelines that carry the key, newest first."""
        return await self.search.find(key, since, any_epoch=any_epoch)

    # --- watching --------------------------------------------------------------------------------

    async def status(self, handle: JobHandle) -> JobStatus | None:
        """State of the pipeline; ``None`` if it was deleted."""
        try:
            pipeline = await self._client.pipeline(pipeline_id_of(handle))
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            fresh = time.time() - created_of(handle) < _FRESH
            return JobStatus(JobState.PENDING, "created") if fresh else None
        return await self._state_of(pipeline)

    async def _state_of(self, pipeline: Entity) -> JobStatus:
        failed = await self._failed(pipeline) if pipeline["status"] == "failed" else []
        status = status_of(pipeline, failed, self._policy)
        if not status.state.active:
            self._over.add(pipeline["id"])
        return status

    async def _failed(self, pipeline: Entity) -> list[FailedJob]:
        failed = failed_jobs(await self._client.jobs(pipeline["id"]))
        return failed or failed_jobs(await self._client.trigger_jobs(pipeline["id"]))

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
        jobs = await self._client.jobs(pipeline["id"])
        payload: dict[str, Json] = {
            "status": str(pipeline["status"]),
            "url": pipeline.get("web_url"),
            "project": str(self._request.project),
            "project_id": pipeline["project_id"],
            "pipeline_id": pipeline["id"],
            "ref": pipeline["ref"],
            "sha": pipeline["sha"],
            "duration": pipeline.get("duration"),
            "warnings": warnings(jobs),
            "tests": await self._tests(pipeline["id"]),
        }
        if pipeline["status"] == "success":
            ids = latest(jobs)
            for output in self._outputs:
                payload[output.name] = read_value(output, await self._file(output, find_job(output, ids)))
        return payload

    async def _tests(self, pipeline_id: int) -> dict[str, Json] | None:
        try:
            total = (await self._client.test_summary(pipeline_id)).get("total") or {}
        except (PermissionDenied, RemoteObjectNotFound):
            return None
        if not total.get("count"):
            return None
        return {name: total.get(name, 0) for name in ("count", "success", "failed", "skipped", "error")}

    async def _file(self, output: Output, job_id: int) -> bytes:
        try:
            return await self._client.artifact(job_id, output.path, MAX_FILE)
        except RemoteObjectNotFound as error:
            raise OutputMissing(
                f"Output {output.name!r} ({output}): job {output.job!r} ({job_id}) has no such artifact, or it has "
                "expired",
                job_id=job_id,
            ) from error

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        """The typed error of a pipeline that did not succeed, with failed jobs and the end of the first one's log."""
        pipeline = await self._client.pipeline(pipeline_id_of(handle))
        failed = await self._failed(pipeline) if pipeline["status"] == "failed" else []
        tail = await self._reader.tail(failed[0].id, _TAIL_LINES) if failed else []
        label = f"GitLab pipeline {pipeline['id']} of project {str(self._request.project)!r}"
        shown = [redact(line, *self._hidden) for line in tail]
        return failure_of(label, pipeline, failed, self._policy, log_tail=shown)

    async def cancel(self, handle: JobHandle) -> None:
        """Cancel the pipeline."""
        try:
            await self._client.cancel(pipeline_id_of(handle))
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise

    async def restart(self, handle: JobHandle) -> JobHandle:
        """Run the failed jobs again in the same pipeline."""
        await self._client.retry(pipeline_id_of(handle))
        self._over.discard(pipeline_id_of(handle))
        for _ in range(_RETRY_LAG):
            # Reads may lag: an old "failed" would end the waiting at once.
            if (await self._client.pipeline(pipeline_id_of(handle)))["status"] != "failed":
                break
            await asyncio.sleep(1.0)
        return handle

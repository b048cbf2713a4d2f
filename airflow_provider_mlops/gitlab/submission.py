"""Starting a pipeline with its mark. I/O around the decisions of :mod:`.job_key`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    PermanentError,
    RemoteObjectNotFound,
    SubmitUncertain,
    TemporaryError,
)
from airflow_provider_mlops.external_job.adapter import JobHandle, JobKey, Strength
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.entities import Entity, handle_of
from airflow_provider_mlops.gitlab.errors import VariablesForbidden
from airflow_provider_mlops.gitlab.job_key import (
    KEY_VARIABLE,
    KeyChannel,
    Mark,
    choose_channel,
    strength_of,
    variables_allowed,
)
from airflow_provider_mlops.gitlab.pipeline_search import PipelineSearch
from airflow_provider_mlops.gitlab.request import PipelineRequest

log = logging.getLogger(__name__)

#: Seconds and looks for a pipeline whose creation was not answered and that carries no key.
_EVIDENCE_LOOKS = (1.0, 2.0, 4.0, 8.0)


class Submission:
    """Starts pipelines of one request.

    :param search: knows the marks.
    :param secret_values: values of secret variables.
    :param require_key: refuse a submission whose key GitLab does not keep.
    """

    def __init__(
        self,
        client: GitlabClient,
        request: PipelineRequest,
        search: PipelineSearch,
        *,
        secret_values: Mapping[str, str],
        require_key: bool,
    ) -> None:
        self._client = client
        self._request = request
        self._search = search
        self._secret_values = secret_values
        self._require_key = require_key
        self._channel: KeyChannel | None = None

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
            channel = choose_channel(
                key_input=self._request.key_input,
                has_token=self._client.has_token,
                variables_allowed=variables_allowed(project),
                sends_variables=self._request.sends_variables,
            )
            self._use(channel)
            return channel
        return self._channel

    def _use(self, channel: KeyChannel) -> None:
        self._channel = channel
        self._search.by_name_only = channel in (KeyChannel.INPUT, KeyChannel.NAME)

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
            channel = KeyChannel.NAME
            self._use(channel)
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
            if await self._search.mark(shown) == mark:
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

"""What is done to a running pipeline: manual jobs started, failed jobs run again, everything cancelled."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from airflow_provider_mlops.errors import (
    PermanentError,
    PermissionDenied,
    RemoteObjectNotFound,
    RequestRefused,
)
from airflow_provider_mlops.external_job.adapter import JobState, JobStatus
from airflow_provider_mlops.gitlab.answers import is_missing_project
from airflow_provider_mlops.gitlab.downstream import ARROW, Downstream, Failure, Node
from airflow_provider_mlops.gitlab.entities import Entity, parse_time
from airflow_provider_mlops.gitlab.errors import ManualJobUnknown
from airflow_provider_mlops.gitlab.manual import AT_REST, ManualPlan, plan_manual
from airflow_provider_mlops.gitlab.pipeline_status import COMPLETE, Policy

log = logging.getLogger(__name__)

#: How long a retried pipeline may still be shown as ended.
_RETRY_LAG = 15

#: A pipeline may still be shown at rest for this long (seconds) after one of its jobs was started.
_PLAY_LAG = 10.0

#: After so many refusals to start a job that is still manual, GitLab means it.
_REFUSALS = 3

#: A job that is still ``canceling`` after this many seconds hangs.
FORCE_AFTER = 20.0


class Interventions:
    """Acts on pipelines through one client.

    :param label: names the project in messages.
    """

    def __init__(self, policy: Policy, downstream: Downstream, label: str) -> None:
        self._policy = policy
        self._downstream = downstream
        self._label = label
        self._known: set[int] = set()
        self._played: dict[int, float] = {}
        self._cancelled: dict[int, float] = {}
        self._denied: set[int] = set()
        self._refusals: dict[int, int] = {}
        #: Why the named manual jobs of a pipeline cannot be played.
        self.problems: dict[int, PermanentError] = {}

    # --- manual jobs -----------------------------------------------------------------------------

    async def play(self, root: Node, word: str, *, act: bool = True) -> JobStatus | None:
        """Start the manual jobs that the author names, if it is time.

        :param word: GitLab's word for the pipeline's state.
        :param act: really start them; otherwise only say what is to be done.
        :return: the state, where these jobs decide about it.
        """
        if not self._policy.plays:
            return None
        at_rest = word in AT_REST
        if not at_rest and (word == "created" or root.pipeline_id in self._known):
            return None
        jobs = await self.jobs(root, deep=at_rest)
        if not jobs:
            # Not visible everywhere yet.
            return JobStatus(JobState.RUNNING, word) if at_rest else None
        if act:
            self._known.add(root.pipeline_id)
        plan = plan_manual(self._policy.plays, jobs)
        unknown = [name for name in plan.unknown if at_rest or ARROW not in name]
        if unknown:
            return await self._unknown(root, word, unknown, sorted(jobs), act=act)
        if not at_rest:
            return None
        if plan.start and act and (refused := await self._start(root, jobs, plan)) is not None:
            self.problems[root.pipeline_id] = refused
            return JobStatus(JobState.FAILED, word, refused.message, permanent=True)
        names = [*(play.name for play in plan.start.values()), *plan.busy]
        if names:
            return JobStatus(JobState.RUNNING, word, f"playing {', '.join(names)}")
        lag = time.monotonic() - self._played.get(root.pipeline_id, float("-inf"))
        return JobStatus(JobState.RUNNING, word) if word == "manual" and lag < _PLAY_LAG else None

    async def _unknown(
        self, root: Node, word: str, unknown: list[str], known: list[str], *, act: bool
    ) -> JobStatus:
        error = ManualJobUnknown(
            f"GitLab pipeline {root.pipeline_id} of project {self._label} has no job "
            f"{' and no job '.join(map(repr, unknown))} to play; its jobs are: {', '.join(known[:20])}",
            pipeline_id=root.pipeline_id,
            pipeline_url=root.url,
            url=root.url,
        )
        self.problems[root.pipeline_id] = error
        if word not in COMPLETE:
            if not act:
                return JobStatus(JobState.RUNNING, word)
            await root.client.cancel(root.pipeline_id)
        return JobStatus(JobState.FAILED, word, error.message, permanent=True)

    async def _start(self, root: Node, jobs: Mapping[str, Entity], plan: ManualPlan) -> PermanentError | None:
        clients = {job["id"]: job["client"] for job in jobs.values()}
        for job_id, play in plan.start.items():
            try:
                await clients[job_id].play(job_id, play.variables, play.inputs)
            except RequestRefused as error:
                # Somebody else may have been faster: then the job is not manual at the next look.
                self._refusals[job_id] = self._refusals.get(job_id, 0) + 1
                if self._refusals[job_id] >= _REFUSALS:
                    return error
                log.info("Manual job %s was not started: %s", play.name, error.message)
                continue
            except PermanentError as error:
                return error
            self._played[root.pipeline_id] = time.monotonic()
            log.info("Manual job %s (%s) is started", play.name, job_id)
        return None

    async def jobs(self, root: Node, *, deep: bool) -> dict[str, Entity]:
        """The latest run of every job by its name, trigger jobs too, each with the ``client`` of its project.

        :param deep: also those of downstream pipelines, behind the names of the trigger jobs that lead there.
        """
        found: dict[str, Entity] = {}
        nodes = [root, *(await self._downstream.below(root) if deep else ())]
        for node in nodes:
            try:
                rows = await node.client.jobs(node.pipeline_id)
                rows += await self._downstream.trigger_jobs(node, known=bool(rows))
            except (RemoteObjectNotFound, PermissionDenied) as error:
                if node is root:
                    raise
                self._downstream.hide(node, error)
                continue
            for row in sorted(rows, key=lambda job: int(job["id"])):
                found[node.label(row["name"])] = {**row, "client": node.client}
        return found

    # --- running again ---------------------------------------------------------------------------

    async def restart(self, root: Node, failures: list[Failure]) -> None:
        """Run failed jobs again where they are, from the bottom up.

        GitLab's retry of a pipeline leaves trigger jobs alone; that of a downstream pipeline lets the trigger
        jobs above it, and what comes after them, run again. So finished jobs of every level are kept.
        """
        before = _moment(await root.client.pipeline(root.pipeline_id))
        nodes = {failure.node.pipeline_id: failure.node for failure in failures if not failure.is_trigger}
        for node in sorted(nodes.values(), key=lambda node: -len(node.path)):
            if node.above is not None:
                await self._restart_below(node, node.above)
        for failure in failures:
            if failure.is_trigger:
                await failure.node.client.retry_job(failure.job.id)
        await root.client.retry(root.pipeline_id)
        for _ in range(_RETRY_LAG):
            # Reads may lag: the old end would end the waiting at once.
            now = _moment(await root.client.pipeline(root.pipeline_id))
            if now != before or now[0] not in COMPLETE:
                break
            await asyncio.sleep(1.0)

    async def _restart_below(self, node: Node, above: Node) -> None:
        try:
            await node.client.retry(node.pipeline_id)
        except (PermissionDenied, RemoteObjectNotFound) as error:
            assert node.bridge_id is not None
            log.warning(
                "Downstream pipeline %s may not be retried (%s); its trigger job starts a new one",
                node.url or node.pipeline_id,
                error.message,
            )
            await above.client.retry_job(node.bridge_id)

    # --- cancelling ------------------------------------------------------------------------------

    async def cancel(self, root: Node) -> bool:
        """Cancel a pipeline and all that it waits for. GitLab itself cancels children of the same project only.

        :returns: ``False``: there is no such pipeline (yet).
        """
        try:
            await root.client.cancel(root.pipeline_id)
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            return False
        self._cancelled.setdefault(root.pipeline_id, time.monotonic())
        for node in await self._downstream.below(root):
            if node.foreign and node.status not in COMPLETE:
                await self._cancel_below(node)
        try:
            pipeline = await root.client.pipeline(root.pipeline_id)
        except RemoteObjectNotFound:
            # Not readable yet, or deleted meanwhile.
            return True
        changed = parse_time(pipeline.get("updated_at"))
        if changed is not None and (datetime.now(UTC) - changed).total_seconds() > FORCE_AFTER:
            await self._force(root, pipeline["status"])
        return True

    async def _cancel_below(self, node: Node) -> None:
        try:
            await node.client.cancel(node.pipeline_id)
        except (PermissionDenied, RemoteObjectNotFound) as error:
            log.warning(
                "Downstream pipeline %s goes on, because it may not be cancelled: %s",
                node.url or node.pipeline_id,
                error.message,
            )

    async def end_hanging(self, root: Node, word: str) -> None:
        """End jobs that still hang in ``canceling`` a while after a cancel of this session."""
        since = time.monotonic() - self._cancelled.get(root.pipeline_id, float("inf"))
        if since > FORCE_AFTER:
            await self._force(root, word)

    async def _force(self, root: Node, word: str) -> None:
        if word != "canceling" or not self._policy.force_cancel or root.pipeline_id in self._denied:
            return
        for name, job in (await self.jobs(root, deep=True)).items():
            if job["status"] != "canceling":
                continue
            try:
                await job["client"].force_cancel(job["id"])
            except PermanentError as error:
                self._denied.add(root.pipeline_id)
                log.warning(
                    "Job %s hangs while it is cancelled, and this token may not end it (a maintainer may): "
                    "%s; %s",
                    name,
                    job.get("web_url"),
                    error.message,
                )
                continue
            log.warning("Job %s hung while it was cancelled and was ended by force", name)


def _moment(pipeline: Entity) -> tuple[str, str | None]:
    return pipeline["status"], pipeline.get("updated_at")

"""The pipelines that a pipeline's trigger jobs have started, as far as its verdict depends on them.

GitLab tells nowhere whether a trigger job has ``strategy: depend`` (or ``mirror``), but its times do: such a
job ends after the pipeline that it started, any other as soon as that is created. A pipeline that nobody
waits for is no part of the verdict: it is neither awaited nor read nor cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airflow_provider_mlops.errors import PermanentError, PermissionDenied, RemoteObjectNotFound
from airflow_provider_mlops.gitlab.answers import is_missing_project
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.entities import Entity, parse_time
from airflow_provider_mlops.gitlab.pipeline_status import COMPLETE, FailedJob, counts_as_failed, failed_job

log = logging.getLogger(__name__)

#: How often a list of trigger jobs is asked for that says "running" after the pipeline's end.
_STALE_LOOKS = 5

_ACTIVE = frozenset(
    {"waiting_for_resource", "preparing", "waiting_for_callback", "pending", "running", "canceling"}
)

#: Between the names of trigger jobs and of the job behind them.
ARROW = " > "


@dataclass(frozen=True, slots=True)
class Node:
    """One pipeline of the tree.

    :param client: of its project.
    :param path: names of the trigger jobs that lead to it; empty for the pipeline that was asked for.
    :param status: GitLab's word for its state, as the trigger job shows it.
    :param above: the pipeline whose trigger job ``bridge_id`` has started it.
    """

    client: GitlabClient
    pipeline_id: int
    path: tuple[str, ...] = ()
    project_id: int | None = None
    status: str = ""
    url: str | None = None
    above: Node | None = None
    bridge_id: int | None = None

    @property
    def foreign(self) -> bool:
        """Whether it belongs to another project than the pipeline above it."""
        return self.above is not None and self.above.project_id not in (None, self.project_id)

    def label(self, name: str) -> str:
        """How a job of this pipeline is called from the root."""
        return ARROW.join([*self.path, name])


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that decided about the verdict, and the pipeline that it belongs to.

    :param is_trigger: it is a trigger job without a downstream pipeline that could be read.
    """

    job: FailedJob
    node: Node
    is_trigger: bool = False


class Downstream:
    """Walks down from a pipeline; asks nothing twice that cannot change.

    :param depth: levels below the root; 0 follows nothing.
    :param limit: at most this many pipelines below one root.
    """

    def __init__(self, depth: int, limit: int) -> None:
        self._depth = depth
        self._limit = limit
        #: Pipelines without trigger jobs (jobs are only added at the creation), and whether that was seen after
        #: their end, when no lagging list can deceive.
        self._childless: dict[int, bool] = {}
        #: Trigger jobs and their ends: whether they had waited. A retry below lets them run, and end, again.
        self._settled: dict[tuple[int, str | None], bool] = {}
        self._hidden: set[int] = set()
        self._truncated: set[int] = set()

    async def below(
        self, root: Node, jobs: Sequence[Entity] | None = None, *, over: bool = False
    ) -> list[Node]:
        """Every pipeline below ``root`` that its verdict depends on, from the top down.

        :param jobs: the root's own jobs, if they are known: where they are not visible yet, trigger jobs are not
            either.
        :param over: the root is known to have ended: a list of trigger jobs that says otherwise is stale.
        """
        nodes: list[Node] = []
        known = over or jobs is None or bool(jobs)
        await self._descend(root, nodes, root.pipeline_id, known=known, over=over)
        return nodes

    async def _descend(
        self, node: Node, nodes: list[Node], root_id: int, *, known: bool = True, over: bool = False
    ) -> None:
        if len(node.path) >= self._depth:
            return
        for bridge in await self.trigger_jobs(node, known=known, over=over):
            child = await self.child(node, bridge)
            if child is None:
                continue
            if len(nodes) >= self._limit:
                self._tell_limit(root_id)
                return
            nodes.append(child)
            await self._descend(child, nodes, root_id, over=over)

    def _tell_limit(self, root_id: int) -> None:
        if root_id not in self._truncated:
            self._truncated.add(root_id)
            log.warning(
                "Pipeline %s has more than %d downstream pipelines; the others are not followed",
                root_id,
                self._limit,
            )

    async def trigger_jobs(self, node: Node, *, known: bool = True, over: bool = False) -> list[Entity]:
        """Trigger jobs of one pipeline, oldest first.

        :param known: the pipeline's jobs are visible, so that an empty list is the whole truth.
        :param over: the pipeline is known to have ended.
        """
        if self._childless.get(node.pipeline_id, False) or (not over and node.pipeline_id in self._childless):
            return []
        for _ in range(_STALE_LOOKS):
            bridges = await node.client.trigger_jobs(node.pipeline_id)
            if not over or not any(bridge["status"] in ("pending", "running") for bridge in bridges):
                break
            await asyncio.sleep(1.0)
        if not bridges and known:
            self._childless[node.pipeline_id] = over
        return sorted(bridges, key=lambda job: int(job["id"]))

    async def child(self, node: Node, bridge: Entity) -> Node | None:
        """The pipeline that a trigger job has started, if it waits for it; ``None`` for one that cannot be read."""
        started = bridge.get("downstream_pipeline")
        if not started or started["id"] in self._hidden:
            return None
        child = Node(
            node.client.elsewhere(started["project_id"]),
            started["id"],
            (*node.path, bridge["name"]),
            started["project_id"],
            started["status"],
            started.get("web_url"),
            node,
            bridge["id"],
        )
        return child if await self._is_awaited(child, bridge) else None

    async def _is_awaited(self, child: Node, bridge: Entity) -> bool:
        if bridge["status"] != "success":
            return True
        key = (bridge["id"], bridge.get("finished_at"))
        if key not in self._settled:
            try:
                pipeline = await child.client.pipeline(child.pipeline_id)
            except (RemoteObjectNotFound, PermissionDenied) as error:
                self.hide(child, error)
                return False
            self._settled[key] = ended_after(bridge, pipeline)
        return self._settled[key]

    def hide(self, child: Node, error: PermanentError) -> None:
        """Leave a pipeline out from now on that the token may not read; say so once."""
        missing = isinstance(error, RemoteObjectNotFound) and not is_missing_project(error)
        if missing or child.pipeline_id in self._hidden:
            # A fresh pipeline may not be readable everywhere yet.
            return
        self._hidden.add(child.pipeline_id)
        log.warning(
            "Downstream pipeline %s (%s) cannot be read, so its jobs are not shown: %s",
            child.url or child.pipeline_id,
            ARROW.join(child.path),
            error.message,
        )

    async def blocked(self, node: Node) -> bool:
        """Whether a running pipeline only waits for manual jobs of the pipelines below it."""
        if len(node.path) >= self._depth:
            return False
        running = [job for job in await self.trigger_jobs(node) if job["status"] in ("pending", "running")]
        for bridge in running:
            child = await self.child(node, bridge)
            if child is None or not (
                child.status == "manual" or (child.status == "running" and await self.blocked(child))
            ):
                return False
        if not running:
            return False
        jobs = await node.client.jobs(node.pipeline_id)
        return not any(job["status"] in _ACTIVE for job in jobs)

    async def failures(
        self, node: Node, wanted: Callable[[Entity], bool] = counts_as_failed
    ) -> list[Failure]:
        """The jobs that made the pipeline fail, wherever below it they are.

        A failed trigger job stands for the failed jobs of what it started; it is named itself only where there
        are none, or where they cannot be read.

        :param wanted: which jobs count.
        """
        jobs = await node.client.jobs(node.pipeline_id)
        found = [Failure(failed_job(job, node.path), node) for job in jobs if wanted(job)]
        for bridge in await self.trigger_jobs(node, known=bool(jobs)):
            child = await self.child(node, bridge) if len(node.path) < self._depth else None
            below: list[Failure] = []
            if child and (wanted(bridge) or wanted is not counts_as_failed):
                try:
                    below = await self.failures(child, wanted)
                except (RemoteObjectNotFound, PermissionDenied) as error:
                    self.hide(child, error)
            if wanted(bridge) and not below:
                below = [Failure(failed_job(bridge, node.path), node, is_trigger=True)]
            found += below
        return found


def ended_after(bridge: Entity, pipeline: Entity) -> bool:
    """Whether a trigger job that succeeded had waited for the pipeline that it started."""
    if pipeline["status"] not in COMPLETE:
        return False
    over, started = parse_time(bridge.get("finished_at")), parse_time(pipeline.get("finished_at"))
    return over is not None and started is not None and over >= started

"""What a pipeline that has succeeded hands on: counts, warnings, tests and outputs, those of its downstream included."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_mlops.errors import PermissionDenied, RemoteObjectNotFound
from airflow_provider_mlops.external_job.adapter import Json
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.downstream import Downstream, Node
from airflow_provider_mlops.gitlab.entities import Entity
from airflow_provider_mlops.gitlab.errors import OutputMissing
from airflow_provider_mlops.gitlab.outputs import MAX_FILE, Output, find_job, read_value
from airflow_provider_mlops.gitlab.pipeline_status import failed_job, is_warning

log = logging.getLogger(__name__)

_TESTS = ("count", "success", "failed", "skipped", "error")


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Jobs of one pipeline of the tree."""

    node: Node
    rows: Sequence[Entity]


async def collect(
    root: Node, pipeline: Entity, downstream: Downstream, outputs: Sequence[Output]
) -> dict[str, Json]:
    """Everything of the payload that is learned from the pipeline's end.

    :param outputs: read from a pipeline that GitLab calls successful; one that was merely accepted has none.
    :raises OutputMissing: a declared output is not there.
    :raises OutputUnreadable: it is too large, or not of the expected format.
    """
    tree = await _tree(root, downstream)
    warnings = [str(failed_job(job, jobs.node.path)) for jobs in tree for job in jobs.rows if is_warning(job)]
    for warning in warnings:
        log.warning("A job failed that may fail: %s", warning)
    collected: dict[str, Json] = {
        "jobs": dict(Counter(str(job["status"]) for jobs in tree for job in jobs.rows)),
        "warnings": warnings,
        "tests": await _tests(tree),
    }
    if pipeline["status"] == "success":
        latest: dict[str, tuple[GitlabClient, int]] = {}
        for jobs in tree:
            for job in sorted(jobs.rows, key=lambda row: int(row["id"])):
                latest[jobs.node.label(job["name"])] = (jobs.node.client, job["id"])
        for output in outputs:
            client, job_id = latest[find_job(output, latest)]
            collected[output.name] = read_value(output, await _file(output, client, job_id))
    return collected


async def _tree(root: Node, downstream: Downstream) -> list[_Jobs]:
    rows = await root.client.jobs(root.pipeline_id)
    tree = [_Jobs(root, rows + await downstream.trigger_jobs(root, known=bool(rows), over=True))]
    for node in await downstream.below(root, over=True):
        try:
            rows = await node.client.jobs(node.pipeline_id)
            tree.append(_Jobs(node, rows + await downstream.trigger_jobs(node)))
        except (RemoteObjectNotFound, PermissionDenied) as error:
            downstream.hide(node, error)
    return tree


async def _tests(tree: Sequence[_Jobs]) -> dict[str, Json] | None:
    """Totals of all JUnit reports; a suite that two pipelines show counts once."""
    suites: dict[str, Mapping[str, int]] = {}
    for jobs in tree:
        try:
            summary = await jobs.node.client.test_summary(jobs.node.pipeline_id)
        except (PermissionDenied, RemoteObjectNotFound):
            continue
        for suite in summary.get("test_suites") or ():
            suites[f"{suite.get('name')} {suite.get('build_ids')}"] = suite
    totals = {name: sum(suite.get(f"{key}_count") or 0 for suite in suites.values()) for name, key in _KEYS}
    return dict(totals) if totals["count"] else None


_KEYS = tuple((name, "total" if name == "count" else name) for name in _TESTS)


async def _file(output: Output, client: GitlabClient, job_id: int) -> bytes:
    try:
        return await client.artifact(job_id, output.path, MAX_FILE)
    except RemoteObjectNotFound as error:
        raise OutputMissing(
            f"Output {output.name!r} ({output}): job {output.job!r} ({job_id}) has no such artifact, or it has "
            "expired",
            job_id=job_id,
        ) from error

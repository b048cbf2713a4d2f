"""From GitLab's words about a pipeline to the engine's states and this station's errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_mlops.errors import JobBlocked, JobCancelled, MlopsError, TemporaryError
from airflow_provider_mlops.external_job.adapter import JobState, JobStatus
from airflow_provider_mlops.gitlab.errors import (
    NO_CAPACITY_DELAY,
    PipelineFailed,
    PipelineFailedRetryable,
    PipelineInfrastructureFailed,
    PipelineSkipped,
)
from airflow_provider_mlops.gitlab.failure_reasons import FailureClass, classify_all

#: GitLab's words for pipelines and jobs; any other is taken for running.
STATES: Mapping[str, JobState] = {
    "created": JobState.PENDING,
    "waiting_for_resource": JobState.PENDING,
    "preparing": JobState.PENDING,
    "waiting_for_callback": JobState.PENDING,
    "pending": JobState.PENDING,
    # A delayed job goes on by itself.
    "scheduled": JobState.PENDING,
    "running": JobState.RUNNING,
    "canceling": JobState.RUNNING,
    "manual": JobState.BLOCKED,
    "success": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "skipped": JobState.FAILED,
}

#: Words after which a job or pipeline changes only if somebody runs it again.
COMPLETE = frozenset({"success", "failed", "canceled", "skipped"})

OnManual = Literal["fail", "wait", "succeed"]
OnSkipped = Literal["fail", "skip", "succeed"]
OnRetry = Literal["auto", "reattach", "retry_failed", "new"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the author wants of outcomes that are neither plain success nor plain failure.

    :param on_manual: a pipeline that waits for a person fails the task, is waited for, or counts as success.
    :param on_skipped: a skipped pipeline fails the task, skips it, or counts as success.
    :param on_retry: what a failure means for the next try of the task: ``auto`` retries the failed jobs in
        place after infrastructure failures and gives up after others; ``retry_failed`` retries them after any
        failure; ``new`` starts another pipeline after any failure; ``reattach`` never starts anything again.
    """

    on_manual: OnManual = "fail"
    on_skipped: OnSkipped = "fail"
    on_retry: OnRetry = "auto"


@dataclass(frozen=True, slots=True)
class FailedJob:
    """One job that made its pipeline fail.

    :param reason: GitLab's ``failure_reason``.
    """

    id: int
    name: str
    stage: str
    reason: str | None
    url: str | None

    def __str__(self) -> str:
        return f"{self.stage}/{self.name} ({self.reason or 'unknown_failure'})"


def failed_jobs(jobs: Sequence[Mapping[str, Any]]) -> list[FailedJob]:
    """The jobs that made the pipeline fail (not those that may fail)."""
    return [_failed(job) for job in jobs if job["status"] == "failed" and not job.get("allow_failure")]


def warnings(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Jobs that failed and may."""
    return [str(_failed(job)) for job in jobs if job["status"] == "failed" and job.get("allow_failure")]


def _failed(job: Mapping[str, Any]) -> FailedJob:
    reason = job.get("failure_reason")
    downstream = job.get("downstream_pipeline") or {}
    if reason in (None, "unknown_failure") and downstream.get("status") == "failed":
        # A trigger job with strategy:depend has no reason of its own.
        reason = "script_failure"
    return FailedJob(job["id"], job["name"], job.get("stage") or "", reason, job.get("web_url"))


def status_of(pipeline: Mapping[str, Any], failed: Sequence[FailedJob], policy: Policy) -> JobStatus:
    """The engine's view of a pipeline.

    :param pipeline: GitLab's entity.
    :param failed: its failed jobs; only looked at if it has failed.
    """
    word = str(pipeline["status"])
    state = STATES.get(word, JobState.RUNNING)
    shown = (pipeline.get("detailed_status") or {}).get("label") or word
    detail = shown if shown not in (word, "passed") else ""
    if word == "manual" and policy.on_manual != "wait":
        accepted = policy.on_manual == "succeed"
        return JobStatus(
            JobState.SUCCEEDED if accepted else JobState.FAILED, word, detail, permanent=not accepted
        )
    if word == "skipped":
        accepted = policy.on_skipped != "fail"
        return JobStatus(
            JobState.SUCCEEDED if accepted else JobState.FAILED, word, detail, permanent=not accepted
        )
    if state is not JobState.FAILED:
        return JobStatus(state, word, detail)
    if failed:
        detail = ", ".join(str(job) for job in failed[:5])
    temporary = _may_retry(pipeline, failed, policy)
    return JobStatus(
        state,
        word,
        detail,
        restartable=temporary and policy.on_retry in ("auto", "retry_failed"),
        permanent=not temporary,
    )


def _may_retry(pipeline: Mapping[str, Any], failed: Sequence[FailedJob], policy: Policy) -> bool:
    if policy.on_retry == "auto":
        if pipeline.get("yaml_errors"):
            return False
        return classify_all(job.reason for job in failed) in (
            FailureClass.INFRASTRUCTURE,
            FailureClass.CAPACITY,
        )
    return policy.on_retry in ("retry_failed", "new")


def failure_of(
    label: str,
    pipeline: Mapping[str, Any],
    failed: Sequence[FailedJob],
    policy: Policy,
    *,
    log_tail: Sequence[str] = (),
) -> MlopsError:
    """The typed error for a pipeline that did not succeed.

    :param label: names project and pipeline.
    :param log_tail: last lines of the first failed job's log.
    """
    word = str(pipeline["status"])
    fields: dict[str, Any] = {
        "pipeline_id": pipeline["id"],
        "status": word,
        "jobs": [
            {"id": job.id, "name": job.name, "stage": job.stage, "reason": job.reason, "url": job.url}
            for job in failed
        ],
    }
    url = pipeline.get("web_url")
    if word == "canceled":
        return JobCancelled(f"{label} was cancelled in GitLab", url=url, **fields)
    if word == "manual":
        return JobBlocked(
            f"{label} waits for a manual job",
            next_step="Set on_manual='wait' to wait for a person, or on_manual='succeed' to accept this.",
            url=url,
            **fields,
        )
    if word == "skipped":
        return PipelineSkipped(f"{label} was skipped", url=url, **fields)
    cause = ", ".join(str(job) for job in failed[:5]) or str(
        pipeline.get("yaml_errors") or "GitLab names no job"
    )
    if len(failed) > 5:
        cause = f"{cause} and {len(failed) - 5} more"
    message = f"{label} failed: {cause}"
    fields["log_tail"] = list(log_tail)
    first_url = failed[0].url if failed else url
    error: MlopsError
    if not _may_retry(pipeline, failed, policy):
        error = PipelineFailed(message, url=first_url or url, **fields)
    else:
        kind: type[TemporaryError] = (
            PipelineInfrastructureFailed if policy.on_retry == "auto" else PipelineFailedRetryable
        )
        capacity = classify_all(job.reason for job in failed) is FailureClass.CAPACITY
        error = kind(message, delay=NO_CAPACITY_DELAY if capacity else None, url=first_url or url, **fields)
    if log_tail and failed:
        error.add_note(f"End of the log of {failed[0].stage}/{failed[0].name}:\n" + "\n".join(log_tail))
    return error


def latest(jobs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Id of the latest job of each name."""
    ids: dict[str, int] = {}
    for job in jobs:
        ids[job["name"]] = max(job["id"], ids.get(job["name"], 0))
    return ids

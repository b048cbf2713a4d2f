"""From GitLab's words about a pipeline to the engine's states and this station's errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from airflow_provider_mlops.errors import JobBlocked, JobCancelled, MlopsError, TemporaryError
from airflow_provider_mlops.external_job.adapter import JobState, JobStatus, Json
from airflow_provider_mlops.gitlab.errors import (
    NO_CAPACITY_DELAY,
    PipelineFailed,
    PipelineFailedRetryable,
    PipelineInfrastructureFailed,
    PipelineSkipped,
)
from airflow_provider_mlops.gitlab.failure_reasons import FAILURE_REASONS, FailureClass, classify_all

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


@dataclass(frozen=True, slots=True)
class PlayedJob:
    """A manual job that the author wants started.

    :param name: the job's name, behind those of the trigger jobs that lead to it (``"deploy > approve"``).
    :param variables: job variables, as texts.
    :param inputs: job inputs.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the author wants of outcomes that are neither plain success nor plain failure.

    :param on_manual: a pipeline that waits for a person fails the task (``fail``), is waited for (``wait``), or
        counts as success (``succeed``).
    :param on_skipped: a skipped pipeline fails the task (``fail``), skips it (``skip``), or counts as success
        (``succeed``).
    :param on_retry: what a failure means for the next try of the task: ``auto`` retries the failed jobs in
        place after infrastructure failures and gives up after others; ``retry_failed`` retries them after any
        failure; ``new`` starts another pipeline after any failure; ``reattach`` never starts anything again.
    :param plays: manual jobs that are started.
    :param retry_timeouts: ``auto`` counts timeouts as infrastructure.
    :param retry_reasons: further failure reasons that ``auto`` counts as infrastructure.
    :param allow_warnings: jobs that may fail do not fail the task.
    :param depth: levels of downstream pipelines that are followed; 0 for none.
    :param limit: at most this many downstream pipelines.
    :param force_cancel: end jobs that hang after a cancel of ours.
    """

    on_manual: str = "fail"
    on_skipped: str = "fail"
    on_retry: str = "auto"
    plays: Sequence[PlayedJob] = ()
    retry_timeouts: bool = False
    retry_reasons: Sequence[str] = ()
    allow_warnings: bool = True
    depth: int = 3
    limit: int = 50
    force_cancel: bool = False

    def to_json(self) -> dict[str, Json]:
        """As JSON, for trigger rows."""
        plays: list[Json] = [asdict(play) for play in self.plays]
        return {**asdict(self), "plays": plays, "retry_reasons": list(self.retry_reasons)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The reverse of :meth:`to_json`."""
        plays = tuple(PlayedJob(**play) for play in data["plays"])
        return cls(**{**data, "plays": plays, "retry_reasons": tuple(data["retry_reasons"])})


@dataclass(frozen=True, slots=True)
class FailedJob:
    """One job that made its pipeline fail.

    :param reason: GitLab's ``failure_reason``.
    :param path: names of the trigger jobs that lead to its pipeline, if that is a downstream one.
    """

    id: int
    name: str
    stage: str
    reason: str | None
    url: str | None
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = " > ".join([*self.path, f"{self.stage}/{self.name}"])
        return f"{where} ({self.reason or 'unknown_failure'})"


def counts_as_failed(job: Mapping[str, Any]) -> bool:
    """Whether the job made its pipeline fail (one that may fail did not)."""
    return job["status"] == "failed" and not job.get("allow_failure")


def is_warning(job: Mapping[str, Any]) -> bool:
    """Whether the job failed and may."""
    return job["status"] == "failed" and bool(job.get("allow_failure"))


def failed_job(job: Mapping[str, Any], path: tuple[str, ...] = ()) -> FailedJob:
    """What is told of a failed job.

    :param path: names of the trigger jobs that lead to its pipeline.
    """
    reason = job.get("failure_reason")
    downstream = job.get("downstream_pipeline") or {}
    if reason in (None, "unknown_failure") and downstream.get("status") == "failed":
        # A trigger job with strategy:depend has no reason of its own.
        reason = "script_failure"
    return FailedJob(job["id"], job["name"], job.get("stage") or "", reason, job.get("web_url"), path)


def status_of(pipeline: Mapping[str, Any], failed: Sequence[FailedJob], policy: Policy) -> JobStatus:
    """The engine's view of a pipeline.

    :param pipeline: GitLab's entity.
    :param failed: the jobs that failed it; of one that GitLab calls successful, those that were allowed to fail
        but are not accepted.
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
    if word == "success" and failed:
        state = JobState.FAILED
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
        return _class_of(failed, policy) in (FailureClass.INFRASTRUCTURE, FailureClass.CAPACITY)
    return policy.on_retry in ("retry_failed", "new")


def _class_of(failed: Sequence[FailedJob], policy: Policy) -> FailureClass:
    accepted = frozenset(policy.retry_reasons)
    if policy.retry_timeouts:
        accepted |= {reason for reason, kind in FAILURE_REASONS.items() if kind is FailureClass.TIMEOUT}
    return classify_all(job.reason for job in failed if (job.reason or "unknown_failure") not in accepted)


def failure_of(
    label: str,
    pipeline: Mapping[str, Any],
    failed: Sequence[FailedJob],
    policy: Policy,
    *,
    log_tail: Sequence[str] = (),
    manual: Sequence[str] = (),
) -> MlopsError:
    """The typed error for a pipeline that did not succeed.

    :param label: names project and pipeline.
    :param log_tail: last lines of the first failed job's log.
    :param manual: names of the manual jobs that it waits for.
    """
    word = str(pipeline["status"])
    fields: dict[str, Any] = {
        "pipeline_id": pipeline["id"],
        "pipeline_url": pipeline.get("web_url"),
        "status": word,
        "jobs": [
            {
                "id": job.id,
                "name": " > ".join([*job.path, job.name]),
                "stage": job.stage,
                "reason": job.reason,
                "url": job.url,
            }
            for job in failed
        ],
    }
    url = pipeline.get("web_url")
    if word == "canceled":
        return JobCancelled(f"{label} was cancelled in GitLab", url=url, **fields)
    if word == "manual":
        return JobBlocked(
            f"{label} waits for a manual job" + (f" ({', '.join(manual)})" if manual else ""),
            next_step="Set on_manual='wait' to wait for a person, on_manual=Play(...) to start it, or "
            "on_manual='succeed' to accept this.",
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
    verb = "passed with warnings, which are not allowed" if word == "success" else "failed"
    message = f"{label} {verb}: {cause}"
    fields["log_tail"] = list(log_tail)
    first_url = failed[0].url if failed else url
    error: MlopsError
    if not _may_retry(pipeline, failed, policy):
        error = PipelineFailed(message, url=first_url or url, **fields)
    else:
        kind: type[TemporaryError] = (
            PipelineInfrastructureFailed if policy.on_retry == "auto" else PipelineFailedRetryable
        )
        capacity = _class_of(failed, policy) is FailureClass.CAPACITY
        error = kind(message, delay=NO_CAPACITY_DELAY if capacity else None, url=first_url or url, **fields)
    if log_tail and failed:
        error.add_note(f"End of the log of {str(failed[0]).rpartition(' (')[0]}:\n" + "\n".join(log_tail))
    return error

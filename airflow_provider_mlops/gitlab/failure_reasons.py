"""What GitLab's ``failure_reason`` of a job means for a retry.

The words are those of GitLab 19; new ones appear between minor
releases, so an unknown word counts as infrastructure: trying again is cheaper than giving up wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class FailureClass(StrEnum):
    """Whose fault a failed job is."""

    #: The job's script, configuration or rights: the same again fails the same way.
    USER = "user"
    #: Runners or GitLab: running the failed jobs again makes sense.
    INFRASTRUCTURE = "infrastructure"
    #: Nothing had room for the job: again, but later.
    CAPACITY = "capacity"
    #: The job was too slow for its own or the runner's limit.
    TIMEOUT = "timeout"


_USER = (
    "script_failure",
    "runner_configuration_error",
    "missing_dependency_failure",
    "runner_unsupported",
    "unmet_prerequisites",
    "archived_failure",
    "data_integrity_failure",
    "builds_disabled",
    "user_blocked",
    "project_deleted",
    "secrets_provider_not_found",
    "ip_restriction_failure",
    "insufficient_bridge_permissions",
    "insufficient_upstream_permissions",
    "downstream_bridge_project_not_found",
    "upstream_bridge_project_not_found",
    "invalid_bridge_trigger",
    "downstream_pipeline_creation_failed",
    "downstream_project_trigger_resolved_to_empty",
    "reached_max_descendant_pipelines_depth",
    "reached_max_pipeline_hierarchy_size",
    "pipeline_loop_detected",
    "protected_environment_failure",
    "deployment_rejected",
    "failed_outdated_deployment_job",
    "forward_deployment_failure",
    "environment_creation_failure",
    "trace_size_exceeded",
    "duo_workflow_not_allowed",
    "no_matching_runner",
    "ci_quota_exceeded",
)
_INFRASTRUCTURE = (
    "runner_system_failure",
    "runner_interrupted",
    "runner_external_dependency_failure",
    "stuck_or_timeout_failure",
    "scheduler_failure",
    "api_failure",
    "unknown_failure",
    "stale_schedule",
    "job_router_failure",
    "job_token_expired",
    "no_updates_running",
    "no_updates_canceling",
    "stuck_pending_with_matching_runners",
)
_CAPACITY = ("stuck_pending_no_matching_runners", "reached_downstream_pipeline_trigger_rate_limit")
_TIMEOUT = (
    "job_execution_timeout",
    "job_execution_server_timeout",
    "server_timeout_running",
    "server_timeout_canceling",
)

#: Every known word and its class.
FAILURE_REASONS: Mapping[str, FailureClass] = {
    **dict.fromkeys(_USER, FailureClass.USER),
    **dict.fromkeys(_INFRASTRUCTURE, FailureClass.INFRASTRUCTURE),
    **dict.fromkeys(_CAPACITY, FailureClass.CAPACITY),
    **dict.fromkeys(_TIMEOUT, FailureClass.TIMEOUT),
}


def classify(reason: str | None) -> FailureClass:
    """Class of one ``failure_reason``; a missing or unknown one is infrastructure."""
    return FAILURE_REASONS.get(reason or "unknown_failure", FailureClass.INFRASTRUCTURE)


def classify_all(reasons: Iterable[str | None]) -> FailureClass:
    """Class of a pipeline from those of its failed jobs.

    One job that failed for good decides: running the others again cannot save the pipeline. Without any
    failed job (GitLab has not said why) it is infrastructure.
    """
    classes = {classify(reason) for reason in reasons}
    for worst in (FailureClass.USER, FailureClass.TIMEOUT, FailureClass.CAPACITY):
        if worst in classes:
            return worst
    return FailureClass.INFRASTRUCTURE

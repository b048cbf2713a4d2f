"""GitLab's words become the engine's states and typed errors."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mlops.errors import JobBlocked, JobCancelled, PermanentError, TemporaryError
from airflow_provider_mlops.external_job.adapter import JobState
from airflow_provider_mlops.gitlab.errors import (
    PipelineFailed,
    PipelineFailedRetryable,
    PipelineInfrastructureFailed,
    PipelineSkipped,
)
from airflow_provider_mlops.gitlab.pipeline_status import (
    FailedJob,
    Policy,
    counts_as_failed,
    failed_job,
    failure_of,
    is_warning,
    status_of,
)


def pipeline(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": 7, "status": status, "web_url": "https://g/7", **fields}


def failed(*reasons: str | None) -> list[FailedJob]:
    return [
        FailedJob(number, f"job{number}", "test", reason, f"https://g/j{number}")
        for number, reason in enumerate(reasons)
    ]


WORDS = {
    "created": JobState.PENDING,
    "waiting_for_resource": JobState.PENDING,
    "preparing": JobState.PENDING,
    "waiting_for_callback": JobState.PENDING,
    "pending": JobState.PENDING,
    "scheduled": JobState.PENDING,
    "running": JobState.RUNNING,
    "canceling": JobState.RUNNING,
    "manual": JobState.BLOCKED,
    "success": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "skipped": JobState.FAILED,
    "a_word_of_gitlab_25": JobState.RUNNING,
}


@pytest.mark.parametrize(("word", "state"), WORDS.items())
def test_every_word_has_a_state(word: str, state: JobState) -> None:
    status = status_of(
        pipeline(word), failed("script_failure") if word == "failed" else [], Policy(on_manual="wait")
    )
    assert (status.state, status.reason) == (state, word)


@pytest.mark.parametrize(
    ("policy", "word", "state"),
    [
        (Policy(on_manual="fail"), "manual", JobState.FAILED),
        (Policy(on_manual="succeed"), "manual", JobState.SUCCEEDED),
        (Policy(on_skipped="skip"), "skipped", JobState.SUCCEEDED),
        (Policy(on_skipped="succeed"), "skipped", JobState.SUCCEEDED),
        (Policy(on_skipped="fail"), "skipped", JobState.FAILED),
    ],
)
def test_the_author_decides_about_manual_and_skipped(policy: Policy, word: str, state: JobState) -> None:
    status = status_of(pipeline(word), [], policy)
    assert status.state is state
    assert status.permanent is (state is JobState.FAILED)
    assert not status.restartable


@pytest.mark.parametrize(
    ("on_retry", "reasons", "restartable", "kind"),
    [
        ("auto", ["script_failure"], False, PipelineFailed),
        ("auto", ["runner_system_failure"], True, PipelineInfrastructureFailed),
        ("auto", ["runner_system_failure", "script_failure"], False, PipelineFailed),
        ("auto", ["stuck_pending_no_matching_runners"], True, PipelineInfrastructureFailed),
        ("auto", ["job_execution_timeout"], False, PipelineFailed),
        ("auto", [None], True, PipelineInfrastructureFailed),
        ("auto", [], True, PipelineInfrastructureFailed),
        ("retry_failed", ["script_failure"], True, PipelineFailedRetryable),
        ("new", ["runner_system_failure"], False, PipelineFailedRetryable),
        ("reattach", ["runner_system_failure"], False, PipelineFailed),
    ],
)
def test_retry_decision_and_error_agree(on_retry: Any, reasons: Any, restartable: bool, kind: type) -> None:
    policy = Policy(on_retry=on_retry)
    jobs = failed(*reasons)
    status = status_of(pipeline("failed"), jobs, policy)
    error = failure_of("pipeline 7", pipeline("failed"), jobs, policy, log_tail=["last words"])
    assert type(error) is kind
    assert status.restartable is restartable
    assert status.permanent is isinstance(error, PermanentError)
    assert isinstance(pickle.loads(pickle.dumps(error)), kind)


def test_a_pipeline_that_was_saved_with_a_broken_configuration_is_not_retried() -> None:
    broken = pipeline("failed", yaml_errors="jobs config should contain at least one visible job")
    assert status_of(broken, [], Policy()).permanent
    error = failure_of("p", broken, [], Policy())
    assert type(error) is PipelineFailed
    assert "visible job" in error.message


def test_no_room_for_a_job_means_a_longer_wait() -> None:
    error = failure_of("p", pipeline("failed"), failed("stuck_pending_no_matching_runners"), Policy())
    assert isinstance(error, TemporaryError)
    assert error.delay == timedelta(minutes=5)


def test_the_error_names_jobs_reasons_pages_and_the_log() -> None:
    error = failure_of("p", pipeline("failed"), failed("script_failure", None), Policy(), log_tail=["boom"])
    assert "test/job0 (script_failure), test/job1 (unknown_failure)" in error.message
    assert "\n" not in error.message
    assert error.url == "https://g/j0"
    assert error.log_tail == ["boom"]
    assert "boom" in error.__notes__[0]


@pytest.mark.parametrize(
    ("word", "kind"), [("canceled", JobCancelled), ("manual", JobBlocked), ("skipped", PipelineSkipped)]
)
def test_other_ends_have_errors_of_their_own(word: str, kind: type) -> None:
    error = failure_of("p", pipeline(word), [], Policy())
    assert type(error) is kind
    assert error.url == "https://g/7"


def test_allowed_failures_do_not_count_and_are_warnings() -> None:
    jobs = [
        {
            "id": 1,
            "name": "a",
            "stage": "s",
            "status": "failed",
            "allow_failure": True,
            "failure_reason": "script_failure",
        },
        {"id": 2, "name": "b", "stage": "s", "status": "failed", "allow_failure": False},
        {"id": 3, "name": "c", "stage": "s", "status": "success", "allow_failure": False},
    ]
    assert [job["name"] for job in jobs if counts_as_failed(job)] == ["b"]
    assert [str(failed_job(job)) for job in jobs if is_warning(job)] == ["s/a (script_failure)"]


def test_a_trigger_job_fails_for_what_it_started() -> None:
    bridge = {"id": 1, "name": "b", "stage": "s", "status": "failed", "failure_reason": "unknown_failure"}
    assert failed_job(bridge).reason == "unknown_failure"
    assert failed_job({**bridge, "downstream_pipeline": {"status": "failed"}}).reason == "script_failure"


@pytest.mark.parametrize(
    ("policy", "reasons", "restartable"),
    [
        (Policy(retry_timeouts=True), ["job_execution_timeout"], True),
        (Policy(retry_timeouts=True), ["job_execution_timeout", "script_failure"], False),
        (Policy(retry_reasons=["script_failure"]), ["script_failure", "runner_interrupted"], True),
        (Policy(retry_reasons=["script_failure"]), ["missing_dependency_failure"], False),
    ],
)
def test_further_reasons_can_be_made_repairable(policy: Policy, reasons: Any, restartable: bool) -> None:
    status = status_of(pipeline("failed"), failed(*reasons), policy)
    assert (status.restartable, status.permanent) == (restartable, not restartable)


def test_warnings_that_are_not_accepted_fail_a_successful_pipeline() -> None:
    jobs = failed("script_failure")
    status = status_of(pipeline("success"), jobs, Policy(allow_warnings=False))
    assert (status.state, status.permanent) == (JobState.FAILED, True)
    error = failure_of("p", pipeline("success"), jobs, Policy(allow_warnings=False))
    assert "passed with warnings" in error.message


def test_a_job_of_a_downstream_pipeline_is_named_with_the_way_there() -> None:
    job = failed_job(
        {"id": 1, "name": "b", "stage": "s", "status": "failed", "failure_reason": "x"}, ("one", "two")
    )
    assert str(job) == "one > two > s/b (x)"
    error = failure_of("p", pipeline("failed"), [job], Policy(), log_tail=["boom"])
    assert error.jobs[0]["name"] == "one > two > b"
    assert "one > two > s/b" in error.__notes__[0]


def test_a_blocked_pipeline_names_the_jobs_that_it_waits_for() -> None:
    assert "(approve, sign)" in str(
        failure_of("p", pipeline("manual"), [], Policy(), manual=["approve", "sign"])
    )

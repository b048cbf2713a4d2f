"""Unusual outcomes mean what the author wants: no jobs, warnings, timeouts, other reasons, hanging cancels."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AirflowFailException, AirflowSkipException
from airflow_provider_mlops.errors import DeadlineExceeded, InvalidArgument
from airflow_provider_mlops.external_job.adapter import JobHandle
from airflow_provider_mlops.gitlab import AutoRetry, Downstream, GitlabLogs
from airflow_provider_mlops.gitlab.errors import PipelineFailed, PipelineInfrastructureFailed
from airflow_provider_mlops.testing.gitlab import (
    Fail,
    Gate,
    GitlabStandIn,
    Log,
    Scenario,
    ScriptedJob,
)
from tests.wire.gitlab.conftest import Task, connect

waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])


@pytest.fixture
def start(monkeypatch):
    servers = []

    def begin(jobs) -> GitlabStandIn:
        gitlab = GitlabStandIn(executor=Scenario(jobs)).start()
        servers.append(gitlab)
        connect(monkeypatch, gitlab)
        return gitlab

    yield begin
    for server in servers:
        server.close()


def test_a_pipeline_without_jobs_may_skip_the_task(start):
    rules = {"rules": [{"if": '$CI_PIPELINE_SOURCE == "push"'}]}
    gitlab = start({"job": ScriptedJob(([],), keywords=rules)})
    with pytest.raises(AirflowSkipException, match="rules"):
        Task({"on_no_jobs": "skip"}).attempt()
    assert gitlab.pipelines() == []


ALLOWED = {"allow_failure": True}


@waiting_or_deferred
def test_warnings_are_written_to_the_log(start, deferrable, written):
    start({"lint": ScriptedJob(([Fail()],), keywords=ALLOWED)})
    Task({"deferrable": deferrable}).attempt()
    assert "A job failed that may fail: test/lint (script_failure)" in written()


@waiting_or_deferred
def test_warnings_may_fail_the_task(start, deferrable):
    steps = [Log("style\n"), Fail()]
    start({"lint": ScriptedJob((steps,), keywords=ALLOWED), "train": []})
    with pytest.raises(PipelineFailed, match=r"passed with warnings.*test/lint") as raised:
        Task({"allow_warnings": False, "deferrable": deferrable}).attempt()
    assert raised.value.log_tail == ["style"]


def test_a_warning_of_the_infrastructure_is_repaired_by_the_retry(start):
    attempts = ([Fail("runner_system_failure")], [])
    gitlab = start({"lint": ScriptedJob(attempts, keywords=ALLOWED)})
    task = Task({"allow_warnings": False})
    with pytest.raises(PipelineInfrastructureFailed):
        task.attempt(1)
    assert task.attempt(2)["warnings"] == []
    assert len(gitlab.pipelines()) == 1


@pytest.mark.parametrize(
    ("on_retry", "reason"),
    [
        (AutoRetry(timeouts=True), "job_execution_timeout"),
        (AutoRetry(reasons=["script_failure"]), "script_failure"),
    ],
)
def test_further_reasons_are_repaired_where_the_author_says_so(start, on_retry, reason):
    gitlab = start({"train": ScriptedJob(([Fail(reason)], []))})
    task = Task({"on_retry": on_retry})
    with pytest.raises(PipelineInfrastructureFailed, match=reason) as raised:
        task.attempt(1)
    assert not isinstance(raised.value, AirflowFailException)
    assert task.attempt(2)["status"] == "success"
    assert len(gitlab.pipelines()) == 1


def test_a_timeout_is_final_otherwise(start):
    start({"train": [Fail("job_execution_timeout")]})
    with pytest.raises(PipelineFailed, match="job_execution_timeout"):
        Task({"on_retry": AutoRetry(reasons=["script_failure"])}).attempt()


def test_an_unknown_reason_counts_as_infrastructure_with_a_warning(start, written):
    start({"train": [Fail("a_reason_of_gitlab_25")]})
    with pytest.raises(PipelineInfrastructureFailed):
        Task({}).attempt()
    assert "'a_reason_of_gitlab_25' is unknown here and counts as infrastructure" in written()


@pytest.mark.parametrize(
    "arguments",
    [
        {"on_no_jobs": "ignore"},
        {"on_retry": "sometimes"},
        {"on_retry": AutoRetry(reasons="script_failure")},
        {"downstream": "some"},
        {"downstream": Downstream(depth=0)},
        {"downstream": Downstream(limit=0)},
        {"log_jobs": GitlabLogs("some")},
        {"log_jobs": GitlabLogs(max_bytes=0)},
        {"log_jobs": GitlabLogs(interval=-1)},
        {"log_jobs": [1]},
    ],
)
def test_wrong_options_send_nothing(gitlab, arguments):
    with pytest.raises(InvalidArgument):
        Task(arguments).attempt()
    assert len(gitlab.requests) == 0


def test_logs_may_be_bounded(start, task_log):
    start({"train": [Log("x" * 99 + "\n") for _ in range(100)]})
    Task({"log_jobs": GitlabLogs(["train"], max_bytes=3000)}).attempt()
    assert any("The log is cut after" in line for line in task_log())


# --- cancels that hang ---------------------------------------------------------------------------


def hanging(start, monkeypatch):
    monkeypatch.setattr("airflow_provider_mlops.gitlab.intervening.FORCE_AFTER", 1.0)
    monkeypatch.setattr("airflow_provider_mlops.external_job.finishing._CANCEL_LOOKS", 0.3)
    monkeypatch.setattr("airflow_provider_mlops.external_job.finishing._CANCEL_PATIENCE", 5.0)
    gitlab = start({"train": [Gate("never")]})
    gitlab.knobs.set(canceling_for=float("inf"))
    return gitlab


@waiting_or_deferred
def test_a_job_that_hangs_at_the_deadline_is_ended_by_force(start, monkeypatch, written, deferrable):
    gitlab = hanging(start, monkeypatch)
    with pytest.raises(DeadlineExceeded, match="was cancelled"):
        Task({"timeout": 2, "deferrable": deferrable}).attempt()
    assert gitlab.pipelines()[0].status == "canceled"
    assert "Job train hung while it was cancelled and was ended by force" in written()


def test_force_may_be_switched_off(start, monkeypatch):
    gitlab = hanging(start, monkeypatch)
    with pytest.raises(DeadlineExceeded):
        Task({"timeout": 2, "force_cancel": False}).attempt()
    assert gitlab.pipelines()[0].status == "canceling"


def test_a_token_that_may_not_force_is_named_once(start, monkeypatch, written):
    gitlab = hanging(start, monkeypatch)
    gitlab.faults.status(403, method="POST", path=r"/jobs/\d+/cancel", times=None)
    with pytest.raises(DeadlineExceeded):
        Task({"timeout": 2}).attempt()
    assert gitlab.pipelines()[0].status == "canceling"
    assert "may not end it (a maintainer may)" in written()
    assert gitlab.requests.count("POST", r"/jobs/\d+/cancel") == 1


def test_the_cancel_of_a_later_attempt_ends_what_hung_since_the_first(start, monkeypatch):
    gitlab = hanging(start, monkeypatch)
    task = Task({"wait_for_completion": False})
    number = task.attempt()["pipeline_id"]
    gitlab.executor.wait_reached("never")
    adapter = task.operator().adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])

    async def cancel() -> None:
        async with adapter.session({"gitlab_default": connection_info("gitlab_default")}) as session:
            await session.cancel(handle)

    asyncio.run(cancel())
    assert gitlab.wait(number, "canceling").status == "canceling"
    asyncio.run(asyncio.sleep(1.2))
    asyncio.run(cancel())
    assert gitlab.wait(number).status == "canceled"

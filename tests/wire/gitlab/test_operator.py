"""A pipeline as a task: waiting or deferred, with the cause named, and never two."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    ExactlyOnceUnavailable,
    InvalidArgument,
    JobBlocked,
    JobCancelled,
    MlopsError,
    RemoteObjectNotFound,
    RemoteUnavailable,
)
from airflow_provider_mlops.external_job.adapter import JobHandle
from airflow_provider_mlops.external_job.engine import Engine
from airflow_provider_mlops.external_job.portal import WallClock
from airflow_provider_mlops.gitlab.errors import (
    InputsRefused,
    OutputInvalid,
    OutputMissing,
    PipelineEmpty,
    PipelineFailed,
    PipelineFailedRetryable,
    PipelineInfrastructureFailed,
    ProjectMoved,
    ReferenceNotFound,
    VariablesForbidden,
)
from airflow_provider_mlops.testing.gitlab import (
    Fail,
    Gate,
    GitlabStandIn,
    Junit,
    Log,
    Pause,
    Scenario,
    ScriptedJob,
    ShowStatus,
)
from tests.wire.gitlab.conftest import Task, connect

waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])


@waiting_or_deferred
def test_outputs_become_keys_of_the_payload(gitlab, deferrable, task_log):
    outputs = {
        "image": "publish:image.json",
        "digest": "publish:image.json#/digest",
        "env": "build:build.env",
    }
    task = Task({"outputs": outputs, "deferrable": deferrable})
    payload = task.attempt()
    pipeline = gitlab.pipelines()[0]
    assert payload == {
        "schema": 1,
        "kind": "gitlab.pipeline",
        "state": "succeeded",
        "status": "success",
        "url": f"{gitlab.url}/mlops/demo/-/pipelines/{pipeline.id}",
        "project": "mlops/demo",
        "project_id": gitlab.project.id,
        "pipeline_id": pipeline.id,
        "ref": "main",
        "sha": pipeline.sha,
        "duration": payload["duration"],
        "jobs": {"success": 2},
        "warnings": [],
        "tests": None,
        "image": {"image": "registry.example.com/demo@sha256:1", "digest": "sha256:1"},
        "digest": "sha256:1",
        "env": {"TAG": "1.2"},
    }
    shown = task_log()
    for line in ("[build/build] building", "[publish/publish] publishing"):
        assert sum(line in written for written in shown) == 1
    assert len(gitlab.pipelines()) == 1


def test_inputs_and_variables_reach_the_pipeline(monkeypatch):
    spec = {"inputs": {"bento": {}, "gpus": {"type": "number"}, "tags": {"type": "array"}}}
    with GitlabStandIn(executor=Scenario({"job": []}, spec=spec)) as gitlab:
        connect(monkeypatch, gitlab)
        monkeypatch.setenv(
            "AIRFLOW_CONN_REGISTRY", json.dumps({"conn_type": "http", "password": "s3cret-word"})
        )
        Task(
            {
                "inputs": {"bento": "s3://b", "gpus": 2, "tags": ["a"]},
                "variables": {"FLAG": True, "CONFIG": {"a": [1]}, "TEXT": "x"},
                "file_variables": {"SETTINGS": "a: b\n"},
                "secret_variables": {"REGISTRY_PASSWORD": "registry"},
            }
        ).attempt()
        pipeline = gitlab.pipelines()[0]
    assert pipeline.inputs == {"bento": "s3://b", "gpus": 2, "tags": ["a"]}
    sent = {variable.key: (variable.value, variable.variable_type) for variable in pipeline.variables}
    assert sent.pop("AIRFLOW_JOB_KEY")[0].startswith("af-")
    assert sent == {
        "FLAG": ("true", "env_var"),
        "CONFIG": ('{"a": [1]}', "env_var"),
        "TEXT": ("x", "env_var"),
        "SETTINGS": ("a: b\n", "file"),
        "REGISTRY_PASSWORD": ("s3cret-word", "env_var"),
    }


@waiting_or_deferred
def test_a_failed_script_fails_the_task_for_good_and_is_named(monkeypatch, deferrable):
    jobs = {
        "train": [Log("epoch 1\nCUDA out of memory\n"), Fail()],
        "lint": ScriptedJob(([Fail()],), keywords={"allow_failure": True}),
    }
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        with pytest.raises(PipelineFailed) as raised:
            Task({"deferrable": deferrable}).attempt()
    error = raised.value
    assert isinstance(error, AirflowFailException)
    assert "test/train (script_failure)" in error.message
    assert "lint" not in error.message
    assert error.log_tail == ["epoch 1", "CUDA out of memory"]
    assert error.jobs[0]["url"] == error.url


def test_a_runner_failure_is_retried_in_the_same_pipeline(monkeypatch):
    attempts = ([Fail("runner_system_failure")], [Log("better\n")])
    jobs = {"build": ScriptedJob(([Log("built\n")],), stage="build"), "train": ScriptedJob(attempts)}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        task = Task({})
        with pytest.raises(PipelineInfrastructureFailed, match="runner_system_failure") as raised:
            task.attempt(1)
        assert not isinstance(raised.value, AirflowFailException)
        payload = task.attempt(2)
        assert payload["pipeline_id"] == gitlab.pipelines()[0].id
        assert len(gitlab.pipelines()) == 1
        assert [job.name for job in gitlab.pipelines()[0].jobs] == ["build", "train", "train"]


@pytest.mark.parametrize(("on_retry", "pipelines"), [("retry_failed", 1), ("new", 2)])
def test_the_author_may_retry_a_failed_script(monkeypatch, on_retry, pipelines):
    with GitlabStandIn(executor=Scenario({"train": ScriptedJob(([Fail()], []))})) as gitlab:
        connect(monkeypatch, gitlab)
        task = Task({"on_retry": on_retry})
        with pytest.raises(PipelineFailedRetryable):
            task.attempt(1)
        if on_retry == "new":
            gitlab.executor.jobs["train"] = ScriptedJob(((),))
        task.attempt(2)
        assert len(gitlab.pipelines()) == pipelines


def test_allowed_failures_are_warnings(monkeypatch):
    jobs = {"lint": ScriptedJob(([Fail()],), keywords={"allow_failure": True}), "train": []}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        assert Task({}).attempt()["warnings"] == ["test/lint (script_failure)"]


def test_a_manual_job_blocks_as_the_author_wants(monkeypatch):
    gate = {"when": "manual", "allow_failure": False}
    with GitlabStandIn(executor=Scenario({"deploy": ScriptedJob(([],), keywords=gate)})) as gitlab:
        connect(monkeypatch, gitlab)
        with pytest.raises(JobBlocked, match="manual"):
            Task({}).attempt()
        assert Task({"on_manual": "succeed"}, task_id="other").attempt()["status"] == "manual"


def test_a_person_who_cancels_ends_the_task(gitlab):
    gitlab.knobs.set(runner_paused=True)
    task = Task({"deferrable": True})
    context = task.context()
    with pytest.raises(TaskDeferred) as deferred:
        task.operator().execute(context)
    gitlab.api.creator.lifecycle.cancel_pipeline(gitlab.pipelines()[0])
    with pytest.raises(JobCancelled):
        task.resume(deferred.value, context)


def test_a_missing_output_is_named(gitlab):
    with pytest.raises(OutputMissing, match=r"nothing\.json"):
        Task({"outputs": {"x": "publish:nothing.json"}}).attempt()
    with pytest.raises(OutputMissing, match="build, publish"):
        Task({"outputs": {"x": "deploy:x.json"}}, task_id="other").attempt()


@waiting_or_deferred
def test_without_waiting_the_handle_is_returned_at_once(gitlab, deferrable):
    gitlab.knobs.set(runner_paused=True)
    payload = Task({"wait_for_completion": False, "deferrable": deferrable}).attempt()
    assert payload["pipeline_id"] == gitlab.pipelines()[0].id
    assert payload["sha"] is None


# --- nothing happens before an error that could be known ------------------------------------------


def refused(gitlab: GitlabStandIn, kind: type[MlopsError], words: str, **arguments: object) -> None:
    with pytest.raises(kind, match=words) as raised:
        Task(arguments).attempt()
    assert isinstance(raised.value, AirflowFailException)
    assert gitlab.pipelines() == []
    assert gitlab.token not in str(raised.value)


def test_a_wrong_token_is_refused_before_any_effect(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, password="glpat-wrong")
    refused(gitlab, CredentialsRejected, "gitlab_default")
    assert gitlab.requests.count("POST") == 0


def test_a_wrong_trigger_token_is_named(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, extra={"trigger_token": "glptt-wrong"})
    refused(gitlab, CredentialsRejected, "mlops/demo", use_trigger_token=True)


def test_an_unknown_project_is_refused_before_any_effect(gitlab):
    refused(gitlab, RemoteObjectNotFound, "mlops/nothing.*gitlab_default", project="mlops/nothing")
    assert gitlab.requests.count("POST") == 0


def test_an_unknown_ref_is_refused(gitlab):
    refused(gitlab, ReferenceNotFound, "'nothing'", ref="nothing")


def test_undeclared_inputs_are_refused(gitlab):
    refused(gitlab, InputsRefused, "colour", inputs={"colour": "red"})


def test_forbidden_variables_are_refused_with_the_setting_named(gitlab):
    gitlab.knobs.set(variables_forbidden=True)
    refused(gitlab, VariablesForbidden, "Minimum role", variables={"A": "1"})


def test_a_pipeline_without_jobs_is_refused(monkeypatch):
    rules = {"rules": [{"if": '$CI_PIPELINE_SOURCE == "push"'}]}
    with GitlabStandIn(executor=Scenario({"job": ScriptedJob(([],), keywords=rules)})) as gitlab:
        connect(monkeypatch, gitlab)
        refused(gitlab, PipelineEmpty, "rules")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (OutputInvalid, {"outputs": {"sha": "job:x.json"}}),
        (OutputInvalid, {"outputs": {"x": "job"}}),
        (InvalidArgument, {"on_manual": "play"}),
        (InvalidArgument, {"log_jobs": "some"}),
        (InvalidArgument, {"variables": {"A-B": "1"}}),
        (InvalidArgument, {"variables": {"A": None}}),
        (InvalidArgument, {"variables": {"AIRFLOW_JOB_KEY": "x"}}),
        (InvalidArgument, {"variables": {"A": "1"}, "secret_variables": {"A": "c"}}),
        (InvalidArgument, {"inputs": {"x": {"kind": "bento", "uri": "s3://b"}}}),
        (InvalidArgument, {"file_variables": {"A": "1"}, "use_trigger_token": True}),
        (InvalidArgument, {"project": ""}),
        (InvalidArgument, {"ref": ""}),
    ],
)
def test_wrong_arguments_send_nothing(gitlab, kind, arguments):
    refused(gitlab, kind, ".", **arguments)
    assert len(gitlab.requests) == 0


def test_a_trigger_token_alone_cannot_wait_for_a_private_project(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, password=None)
    refused(gitlab, ConnectionIncomplete, "read_api", use_trigger_token=True)
    assert gitlab.requests.count("POST") == 0


def test_required_exactly_once_is_refused_where_the_key_is_not_kept(gitlab):
    gitlab.knobs.set(variables_forbidden=True)
    refused(gitlab, ExactlyOnceUnavailable, "weak", exactly_once="required")
    assert gitlab.requests.count("POST") == 0


def test_required_exactly_once_is_refused_when_only_the_creation_shows_it(gitlab, monkeypatch):
    gitlab.knobs.set(variables_forbidden=True)
    monkeypatch.setattr("airflow_provider_mlops.gitlab.submission.variables_allowed", lambda project: True)
    refused(gitlab, VariablesForbidden, "variables", exactly_once="required")


def test_a_skipped_pipeline_may_skip_the_task(gitlab):
    gitlab.knobs.set(runner_paused=True, statuses={1001: "skipped"})
    with pytest.raises(AirflowSkipException):
        Task({"on_skipped": "skip"}).attempt()


# --- exactly once --------------------------------------------------------------------------------


@waiting_or_deferred
@pytest.mark.parametrize("after", [False, True], ids=["nothing done", "pipeline made"])
@pytest.mark.parametrize("how", ["reset", "502"])
def test_a_lost_answer_leads_to_one_pipeline(gitlab, after, how, deferrable):
    if how == "reset":
        gitlab.faults.reset(method="POST", path="/pipeline$", after=after)
    else:
        gitlab.faults.status(502, method="POST", path="/pipeline$", after=after)
    payload = Task({"deferrable": deferrable}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_a_crash_after_the_creation_is_adopted_by_the_retry(gitlab):
    gitlab.knobs.set(runner_paused=True)
    task = Task({})
    operator = task.operator()
    operator._publish = pytest.fail  # type: ignore[assignment]
    with pytest.raises(BaseException):  # noqa: B017, PT011 - stands for a kill at this moment
        operator.execute(task.context(1))
    gitlab.knobs.set(runner_paused=False)
    payload = task.attempt(2)
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_a_clear_starts_a_new_pipeline_and_cancels_the_superseded_one(gitlab):
    gitlab.knobs.set(runner_paused=True)
    task = Task({"wait_for_completion": False})
    first = task.attempt(1, max_tries=2)["pipeline_id"]
    second = task.attempt(2, max_tries=3)["pipeline_id"]
    assert first != second
    assert gitlab.wait(first, {"canceled"}).status == "canceled"
    assert gitlab.project.pipelines[second].status != "canceled"


def test_two_tasks_of_one_project_keep_apart(gitlab):
    gitlab.knobs.set(runner_paused=True)
    ids = {Task({"wait_for_completion": False}, task_id=name).attempt()["pipeline_id"] for name in ("a", "b")}
    assert len(ids) == 2


@pytest.mark.parametrize("shown", [True, False], ids=["the project says so", "the creation says so"])
def test_where_variables_are_forbidden_the_name_carries_the_key(gitlab, monkeypatch, shown):
    gitlab.knobs.set(variables_forbidden=True)
    if not shown:
        monkeypatch.setattr(
            "airflow_provider_mlops.gitlab.submission.variables_allowed", lambda project: True
        )
    task = Task({"wait_for_completion": False})
    first = task.attempt(1)["pipeline_id"]
    pipeline = gitlab.project.pipelines[first]
    assert pipeline.variables == []
    assert "af-" in pipeline.name


def test_where_variables_are_forbidden_a_lost_answer_is_found_by_evidence(gitlab):
    gitlab.knobs.set(variables_forbidden=True)
    gitlab.faults.reset(method="POST", path="/pipeline$", after=True)
    payload = Task({}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_a_declared_input_carries_the_key_in_the_name(monkeypatch):
    scenario = Scenario(
        {"job": []},
        spec={"inputs": {"airflow_key": {"default": ""}}},
        config={"workflow": {"name": "Release $[[ inputs.airflow_key ]]"}},
    )
    with GitlabStandIn(executor=scenario) as gitlab:
        connect(monkeypatch, gitlab)
        gitlab.knobs.set(variables_forbidden=True)
        gitlab.faults.reset(method="POST", path="/pipeline$", after=True)
        payload = Task({"key_input": "airflow_key", "exactly_once": "required"}).attempt()
        assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]
        assert gitlab.pipelines()[0].variables == []
        assert gitlab.requests.count("PUT") == 0


def test_the_trigger_token_starts_and_the_access_token_finds(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, password=gitlab.read_token)
    gitlab.faults.reset(method="POST", path="/trigger/pipeline$", after=True)
    payload = Task({"use_trigger_token": True, "variables": {"N": 1}}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]
    assert gitlab.pipelines()[0].source == "trigger"


def test_too_many_pipelines_is_waited_out(gitlab, monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__RETRY_AFTER_CAP", "1")
    gitlab.knobs.set(too_many_pipelines=1)
    Task({}).attempt()
    assert len(gitlab.pipelines()) == 1


@waiting_or_deferred
def test_bad_days_of_the_server_are_waited_out(gitlab, deferrable):
    gitlab.faults.status(502, path=r"/pipelines/\d+$", times=2)
    gitlab.faults.rate_limit(path=r"/pipelines/\d+/jobs", retry_after=1)
    gitlab.faults.rate_limit(path="/artifacts/")
    gitlab.faults.reset(path="/trace")
    gitlab.faults.truncate(10, path=r"/pipelines/\d+$")
    payload = Task({"deferrable": deferrable, "outputs": {"image": "publish:image.json"}}).attempt()
    assert payload["image"]["digest"] == "sha256:1"
    assert len(gitlab.pipelines()) == 1


def test_a_fresh_pipeline_that_cannot_be_read_yet_is_not_lost(gitlab):
    gitlab.knobs.set(hidden_after_create=3.0, stale_after_create=3.0)
    Task({}).attempt()
    assert len(gitlab.pipelines()) == 1


# --- secrets -------------------------------------------------------------------------------------


@waiting_or_deferred
def test_no_secret_leaves_its_connection(monkeypatch, written, deferrable):
    secret = "registry-s3cret"
    jobs = {"leak": [Log(f"password is {secret}\n")]}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps({"conn_type": "http", "password": secret}))
        store: dict[str, object] = {}
        task = Task(
            {
                "deferrable": deferrable,
                "secret_variables": {"PASSWORD": "registry"},
                "use_trigger_token": deferrable,
            },
            store=store,
        )
        payload = task.attempt()
        assert {variable.key: variable.value for variable in gitlab.pipelines()[0].variables}[
            "PASSWORD"
        ] == secret
        operator = task.operator()
        rendered = {name: getattr(operator, name) for name in operator.template_fields}
        everything = json.dumps([payload, task.triggers, task.xcoms, store, rendered]) + written()
    assert "[test/leak] password is ***" in everything
    for hidden in (secret, gitlab.token, gitlab.trigger_token):
        assert hidden not in everything


# --- shapes of GitLab that need care -------------------------------------------------------------


def test_artifacts_may_lie_in_object_storage(gitlab):
    # GitLab takes single files out of the archive itself, but a proxy before it may redirect.
    gitlab.knobs.set(storage_refuses_tokens=True)
    gitlab.api.storage["stored"] = b'{"digest": "sha256:stored"}'
    elsewhere = f"{gitlab.url.replace('127.0.0.1', 'localhost')}/api/v4/storage/stored"
    gitlab.faults.redirect(elsewhere, path="/artifacts/")
    payload = Task({"outputs": {"digest": "publish:image.json#/digest"}}).attempt()
    assert payload["digest"] == "sha256:stored"


def test_expired_artifacts_are_a_missing_output(gitlab):
    gitlab.knobs.set(artifacts_expired=True)
    with pytest.raises(OutputMissing, match="expired"):
        Task({"outputs": {"digest": "publish:image.json#/digest"}}).attempt()


def test_a_moved_project_is_named_before_any_effect(gitlab):
    gitlab.faults.redirect("https://gitlab.example.com/api/v4/projects/7", path="/projects/old")
    refused(gitlab, ProjectMoved, "redirects", project="old/place")
    assert gitlab.requests.count("POST") == 0


def test_projects_may_be_named_by_number_and_lie_in_subgroups(gitlab):
    nested = gitlab.add_project("a/b/c")
    assert Task({"project": "a/b/c"}).attempt()["project_id"] == nested.id
    assert Task({"project": nested.id}, task_id="other").attempt()["project"] == str(nested.id)
    assert len(gitlab.pipelines(nested)) == 2


def test_more_jobs_than_a_page_holds(monkeypatch):
    jobs = {f"job{number}": [Log(f"words of {number}\n")] for number in range(120)}
    jobs["job3"] = [Fail()]
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        gitlab.knobs.set(concurrent=120)
        with pytest.raises(PipelineFailed, match="test/job3 ") as raised:
            Task({"log_jobs": "none"}).attempt()
    assert len(raised.value.jobs) == 1


def test_a_server_that_calls_trigger_jobs_bridges_shows_the_child_that_failed(monkeypatch):
    bridge = {"child": {"stage": "test", "trigger": {"include": "child.yml", "strategy": "depend"}}}
    with GitlabStandIn(executor=Scenario({"inner": [Fail()]}, config=bridge)) as gitlab:
        gitlab.project.add("child.yml", "inner:\n  script: [exit 1]\n")
        config = "child:\n  trigger:\n    include: child.yml\n    strategy: depend\n"
        gitlab.project.add(".gitlab-ci.yml", config)
        connect(monkeypatch, gitlab)
        gitlab.knobs.set(trigger_jobs=False)
        with pytest.raises(PipelineFailed, match="child > test/inner"):
            Task({}).attempt()


def test_an_expired_token_in_the_middle_is_named(monkeypatch):
    scenario = Scenario({"train": [Gate("go")]})
    with GitlabStandIn(executor=scenario) as gitlab:
        connect(monkeypatch, gitlab)
        gitlab.faults.unauthorized(path=r"/pipelines/\d+$")
        with pytest.raises(CredentialsRejected, match="expired"):
            Task({}).attempt()


@waiting_or_deferred
def test_the_link_is_there_while_the_pipeline_runs(gitlab, deferrable):
    gitlab.knobs.set(runner_paused=True)
    task = Task({"wait_for_completion": False, "deferrable": deferrable})
    payload = task.attempt()
    assert task.xcoms[0]["external_job_url"] == payload["url"]


def test_a_junit_report_is_summed_up(monkeypatch):
    xml = '<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'
    with GitlabStandIn(executor=Scenario({"train": [Junit(xml)]})) as gitlab:
        connect(monkeypatch, gitlab)
        tests = Task({}).attempt()["tests"]
    assert tests == {"count": 2, "success": 1, "failed": 1, "skipped": 0, "error": 0}


def test_a_creation_whose_answer_is_cut_short_leads_to_one_pipeline(gitlab):
    gitlab.faults.truncate(10, method="POST", path="/pipeline$")
    payload = Task({}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


@pytest.mark.parametrize("after", [False, True], ids=["made late", "answered late"])
def test_a_creation_that_takes_too_long_leads_to_one_pipeline(gitlab, monkeypatch, after):
    monkeypatch.setattr("airflow_provider_mlops.http.READ_TIMEOUT", 0.7)
    gitlab.faults.slow(1.5, method="POST", path="/pipeline$", after=after)
    payload = Task({}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_a_proxys_page_instead_of_an_answer_leads_to_one_pipeline(gitlab):
    gitlab.faults.status(200, method="POST", path="/pipeline$", after=True, body="<html>sign in</html>")
    payload = Task({}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_a_lagging_list_does_not_lead_to_a_second_pipeline(gitlab):
    gitlab.knobs.set(list_lag=1.5)
    gitlab.faults.reset(method="POST", path="/pipeline$", after=True)
    payload = Task({}).attempt()
    assert [pipeline.id for pipeline in gitlab.pipelines()] == [payload["pipeline_id"]]


def test_words_of_a_later_gitlab_do_not_disturb(monkeypatch):
    jobs = {"train": [ShowStatus("thinking"), Pause(0.5), Fail("a_reason_of_gitlab_25")]}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)
        with pytest.raises(PipelineInfrastructureFailed, match="a_reason_of_gitlab_25"):
            Task({}).attempt()


def test_ending_the_task_cancels_its_pipeline(gitlab, monkeypatch):
    gitlab.knobs.set(runner_paused=True)
    task = Task({"wait_for_completion": False})
    number = task.attempt()["pipeline_id"]
    adapter = task.operator().adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])
    connections = {"gitlab_default": connection_info("gitlab_default")}

    async def cancel() -> None:
        async with adapter.session(connections) as session:
            await session.cancel(handle)
            await session.cancel(handle)

    asyncio.run(cancel())
    assert gitlab.wait(number, {"canceled"}).status == "canceled"


def test_a_pipeline_that_cannot_be_found_yet_is_cancelled_once_it_can(gitlab):
    gitlab.knobs.set(runner_paused=True)
    task = Task({"wait_for_completion": False})
    number = task.attempt()["pipeline_id"]
    gitlab.knobs.set(hidden_after_create=(datetime.now(UTC) - task.started).total_seconds() + 1.0)
    adapter = task.operator().adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])
    connections = {"gitlab_default": connection_info("gitlab_default")}

    async def cancel() -> None:
        async with adapter.session(connections) as session:
            with pytest.raises(RemoteUnavailable, match="yet"):
                await session.cancel(handle)
            await Engine(session, adapter.kind, WallClock()).cancel(handle)

    asyncio.run(cancel())
    assert gitlab.wait(number, {"canceled"}).status == "canceled"

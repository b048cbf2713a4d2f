"""Pipelines that trigger jobs start: shown, judged, read, retried and cancelled with the one above them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
import yaml

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.errors import JobBlocked
from airflow_provider_mlops.external_job.adapter import JobHandle
from airflow_provider_mlops.gitlab import Downstream
from airflow_provider_mlops.gitlab.errors import (
    OutputMissing,
    PipelineFailed,
    PipelineInfrastructureFailed,
)
from airflow_provider_mlops.testing.gitlab import (
    Artifact,
    Fail,
    Gate,
    GitlabStandIn,
    Junit,
    Log,
    Pause,
    Scenario,
    ScriptedJob,
)
from tests.wire.gitlab.conftest import Task, connect

waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])

JUNIT = '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>'


def script(**keywords):
    return {"script": ["true"], **keywords}


def child(*, depend=True, **keywords):
    return {"trigger": {"include": "child.yml", **({"strategy": "depend"} if depend else {})}, **keywords}


def other(*, depend=True):
    return {"trigger": {"project": "mlops/other", **({"strategy": "depend"} if depend else {})}}


@pytest.fixture
def start(monkeypatch):
    """Starts a stand-in with steps by job name, and files: the parent's, the child's, another project's."""
    servers = []

    def begin(steps, *, parent, below=None, elsewhere=None) -> GitlabStandIn:
        gitlab = GitlabStandIn(executor=Scenario(steps)).start()
        servers.append(gitlab)
        gitlab.project.add(".gitlab-ci.yml", yaml.safe_dump(parent))
        for path, content in (below or {}).items():
            gitlab.project.add(path, yaml.safe_dump(content))
        if elsewhere is not None:
            gitlab.add_project("mlops/other").add(".gitlab-ci.yml", yaml.safe_dump(elsewhere))
        connect(monkeypatch, gitlab)
        return gitlab

    yield begin
    for server in servers:
        server.close()


def pipelines_of(gitlab, path):
    return gitlab.pipelines(gitlab.store.find_project(path))


@waiting_or_deferred
def test_a_child_is_part_of_its_parent(start, task_log, deferrable):
    steps = {
        "inner": [Log("deep words\n"), Junit(JUNIT), Artifact("image.json", json.dumps({"digest": "d"}))],
        "lint": [Fail()],
        "outer": [Log("own words\n"), Junit(JUNIT)],
    }
    below = {"child.yml": {"inner": script(), "lint": script(allow_failure=True)}}
    start(steps, parent={"outer": script(), "down": child()}, below=below)
    outputs = {"digest": "down > inner:image.json#/digest", "same": "down>inner:image.json"}
    payload = Task({"outputs": outputs, "deferrable": deferrable}).attempt()
    assert payload["digest"] == "d"
    assert payload["same"] == {"digest": "d"}
    assert payload["warnings"] == ["down > test/lint (script_failure)"]
    assert payload["tests"]["count"] == 4
    assert payload["jobs"] == {"success": 3, "failed": 1}
    shown = task_log()
    assert sum("[down > test/inner] deep words" in line for line in shown) == 1
    assert sum("[test/outer] own words" in line for line in shown) == 1


@waiting_or_deferred
@pytest.mark.parametrize(
    ("reason", "kind"),
    [("script_failure", PipelineFailed), ("runner_system_failure", PipelineInfrastructureFailed)],
)
def test_the_failed_job_of_another_project_decides(start, deferrable, reason, kind):
    steps = {"train": [Log("epoch 1\nlast words\n"), Fail(reason)]}
    start(steps, parent={"up": other()}, elsewhere={"train": script()})
    with pytest.raises(kind, match=f"up > test/train .{reason}") as raised:
        Task({"deferrable": deferrable}).attempt()
    assert raised.value.log_tail[-1] == "last words"
    assert raised.value.jobs[0]["name"] == "up > train"
    assert "mlops/other/-/jobs" in raised.value.url


def test_three_levels_are_followed_and_no_more(start):
    below = {
        "child.yml": {"down2": {"trigger": {"include": "grandchild.yml", "strategy": "depend"}}},
        "grandchild.yml": {"down3": other()},
    }
    elsewhere = {"inner": script(), "down4": {"trigger": {"project": "mlops/last", "strategy": "depend"}}}
    gitlab = start({"last": [Fail()]}, parent={"down1": child()}, below=below, elsewhere=elsewhere)
    gitlab.add_project("mlops/last").add(".gitlab-ci.yml", yaml.safe_dump({"last": script()}))
    with pytest.raises(PipelineFailed, match=r"down1 > down2 > down3 > test/down4 \(script_failure\)"):
        Task({}).attempt()
    with pytest.raises(PipelineFailed, match=r"down3 > down4 > test/last"):
        Task({"downstream": Downstream(depth=4)}, task_id="deeper").attempt()


def test_too_many_downstream_pipelines_are_named_and_not_followed(start, written):
    parent = {f"down{number}": child() for number in range(4)}
    start({"inner": [Log("words\n")]}, parent=parent, below={"child.yml": {"inner": script()}})
    Task({"downstream": Downstream(limit=2)}).attempt()
    text = written()
    assert text.count("] words") == 2
    assert "more than 2 downstream pipelines" in text


def test_downstream_pipelines_may_be_ignored(start, task_log):
    steps = {"inner": [Log("deep words\n"), Fail("runner_system_failure")]}
    start(steps, parent={"down": child()}, below={"child.yml": {"inner": script()}})
    with pytest.raises(PipelineFailed, match="test/down"):
        Task({"downstream": "ignore"}).attempt()
    assert not any("deep words" in line for line in task_log())


@waiting_or_deferred
def test_a_pipeline_that_nobody_waits_for_is_no_part_of_the_verdict(start, task_log, deferrable):
    steps = {"inner": [Gate("go"), Log("deep words\n"), Fail()], "outer": [Log("own words\n")]}
    gitlab = start(
        steps,
        parent={"down": child(depend=False), "outer": script()},
        below={"child.yml": {"inner": script()}},
    )
    payload = Task({"deferrable": deferrable}).attempt()
    assert payload["status"] == "success"
    assert payload["jobs"] == {"success": 2}
    with pytest.raises(OutputMissing, match="strategy: depend"):
        Task({"outputs": {"x": "down > inner:x.json"}}, task_id="outputs").attempt()
    gitlab.executor.release("go")
    assert gitlab.wait(gitlab.pipelines()[1]).status == "failed"
    assert not any("deep words" in line for line in task_log())


def test_a_failed_trigger_job_that_may_fail_is_a_warning(start):
    start(
        {"inner": [Fail()]},
        parent={"down": child(allow_failure=True), "outer": script()},
        below={"child.yml": {"inner": script()}},
    )
    assert Task({}).attempt()["warnings"] == ["test/down (script_failure)"]


HIDDEN = {"path": "/projects/2/", "times": None, "body": {"message": "404 Project Not Found"}}


def test_another_project_that_cannot_be_read_is_a_warning(start, written):
    gitlab = start({"train": []}, parent={"up": other()}, elsewhere={"train": script()})
    gitlab.faults.status(404, **HIDDEN)
    assert Task({}).attempt()["status"] == "success"
    text = written()
    assert text.count("cannot be read, so its jobs are not shown") >= 1
    assert "mlops/other/-/pipelines/" in text


def test_the_verdict_of_a_project_that_cannot_be_read_is_that_of_its_trigger_job(start):
    gitlab = start({"train": [Fail()]}, parent={"up": other()}, elsewhere={"train": script()})
    gitlab.faults.status(404, **HIDDEN)
    with pytest.raises(PipelineFailed, match="test/up"):
        Task({}).attempt()


def test_a_pipeline_without_trigger_jobs_is_asked_about_them_at_its_start_and_end(monkeypatch):
    with GitlabStandIn(executor=Scenario({"train": [Log("one\n"), Pause(3), Log("two\n")]})) as gitlab:
        connect(monkeypatch, gitlab)
        Task({"deferrable": False}).attempt()
        assert gitlab.requests.count("GET", r"/pipelines/\d+$") > 5
        assert gitlab.requests.count("GET", "/trigger_jobs$") == 2


# --- retries -------------------------------------------------------------------------------------


@waiting_or_deferred
def test_a_retry_keeps_the_finished_jobs_of_every_level(start, deferrable):
    steps = {"bad": ScriptedJob(([Fail("runner_system_failure")], [Log("better\n")]))}
    below = {"child.yml": {"stages": ["a", "b"], "good": script(stage="a"), "bad": script(stage="b")}}
    parent = {
        "stages": ["a", "b"],
        "outer": script(stage="a"),
        "down": child(stage="a"),
        "end": script(stage="b"),
    }
    gitlab = start(steps, parent=parent, below=below)
    task = Task({"deferrable": deferrable})
    with pytest.raises(PipelineInfrastructureFailed, match="down > b/bad"):
        task.attempt(1)
    assert task.attempt(2)["jobs"] == {"success": 5}
    root, below_it = gitlab.pipelines()
    assert sorted(job.name for job in below_it.jobs) == ["bad", "bad", "good"]
    assert sorted(job.name for job in root.jobs) == ["down", "end", "outer"]


def test_where_the_child_may_not_be_retried_its_trigger_job_starts_another(start):
    steps = {"bad": ScriptedJob(([Fail("runner_system_failure")], []))}
    gitlab = start(steps, parent={"up": other()}, elsewhere={"bad": script()})
    task = Task({})
    with pytest.raises(PipelineInfrastructureFailed):
        task.attempt(1)
    gitlab.faults.status(403, method="POST", path="/projects/2/", times=None)
    gitlab.executor.jobs["bad"] = ScriptedJob(((),))
    assert task.attempt(2)["status"] == "success"
    assert len(gitlab.pipelines()) == 1
    assert len(pipelines_of(gitlab, "mlops/other")) == 2


def test_a_trigger_job_that_started_nothing_is_run_again(start):
    gitlab = start({}, parent={"up": other()}, elsewhere={"train": script(when="never")})
    gitlab.knobs.failure_reasons[50_001] = "reached_downstream_pipeline_trigger_rate_limit"
    task = Task({})
    with pytest.raises(PipelineInfrastructureFailed, match="rate_limit"):
        task.attempt(1)
    gitlab.store.find_project("mlops/other").add(".gitlab-ci.yml", yaml.safe_dump({"train": script()}))
    assert task.attempt(2)["jobs"] == {"success": 2}
    assert len(gitlab.pipelines()) == 1


# --- cancelling ----------------------------------------------------------------------------------


def cancel(task: Task) -> None:
    adapter = task.operator().adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])

    async def run() -> None:
        async with adapter.session({"gitlab_default": connection_info("gitlab_default")}) as session:
            await session.cancel(handle)

    asyncio.run(run())


def test_a_cancel_reaches_what_the_pipeline_waits_for(start):
    gate = {"train": [Gate("never")], "inner": [Gate("never")]}
    gitlab = start(
        gate,
        parent={"up": other(), "down": child(), "aside": child(depend=False)},
        below={"child.yml": {"inner": script()}},
        elsewhere={"train": script()},
    )
    task = Task({"wait_for_completion": False})
    number = task.attempt()["pipeline_id"]
    gitlab.executor.wait_reached("never")
    cancel(task)
    assert gitlab.wait(number).status == "canceled"
    assert gitlab.wait(pipelines_of(gitlab, "mlops/other")[0]).status == "canceled"
    assert [gitlab.wait(pipeline).status for pipeline in gitlab.pipelines()] == ["canceled"] * 3


def test_another_projects_pipeline_that_nobody_waits_for_goes_on(start):
    gitlab = start(
        {"train": [Gate("go")], "outer": [Gate("never")]},
        parent={"up": other(depend=False), "outer": script()},
        elsewhere={"train": script()},
    )
    task = Task({"wait_for_completion": False})
    number = task.attempt()["pipeline_id"]
    gitlab.executor.wait_reached("go")
    cancel(task)
    assert gitlab.wait(number).status == "canceled"
    gitlab.executor.release("go")
    assert gitlab.wait(pipelines_of(gitlab, "mlops/other")[0]).status == "success"


# --- manual jobs below ---------------------------------------------------------------------------


@waiting_or_deferred
def test_a_child_that_waits_for_a_person_is_noticed(start, deferrable, monkeypatch):
    monkeypatch.setattr("airflow_provider_mlops.gitlab.pipeline_watch._STILL", timedelta(0))
    below = {"child.yml": {"approve": script(when="manual", allow_failure=False)}}
    start({}, parent={"down": child()}, below=below)
    with pytest.raises(JobBlocked, match="down > approve"):
        Task({"deferrable": deferrable}).attempt()

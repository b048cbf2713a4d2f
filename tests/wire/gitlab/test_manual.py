"""Manual jobs that the author names are started once, with their variables; unknown names end the task."""

from __future__ import annotations

import asyncio

import pytest
import yaml

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import InvalidArgument, JobBlocked, PermissionDenied
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState
from airflow_provider_mlops.gitlab import Play
from airflow_provider_mlops.gitlab.errors import ManualJobUnknown
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

BLOCKS = {"when": "manual", "allow_failure": False}
OPTIONAL = {"when": "manual"}


def manual(steps=(), *, keywords=BLOCKS, stage="deploy", again=None):
    return ScriptedJob((steps,) if again is None else (steps, again), stage=stage, keywords=keywords)


@pytest.fixture
def start(monkeypatch):
    servers = []

    def begin(jobs, **config) -> GitlabStandIn:
        gitlab = GitlabStandIn(executor=Scenario(jobs, **config)).start()
        servers.append(gitlab)
        connect(monkeypatch, gitlab)
        return gitlab

    yield begin
    for server in servers:
        server.close()


@waiting_or_deferred
@pytest.mark.parametrize("keywords", [BLOCKS, OPTIONAL], ids=["blocking", "optional"])
def test_a_named_job_is_played_with_its_variables(start, deferrable, keywords):
    jobs = {
        "build": ScriptedJob(([],), stage="build"),
        "deploy to staging": manual([Log("deployed\n")], keywords=keywords),
        "deploy to production": manual(keywords=OPTIONAL),
    }
    gitlab = start(jobs)
    play = Play("deploy to staging", variables={"N": 2, "FLAGS": ["a"]}, inputs={"colour": "red"})
    payload = Task({"on_manual": play, "deferrable": deferrable}).attempt()
    assert payload["status"] == "success"
    pipeline = gitlab.pipelines()[0]
    staging = pipeline.job("deploy to staging")
    assert (staging.status, staging.variables) == ("success", {"N": "2", "FLAGS": '["a"]'})
    assert staging.inputs == {"colour": "red"}
    assert pipeline.job("deploy to production").status == "manual"
    assert gitlab.requests.count("POST", "/play$") == 1


def test_several_jobs_have_variables_of_their_own(start):
    gitlab = start({"a": manual(), "b": manual(), "c": manual(stage="later")})
    plays = [Play(["a", "c"], {"X": 1}), Play("b")]
    assert Task({"on_manual": plays}).attempt()["jobs"] == {"success": 3}
    variables = [gitlab.pipelines()[0].job(name).variables for name in "abc"]
    assert variables == [{"X": "1"}, {}, {"X": "1"}]


def test_a_pipeline_of_nothing_but_optional_manual_jobs_is_played(start):
    start({"a": manual(keywords=OPTIONAL), "b": manual(keywords=OPTIONAL)})
    assert Task({"on_manual": Play("a")}).attempt()["jobs"] == {"success": 1, "manual": 1}


def test_another_job_that_blocks_is_named(start):
    start({"a": manual(), "approve": manual()})
    with pytest.raises(JobBlocked, match=r"\(approve\)"):
        Task({"on_manual": Play("a")}).attempt()


@waiting_or_deferred
def test_an_unknown_name_ends_the_task_and_its_pipeline(start, deferrable):
    gitlab = start({"build": [Gate("never")], "deploy": manual()})
    with pytest.raises(ManualJobUnknown, match="'deploi' to play; its jobs are: build, deploy") as raised:
        Task({"on_manual": Play("deploi"), "deferrable": deferrable}).attempt()
    assert isinstance(raised.value, AirflowFailException)
    assert gitlab.wait(gitlab.pipelines()[0]).status == "canceled"
    assert len(gitlab.pipelines()) == 1


def test_a_play_whose_answer_is_lost_is_not_repeated(start):
    gitlab = start({"deploy": manual([Log("deployed\n")])})
    gitlab.faults.reset(method="POST", path="/play$", after=True)
    assert Task({"on_manual": Play("deploy")}).attempt()["jobs"] == {"success": 1}
    assert len(gitlab.pipelines()[0].jobs) == 1


def test_a_job_that_somebody_else_plays_first_is_left_to_them(start):
    gitlab = start({"deploy": manual()})
    gitlab.faults.status(400, method="POST", path="/play$", after=True, body={"message": "Unplayable Job"})
    assert Task({"on_manual": Play("deploy", {"A": 1})}).attempt()["status"] == "success"


def test_a_refusal_that_stays_ends_the_task(start):
    gitlab = start({"deploy": manual()})
    gitlab.faults.status(400, method="POST", path="/play$", times=None, body={"message": "no such variable"})
    with pytest.raises(Exception, match="no such variable") as raised:
        Task({"on_manual": Play("deploy")}).attempt()
    assert isinstance(raised.value, AirflowFailException)


@waiting_or_deferred
def test_a_token_that_may_not_play_is_named(start, deferrable):
    gitlab = start({"deploy": manual()})
    gitlab.faults.status(403, method="POST", path="/play$", times=None)
    with pytest.raises(PermissionDenied, match="/play"):
        Task({"on_manual": Play("deploy"), "deferrable": deferrable}).attempt()


def test_a_takeover_does_not_play_again(start):
    gitlab = start({"deploy": manual([Gate("go")])})
    task = Task({"wait_for_completion": False, "on_manual": Play("deploy")})
    gitlab.wait(task.attempt()["pipeline_id"], "manual")
    adapter = task.operator().adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])

    async def look() -> JobState:
        async with adapter.session({"gitlab_default": connection_info("gitlab_default")}) as session:
            status = await session.status(handle)
            assert status is not None
            return status.state

    assert asyncio.run(look()) is JobState.RUNNING
    gitlab.executor.wait_reached("go")
    gitlab.knobs.statuses[handle.ref["pipeline_id"]] = "manual"
    assert asyncio.run(look()) is JobState.RUNNING
    assert gitlab.requests.count("POST", "/play$") == 1


def test_a_worker_that_died_before_playing_an_optional_job_is_made_up_for(start):
    gitlab = start({"build": [], "deploy": manual(keywords=OPTIONAL)})
    task = Task({"wait_for_completion": False})
    number = task.attempt(1)["pipeline_id"]
    assert gitlab.wait(number).status == "success"
    again = Task({"on_manual": Play("deploy")}, started=task.started)
    assert again.attempt(2)["jobs"] == {"success": 2}
    assert len(gitlab.pipelines()) == 1


def test_a_played_job_that_failed_is_played_again_by_the_retry(start):
    gitlab = start({"deploy": manual([Fail("runner_system_failure")], again=[Log("better\n")])})
    task = Task({"on_manual": Play("deploy", {"A": "1"})})
    with pytest.raises(Exception, match="runner_system_failure"):
        task.attempt(1)
    assert task.attempt(2)["jobs"] == {"success": 1}
    assert len(gitlab.pipelines()) == 1


def test_a_superseded_pipelines_manual_job_is_not_played(start):
    gitlab = start({"deploy": manual()})
    first = Task({"wait_for_completion": False})
    number = first.attempt(1, max_tries=2)["pipeline_id"]
    assert gitlab.wait(number, "manual").status == "manual"
    second = Task({"on_manual": Play("deploy")}, started=first.started)
    second.attempt(2, max_tries=3)
    old, new = gitlab.pipelines()
    assert (old.status, new.status) == ("canceled", "success")


def test_a_manual_job_of_a_child_is_played(start, monkeypatch):
    gitlab = start({})
    below = {"approve": {"script": ["true"], "rules": [{"when": "manual"}]}}
    gitlab.project.add("child.yml", yaml.safe_dump(below))
    bridge = {"trigger": {"include": "child.yml", "strategy": "depend"}}
    gitlab.project.add(".gitlab-ci.yml", yaml.safe_dump({"down": bridge}))
    payload = Task({"on_manual": Play("down > approve")}).attempt()
    assert payload["jobs"] == {"success": 2}


@pytest.mark.parametrize(
    "on_manual",
    [
        "play",
        [],
        [1],
        Play(""),
        Play([]),
        Play(["a", "a"]),
        Play("a", {"A": None}),
        Play("a", inputs={"a": None}),
    ],
)
def test_a_wrong_choice_sends_nothing(gitlab, on_manual):
    with pytest.raises(InvalidArgument):
        Task({"on_manual": on_manual}).attempt()
    assert len(gitlab.requests) == 0

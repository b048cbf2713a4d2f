"""Scripted jobs: every state, log and cancel that a client must live with, without processes."""

from __future__ import annotations

import time

import gitlab
import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import (
    Artifact,
    Dotenv,
    Fail,
    Gate,
    Junit,
    Knobs,
    LateLog,
    Log,
    Pause,
    RawLog,
    Scenario,
    ScriptedJob,
    ShiftLog,
    ShowStatus,
)
from airflow_provider_mlops.testing.gitlab.trace import WINDOW_LIMIT


def _first_job(project, made):
    return project.jobs.get(made.jobs.list()[0].id)


def test_a_gate_holds_a_job_until_the_test_lets_it_pass(start, connect):
    scenario = Scenario({"train": [Log("before\n"), Gate("go"), Log("after\n")]})
    server = start(scenario)
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    scenario.wait_reached("go")

    made.refresh()
    assert made.status == "running"
    assert b"after" not in _first_job(project, made).trace()

    scenario.release("go")
    server.wait(made.id, "success")
    assert b"after" in _first_job(project, made).trace()
    with pytest.raises(TimeoutError, match="no job reached"):
        scenario.wait_reached("elsewhere", timeout=0.01)


def test_stages_products_and_failures_of_a_scenario(start, connect):
    seen = Scenario(
        {
            "build": ScriptedJob(
                [[Artifact("meta.json", "{}"), Dotenv({"D": "1"}), Junit("<t><testcase name='x'/></t>")]],
                stage="build",
            ),
            "test": ScriptedJob([[Fail("runner_system_failure", None)], []], stage="test"),
            "deploy": ScriptedJob(stage="deploy", keywords={"when": "manual"}),
        }
    )
    server = start(seen)
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "failed")
    jobs = {job.name: job for job in made.jobs.list(get_all=True)}
    assert jobs["test"].failure_reason == "runner_system_failure"
    assert jobs["deploy"].status == "skipped"
    assert project.jobs.get(jobs["build"].id).artifact("meta.json") == b"{}"
    assert made.test_report_summary.get().total["success"] == 1

    made.retry()
    server.wait(made.id, "success")
    assert {job.name: job.status for job in made.jobs.list(get_all=True)}["deploy"] == "manual"


def test_trace_windows_and_servers_that_ignore_them(start, connect):
    server = start(Scenario({"train": [RawLog("é".encode() * 10)]}), knobs=Knobs(trace_timestamps=False))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")
    job = _first_job(project, made)

    assert job.trace(byte_offset=1, byte_limit=2) == b"\xa9\xc3"
    assert job.trace(byte_offset=20) == b""
    for bad in ({"byte_limit": 0}, {"byte_limit": WINDOW_LIMIT + 1}, {"byte_offset": -1}):
        with pytest.raises(gitlab.GitlabGetError) as refused:
            job.trace(**bad)
        assert refused.value.response_code == 400

    server.knobs.trace_windows = False
    assert len(job.trace(byte_offset=0, byte_limit=1)) == 20


def test_a_window_is_never_larger_than_the_limit(start, connect):
    server = start(Scenario({"train": [RawLog(b"x" * (WINDOW_LIMIT + 5))]}))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")
    job = _first_job(project, made)

    assert len(job.trace(byte_offset=0)) == WINDOW_LIMIT
    assert len(job.trace(byte_offset=WINDOW_LIMIT)) == 5
    assert len(job.trace()) == WINDOW_LIMIT + 5


def test_logs_grow_and_shift_after_the_end(start, connect):
    server = start(
        Scenario({"train": [Log("line\n"), LateLog("late\n", 0.2), ShiftLog(30)]}),
        knobs=Knobs(trace_timestamps=False),
    )
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")
    job = _first_job(project, made)
    assert job.trace() == b"line\n"

    deadline = time.monotonic() + 5
    while len(job.trace()) < 40 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert job.trace() == b"." * 29 + b"\nline\nlate\n"


def test_a_line_in_pieces_is_marked_as_continued(start, connect):
    server = start(Scenario({"train": [Log("a" * 5000), Log("b\n"), Log("secret", "E")]}))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")

    first, second, third = _first_job(project, made).trace().decode().splitlines()

    assert (first[28:32], second[28:]) == ("00O ", "00O+b")
    assert third[28:] == "00E secret"
    assert len(first) == 32 + 5000


def test_unknown_statuses_and_reasons_of_the_future(start, connect):
    scenario = Scenario({"train": [ShowStatus("warming_up"), Gate("go"), Fail("cosmic_rays")]})
    server = start(scenario)
    made = connect(server).pipelines.create({"ref": "main"})
    scenario.wait_reached("go")
    server.knobs.statuses[made.id] = "pondering"

    assert made.jobs.list()[0].status == "warming_up"
    made.refresh()
    assert made.status == "pondering"

    server.knobs.statuses.clear()
    scenario.release("go")
    server.wait(made.id, "failed")
    job = made.jobs.list()[0]
    assert job.failure_reason == "cosmic_rays"
    server.knobs.failure_reasons[job.id] = "tidal_forces"
    assert made.jobs.list()[0].failure_reason == "tidal_forces"


def test_canceling_takes_its_time(start, connect):
    scenario = Scenario({"train": [Gate("never")]})
    server = start(scenario, knobs=Knobs(canceling_for=0.2))
    made = connect(server).pipelines.create({"ref": "main"})
    scenario.wait_reached("never")

    assert made.cancel()["status"] == "canceling"
    server.wait(made.id, "canceled")


def test_a_job_stuck_in_canceling_ends_only_by_force(start, connect):
    scenario = Scenario({"train": [Gate("never")]})
    server = start(scenario, knobs=Knobs(canceling_for=float("inf")))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    scenario.wait_reached("never")
    made.cancel()
    with pytest.raises(TimeoutError, match="train canceling"):
        server.wait(made.id, timeout=0.2)

    _first_job(project, made).cancel(query_data={"force": "true"})

    assert server.wait(made.id).status == "canceled"


def test_pending_lasts_while_no_runner_is_there(start, connect):
    server = start(Scenario({"train": [Pause(0.01)]}), knobs=Knobs(runner_paused=True))
    made = connect(server).pipelines.create({"ref": "main"})

    with pytest.raises(TimeoutError, match="is pending"):
        server.wait(made.id, timeout=0.2)
    server.knobs.runner_paused = False
    server.wait(made.id, "success")


def test_jobs_beyond_the_runners_capacity_wait(start, connect):
    scenario = Scenario({name: [Gate("go")] for name in "abc"})
    server = start(scenario, knobs=Knobs(concurrent=2))
    made = connect(server).pipelines.create({"ref": "main"})
    scenario.wait_reached("go")

    assert sorted(job.status for job in made.jobs.list()) == ["pending", "running", "running"]
    scenario.release("go")
    server.wait(made.id, "success")


def test_reads_lag_behind_the_creation(start, connect):
    knobs = Knobs(hidden_after_create=0.2, stale_after_create=0.4, list_lag=0.4, pending_for=0.01)
    server = start(Scenario({"train": []}), knobs=knobs)
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")

    with pytest.raises(gitlab.GitlabGetError) as hidden:
        project.pipelines.get(made.id)
    assert hidden.value.response_code == 404
    assert project.pipelines.list() == []
    time.sleep(0.25)
    stale = project.pipelines.get(made.id)
    assert (stale.status, stale.jobs.list(), project.pipelines.list()) == ("created", [], [])
    time.sleep(0.25)
    assert project.pipelines.get(made.id).status == "success"
    assert [row.id for row in project.pipelines.list()] == [made.id]


def test_created_lasts_before_jobs_begin(start, connect):
    server = start(Scenario({"train": []}), knobs=Knobs(created_for=0.15))
    made = connect(server).pipelines.create({"ref": "main"})

    made.refresh()
    assert (made.status, made.jobs.list()[0].status) == ("created", "created")
    server.wait(made.id, "success")


def test_an_executor_that_breaks_fails_the_job_as_the_runners_fault(start, connect):
    class Broken(Scenario):
        def run(self, run):
            raise RuntimeError("the runner fell over")

    server = start(Broken({"train": []}))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "failed")

    assert made.jobs.list()[0].failure_reason == "runner_system_failure"
    assert b"the runner fell over" in _first_job(project, made).trace()


def test_artifacts_behind_a_redirect_expired_or_absent(start, connect):
    server = start(Scenario({"train": [Artifact("a.txt", "A")]}), knobs=Knobs(artifacts_redirect=True))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")
    job = _first_job(project, made)
    url = f"{server.url}/api/v4/projects/1/jobs/{job.id}/artifacts"

    answer = httpx.get(url, headers={"PRIVATE-TOKEN": server.token})
    assert answer.status_code == 302
    assert httpx.get(answer.headers["location"]).content[:2] == b"PK"
    assert job.artifacts()[:2] == b"PK"

    with pytest.raises(gitlab.GitlabGetError):
        job.artifact("b.txt")
    server.knobs.artifacts_expired = True
    with pytest.raises(gitlab.GitlabGetError) as expired:
        job.artifact("a.txt")
    assert expired.value.response_code == 404


def test_erase_empties_the_log(start, connect):
    server = start(Scenario({"train": [Log("x\n"), Artifact("a", "")]}))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")
    job = _first_job(project, made)

    job.erase()

    assert job.trace() == b""
    assert "artifacts_file" not in _first_job(project, made).attributes


def test_many_pipelines_at_once_get_ids_of_their_own(start, connect):
    from concurrent.futures import ThreadPoolExecutor

    server = start(Scenario({"a": [Pause(0.01)], "b": []}))
    projects = [connect(server) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda project: project.pipelines.create({"ref": "main"}), projects))

    assert len({row.id for row in made}) == len({row.iid for row in made}) == 8
    for row in made:
        server.wait(row.id, "success")


def test_updated_at_moves_with_the_pipelines_own_status_only(start, connect):
    scenario = Scenario({"a": [Pause(0.1)], "b": [Gate("go")]})
    server = start(scenario)
    made = connect(server).pipelines.create({"ref": "main"})
    scenario.wait_reached("go")
    made.refresh()
    before = made.updated_at
    while not any(job.status == "success" for job in made.jobs.list()):
        time.sleep(0.02)

    made.refresh()
    assert made.updated_at == before
    scenario.release("go")
    server.wait(made.id, "success")
    made.refresh()
    assert made.updated_at > before


def test_every_quirk_names_a_switch_that_exists():
    from airflow_provider_mlops.testing import gitlab as stand_in
    from airflow_provider_mlops.testing.gitlab.quirks import LACKING, QUIRKS

    switches = [name for quirk in QUIRKS if quirk.switch for name in quirk.switch.split(", ")]
    assert switches
    assert LACKING
    for switch in switches:
        owner, _, name = switch.partition("(")[0].partition(".")
        assert not name or hasattr(getattr(stand_in, owner), name) or name in Knobs.__dataclass_fields__
        assert hasattr(stand_in, owner)

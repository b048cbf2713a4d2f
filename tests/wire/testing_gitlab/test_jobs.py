"""Acting on jobs and pipelines, and what their logs and artifacts answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import (
    Artifact,
    Fail,
    Gate,
    Knobs,
    Log,
    RawLog,
    Scenario,
    ScriptedJob,
)

P = "/projects/1"


def _run(server, ask, **body):
    made = ask("POST", f"{P}/pipeline", json={"ref": "main", **body}).json()
    server.wait(made["id"], {"success", "failed", "manual"})
    jobs = ask("GET", f"{P}/pipelines/{made['id']}/jobs").json()
    return made["id"], {job["name"]: job for job in jobs}


def test_retry_makes_new_ids_for_what_failed_and_nothing_else(start, talk):
    server = start(Scenario({"good": [], "bad": ScriptedJob([[Fail()], []])}))
    ask = talk(server)
    pipeline, jobs = _run(server, ask)

    retried = ask("POST", f"{P}/pipelines/{pipeline}/retry")
    assert (retried.status_code, retried.json()["id"]) == (201, pipeline)
    server.wait(pipeline, "success")

    latest = {row["name"]: row["id"] for row in ask("GET", f"{P}/pipelines/{pipeline}/jobs").json()}
    assert latest["good"] == jobs["good"]["id"]
    assert latest["bad"] > jobs["bad"]["id"]
    everything = ask("GET", f"{P}/pipelines/{pipeline}/jobs?include_retried=true").json()
    assert sorted(row["id"] for row in everything) == sorted({*latest.values(), jobs["bad"]["id"]})
    assert not any("retried" in row for row in everything)
    assert ask("GET", f"{P}/jobs/{jobs['bad']['id']}").json()["status"] == "failed"
    again = ask("POST", f"{P}/pipelines/{pipeline}/retry")
    assert (again.status_code, again.json()["status"]) == (201, "success")
    assert len(ask("GET", f"{P}/pipelines/{pipeline}/jobs?include_retried=true").json()) == 3
    old = ask("POST", f"{P}/jobs/{jobs['bad']['id']}/retry")
    assert (old.status_code, old.json()) == (403, {"message": "403 Forbidden - Job is not retryable"})
    assert ask("POST", f"{P}/jobs/{latest['good']}/retry", json={"inputs": []}).status_code == 400
    assert ask("POST", f"{P}/jobs/{latest['good']}/retry", json={"inputs": {}}).status_code == 201


def test_play_takes_variables_with_key_and_value(start, talk):
    server = start(Scenario({"gate": ScriptedJob(keywords={"when": "manual"}), "train": []}))
    ask = talk(server)
    pipeline, jobs = _run(server, ask)
    path = f"{P}/jobs/{jobs['gate']['id']}/play"

    assert jobs["gate"]["allow_failure"] is True
    missing = ask("POST", path, json={"job_variables_attributes": [{"key": "A"}]})
    assert (missing.status_code, missing.json()) == (
        400,
        {"error": "job_variables_attributes[0][value] is missing"},
    )
    assert ask("POST", path, json={"job_variables_attributes": {"A": "1"}}).status_code == 400
    assert ask("POST", path, json={"job_inputs": ["a"]}).status_code == 400
    rows = [{"key": "A", "value": "1"}]
    assert ask("POST", path, json={"job_variables_attributes": rows, "job_inputs": {}}).status_code == 200
    refused = ask("POST", f"{P}/jobs/{jobs['train']['id']}/play")
    assert (refused.status_code, refused.json()) == (400, {"message": "400 Bad request - Unplayable Job"})
    server.wait(pipeline, "success")
    assert server.project.pipelines[pipeline].job("gate").variables == {"A": "1"}


def test_nothing_is_erased_or_deleted_while_statistics_are_refreshed(start, talk):
    server = start(Scenario({"train": [Log("x\n"), Artifact("a", "1")]}))
    ask = talk(server)
    pipeline, jobs = _run(server, ask)
    job = jobs["train"]["id"]
    server.knobs.stats_refreshing = True

    answers = [
        ask("POST", f"{P}/jobs/{job}/erase"),
        ask("DELETE", f"{P}/jobs/{job}/artifacts"),
        ask("DELETE", f"{P}/pipelines/{pipeline}"),
    ]

    assert {row.status_code for row in answers} == {409}
    server.knobs.stats_refreshing = False
    assert ask("POST", f"{P}/jobs/{job}/erase").status_code == 201
    erased = ask("GET", f"{P}/jobs/{job}").json()
    assert erased["erased_at"] is not None
    assert "artifacts_file" not in erased
    assert ask("GET", f"{P}/jobs/{job}/trace").text == ""
    twice = ask("POST", f"{P}/jobs/{job}/erase")
    assert (twice.status_code, twice.json()["message"]) == (403, "403 Forbidden - Job is not erasable!")
    assert ask("DELETE", f"{P}/pipelines/{pipeline}").status_code == 204
    assert ask("GET", f"{P}/jobs/{job}").status_code == 404


def test_a_job_that_waits_is_canceled_at_once(start, talk):
    server = start(Scenario({"train": []}), knobs=Knobs(runner_paused=True))
    ask = talk(server)
    made = ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"]
    [job] = ask("GET", f"{P}/pipelines/{made}/jobs").json()
    assert (job["status"], job["started_at"]) == ("pending", None)
    assert job["queued_duration"] >= 0

    canceled = ask("POST", f"{P}/jobs/{job['id']}/cancel")

    assert (canceled.status_code, canceled.json()["status"]) == (201, "canceled")
    assert ask("GET", f"{P}/pipelines/{made}").json()["status"] == "canceled"
    for _ in range(2):
        assert ask("POST", f"{P}/pipelines/{made}/cancel").status_code == 200


def test_a_running_job_tells_how_long_it_runs(start, talk):
    scenario = Scenario({"train": [Gate("go")]})
    server = start(scenario)
    ask = talk(server)
    made = ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"]
    scenario.wait_reached("go")

    first = ask("GET", f"{P}/pipelines/{made}/jobs").json()[0]["duration"]
    time.sleep(0.05)
    second = ask("GET", f"{P}/pipelines/{made}/jobs").json()[0]["duration"]

    assert 0 <= first < second
    assert ask("GET", f"{P}/pipelines/{made}").json()["duration"] is None
    scenario.release("go")


def test_a_whole_log_is_sent_once_to_those_who_ask_with_its_tag(start, talk):
    server = start(
        Scenario({"train": [Log("one\n"), RawLog(b"10%\r20%\r")]}), knobs=Knobs(trace_windows=False)
    )
    ask = talk(server)
    _, jobs = _run(server, ask)
    path = f"{P}/jobs/{jobs['train']['id']}/trace"

    first = ask("GET", f"{path}?byte_offset=2&byte_limit=1")
    assert first.content.endswith(b"one\n10%\r20%\r")
    assert first.headers["content-type"] == "text/plain"
    assert f"{jobs['train']['id']}.log" in first.headers["content-disposition"]
    again = ask("GET", path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # A range is no window.
    assert ask("GET", path, headers={"Range": "bytes=0-1"}).content == first.content


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("byte_offset=-1", 400),
        ("byte_offset=x", 400),
        ("byte_limit=0", 400),
        ("byte_limit=512001", 400),
        ("byte_limit=512000", 200),
        ("byte_offset=999999", 200),
    ],
)
def test_windows_of_a_log_have_limits(start, talk, query, status):
    server = start(Scenario({"train": [Log("x\n")]}))
    ask = talk(server)
    _, jobs = _run(server, ask)

    answer = ask("GET", f"{P}/jobs/{jobs['train']['id']}/trace?{query}")

    assert answer.status_code == status
    if "999999" in query:
        assert answer.content == b""


def test_a_log_comes_from_the_runner_in_intervals_and_its_end_comes_late(start, talk):
    scenario = Scenario({"train": [Log("one\n"), Gate("a"), Log("two\n"), Gate("b")]})
    knobs = Knobs(trace_every=30.0, trace_late=0.5, trace_shift=30, trace_timestamps=False)
    server = start(scenario, knobs=knobs)
    ask = talk(server)
    made = ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"]
    path = f"{P}/jobs/{server.project.pipelines[made].jobs[0].id}/trace"
    scenario.wait_reached("a")

    assert ask("GET", path).text == "one\n"
    scenario.release("a")
    scenario.wait_reached("b")
    assert ask("GET", path).text == "one\n"
    assert ask("GET", f"{path}?byte_offset=2&byte_limit=9").text == "e\n"
    scenario.release("b")
    server.wait(made, "success")
    assert ask("GET", path).text == "one\ntwo\n"
    while (text := ask("GET", path).text) == "one\ntwo\n":
        time.sleep(0.02)
    assert text.startswith("." * 29 + "\none\ntwo\nCleaning up")


def test_past_its_limit_a_log_ends_with_a_line_that_says_so(start, talk):
    server = start(Scenario({"train": [Log("x" * 50 + "\n")] * 20}), knobs=Knobs(trace_limit=200))
    ask = talk(server)
    _, jobs = _run(server, ask)

    text = ask("GET", f"{P}/jobs/{jobs['train']['id']}/trace").text

    assert "Job's log exceeded limit of 200 bytes" in text
    assert text.count("x" * 50) < 5


def test_artifacts_expire_by_themselves_unless_they_are_kept(start, talk):
    keywords = {"artifacts": {"paths": ["a.txt"], "expire_in": "1 hour"}}
    server = start(
        Scenario({name: ScriptedJob([[Artifact("a.txt", "A")]], keywords=keywords) for name in ("x", "y")})
    )
    ask = talk(server)
    _, jobs = _run(server, ask)
    first, second = jobs["x"]["id"], jobs["y"]["id"]

    until = datetime.fromisoformat(jobs["x"]["artifacts_expire_at"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) < timedelta(minutes=60)
    assert ask("GET", f"{P}/jobs/{first}/artifacts/a.txt").text == "A"
    kept = ask("POST", f"{P}/jobs/{second}/artifacts/keep")
    assert (kept.status_code, kept.json()["artifacts_expire_at"]) == (200, None)
    server.store.jobs[first].artifacts_expire_at = datetime.now(UTC)
    for path in ("artifacts", "artifacts/a.txt"):
        assert ask("GET", f"{P}/jobs/{first}/{path}").status_code == 404
        assert ask("GET", f"{P}/jobs/{second}/{path}").status_code == 200
    assert "artifacts_file" not in ask("GET", f"{P}/jobs/{first}").json()


def test_files_of_artifacts_by_job_and_by_ref(start, talk):
    server = start(
        Scenario({"train": [Artifact("out/a b.txt", "A")], "bad": [Artifact("b.txt", "B"), Fail()]})
    )
    server.project.repository.git("branch", "feature/x")
    ask = talk(server)
    _, jobs = _run(server, ask)
    job = f"{P}/jobs/{jobs['train']['id']}/artifacts"

    assert ask("GET", f"{job}/out/a%20b.txt").text == "A"
    assert ask("GET", f"{job}/out/none.txt").status_code == 404
    assert ask("GET", f"{job}/..%2Fsecret").status_code == 400
    assert ask("GET", f"{P}/jobs/{jobs['bad']['id']}/artifacts/b.txt").text == "B"
    assert ask("GET", f"{P}/jobs/artifacts/main/raw/out/a%20b.txt?job=train").status_code == 404
    server.project.pipelines[min(server.project.pipelines)].status = "success"
    assert ask("GET", f"{P}/jobs/artifacts/main/raw/out/a%20b.txt?job=train").text == "A"
    archive = ask("GET", f"{P}/jobs/artifacts/main/download?job=train")
    assert (archive.content[:2], archive.headers["content-type"]) == (b"PK", "application/zip")
    assert ask("GET", f"{P}/jobs/artifacts/main/raw/x").json() == {"error": "job is missing"}
    assert ask("GET", f"{P}/jobs/artifacts/feature%2Fx/download?job=train").status_code == 404


def test_a_report_is_sent_only_by_servers_that_know_file_type(start, talk):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        "one: {script: [echo A=1 > x.env], artifacts: {paths: [x.env], reports: {dotenv: x.env}}}\n",
    )
    ask = talk(server)
    _, jobs = _run(server, ask)
    path = f"{P}/jobs/{jobs['one']['id']}/artifacts?file_type=dotenv"

    assert ask("GET", path).content[:2] == b"PK"
    server.knobs.reports_downloadable = True
    assert ask("GET", path).content == b"A=1\n"
    assert ask("GET", path.replace("dotenv", "junit")).status_code == 404


def test_the_storage_behind_a_redirect_is_another_origin_that_wants_no_token(start, talk):
    server = start(Scenario({"train": [Artifact("a.txt", "A")]}), knobs=Knobs(artifacts_redirect=True))
    ask = talk(server)
    _, jobs = _run(server, ask)

    answer = ask("GET", f"{P}/jobs/{jobs['train']['id']}/artifacts")
    place = answer.headers["location"]

    assert answer.status_code == 302
    assert not place.startswith(server.url)
    assert httpx.get(place, headers={"Authorization": f"Bearer {server.token}"}).status_code == 400
    token = {"PRIVATE-TOKEN": server.token}
    assert httpx.get(place, headers=token).status_code == 200
    server.knobs.storage_refuses_tokens = True
    assert httpx.get(place, headers=token).status_code == 400
    assert httpx.get(place).content[:2] == b"PK"
    assert ask("GET", f"{P}/jobs/{jobs['train']['id']}/artifacts/a.txt").text == "A"


def test_reports_of_tests_come_summed_up_and_in_full(start, talk):
    server = start()
    server.project.add(
        "r.xml",
        "<testsuite><testcase classname='c' name='a' time='0.5'/>"
        "<testcase name='b'><failure>boom</failure></testcase>"
        "<testcase name='s'><skipped/></testcase></testsuite>",
    )
    server.project.add(".gitlab-ci.yml", "one: {script: 'true', artifacts: {reports: {junit: r.xml}}}\n")
    ask = talk(server)
    pipeline, _ = _run(server, ask)

    summary = ask("GET", f"{P}/pipelines/{pipeline}/test_report_summary").json()
    full = ask("GET", f"{P}/pipelines/{pipeline}/test_report").json()

    assert summary["total"] == {
        "time": 0.5,
        "count": 3,
        "success": 1,
        "failed": 1,
        "skipped": 1,
        "error": 0,
        "suite_error": None,
    }
    assert (full["total_count"], full["failed_count"]) == (3, 1)
    cases = full["test_suites"][0]["test_cases"]
    assert [(case["name"], case["status"], case["system_output"]) for case in cases] == [
        ("a", "success", None),
        ("b", "failed", "boom"),
        ("s", "skipped", None),
    ]

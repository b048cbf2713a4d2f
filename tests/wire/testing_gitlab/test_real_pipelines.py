"""The project's own .gitlab-ci.yml, run in bash, seen through an unmodified python-gitlab."""

from __future__ import annotations

import io
import os
import re
import signal
import time
import zipfile
from pathlib import Path

import gitlab
import pytest

WHOLE = """\
spec:
  inputs:
    model:
      options: [tiny, big]
    epochs: {type: number, default: 2}
---
stages: [build, test, deploy]
workflow:
  name: "train $[[ inputs.model ]]"
variables:
  GREETING: hello
.base:
  before_script:
    - echo from base
build:
  extends: .base
  stage: build
  script:
    - echo "$GREETING $[[ inputs.model ]] $[[ inputs.epochs ]] $ASKED"
    - echo trouble >&2
    - mkdir -p out && echo '{"digest":"sha256:1"}' > out/metadata.json
    - 'echo DIGEST=sha256:1 > build.env'
  after_script:
    - echo "ended as $CI_JOB_STATUS"
  artifacts:
    paths: [out/]
    reports: {dotenv: build.env}
unit:
  stage: test
  script:
    - test "$DIGEST" = sha256:1
    - grep -q sha256:1 out/metadata.json
allowed:
  stage: test
  script: exit 3
  allow_failure: {exit_codes: 3}
hold:
  stage: deploy
  script: test "$WHY" = because
  when: manual
deploy:
  stage: deploy
  needs: [{job: build, artifacts: false}]
  script: test ! -e out -a -z "$DIGEST"
"""


def _job(pipeline, name):
    [found] = [job for job in pipeline.jobs.list(get_all=True) if job.name == name]
    return found


def test_a_whole_pipeline_runs_and_passes_its_products_on(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", WHOLE)
    project = connect(server)

    made = project.trigger_pipeline(
        "main", server.trigger_token, variables={"ASKED": "yes"}, inputs={"model": "big"}
    )
    assert (made.status, made.source) == ("created", "trigger")
    assert "name" not in made.attributes
    server.wait(made.id)
    pipeline = project.pipelines.get(made.id)

    assert pipeline.name == "train big"
    assert pipeline.status == "success"
    assert pipeline.detailed_status["label"] == "passed with warnings"
    statuses = {job.name: job.status for job in pipeline.jobs.list(get_all=True)}
    assert statuses == {
        "build": "success",
        "unit": "success",
        "allowed": "failed",
        "hold": "manual",
        "deploy": "success",
    }
    assert _job(pipeline, "allowed").failure_reason == "script_failure"
    build = project.jobs.get(_job(pipeline, "build").id)
    log = build.trace().decode()
    assert "hello big 2 yes" in log
    assert "ended as success" in log
    assert "00E trouble" in log
    assert build.artifact("out/metadata.json") == b'{"digest":"sha256:1"}\n'
    with zipfile.ZipFile(io.BytesIO(build.artifacts())) as archive:
        assert archive.namelist() == ["out/metadata.json"]
    kinds = {row["file_type"] for row in build.attributes["artifacts"]}
    assert kinds == {"archive", "dotenv", "trace"}
    assert [(row.key, row.value) for row in pipeline.variables.list()] == [("ASKED", "yes")]


def test_a_manual_job_can_be_played_with_variables(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", WHOLE)
    project = connect(server)
    made = project.pipelines.create({"ref": "main", "inputs": {"model": "tiny"}})
    server.wait(made.id)

    job = project.jobs.get(_job(made, "hold").id, lazy=True)
    job.play(post_data={"job_variables_attributes": [{"key": "WHY", "value": "because"}]})
    server.wait(made.id, "success")

    with pytest.raises(gitlab.GitlabJobPlayError, match="Unplayable Job"):
        job.play()
    server.wait(made.id)
    assert _job(made, "hold").status == "success"


@pytest.mark.parametrize(
    ("manual", "status", "after"),
    [
        ("{script: 'true', when: manual, stage: build}", "success", "success"),
        ("{script: 'true', stage: build, rules: [{when: manual}]}", "manual", "created"),
    ],
)
def test_only_a_manual_job_of_rules_holds_up_the_pipeline(start, connect, manual, status, after):
    server = start()
    server.project.add(".gitlab-ci.yml", f"gate: {manual}\nafter: {{script: 'true'}}\n")
    made = connect(server).pipelines.create({"ref": "main"})

    server.wait(made.id, status)

    assert _job(made, "after").status == after


def test_a_failed_job_skips_the_rest_and_a_pipeline_retry_goes_on_in_place(start, connect, tmp_path):
    server = start()
    flag = tmp_path / "healed"
    server.project.add(
        ".gitlab-ci.yml",
        f"""\
stages: [one, two]
one: {{stage: one, script: 'test -e {flag}'}}
sick: {{stage: two, script: 'echo cleaning', when: on_failure}}
two: {{stage: two, script: 'true'}}
""",
    )
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "failed")
    first = {job.name: (job.id, job.status) for job in made.jobs.list(get_all=True)}
    assert {name: status for name, (_, status) in first.items()} == {
        "one": "failed",
        "sick": "success",
        "two": "skipped",
    }

    flag.touch()
    made.retry()
    server.wait(made.id, "success")

    second = {job.name: (job.id, job.status) for job in made.jobs.list(get_all=True)}
    assert second["one"][0] > first["one"][0]
    assert second["two"] == (first["two"][0], "success")
    everything = made.jobs.list(get_all=True, include_retried=True)
    assert sorted(job.name for job in everything) == ["one", "one", "sick", "two"]
    assert not any("retried" in job.attributes for job in everything)


def test_a_job_can_be_retried_and_only_when_it_is_finished(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", "one: {script: 'true'}\nlong: {script: sleep 30}\n")
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    while _job(made, "one").status != "success":
        time.sleep(0.02)

    old = project.jobs.get(_job(made, "one").id)
    new = old.retry()

    assert new["id"] > old.id
    with pytest.raises(gitlab.GitlabJobRetryError, match="not retryable") as refused:
        project.jobs.get(_job(made, "long").id).retry()
    assert refused.value.response_code == 403


def test_retry_keyword_runs_a_failed_job_again(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", "one: {script: exit 1, retry: 2}\n")
    made = connect(server).pipelines.create({"ref": "main"})

    server.wait(made.id, "failed")

    assert len(made.jobs.list(get_all=True, include_retried=True)) == 3


STUBBORN = """\
train:
  script:
    - trap '' TERM
    - setsid bash -c 'trap "" TERM; echo $$ > "$PIDS/session"; while true; do sleep 0.1; done' &
    - ( trap '' TERM; sleep 300 & echo $! > "$PIDS/background" ) &
    - echo $$ > "$PIDS/main"
    - while true; do sleep 0.1; done
"""


def _written(folder: Path, *names: str) -> list[int]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all((folder / name).exists() and (folder / name).read_text().strip() for name in names):
            return [int((folder / name).read_text()) for name in names]
        time.sleep(0.02)
    raise AssertionError(sorted(folder.iterdir()))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("way", ["pipeline", "job", "close"])
def test_cancel_ends_processes_that_ignore_sigterm_or_left_their_session(start, connect, tmp_path, way):
    pids = tmp_path / "pids"
    pids.mkdir()
    server = start()
    server.project.add(".gitlab-ci.yml", STUBBORN)
    project = connect(server)
    made = project.pipelines.create({"ref": "main", "variables": [{"key": "PIDS", "value": str(pids)}]})
    running = _written(pids, "main", "session", "background")
    assert all(_alive(pid) for pid in running)

    if way == "pipeline":
        made.cancel()
        assert server.wait(made.id, {"canceling", "canceled"})
        server.wait(made.id, "canceled")
    elif way == "job":
        project.jobs.get(_job(made, "train").id).cancel()
        server.wait(made.id, "canceled")
    else:
        server.close()

    assert not any(_alive(pid) for pid in running)
    assert not (server.root / "builds" / str(server.project.pipelines[made.id].jobs[0].id)).exists()
    for pid in running:
        assert pid != os.getpid()


def test_what_a_finished_job_left_behind_is_ended(start, connect, tmp_path):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        f"one:\n  script:\n    - setsid nohup sleep 300 &\n    - echo $! > {tmp_path}/pid\n",
    )
    made = connect(server).pipelines.create({"ref": "main"})

    server.wait(made.id, "success")

    assert not _alive(int((tmp_path / "pid").read_text()))


def test_cancel_runs_after_script_and_answers_200_when_all_is_over(start, connect):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        'one:\n  script: [echo begun, sleep 60]\n  after_script: [echo "was $CI_JOB_STATUS"]\n',
    )
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    job = project.jobs.get(_job(made, "one").id)
    while b"begun" not in job.trace():
        time.sleep(0.02)

    made.cancel()
    server.wait(made.id, "canceled")

    assert "was canceled" in job.trace().decode()
    assert made.cancel()["status"] == "canceled"


def test_an_unfinished_line_shows_up_and_goes_on_with_a_plus_sign(start, connect, tmp_path):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        f"one:\n  script:\n    - printf '10%%\\r'; while ! test -e {tmp_path}/go; do sleep 0.05; done; echo 100%\n",
    )
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    job = project.jobs.get(_job(made, "one").id)
    deadline = time.monotonic() + 10
    while b"Z 00O 10%\r\n" not in job.trace():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "go").touch()
    server.wait(made.id, "success")

    assert b"Z 00O+100%\n" in job.trace()
    started = re.findall(r"\x1b\[0Ksection_start:\d+:(\w+)\r\x1b\[0K", job.trace().decode())
    assert started == ["prepare_executor", "prepare_script", "get_sources", "step_script"]


def test_a_timeout_is_a_failure_with_its_own_reason(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", "one: {script: sleep 60, timeout: 0.2 seconds}\n")
    made = connect(server).pipelines.create({"ref": "main"})

    server.wait(made.id, "failed")

    assert _job(made, "one").failure_reason == "job_execution_timeout"


def test_jobs_see_neither_airflow_settings_nor_unmasked_secrets(start, connect, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "leak")
    monkeypatch.setenv("PIP_INDEX_URL", "http://mirror.example/simple")
    server = start()
    server.project.set_variable("DEPLOY_KEY", "s3cr3t-value", masked=True)
    server.project.add(".gitlab-ci.yml", "one: {script: [env, 'echo \"$DEPLOY_KEY and $CI_JOB_TOKEN\"']}\n")
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")

    log = project.jobs.get(_job(made, "one").id).trace().decode()

    assert "AIRFLOW__" not in log
    assert "PIP_INDEX_URL=http://mirror.example/simple" in log
    assert "s3cr3t-value" not in log
    assert "[MASKED] and [MASKED]" in log


def test_junit_reports_are_summed_up(start, connect):
    server = start()
    xml = '<testsuite><testcase name="a" time="0.5"/><testcase name="b"><failure/></testcase></testsuite>'
    server.project.add("report.xml", xml)
    server.project.add(
        ".gitlab-ci.yml", "one: {script: exit 1, artifacts: {when: always, reports: {junit: report.xml}}}\n"
    )
    made = connect(server).pipelines.create({"ref": "main"})
    server.wait(made.id, "failed")

    summary = made.test_report_summary.get()

    assert (summary.total["count"], summary.total["failed"], summary.total["time"]) == (2, 1, 0.5)
    assert summary.test_suites[0]["name"] == "one"


@pytest.mark.parametrize(
    ("text", "cause"),
    [("A='x y'\n\nB=2\n", None), ("just words\n", "Invalid Format"), ("A=1\n" * 2000, "Too Big")],
)
def test_a_broken_dotenv_report_fails_its_job(start, connect, text, cause):
    server = start()
    server.project.add("vars.env", text)
    server.project.add(".gitlab-ci.yml", "one: {script: 'true', artifacts: {reports: {dotenv: vars.env}}}\n")
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})

    server.wait(made.id)

    log = project.jobs.get(_job(made, "one").id).trace().decode()
    assert made.jobs.list()[0].status == ("failed" if cause else "success")
    assert cause is None or cause in log


def test_a_delayed_job_starts_by_itself(start, connect):
    server = start()
    server.project.add(".gitlab-ci.yml", "one: {script: 'true', when: delayed, start_in: 0.3 seconds}\n")
    made = connect(server).pipelines.create({"ref": "main"})

    assert made.jobs.list()[0].status == "scheduled"
    server.wait(made.id, "success")


def test_parallel_copies_and_matrix_each_get_their_variables(start, connect):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        """\
stages: [a, b]
split: {stage: a, parallel: 2, script: 'test "$CI_NODE_TOTAL" = 2 && test "$CI_NODE_INDEX" -le 2'}
grid:
  stage: a
  parallel: {matrix: [{GPU: [L4, T4], SIZE: s}]}
  script: 'test "$GPU$SIZE" = L4s || test "$GPU$SIZE" = T4s'
join: {stage: b, needs: [split, grid], script: 'true'}
""",
    )
    made = connect(server).pipelines.create({"ref": "main"})

    server.wait(made.id, "success")

    names = {job.name for job in made.jobs.list(get_all=True)}
    assert names == {"split 1/2", "split 2/2", "grid: [L4, s]", "grid: [T4, s]", "join"}


def test_a_child_pipeline_decides_its_bridge(start, connect):
    server = start()
    server.project.add("child.yml", "inner: {script: exit 1}\n")
    server.project.add(
        ".gitlab-ci.yml",
        "child: {trigger: {include: child.yml, strategy: depend}}\nplain: {script: 'true'}\n",
    )
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "failed")

    [bridge] = made.bridges.list()
    assert bridge.status == "failed"
    child = project.pipelines.get(bridge.downstream_pipeline["id"])
    assert (child.source, child.status) == ("parent_pipeline", "failed")
    assert [job.name for job in made.jobs.list(get_all=True)] == ["plain"]
    assert [row.id for row in project.pipelines.list()] == [made.id]


def test_a_job_may_start_a_pipeline_with_its_own_token(start, connect):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        """\
outer:
  rules: [{if: $CI_PIPELINE_SOURCE == "api"}]
  script:
    - curl -sf -F token=$CI_JOB_TOKEN -F ref=main -F "variables[FROM]=job"
      "$CI_API_V4_URL/projects/$CI_PROJECT_ID/trigger/pipeline"
    - 'curl -sf -H "JOB-TOKEN: $CI_JOB_TOKEN" "$CI_API_V4_URL/projects/$CI_PROJECT_ID/pipelines/$CI_PIPELINE_ID"'
inner:
  rules: [{if: $CI_PIPELINE_SOURCE == "pipeline"}]
  script: test "$FROM" = job
""",
    )
    made = connect(server).pipelines.create({"ref": "main"})
    server.wait(made.id, "success")

    [first, second] = server.pipelines()

    assert (first.id, second.source) == (made.id, "pipeline")
    server.wait(second, "success")


def test_commits_made_by_hand_in_the_repository_count(start, connect):
    server = start()
    repository = server.project.repository
    (repository.folder / ".gitlab-ci.yml").write_text("one: {script: cat note.txt}\n")
    (repository.folder / "note.txt").write_text("by hand")
    repository.git("add", ".")
    repository.git("commit", "-q", "-m", "By hand")
    project = connect(server)

    made = project.pipelines.create({"ref": "main"})
    server.wait(made.id, "success")

    assert made.sha == repository.resolve("main")
    assert "by hand" in project.jobs.get(made.jobs.list()[0].id).trace().decode()


def test_sigkill_of_the_server_leaves_no_job_behind(tmp_path):
    import json
    import subprocess
    import sys
    import urllib.request

    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "airflow_provider_mlops",
            "testing",
            "gitlab",
            "--root",
            str(tmp_path / "root"),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    try:
        ready = json.loads(server.stdout.readline())
        repository = Path(ready["repository"])
        (repository / ".gitlab-ci.yml").write_text(
            f"one: {{script: 'echo $$ > {tmp_path}/main; sleep 300'}}\n"
        )
        for arguments in (["add", "."], ["commit", "-q", "-m", "Sleep"]):
            subprocess.run(["git", "-C", str(repository), *arguments], check=True)
        body = json.dumps({"token": ready["trigger_token"], "ref": "main"}).encode()
        urllib.request.urlopen(
            urllib.request.Request(
                f"{ready['url']}/api/v4/projects/{ready['project'].replace('/', '%2F')}/trigger/pipeline",
                body,
                {"Content-Type": "application/json"},
            )
        ).close()
        [pid] = _written(tmp_path, "main")
        server.send_signal(signal.SIGKILL)
        server.wait()
        deadline = time.monotonic() + 10
        while _alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(pid)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_program_with_exit_code_0(tmp_path, number):
    import json
    import subprocess
    import sys

    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "airflow_provider_mlops",
            "testing",
            "gitlab",
            "--root",
            str(tmp_path / "root"),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    try:
        ready = json.loads(server.stdout.readline())
        assert ready.keys() >= {"url", "token", "trigger_token", "project", "repository"}
        server.send_signal(number)
        assert server.wait(10) == 0
        assert server.stdout.read() == b""
    finally:
        server.kill()
        server.wait()
        server.stdout.close()

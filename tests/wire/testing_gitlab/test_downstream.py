"""Pipelines that pipelines start, and jobs that wait for each other."""

from __future__ import annotations

import time

import pytest

from airflow_provider_mlops.testing.gitlab import Fail, Gate, Knobs, Scenario, ScriptedJob

P = "/projects/1"


def _bridges(ask, pipeline: int) -> dict[str, dict]:
    rows = ask("GET", f"{P}/pipelines/{pipeline}/trigger_jobs").json()
    older = ask("GET", f"{P}/pipelines/{pipeline}/bridges").json()
    assert [(row["id"], row.keys()) for row in rows] == [(row["id"], row.keys()) for row in older]
    return {row["name"]: row for row in rows}


def _create(ask, **body) -> int:
    answer = ask("POST", f"{P}/pipeline", json={"ref": "main", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_a_bridge_has_no_downstream_pipeline_until_it_is_made(start, talk):
    scenario = Scenario(
        {"first": [Gate("go")]},
        config={
            "child": {"stage": "deploy", "trigger": {"include": "child.yml"}},
            "stages": ["test", "deploy"],
        },
    )
    server = start(scenario, knobs=Knobs(downstream_after=1.5))
    server.project.add("child.yml", "inner: {script: 'true'}\n")
    ask = talk(server)
    made = _create(ask)
    scenario.wait_reached("go")

    assert _bridges(ask, made)["child"]["downstream_pipeline"] is None
    scenario.release("go")
    while _bridges(ask, made)["child"]["status"] == "created":
        time.sleep(0.02)
    assert _bridges(ask, made)["child"]["downstream_pipeline"] is None
    server.wait(made, "success")
    child = _bridges(ask, made)["child"]["downstream_pipeline"]
    assert child.keys() >= {"id", "project_id", "status", "web_url"}
    assert ask("GET", f"{P}/pipelines?source=parent_pipeline").json()[0]["id"] == child["id"]


@pytest.mark.parametrize(("strategy", "status"), [("", "success"), (", strategy: depend", "failed")])
def test_only_a_bridge_that_depends_fails_with_its_child(start, talk, strategy, status):
    server = start(Scenario({"inner": [Fail()]}))
    server.project.add("child.yml", "inner: {script: 'true'}\n")
    server.project.add(".gitlab-ci.yml", f"child: {{trigger: {{include: child.yml{strategy}}}}}\n")
    ask = talk(server)

    made = _create(ask)

    server.wait(made, status)
    bridge = _bridges(ask, made)["child"]
    assert bridge["status"] == status
    server.wait(bridge["downstream_pipeline"]["id"], "failed")


def test_a_child_that_is_retried_takes_its_parent_along(start, talk):
    server = start(Scenario({"inner": ScriptedJob([[Fail("runner_system_failure", None)], []])}))
    server.project.add("child.yml", "inner: {script: 'true'}\n")
    server.project.add(
        ".gitlab-ci.yml",
        "stages: [a, b]\nchild: {stage: a, trigger: {include: child.yml, strategy: depend}}\n"
        "after: {stage: b, script: 'true'}\n",
    )
    ask = talk(server)
    made = _create(ask)
    server.wait(made, "failed")
    child = _bridges(ask, made)["child"]["downstream_pipeline"]["id"]

    ask("POST", f"{P}/pipelines/{child}/retry")

    server.wait(child, "success")
    server.wait(made, "success")
    assert [job["status"] for job in ask("GET", f"{P}/pipelines/{made}/jobs").json()] == ["success"]


def test_cancel_reaches_children(start, talk):
    scenario = Scenario({"inner": [Gate("never")]})
    server = start(scenario)
    server.project.add("child.yml", "inner: {script: 'true'}\n")
    server.project.add(".gitlab-ci.yml", "child: {trigger: {include: child.yml, strategy: depend}}\n")
    ask = talk(server)
    made = _create(ask)
    scenario.wait_reached("never")
    child = _bridges(ask, made)["child"]["downstream_pipeline"]["id"]

    assert ask("POST", f"{P}/pipelines/{made}/cancel").status_code == 200

    server.wait(made, "canceled")
    server.wait(child, "canceled")


def test_variables_go_down_as_forward_says_and_inputs_are_checked(start, talk):
    server = start(Scenario({"plain": [], "all": [], "none": []}))
    child = "spec: {inputs: {word: {options: [hi]}}}\n---\ninner: {script: '$[[ inputs.word ]]'}\n"
    server.project.add("child.yml", child)
    server.project.add(
        ".gitlab-ci.yml",
        """\
variables: {TOP: t}
.child: {variables: {OWN: o-$TOP}}
plain: {extends: .child, trigger: {include: [{local: child.yml, inputs: {word: hi}}]}}
all: {extends: .child, trigger: {include: child.yml, inputs: {word: hi}, forward: {pipeline_variables: true}}}
none: {extends: .child, trigger: {include: child.yml, inputs: {word: hi}, forward: {yaml_variables: false}}}
wrong: {trigger: {include: child.yml, inputs: {word: no}}}
""",
    )
    ask = talk(server)
    made = _create(ask, variables=[{"key": "GIVEN", "value": "g"}])
    server.wait(made, "failed")
    bridges = _bridges(ask, made)

    def passed(name: str) -> dict[str, str]:
        number = bridges[name]["downstream_pipeline"]["id"]
        return {row.key: row.value for row in server.project.pipelines[number].variables}

    assert passed("plain") == {"TOP": "t", "OWN": "o-t"}
    assert passed("all") == {"TOP": "t", "OWN": "o-t", "GIVEN": "g"}
    assert passed("none") == {}
    assert bridges["wrong"]["failure_reason"] == "downstream_pipeline_creation_failed"
    assert bridges["wrong"]["downstream_pipeline"] is None


def test_a_child_may_be_written_by_a_job(start, talk):
    server = start()
    server.project.add(
        ".gitlab-ci.yml",
        """\
stages: [a, b]
make:
  stage: a
  script: ["echo 'inner: {script: exit 0}' > made.yml"]
  artifacts: {paths: [made.yml]}
child: {stage: b, trigger: {include: [{artifact: made.yml, job: make}], strategy: depend}}
""",
    )
    ask = talk(server)
    made = _create(ask)

    server.wait(made, "success")

    child = _bridges(ask, made)["child"]["downstream_pipeline"]["id"]
    assert [job.name for job in server.project.pipelines[child].jobs] == ["inner"]


def test_another_projects_pipeline_its_absence_and_circles(start, talk):
    server = start(Scenario({"away": []}))
    other = server.add_project("mlops/other")
    other.add(".gitlab-ci.yml", "back: {trigger: mlops/demo}\n")
    server.project.add(
        ".gitlab-ci.yml",
        "there: {trigger: {project: mlops/other, branch: main, strategy: depend}}\nnowhere: {trigger: mlops/none}\n",
    )
    ask = talk(server)
    made = _create(ask)
    server.wait(made, "failed")
    bridges = _bridges(ask, made)

    downstream = bridges["there"]["downstream_pipeline"]
    assert (downstream["project_id"], downstream["source"]) == (other.id, "pipeline")
    assert bridges["nowhere"]["failure_reason"] == "downstream_bridge_project_not_found"
    [back] = ask("GET", f"/projects/{other.id}/pipelines/{downstream['id']}/trigger_jobs").json()
    assert (back["status"], back["failure_reason"]) == ("failed", "pipeline_loop_detected")


def test_children_of_children_have_no_children(start, talk):
    server = start(Scenario({}))
    server.project.add("child.yml", "next: {trigger: {include: child.yml, strategy: depend}}\n")
    server.project.add(".gitlab-ci.yml", "next: {trigger: {include: child.yml, strategy: depend}}\n")
    ask = talk(server)
    made = _create(ask)
    server.wait(made, "failed")

    reasons, number = [], made
    while True:
        bridge = _bridges(ask, number)["next"]
        reasons.append(bridge["failure_reason"])
        if bridge["downstream_pipeline"] is None:
            break
        number = bridge["downstream_pipeline"]["id"]

    assert len(reasons) == 3
    assert reasons[-1] == "reached_max_descendant_pipelines_depth"


def test_jobs_of_a_resource_group_run_one_after_the_other(start, talk):
    scenario = Scenario(
        {
            name: ScriptedJob([[Gate(f"{name} go")]], keywords={"resource_group": "gpu-$KIND"})
            for name in ("a", "b")
        }
    )
    server = start(scenario)
    ask = talk(server)
    first = _create(ask)
    scenario.wait_reached("a go")
    second = _create(ask)

    def statuses(pipeline: int) -> dict[str, str]:
        return {job["name"]: job["status"] for job in ask("GET", f"{P}/pipelines/{pipeline}/jobs").json()}

    assert statuses(first) == {"a": "running", "b": "waiting_for_resource"}
    assert ask("GET", f"{P}/pipelines/{second}").json()["status"] == "waiting_for_resource"
    ask("POST", f"{P}/pipelines/{first}/cancel")
    server.wait(first, "canceled")
    for gate in ("a go", "b go"):
        scenario.release(gate)
    server.wait(second, "success")
    third = _create(ask, variables=[{"key": "KIND", "value": "other"}])
    server.wait(third, "success")


def test_an_unknown_status_counts_as_running(start, talk):
    from airflow_provider_mlops.testing.gitlab import ShowStatus

    scenario = Scenario({"train": [ShowStatus("warming_up"), Gate("go")]})
    server = start(scenario)
    ask = talk(server)
    made = _create(ask)
    scenario.wait_reached("go")

    assert ask("GET", f"{P}/pipelines/{made}").json()["status"] == "running"
    ask("POST", f"{P}/pipelines/{made}/cancel")
    server.wait(made, "canceled")

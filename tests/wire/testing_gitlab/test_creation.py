"""What a new pipeline may be asked for, by whom, and in which words it is refused."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.testing.gitlab import Gate, Knobs, Scenario

P = "/projects/1"
BROKEN = "one: {script: a, stage: nowhere}\n"


@pytest.fixture
def server(start):
    return start(Scenario({"train": []}))


@pytest.fixture
def ask(server, talk):
    return talk(server)


def _spec(server, inputs: str, script: str = "echo") -> None:
    server.project.add(".gitlab-ci.yml", f"spec: {{inputs: {inputs}}}\n---\none: {{script: ['{script}']}}\n")


def test_all_missing_parameters_are_named_at_once(ask):
    assert ask("POST", f"{P}/trigger/pipeline", json={}).json() == {
        "error": "ref is missing, token is missing"
    }
    assert ask("POST", f"{P}/ref/main/trigger/pipeline", json={}).json() == {"error": "token is missing"}
    blank = ask("POST", f"{P}/trigger/pipeline", json={"ref": "", "token": "x"})
    assert (blank.status_code, blank.json()) == (400, {"error": "ref is empty"})


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"A": "1"}, "variables is invalid"),
        (["A"], "variables is invalid"),
        ([{"value": "1"}], "variables[0][key] is missing"),
        (
            [{"key": "A"}, {"key": "B", "variable_type": "secret"}],
            "variables[1][variable_type] does not have a valid value",
        ),
    ],
)
def test_variables_of_a_token_are_an_array(server, ask, variables, error):
    refused = ask("POST", f"{P}/pipeline", json={"ref": "main", "variables": variables})

    assert (refused.status_code, refused.json()) == (400, {"error": error})
    assert server.pipelines() == []


def test_variables_of_a_token_may_be_files_and_numbers(server, ask):
    rows = [{"key": "N", "value": 1}, {"key": "F", "value": "text", "variable_type": "file"}]
    made = ask("POST", f"{P}/pipeline", json={"ref": "main", "variables": rows}).json()

    shown = ask("GET", f"{P}/pipelines/{made['id']}/variables").json()

    assert [(row["key"], row["value"], row["variable_type"]) for row in shown] == [
        ("N", "1", "env_var"),
        ("F", "text", "file"),
    ]
    server.knobs.variables_hidden = True
    assert ask("GET", f"{P}/pipelines/{made['id']}/variables").status_code == 403


@pytest.mark.parametrize("way", ["project", "knob"])
def test_a_project_may_forbid_pipeline_variables_but_not_inputs(server, ask, way):
    _spec(server, "{word: {default: a}}")
    if way == "project":
        changed = ask("PUT", P, json={"ci_pipeline_variables_minimum_override_role": "no_one_allowed"})
        assert changed.json()["ci_pipeline_variables_minimum_override_role"] == "no_one_allowed"
    else:
        server.knobs.variables_forbidden = True
    words = {"message": {"base": ["Insufficient permissions to set pipeline variables"]}}

    first = ask("POST", f"{P}/pipeline", json={"ref": "main", "variables": [{"key": "A", "value": "1"}]})
    token = {"token": server.trigger_token, "ref": "main"}
    second = ask("POST", f"{P}/trigger/pipeline", json={**token, "variables": {"A": "1"}})

    assert [(row.status_code, row.json()) for row in (first, second)] == [(400, words), (400, words)]
    given = {"variables": {}, "inputs": {"word": "b"}}
    assert ask("POST", f"{P}/trigger/pipeline", json={**token, **given}).status_code == 201


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        ("{n: {type: number}}", {"n": "many"}, "`n` input: provided value is not a number"),
        ("{b: {type: boolean}}", {"b": "yes"}, "`b` input: provided value is not a boolean"),
        ("{l: {type: array}}", {"l": "a"}, "`l` input: provided value is not an array"),
        ("{s: {}}", {"s": 1}, "`s` input: provided value is not a string"),
        (
            "{s: {regex: ^v\\d+$}}",
            {"s": "1"},
            "`s` input: provided value does not match required RegEx pattern",
        ),
        ("{s: {regex: /^v/}}", {"s": "1"}, "`s` input: provided value does not match required RegEx pattern"),
        ("{s: {options: [a]}}", {"s": "b"}, "`s` input: `b` cannot be used because it is not in the list"),
        ("{l: {type: array, options: [a]}}", {"l": ["a", "c"]}, "`l` input: `c` cannot be used"),
        ("{s: {}}", {}, "`s` input: required value has not been provided"),
        ("{s: {default: a}}", {"t": "b"}, "not defined in the `spec` section"),
        ("{n: {type: number, default: x}}", {}, "`n` input: default value is not a number"),
        ("{s: {default: a}}", {f"x{number}": "" for number in range(21)}, "cannot exceed the limit of 20"),
    ],
)
def test_inputs_are_refused(server, ask, declared, given, message):
    _spec(server, declared)

    refused = ask("POST", f"{P}/pipeline", json={"ref": "main", "inputs": given})

    assert refused.status_code == 400
    assert message in refused.json()["message"]["base"][0]
    assert server.pipelines() == []


def test_inputs_of_every_type_arrive_and_lists_may_be_text(server, ask):
    _spec(
        server,
        "{s: {}, n: {type: number}, b: {type: boolean}, l: {type: array}}",
        "$[[ inputs.s ]] $[[ inputs.n ]] $[[ inputs.b ]] $[[ inputs.l ]] $[[ inputs.l[1] ]]",
    )
    for given in ('["x","y"]', ["x", "y"]):
        inputs = {"s": "word", "n": 3, "b": True, "l": given}
        assert ask("POST", f"{P}/pipeline", json={"ref": "main", "inputs": inputs}).status_code == 201

    for pipeline in server.pipelines():
        assert pipeline.plan.jobs[0].script == ('word 3 true ["x", "y"] y',)


def test_rules_of_an_input_look_at_other_inputs(server, ask):
    _spec(
        server,
        "{env: {default: dev}, size: {rules: ["
        "{if: '$[[ inputs.env ]] == \"prod\"', options: [large], default: large},"
        "{options: [small], default: small}]}}",
        "$[[ inputs.size ]]",
    )

    def create(**inputs):
        return ask("POST", f"{P}/pipeline", json={"ref": "main", "inputs": inputs})

    assert create(env="prod").status_code == create().status_code == 201
    assert [row.plan.jobs[0].script for row in server.pipelines()] == [("large",), ("small",)]
    assert create(env="dev", size="large").status_code == 400


def test_a_block_of_an_input_may_not_be_longer_than_1_kb(server, ask):
    _spec(server, "{s: {default: a}}", "$[[ inputs.s |" + " " * 1024 + "expand_vars ]]")

    refused = ask("POST", f"{P}/pipeline", json={"ref": "main"})

    assert (refused.status_code, "1024 bytes" in refused.text) == (400, True)


def test_a_wrong_configuration_leaves_a_pipeline_behind_on_one_route_only(server, ask):
    server.project.add(".gitlab-ci.yml", BROKEN)
    token = {"token": server.trigger_token, "ref": "main"}

    by_api = ask("POST", f"{P}/pipeline", json={"ref": "main"})
    assert (by_api.status_code, server.pipelines()) == (400, [])
    by_trigger = ask("POST", f"{P}/trigger/pipeline", json=token)
    assert (by_trigger.status_code, by_trigger.json()) == (422, by_api.json())

    [row] = ask("GET", f"{P}/pipelines?yaml_errors=true").json()
    shown = ask("GET", f"{P}/pipelines/{row['id']}").json()
    assert (shown["status"], shown["yaml_errors"]) == ("failed", by_api.json()["message"]["base"][0])
    assert ask("GET", f"{P}/pipelines?yaml_errors=false").json() == []
    assert ask("POST", f"{P}/pipelines/{row['id']}/retry").json()["status"] == "failed"

    server.knobs.broken_pipelines_saved = False
    assert ask("POST", f"{P}/trigger/pipeline", json=token).status_code == 400
    assert len(server.pipelines()) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("one: {script: a, rules: [{if: $NO}]}\n", "Pipeline will not run for the selected trigger."),
        ("workflow: {rules: [{if: $NO}]}\none: {script: a}\n", "filtered out by workflow rules"),
    ],
)
def test_without_jobs_no_route_leaves_a_pipeline(server, ask, config, message):
    server.project.add(".gitlab-ci.yml", config)

    for path, body in (("pipeline", {}), ("trigger/pipeline", {"token": server.trigger_token})):
        refused = ask("POST", f"{P}/{path}", json={"ref": "main", **body})
        assert (refused.status_code, message in refused.json()["message"]["base"][0]) == (400, True)
    assert server.pipelines() == []


def test_creation_is_limited_per_user_and_commit(server, ask):
    server.knobs.pipelines_per_minute = 2

    answers = [ask("POST", f"{P}/pipeline", json={"ref": "main"}) for _ in range(3)]

    words = {"message": {"base": ["Too many pipelines created in the last minute. Try again later."]}}
    # A minute may end in between.
    assert [row.status_code for row in answers] in ([201, 201, 400], [201, 201, 201])
    assert answers[2].status_code == 201 or answers[2].json() == words
    server.project.add("other.txt", "another commit")
    assert ask("POST", f"{P}/pipeline", json={"ref": "main"}).status_code == 201


def test_a_job_token_counts_only_while_its_job_runs(start, talk):
    scenario = Scenario({"train": [Gate("go")]})
    server = start(scenario)
    ask = talk(server)
    made = ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()
    scenario.wait_reached("go")
    [job] = server.pipelines()[0].jobs
    body = {"token": job.token, "ref": "main"}

    inner = ask("POST", f"{P}/trigger/pipeline", json=body)
    assert (inner.status_code, inner.json()["source"]) == (201, "pipeline")
    allowed = ("", "/jobs", "/bridges", "/trigger_jobs")
    for path in allowed:
        answer = talk(server)(
            "GET", f"{P}/pipelines/{made['id']}{path}", token="", headers={"JOB-TOKEN": job.token}
        )
        assert answer.status_code == 200
    renamed = ask(
        "PUT",
        f"{P}/pipelines/{made['id']}/metadata",
        token="",
        json={"name": "mine"},
        headers={"JOB-TOKEN": job.token},
    )
    assert renamed.json()["name"] == "mine"
    for method, path in (
        ("POST", "/pipeline"),
        ("POST", f"/pipelines/{made['id']}/cancel"),
        ("POST", f"/pipelines/{made['id']}/retry"),
        ("GET", f"/jobs/{job.id}/trace"),
    ):
        refused = ask(method, P + path, token="", json={"ref": "main"}, headers={"JOB-TOKEN": job.token})
        assert refused.status_code == 401, path

    scenario.release("go")
    server.wait(made["id"], "success")
    late = ask("POST", f"{P}/trigger/pipeline", json=body)
    assert (late.status_code, late.json()) == (400, {"message": "400 Job has to be running"})


def test_an_expired_trigger_token_is_as_good_as_none(server, ask):
    made = ask("POST", f"{P}/triggers", json={"description": "nightly", "expires_at": "2020-01-01"}).json()

    answer = ask("POST", f"{P}/trigger/pipeline", json={"token": made["token"], "ref": "main"})

    assert (answer.status_code, answer.json()) == (404, {"message": "404 Not Found"})
    listed = {row["id"]: row["token"] for row in ask("GET", f"{P}/triggers").json()}
    assert listed[made["id"]] == made["token"]
    bot = ask("POST", f"{P}/access_tokens", json={"name": "b", "scopes": ["api"]}).json()["token"]
    assert {len(row["token"]) for row in ask("GET", f"{P}/triggers", token=bot).json()} == {4}
    assert ask("DELETE", f"{P}/triggers/{made['id']}").status_code == 204
    assert ask("GET", f"{P}/triggers/{made['id']}").status_code == 404


def test_a_foreign_trigger_token_does_not_tell_that_the_project_exists(server, ask):
    other = server.add_project("mlops/other")
    [foreign] = other.trigger_tokens

    answer = ask("POST", f"{P}/trigger/pipeline", json={"token": foreign, "ref": "main"})
    nowhere = ask("POST", "/projects/99/trigger/pipeline", json={"token": foreign, "ref": "main"})

    assert answer.status_code == nowhere.status_code == 404


def test_the_name_of_a_pipeline_comes_from_its_workflow_and_can_be_changed(server, ask):
    server.project.add(".gitlab-ci.yml", "workflow: {name: 'run $KEY'}\none: {script: a}\n")
    body = {"ref": "main", "variables": [{"key": "KEY", "value": "k-1"}]}
    made = ask("POST", f"{P}/pipeline", json=body).json()

    assert [row["id"] for row in ask("GET", f"{P}/pipelines", params={"name": "run k-1"}).json()] == [
        made["id"]
    ]
    path = f"{P}/pipelines/{made['id']}"
    assert ask("PUT", f"{path}/metadata", json={}).json() == {"error": "name is missing"}
    assert ask("PUT", f"{path}/metadata", json={"name": "x" * 256}).status_code == 400
    assert ask("PUT", f"{path}/metadata", json={"name": "other"}).json()["name"] == "other"
    assert ask("GET", path).json()["name"] == "other"


def test_lint_plans_without_creating(start, talk):
    server = start(Scenario({"train": []}), knobs=Knobs(lint_per_minute=4))
    ask = talk(server)

    good = ask("POST", f"{P}/ci/lint", json={"content": "a: {script: b}", "include_jobs": True}).json()
    assert (good["valid"], good["jobs"][0]["name"]) == (True, "a")
    assert not ask("POST", f"{P}/ci/lint", json={"content": BROKEN, "dry_run": True}).json()["valid"]
    assert ask("POST", f"{P}/ci/lint", json={}).json() == {"error": "content is missing"}
    answers = [ask("GET", f"{P}/ci/lint") for _ in range(6)]
    limited = [row for row in answers if row.status_code == 429]
    assert limited
    assert "retry-after" not in limited[0].headers
    assert server.pipelines() == []

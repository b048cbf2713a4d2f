"""Who may ask what, how lists are cut, and what is refused."""

from __future__ import annotations

import gitlab
import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import Gate, GitlabStandIn, Knobs, Scenario
from airflow_provider_mlops.testing.gitlab.errors import PortTaken, ToolMissing

PIPELINE_KEYS = {
    "id",
    "iid",
    "project_id",
    "sha",
    "ref",
    "status",
    "source",
    "created_at",
    "updated_at",
    "web_url",
    "before_sha",
    "tag",
    "yaml_errors",
    "user",
    "started_at",
    "finished_at",
    "committed_at",
    "duration",
    "queued_duration",
    "coverage",
    "detailed_status",
    "name",
    "archived",
}
JOB_KEYS = {
    "id",
    "status",
    "stage",
    "name",
    "ref",
    "tag",
    "coverage",
    "allow_failure",
    "created_at",
    "started_at",
    "finished_at",
    "erased_at",
    "duration",
    "queued_duration",
    "user",
    "commit",
    "pipeline",
    "web_url",
    "project",
    "artifacts",
    "runner",
    "runner_manager",
    "artifacts_expire_at",
    "archived",
    "tag_list",
}


@pytest.fixture
def server(start):
    return start(Scenario({"train": []}), project="group/sub/project")


@pytest.fixture
def ask(server):
    def _ask(method: str, path: str, token: str | None = None, **keywords):
        headers = {"PRIVATE-TOKEN": server.token if token is None else token, **keywords.pop("headers", {})}
        return httpx.request(method, f"{server.url}/api/v4{path}", headers=headers, **keywords)

    return _ask


def test_a_project_is_found_by_number_and_by_its_encoded_path(ask):
    assert ask("GET", "/projects/1").json()["path_with_namespace"] == "group/sub/project"
    assert ask("GET", "/projects/group%2Fsub%2Fproject").json()["id"] == 1
    assert ask("GET", "/projects/group%2Fother").json() == {"message": "404 Project Not Found"}


def test_credentials(server, ask):
    assert ask("GET", "/user").json()["username"] == "airflow"
    assert ask("GET", "/user", token="wrong").json() == {"message": "401 Unauthorized"}
    assert httpx.get(f"{server.url}/api/v4/user").status_code == 401
    bearer = {"Authorization": f"Bearer {server.token}"}
    assert httpx.get(f"{server.url}/api/v4/version", headers=bearer).json()["version"].startswith("19.")
    refused = ask("POST", "/projects/1/pipeline", token=server.read_token, json={"ref": "main"})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert ask("GET", "/projects/1/pipelines", token=server.read_token).status_code == 200
    assert ask("GET", "/projects/1/pipelines", token=server.trigger_token).status_code == 401


def test_entities_have_the_keys_of_the_original(server, ask):
    made = ask("POST", "/projects/1/pipeline", json={"ref": "main"})
    assert made.status_code == 201
    server.wait(made.json()["id"])
    path = f"/projects/1/pipelines/{made.json()['id']}"

    assert ask("GET", path).json().keys() == PIPELINE_KEYS
    [job] = ask("GET", f"{path}/jobs").json()
    assert job.keys() == JOB_KEYS
    assert ask("GET", "/projects/1/pipelines").json()[0].keys() < PIPELINE_KEYS


@pytest.mark.parametrize("path", ["/projects/1/trigger/pipeline", "/projects/1/ref/main/trigger/pipeline"])
@pytest.mark.parametrize("form", ["json", "form", "multipart"])
def test_a_trigger_token_needs_no_other_credentials(server, path, form):
    values = {"token": server.trigger_token, "ref": "main", "variables[A]": "1"}
    url = f"{server.url}/api/v4{path}"
    if form == "json":
        answer = httpx.post(
            url, json={"token": server.trigger_token, "ref": "main", "variables": {"A": "1"}, "inputs": {}}
        )
    elif form == "form":
        answer = httpx.post(url, data=values)
    else:
        answer = httpx.post(url, files={name: (None, value) for name, value in values.items()})

    assert (answer.status_code, answer.json()["source"]) == (201, "trigger")
    assert [(row.key, row.value) for row in server.pipelines()[0].variables] == [("A", "1")]


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({"token": "wrong", "ref": "main"}, 404, {"message": "404 Not Found"}),
        ({"ref": "main"}, 400, {"error": "token is missing"}),
        ({"token": None}, 400, {"error": "ref is missing"}),
        (
            {"token": None, "ref": "main", "variables": {"A": 1}},
            400,
            {"message": "variables needs to be a map of key-valued strings"},
        ),
        ({"token": None, "ref": "gone"}, 400, {"message": {"base": ["Reference not found"]}}),
        ({"token": None, "ref": "HEAD"}, 400, {"message": {"base": ["Reference not found"]}}),
    ],
)
def test_what_a_trigger_is_refused_for(server, body, status, answer):
    if "token" in body and body["token"] is None:
        body = {**body, "token": server.trigger_token}

    got = httpx.post(f"{server.url}/api/v4/projects/1/trigger/pipeline", json=body)

    assert (got.status_code, got.json()) == (status, answer)
    assert server.pipelines() == []


def test_a_webhook_may_not_trigger_itself(server):
    got = httpx.post(
        f"{server.url}/api/v4/projects/1/trigger/pipeline",
        json={"token": server.trigger_token, "ref": "main"},
        headers={"X-Gitlab-Event": "Pipeline Hook"},
    )
    assert got.status_code == 403


def test_inputs_are_checked_before_a_pipeline_exists(server, ask):
    server.project.add(
        ".gitlab-ci.yml",
        "spec: {inputs: {model: {options: [a]}, n: {type: number, default: 1}}}\n---\nx: {script: 'true'}\n",
    )

    def refusal(inputs):
        got = ask("POST", "/projects/1/pipeline", json={"ref": "main", "inputs": inputs})
        assert got.status_code == 400
        return got.json()["message"]["base"]

    assert refusal({}) == ["`model` input: required value has not been provided"]
    assert "not in the list of allowed options" in refusal({"model": "b"})[0]
    assert refusal({"model": "a", "n": "many"}) == ["`n` input: provided value is not a number"]
    assert "not defined in the `spec` section" in refusal({"model": "a", "other": 1})[0]
    assert server.pipelines() == []
    assert (
        ask("POST", "/projects/1/pipeline", json={"ref": "main", "inputs": {"model": "a"}}).status_code == 201
    )
    server.knobs.inputs_supported = False
    server.project.add(".gitlab-ci.yml", "x: {script: 'true'}\n")
    assert ask("POST", "/projects/1/pipeline", json={"ref": "main", "inputs": {"z": 1}}).status_code == 201


def test_lists_are_filtered_and_sorted(server, ask, connect):
    project = connect(server)
    project.branches.create({"branch": "side", "ref": "main"})
    first = project.pipelines.create({"ref": "main"})
    second = project.trigger_pipeline("side", server.trigger_token)
    for row in (first, second):
        server.wait(row.id)
    first = project.pipelines.get(first.id)
    first.manager.gitlab.http_put(f"/projects/1/pipelines/{first.id}/metadata", post_data={"name": "mine"})

    def ids(**filters):
        return [row["id"] for row in ask("GET", "/projects/1/pipelines", params=filters).json()]

    assert ids() == [second.id, first.id]
    assert ids(sort="asc") == [first.id, second.id]
    assert ids(ref="side") == ids(source="trigger") == [second.id]
    assert ids(name="mine") == [first.id]
    assert ids(username="nobody") == ids(status="failed") == ids(sha="0" * 40) == []
    assert ids(created_after=second.created_at) == [*ids(updated_after="2999-01-01"), second.id]
    assert ids(created_before="2001-01-01T00:00:00Z") == []
    assert ask("GET", "/projects/1/pipelines?order_by=mood").status_code == 400
    assert ask("GET", "/projects/1/pipelines?created_after=never").status_code == 400


def test_pages(start, connect):
    server = start(Scenario({f"job-{number}": [] for number in range(105)}), knobs=Knobs(runner_paused=True))
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    url = f"{server.url}/api/v4/projects/1/pipelines/{made.id}/jobs"
    header = {"PRIVATE-TOKEN": server.token}

    first = httpx.get(url, headers=header, params={"per_page": 500, "scope[]": "pending"})
    assert (len(first.json()), first.headers["x-next-page"], first.headers["x-total"]) == (100, "2", "105")
    second = httpx.get(first.links["next"]["url"], headers=header)
    assert (len(second.json()), second.headers["x-next-page"]) == (5, "")
    assert "next" not in second.links
    assert len(made.jobs.list(get_all=True)) == len(list(made.jobs.list(iterator=True))) == 105
    assert len(made.jobs.list(get_all=True, scope=["failed", "manual"])) == 0
    assert httpx.get(url, headers=header, params={"per_page": 0}).status_code == 400
    server.knobs.hide_total_headers = True
    assert "x-total" not in httpx.get(url, headers=header).headers
    assert len(made.jobs.list(get_all=True)) == 105


def test_trigger_jobs_came_after_bridges(server, ask):
    made = ask("POST", "/projects/1/pipeline", json={"ref": "main"}).json()
    path = f"/projects/1/pipelines/{made['id']}"

    assert ask("GET", f"{path}/trigger_jobs").json() == ask("GET", f"{path}/bridges").json() == []
    server.knobs.trigger_jobs = False
    assert ask("GET", f"{path}/trigger_jobs").status_code == 404
    assert ask("GET", f"{path}/bridges").status_code == 200


def test_a_deleted_pipeline_is_gone(start, connect):
    scenario = Scenario({"train": [Gate("never")]})
    server = start(scenario)
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    scenario.wait_reached("never")

    made.delete()

    with pytest.raises(gitlab.GitlabGetError):
        project.pipelines.get(made.id)


def test_unknown_paths_methods_and_bodies(ask):
    assert ask("GET", "/projects/1/pipelines/99").json() == {"message": "404 Not Found"}
    assert ask("GET", "/projects/1/pipelines/x").status_code == 404
    assert ask("GET", "/projects/1/jobs/99/trace").status_code == 404
    assert ask("GET", "/nowhere").json() == {"error": "404 Not Found"}
    assert ask("DELETE", "/version").status_code == 405
    broken = ask("POST", "/projects/1/pipeline", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 400
    assert ask("POST", "/projects/1/pipeline", json={}).json() == {"error": "ref is missing"}


def test_lint_tells_what_is_wrong(server, connect):
    project = connect(server)

    assert project.ci_lint.get().valid
    wrong = project.ci_lint.create({"content": "x: {stage: nowhere, script: a}"})
    assert not wrong.valid
    assert "chosen stage nowhere does not exist" in wrong.errors[0]


def test_a_port_in_use_and_a_missing_tool_are_named(server, tmp_path, monkeypatch):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(PortTaken, match=f"port {port} cannot be used"):
        GitlabStandIn(tmp_path / "other", port=port)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="git is not installed"):
        GitlabStandIn(tmp_path / "other")


def test_a_body_may_come_in_chunks(server):
    with httpx.Client(headers={"PRIVATE-TOKEN": server.token}) as client:
        answer = client.post(
            f"{server.url}/api/v4/projects/1/pipeline",
            content=iter([b'{"ref":', b'"main"}']),
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["ref"]) == (201, "main")
        assert client.get(f"{server.url}/api/v4/version").status_code == 200


def test_a_second_start_in_the_same_folder_finds_the_repositories(tmp_path):
    with GitlabStandIn(tmp_path) as first:
        sha = first.project.add("kept.txt", "x")
    with GitlabStandIn(tmp_path) as second:
        assert second.project.repository.resolve("main") == sha
        assert second.token != first.token

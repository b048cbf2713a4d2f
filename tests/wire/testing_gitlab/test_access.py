"""Tokens and what they open, projects that move or hide, limits, and conditional requests."""

from __future__ import annotations

import time

import gitlab
import pytest

from airflow_provider_mlops.testing.gitlab import Scenario

P = "/projects/1"


@pytest.fixture
def server(start):
    return start(Scenario({"train": []}), project="group/sub/project")


@pytest.fixture
def ask(server, talk):
    return talk(server)


@pytest.mark.parametrize(
    "credentials",
    [
        {"headers": {"PRIVATE-TOKEN": "{token}"}},
        {"headers": {"Authorization": "Bearer {token}"}},
        {"params": {"private_token": "{token}"}},
        {"params": {"access_token": "{token}"}},
    ],
)
def test_a_token_may_come_in_several_ways(server, ask, credentials):
    filled = {
        kind: {name: value.format(token=server.token) for name, value in entries.items()}
        for kind, entries in credentials.items()
    }
    answer = ask("GET", "/user", token="", **filled) if "params" in filled else ask("GET", "/user", **filled)

    assert (answer.status_code, answer.json()["username"]) == (200, "airflow")


def test_a_project_token_of_a_bot_reads_or_writes_as_its_scopes_allow(server, ask):
    other = server.add_project("group/other")
    made = ask("POST", f"{P}/access_tokens", json={"name": "reader", "scopes": ["read_api"]}).json()
    reader = made["token"]

    assert ask("GET", f"{P}/pipelines", token=reader).status_code == 200
    assert ask("GET", "/user", token=reader).json()["bot"] is True
    assert ask("GET", "/personal_access_tokens/self", token=reader).json()["scopes"] == ["read_api"]
    for method, path in (
        ("POST", "/pipeline"),
        ("PUT", "/pipelines/1/metadata"),
        ("DELETE", "/pipelines/1"),
    ):
        refused = ask(method, P + path, token=reader, json={})
        assert refused.status_code == 403
        assert (refused.json()["error"], refused.json()["scope"]) == ("insufficient_scope", "api")
    foreign = ask("GET", f"/projects/{other.id}", token=reader)
    assert (foreign.status_code, foreign.json()) == (404, {"message": "404 Project Not Found"})
    assert [row["id"] for row in ask("GET", "/projects", token=reader).json()] == [1]
    narrow = server.store.add_token(server.user, "read_repository").value
    assert ask("GET", f"{P}/pipelines", token=narrow).json()["scope"] == "api read_api"

    assert ask("DELETE", f"{P}/access_tokens/{made['id']}").status_code == 204
    assert ask("GET", "/user", token=reader).json()["error_description"].startswith("Token was revoked")


def test_an_expired_token_says_so(ask):
    made = ask(
        "POST", f"{P}/access_tokens", json={"name": "old", "scopes": ["api"], "expires_at": "2020-01-01"}
    ).json()

    answer = ask("GET", "/user", token=made["token"])

    assert answer.status_code == 401
    assert (answer.json()["error"], made["active"]) == ("invalid_token", False)
    assert answer.json()["error_description"].startswith("Token is expired")


def test_a_moved_project_redirects_reads_and_refuses_writes(server, ask, connect):
    assert ask("PUT", P, json={"path": "renamed"}).json()["path_with_namespace"] == "group/sub/renamed"
    old = "/projects/group%2Fsub%2Fproject"

    answer = ask("GET", f"{old}/pipelines?per_page=5")
    assert (answer.status_code, answer.headers["location"]) == (
        301,
        f"{server.url}/api/v4/projects/1/pipelines?per_page=5",
    )
    refused = ask("POST", f"{old}/pipeline", json={"ref": "main"})
    assert refused.status_code == 405
    assert refused.json() == {"message": "Non GET methods are not allowed for moved projects"}
    assert ask("GET", "/projects/group%2Fsub%2Frenamed").status_code == 200
    assert connect(server).id == 1
    assert server.pipelines() == []


def test_endpoints_that_the_application_limits_tell_nothing_in_headers(server, ask):
    server.knobs.set(jobs_index_per_minute=1, project_per_minute=1)

    for path in (P, f"{P}/jobs"):
        answers = [ask("GET", path) for _ in range(3)]
        limited = [row for row in answers if row.status_code == 429]
        assert limited, path
        assert limited[0].json() == {
            "message": {"error": "This endpoint has been requested too many times. Try again later."}
        }
        assert not [name for name in limited[0].headers if name.startswith(("ratelimit", "retry"))]
    assert ask("GET", f"{P}/pipelines").status_code == 200


def test_the_limit_of_a_token_comes_with_headers(server, ask):
    server.knobs.requests_per_minute = 2

    answers = [ask("GET", "/version") for _ in range(6)]

    # A minute may end in between, but not twice.
    [limited, *_] = [row for row in answers if row.status_code == 429]
    assert limited.headers["ratelimit-name"] == "throttle_authenticated_api"
    assert (limited.headers["ratelimit-limit"], limited.headers["ratelimit-remaining"]) == ("2", "0")
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert int(limited.headers["ratelimit-reset"]) >= time.time() - 1
    assert limited.headers["ratelimit-resettime"].endswith("GMT")
    assert answers[0].headers["ratelimit-remaining"] == "1"
    assert ask("GET", "/version", token=server.read_token).status_code == 200


def test_an_answer_that_the_client_has_already_is_304(server, ask):
    first = ask("GET", f"{P}/pipelines")
    tag = first.headers["etag"]

    again = ask("GET", f"{P}/pipelines", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    ask("POST", f"{P}/pipeline", json={"ref": "main"})
    assert ask("GET", f"{P}/pipelines", headers={"If-None-Match": tag}).status_code == 200


def test_heads_methods_and_unknown_things(ask):
    head = ask("HEAD", f"{P}/pipelines")
    assert (head.status_code, head.content, head.headers["x-page"]) == (200, b"", "1")
    refused = ask("DELETE", f"{P}/pipelines")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    assert ask("GET", "/job").json() == {"message": "404 Job Not Found"}
    assert ask("GET", "/metadata").json()["enterprise"] is True


def test_project_variables_are_masked_or_refused(server, ask, connect):
    made = ask("POST", f"{P}/variables", json={"key": "KEY", "value": "long-enough", "masked": True})
    assert (made.status_code, made.json()["masked"]) == (201, True)
    short = ask("POST", f"{P}/variables", json={"key": "S", "value": "short", "masked": True})
    assert (short.status_code, short.json()) == (400, {"message": {"value": ["is invalid"]}})
    twice = ask("POST", f"{P}/variables", json={"key": "KEY", "value": "x"})
    assert "has already been taken" in twice.text
    assert ask("PUT", f"{P}/variables/KEY", json={"value": "another-one"}).json()["value"] == "another-one"
    project = connect(server)
    assert [row.key for row in project.variables.list()] == ["KEY"]
    project.variables.get("KEY").delete()
    with pytest.raises(gitlab.GitlabGetError, match="404 Variable Not Found"):
        project.variables.get("KEY")


def test_projects_can_be_made(server, ask):
    made = ask("POST", "/projects", json={"name": "second"})
    assert (made.status_code, made.json()["path_with_namespace"]) == (201, "airflow/second")
    assert ask("POST", "/projects", json={"path": "second"}).status_code == 400
    assert ask("POST", f"/projects/{made.json()['id']}/pipeline", json={"ref": "main"}).status_code == 201

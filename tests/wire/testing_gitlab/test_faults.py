"""Bad days of single requests, as a client meets them."""

from __future__ import annotations

import time

import gitlab
import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import Knobs, Log, Scenario

CREATE = r"/projects/[^/]+(/demo)?/pipeline$"


@pytest.fixture
def server(start):
    return start(Scenario({"train": [Log("hello\n")]}))


def _post(server, **keywords):
    return httpx.post(
        f"{server.url}/api/v4/projects/1/pipeline",
        json={"ref": "main"},
        headers={"PRIVATE-TOKEN": server.token},
        **keywords,
    )


@pytest.mark.parametrize(("after", "made"), [(False, 0), (True, 1)])
def test_a_reset_comes_before_or_after_the_side_effect(server, after, made):
    fault = server.faults.reset(method="POST", path=CREATE, after=after)

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        _post(server)

    assert fault.hits == 1
    assert len(server.pipelines()) == made
    assert [row.status for row in server.requests.find("POST", CREATE)] == [None]
    assert _post(server).status_code == 201


@pytest.mark.parametrize(("after", "made"), [(False, 0), (True, 1)])
def test_a_server_error_comes_before_or_after_the_side_effect(server, after, made):
    server.faults.status(502, method="POST", path=CREATE, after=after, body="<html>bad gateway</html>")

    answer = _post(server)

    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert len(server.pipelines()) == made


@pytest.mark.parametrize(("after", "made"), [(False, 0), (True, 1)])
def test_an_answer_slower_than_the_clients_patience(server, after, made):
    server.faults.slow(1.0, method="POST", path=CREATE, after=after)

    with pytest.raises(httpx.ReadTimeout):
        _post(server, timeout=0.2)

    assert len(server.pipelines()) == made


def test_python_gitlab_repeats_after_a_rate_limit_with_headers(server, connect):
    project = connect(server)
    made = project.pipelines.create({"ref": "main"})
    server.faults.rate_limit(method="GET", path=r"/pipelines/\d+$", retry_after=0)
    server.requests.clear()

    project.pipelines.get(made.id)

    assert server.requests.count("GET", r"/pipelines/\d+$") == 2


def test_rate_limits_with_and_without_headers(server):
    header = {"PRIVATE-TOKEN": server.token}
    server.faults.rate_limit(path="/user", retry_after="Wed, 21 Oct 2099 07:28:00 GMT", reset=4102444800)
    server.faults.rate_limit(path="/user")

    first, second, third = (httpx.get(f"{server.url}/api/v4/user", headers=header) for _ in range(3))

    assert (first.status_code, first.headers["ratelimit-reset"]) == (429, "4102444800")
    assert first.headers["retry-after"].endswith("GMT")
    assert second.status_code == 429
    assert not {name for name in second.headers if name.startswith(("ratelimit", "retry"))}
    assert third.status_code == 200


def test_a_token_that_expires_in_the_middle(server, connect):
    project = connect(server)
    server.faults.unauthorized(path="/pipelines", skip=1)

    project.pipelines.list()
    with pytest.raises(gitlab.GitlabAuthenticationError):
        project.pipelines.list()
    project.pipelines.list()

    server.revoke(server.token)
    with pytest.raises(gitlab.GitlabAuthenticationError, match="invalid_token"):
        project.pipelines.list()


def test_a_redirect_of_a_post_is_not_followed_blindly(server, connect):
    project = connect(server)
    server.faults.redirect(f"{server.url}/api/v4/projects/2/pipeline", method="POST", path=CREATE)

    with pytest.raises(gitlab.RedirectError):
        project.pipelines.create({"ref": "main"})


def test_a_truncated_body(server):
    server.faults.truncate(10, path="/user")

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/api/v4/user", headers={"PRIVATE-TOKEN": server.token})


def test_faults_hit_in_order_and_only_what_they_match(server):
    server.faults.status(500, path=r"/version\?probe=1")
    server.faults.status(503, path="/version", times=2)
    header = {"PRIVATE-TOKEN": server.token}

    def ask(query: str = "") -> int:
        return httpx.get(f"{server.url}/api/v4/version{query}", headers=header).status_code

    assert [ask(), ask("?probe=1"), ask(), ask()] == [503, 500, 503, 200]
    server.faults.status(500, path="/version", times=None)
    assert [ask(), ask()] == [500, 500]
    server.faults.clear()
    assert ask() == 200


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"variables_forbidden": True}, "Insufficient permissions to set pipeline variables"),
        ({"too_many_pipelines": 1}, "Too many pipelines created in the last minute. Try again later."),
    ],
)
def test_refusals_come_as_400_in_gitlabs_words(server, connect, knobs, message):
    server.knobs.set(**knobs)
    project = connect(server)

    with pytest.raises(gitlab.GitlabCreateError, match=message) as refused:
        project.pipelines.create({"ref": "main", "variables": [{"key": "A", "value": "1"}]})

    assert refused.value.response_code == 400
    assert server.pipelines() == []
    project.pipelines.create({"ref": "main"})


def test_closing_does_not_wait_for_slow_answers_or_idle_clients(start):
    server = start(Scenario({"train": []}))
    with httpx.Client() as client:
        client.get(f"{server.url}/api/v4/version", headers={"PRIVATE-TOKEN": server.token})
        server.faults.slow(60)
        begun = time.monotonic()
        server.close()
        assert time.monotonic() - begun < 5


def test_an_unknown_knob_is_refused():
    with pytest.raises(AttributeError, match="no knob named 'speed'"):
        Knobs().set(speed=9)

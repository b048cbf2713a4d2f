"""The program of its own, steered from another process."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import Scenario

PROGRAM = [sys.executable, "-m", "airflow_provider_mlops", "testing", "gitlab"]


def test_everything_can_be_set_from_outside(ready):
    control = ready["control"]

    def api(method: str, path: str, **keywords) -> httpx.Response:
        headers = {"PRIVATE-TOKEN": keywords.pop("token", ready["token"])}
        return httpx.request(method, f"{ready['url']}/api/v4{path}", headers=headers, **keywords)

    def create() -> int:
        return api("POST", "/projects/1/pipeline", json={"ref": "main"}).json()["id"]

    def wait(pipeline: int, status: str) -> dict:
        while True:
            shown = api("GET", f"/projects/1/pipelines/{pipeline}").json()
            if shown["status"] == status:
                return api("GET", f"/projects/1/pipelines/{pipeline}/jobs").json()[0]

    # Knobs
    assert api("GET", "/version").json()["version"] == "18.8.0"
    assert httpx.get(f"{control}/knobs").json()["trace_windows"] is False
    changed = httpx.patch(
        f"{control}/knobs", json={"version": "19.2.0", "canceling_for": "inf", "statuses": {"7": "odd"}}
    )
    assert (changed.json()["canceling_for"], changed.json()["statuses"]) == ("inf", {"7": "odd"})
    assert api("GET", "/version").json()["version"] == "19.2.0"
    for wrong in ({"speed": 9}, {"version": 19}, {"list_lag": True}, {"concurrent": "4"}):
        refused = httpx.post(f"{control}/knobs", json=wrong)
        assert (refused.status_code, next(iter(wrong)) in refused.json()["message"]) == (400, True)

    # Faults spare the control address, and requests can be counted.
    fault = {"kind": "rate_limit", "times": None, "retry_after": 7}
    assert httpx.post(f"{control}/faults", json=fault).status_code == 201
    assert api("GET", "/version").headers["retry-after"] == "7"
    assert httpx.get(f"{control}/faults").json()[0]["hits"] == 1
    assert httpx.post(f"{control}/faults", json={"kind": "flood"}).status_code == 400
    assert httpx.post(f"{control}/faults", json={"colour": "red"}).status_code == 400
    assert httpx.delete(f"{control}/faults").status_code == 204
    httpx.post(
        f"{control}/faults", json={"method": "POST", "path": "/pipeline$", "reset": True, "after": True}
    )
    httpx.delete(f"{control}/requests")
    with pytest.raises(httpx.HTTPError):
        create()
    rows = httpx.get(f"{control}/requests", params={"method": "POST"}).json()
    assert [(row["path"], row["status"]) for row in rows] == [("/api/v4/projects/1/pipeline", None)]
    assert len(api("GET", "/projects/1/pipelines").json()) == 1

    # Tokens and projects
    expired = httpx.post(f"{control}/tokens", json={"scopes": ["api"], "expires_in": -1}).json()
    assert api("GET", "/user", token=expired["token"]).json()["error"] == "invalid_token"
    stranger = httpx.post(f"{control}/tokens", json={"username": "eve", "projects": []}).json()["token"]
    assert api("GET", "/projects/1", token=stranger).status_code == 404
    assert api("GET", "/user", token=stranger).json()["username"] == "eve"
    assert httpx.post(f"{control}/revoke", json={"token": stranger}).status_code == 204
    assert api("GET", "/user", token=stranger).status_code == 401
    assert httpx.post(f"{control}/revoke", json={"token": "unknown"}).status_code == 400
    second = httpx.post(f"{control}/projects", json={"path": "a/b/c"}).json()
    assert api("GET", "/projects/a%2Fb%2Fc").json()["id"] == second["project_id"]
    assert httpx.post(f"{control}/projects", json={"path": "a/b/c"}).status_code == 400

    # Scenarios
    raw = base64.b64encode("é".encode()[:1]).decode()
    steps = [
        {"log": ["note\n", "E"]},
        {"raw_log": raw},
        {"artifact": {"path": "a.txt", "content": "A"}},
        {"dotenv": {"A": "1"}},
        {"show_status": "warming_up"},
        {"gate": "go"},
        {"fail": {"reason": "cosmic_rays", "exit_code": None}},
    ]
    assert httpx.post(f"{control}/scenario", json={"jobs": {"hello": steps}}).status_code == 201
    played = create()
    wait(played, "running")
    assert httpx.post(f"{control}/gates", json={"name": "go"}).status_code == 204
    job = wait(played, "failed")
    assert job["failure_reason"] == "cosmic_rays"
    assert api("GET", f"/projects/1/jobs/{job['id']}/trace").content.endswith(b"note\n\xc3")
    for wrong in (
        None,
        {"hello": "x"},
        {"hello": [{"jump": 1}]},
        {"hello": [{"log": {"loud": 1}}]},
        {"hello": [1]},
    ):
        assert httpx.post(f"{control}/scenario", json={"jobs": wrong}).status_code == 400
    assert httpx.delete(f"{control}/scenario").status_code == 204
    assert wait(create(), "success")["name"] == "hello"

    # The rest
    described = httpx.get(control).json()
    assert {"requests", "quirks", "lacking"} <= described.keys()
    assert httpx.get(f"{control}/nothing").status_code == 404
    assert api("GET", "/user", token=ready["read_token"]).status_code == 200


def test_a_wrong_knob_on_the_command_line_is_told(tmp_path):
    done = subprocess.run(
        [*PROGRAM, "--root", str(tmp_path), "--knob", "speed=9"],
        capture_output=True,
        text=True,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )

    assert done.returncode == 2
    assert "no knob named 'speed'" in done.stderr


def test_a_server_with_an_executor_of_its_own_takes_no_scenario(start):
    server = start(Scenario({"train": []}))

    refused = httpx.post(f"{server.url}/_stand_in/scenario", json={"jobs": {}})

    assert (refused.status_code, "executor of its own" in refused.text) == (400, True)

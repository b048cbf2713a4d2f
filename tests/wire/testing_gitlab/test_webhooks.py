"""Webhooks, as the program that they call sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_mlops.testing.gitlab import Fail, Scenario, ScriptedJob

P = "/projects/1"


class Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], dict]] = []
        self.arrived = threading.Condition()
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    def wait_for(self, event: str, status: str) -> tuple[dict[str, str], dict]:
        def found():
            for headers, body in self.calls:
                shown = body.get("build_status") or body["object_attributes"]["status"]
                if (headers["x-gitlab-event"], shown) == (event, status):
                    return headers, body
            return None

        with self.arrived:
            assert self.arrived.wait_for(lambda: found() is not None, 10), self.calls
        return found()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, format, *args) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.arrived:
            self.server.calls.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.server.arrived.notify_all()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_pipelines_and_jobs_tell_of_every_status(start, talk, receiver):
    server = start(Scenario({"train": ScriptedJob([[Fail("runner_system_failure", None)], []])}))
    ask = talk(server)
    url = f"http://127.0.0.1:{receiver.server_address[1]}/hook"
    hook = ask(
        "POST",
        f"{P}/hooks",
        json={"url": url, "token": "s3cret", "pipeline_events": True, "job_events": True},
    )
    assert hook.status_code == 201
    assert "s3cret" not in hook.text
    rows = [{"key": "A", "value": "1"}]
    made = ask("POST", f"{P}/pipeline", json={"ref": "main", "variables": rows}).json()["id"]

    headers, body = receiver.wait_for("Pipeline Hook", "failed")
    assert headers["x-gitlab-token"] == "s3cret"
    assert {"x-gitlab-event-uuid", "idempotency-key", "x-gitlab-instance"} <= headers.keys()
    facts = body["object_attributes"]
    assert (body["object_kind"], facts["id"], facts["source"]) == ("pipeline", made, "api")
    assert facts["variables"] == rows
    assert facts.keys() >= {"iid", "detailed_status", "duration", "queued_duration", "url"}
    assert [build["name"] for build in body["builds"]] == ["train"]
    _, job = receiver.wait_for("Job Hook", "failed")
    assert (job["build_failure_reason"], job["retries_count"]) == ("runner_system_failure", 0)

    ask("POST", f"{P}/pipelines/{made}/retry")
    _, job = receiver.wait_for("Job Hook", "success")
    assert job["retries_count"] == 1
    keys = [headers["idempotency-key"] for headers, _ in receiver.calls]
    assert len(set(keys)) == len(keys)


def test_a_hook_that_keeps_failing_is_disabled_and_can_be_revived(start, talk, receiver):
    server = start(Scenario({"train": []}))
    ask = talk(server)
    receiver.status = 500
    url = f"http://127.0.0.1:{receiver.server_address[1]}/hook"
    number = ask("POST", f"{P}/hooks", json={"url": url, "pipeline_events": True}).json()["id"]
    for _ in range(3):
        server.wait(ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"], "success")

    while ask("GET", f"{P}/hooks/{number}").json()["alert_status"] != "disabled":
        threading.Event().wait(0.02)
    seen = len(receiver.calls)
    server.wait(ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"], "success")
    assert len(receiver.calls) == seen

    receiver.status = 200
    assert ask("PUT", f"{P}/hooks/{number}", json={}).json()["alert_status"] == "executable"
    ask("POST", f"{P}/pipeline", json={"ref": "main"})
    receiver.wait_for("Pipeline Hook", "success")
    assert ask("DELETE", f"{P}/hooks/{number}").status_code == 204
    assert ask("POST", f"{P}/hooks", json={"url": "ftp://x"}).status_code == 400

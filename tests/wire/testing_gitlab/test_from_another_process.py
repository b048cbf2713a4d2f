"""The stand-in steered over HTTP; the documentation shows this file."""

from __future__ import annotations

import time

import gitlab
import httpx
import pytest
import requests

LOST_ANSWER = {"kind": "reset", "method": "POST", "path": "/pipeline$", "after": True}
HELLO = [{"log": "epoch 1\n"}, {"gate": "go on"}, {"fail": ["runner_system_failure", None]}]


def test_a_bad_day(ready) -> None:
    control = ready["control"]
    project = gitlab.Gitlab(ready["url"], private_token=ready["token"]).projects.get(ready["project"])

    httpx.post(f"{control}/knobs", json={"hidden_after_create": 0.2, "trace_timestamps": False})
    httpx.post(f"{control}/faults", json=LOST_ANSWER)
    httpx.post(f"{control}/scenario", json={"jobs": {"hello": HELLO}})

    with pytest.raises(requests.ConnectionError):
        project.pipelines.create({"ref": "main"})
    while not (found := project.pipelines.list(get_all=True)):
        time.sleep(0.05)
    httpx.post(f"{control}/gates", json={"name": "go on"})
    while (job := found[0].jobs.list()[0]).status != "failed":
        time.sleep(0.05)
    assert job.failure_reason == "runner_system_failure"
    assert project.jobs.get(job.id).trace() == b"epoch 1\n"

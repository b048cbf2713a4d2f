from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gitlab
import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import GitlabStandIn, Knobs


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., GitlabStandIn]]:
    """Start a stand-in that ends with the test."""
    with ExitStack() as stack:

        def _start(executor: Any = None, **keywords: Any) -> GitlabStandIn:
            keywords.setdefault("knobs", Knobs(grace=0.3))
            return stack.enter_context(GitlabStandIn(tmp_path / "gitlab", executor=executor, **keywords))

        yield _start


@pytest.fixture
def connect() -> Callable[..., Any]:
    """An unmodified python-gitlab project object."""

    def _connect(server: GitlabStandIn, token: str | None = None, **keywords: Any) -> Any:
        client = gitlab.Gitlab(server.url, private_token=token or server.token, timeout=10, **keywords)
        return client.projects.get(server.project.path)

    return _connect


@pytest.fixture
def talk() -> Callable[..., Any]:
    """Raw HTTP with the server's token, or another one."""

    def _talk(server: GitlabStandIn) -> Callable[..., httpx.Response]:
        def ask(method: str, path: str, token: str | None = None, **keywords: Any) -> httpx.Response:
            headers = {
                "PRIVATE-TOKEN": server.token if token is None else token,
                **keywords.pop("headers", {}),
            }
            return httpx.request(method, f"{server.url}/api/v4{path}", headers=headers, **keywords)

        return ask

    return _talk


@pytest.fixture
def ready(tmp_path) -> Iterator[dict[str, Any]]:
    """What the program prints when it is ready; it starts as a server of GitLab 18.8."""
    knobs = ["--knob", "version=18.8.0", "--knob", "trace_windows=false"]
    program = [sys.executable, "-m", "airflow_provider_mlops", "testing", "gitlab"]
    server = subprocess.Popen(
        [*program, "--root", str(tmp_path / "root"), *knobs],
        stdout=subprocess.PIPE,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()

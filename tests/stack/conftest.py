"""One Airflow stack and one GitLab stand-in for all stack tests of a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gitlab
import pytest

from tests.stack.airflow_stack import AirflowStack, connection_json, running

PIPELINE = """
spec:
  inputs:
    seconds: {}
    airflow_key: {default: ""}
---
workflow:
  name: "$[[ inputs.airflow_key ]]"
work:
  script:
    - for i in $(seq $[[ inputs.seconds ]]); do echo "step $i"; sleep 1; done
    - echo '{"answer":42}' > answer.json
  artifacts:
    paths: [answer.json]
"""


@pytest.fixture(scope="session")
def gitlab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The stand-in in a process of its own: killing Airflow must not touch it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_mlops", "testing", "gitlab", "--root",
         str(tmp_path_factory.mktemp("gitlab")), "--project", "ml/docs-search"],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        server = json.loads(process.stdout.readline())
        project = gitlab.Gitlab(server["url"], private_token=server["token"]).projects.get("ml/docs-search")
        project.commits.create(
            {
                "branch": "main",
                "commit_message": "Work for a while",
                "actions": [{"action": "update", "file_path": ".gitlab-ci.yml", "content": PIPELINE}],
            }
        )
        yield {**server, "client": project}
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Any, gitlab_server: dict[str, Any]
) -> Iterator[AirflowStack]:
    """Scheduler, triggerer, API server, DAG processor on PostgreSQL."""
    environment = {
        "AIRFLOW_CONN_GITLAB_DEFAULT": connection_json(
            conn_type="gitlab", host=gitlab_server["url"], password=gitlab_server["token"]
        ),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    with running(
        tmp_path_factory.mktemp("airflow") / "home",
        Path(__file__).parent / "dags",
        postgres_server.create_database("stack"),
        environment,
    ) as airflow:
        yield airflow

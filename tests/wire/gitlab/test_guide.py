"""What the guide, the connection page and the migration notes show works as it stands there."""

from __future__ import annotations

import re
import runpy
import shlex
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.gitlab.access import GitlabAccess
from airflow_provider_mlops.testing.gitlab import GitlabStandIn
from tests.wire.gitlab.conftest import Task, connect

SNIPPETS = Path(__file__).parents[3] / "docs" / "snippets"

PUBLISH = {
    "publish": {
        "script": ['echo "{\\"digest\\": \\"$BENTO\\"}" > image.json'],
        "artifacts": {"paths": ["image.json"]},
    }
}


@pytest.fixture
def project(monkeypatch):
    with GitlabStandIn() as gitlab:
        connect(monkeypatch, gitlab)
        yield gitlab.add_project("ml/search")


class Documented(Task):
    def operator(self):
        operator = self.arguments["operator"]
        operator.poll_interval = 0.3
        return operator


@pytest.mark.skipif(not AIRFLOW_3, reason="the snippet is written for Airflow 3")
def test_the_first_run_and_its_log(project, task_log):
    project.add(".gitlab-ci.yml", yaml.safe_dump({"train": {"script": ["echo epoch 1", "echo epoch 2"]}}))
    operator = runpy.run_path(str(SNIPPETS / "gitlab_first.py"))["nightly"]().task_dict["train"]
    payload = Documented({"operator": operator}, task_id="train").attempt()
    assert payload["jobs"] == {"success": 1}

    said = "\n".join(_without_numbers(line) for line in task_log())
    position = 0
    for line in (SNIPPETS / "gitlab_first_log.txt").read_text().splitlines():
        found = said.find(_without_numbers(line), position)
        assert found >= 0, f"not in the log, or not there: {line}\n{said}"
        position = found + 1


def _without_numbers(line: str) -> str:
    line = re.sub(r"https?://[^/ ]+", "<gitlab>", re.sub(r"\x1b\[[0-9;]*m", "", line))
    return re.sub(r"\b[0-9a-f]{8,}\b|\d{3,}", "#", line)


def test_both_forms_of_the_connection_mean_the_same(monkeypatch):
    shown = dict(
        word.split("=", 1)
        for word in shlex.split((SNIPPETS / "gitlab_connection.env").read_text(), comments=True)
    )
    found = []
    for name, text in shown.items():
        monkeypatch.setenv(name, text)
        access = GitlabAccess.from_connection(connection_info(name.removeprefix("AIRFLOW_CONN_").lower()))
        found.append((access.url, access.token, access.trigger_token, access.verify))
    assert found == [("https://gitlab.example.com", "glpat-...", "glptt-...", "/etc/ssl/company.pem")] * 2


@pytest.mark.skipif(not AIRFLOW_3, reason="the snippet is written for Airflow 3")
def test_before_and_after_the_migration_give_the_same(project):
    project.add(".gitlab-ci.yml", yaml.safe_dump(PUBLISH))
    before = runpy.run_path(str(SNIPPETS / "migration_before.py"))["publish"]
    before.__globals__["time"] = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 100))
    operator = runpy.run_path(str(SNIPPETS / "migration_after.py"))["publish"]
    payload = Documented({"operator": operator}).attempt()
    assert payload["digest"] == before(operator.variables["BENTO"]) == "s3://ml-artifacts/search.tar"
    assert len(project.pipelines) == 2

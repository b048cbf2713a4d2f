"""The options that the documentation shows, run as they stand there."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import yaml

from airflow_provider_mlops.testing.gitlab import Artifact, GitlabStandIn, Scenario
from tests.wire.gitlab.conftest import Task, connect

SNIPPET = Path(__file__).parents[3] / "docs" / "snippets" / "gitlab_options.py"


def test_the_documented_options_run(monkeypatch):
    image = Artifact("image.json", json.dumps({"digest": "sha256:1"}))
    with GitlabStandIn(executor=Scenario({"publish": [image]})) as gitlab:
        connect(monkeypatch, gitlab)
        gitlab.project.add("images.yml", yaml.safe_dump({"publish": {"script": ["true"]}}))
        config = {
            "images": {"trigger": {"include": "images.yml", "strategy": "depend"}},
            "deploy to staging": {"script": ["true"], "rules": [{"when": "manual"}]},
        }
        gitlab.project.add(".gitlab-ci.yml", yaml.safe_dump(config))
        operator = runpy.run_path(str(SNIPPET))["deploy"]
        operator.poll_interval = 0.3
        payload = operator.execute(Task({}, task_id="deploy").context())
        assert payload["digest"] == "sha256:1"
        assert payload["jobs"] == {"success": 3}
        assert gitlab.pipelines()[0].job("deploy to staging").variables == {"REPLICAS": "2"}

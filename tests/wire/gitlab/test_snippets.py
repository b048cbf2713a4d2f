"""What the documentation shows of commits, merge requests, notices and events works as it stands there."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.triggers import GitlabPipelineEventTrigger
from tests.wire.gitlab.conftest import Task
from tests.wire.gitlab.test_notifiers import context

pytestmark = pytest.mark.skipif(not AIRFLOW_3, reason="the snippets are written for Airflow 3")
SNIPPETS = Path(__file__).parents[3] / "docs" / "snippets"


def test_a_release_of_values_is_committed_merged_and_shown(gitlab, monkeypatch):
    monkeypatch.setattr("airflow_provider_mlops.gitlab.merge_request_session._PIPELINE_LAG", 0.3)
    deploy, search = gitlab.add_project("ml/deploy"), gitlab.add_project("ml/search")
    tasks = runpy.run_path(str(SNIPPETS / "gitlab_release.py"))["release_values"]().task_dict
    commit, merge = tasks["commit"], tasks["merge"]
    image = {"params": {"image": "r.example.com/search@sha256:1"}}
    for name in ("actions", "message"):
        setattr(commit, name, commit.render_template(getattr(commit, name), image, SandboxedEnvironment()))
    made = commit.execute(Task({}, task_id="commit").context())

    class Merge(Task):
        def operator(self) -> Any:
            merge.source_branch, merge.poll_interval = made, 0.2
            return merge

    payload = Merge({}, task_id="merge").attempt()
    assert (payload["status"], payload["sha"]) == ("merged", made["sha"])
    content = deploy.repository.read("main", "services/search/image.yaml")
    assert content == b"image: r.example.com/search@sha256:1\n"
    for callback in (commit.on_success_callback, merge.on_execute_callback):
        for notifier in callback if isinstance(callback, list) else [callback]:
            notifier(context())
    (shown,) = search.commit_statuses
    assert shown.status == "running"


def test_the_watcher_is_one_of_ours():
    found = runpy.run_path(str(SNIPPETS / "gitlab_watcher.py"))
    (watcher,) = found["NIGHTLY"].watchers
    made = GitlabPipelineEventTrigger(project="ml/search", ref="main", statuses=["success"])
    assert (
        watcher.trigger.serialize()[1] if hasattr(watcher.trigger, "serialize") else watcher.trigger["kwargs"]
    ) == made.serialize()[1]
    assert found["after_pipeline"]().dag_id == "after_pipeline"

"""What tasks say of themselves in GitLab, called as Airflow calls callbacks."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.gitlab.hook import GitlabHook
from airflow_provider_mlops.notifiers import GitlabCommitStatusNotifier, GitlabMergeRequestCommentNotifier
from tests.wire.gitlab.test_merge_request import commit

PAGE = "http://airflow.example.com/dags/train/runs/r1/tasks/fit?try_number=1"


class Dag(SimpleNamespace):
    """What rendering asks of a DAG."""

    def get_template_env(self, *, force_sandboxed: bool = False) -> Any:
        from jinja2.sandbox import SandboxedEnvironment

        return SandboxedEnvironment()


def context(**ti: Any) -> Any:
    """A callback's context."""
    fields = {"dag_id": "train", "task_id": "fit", "run_id": "r1", "map_index": -1, "try_number": 1}
    run = SimpleNamespace(dag_id="train", run_id="r1")
    return {
        "ti": SimpleNamespace(**{**fields, "log_url": PAGE, **ti}),
        "dag": Dag(dag_id="train", render_template_as_native_obj=False, template_searchpath=[]),
        "dag_run": run,
        "params": {"sha": "main", "iid": 1},
    }


def status(**arguments: Any) -> GitlabCommitStatusNotifier:
    return GitlabCommitStatusNotifier(**{"project": "mlops/demo", "sha": "{{ params.sha }}", **arguments})


def comment(**arguments: Any) -> GitlabMergeRequestCommentNotifier:
    defaults = {
        "project": "mlops/demo",
        "merge_request": "{{ params.iid }}",
        "body": "try {{ ti.try_number }}",
    }
    return GitlabMergeRequestCommentNotifier(**{**defaults, **arguments})


def refused(notifier: Any, words: str) -> None:
    """Airflow 3.3 raises again what it has logged; its callers go on."""
    with pytest.raises(MlopsError, match=words):
        notifier.notify(context())


@pytest.fixture
def merge_request(gitlab: Any) -> Any:
    commit(gitlab, "work", "a.txt", "1")
    GitlabHook().client.projects.get("mlops/demo").mergerequests.create(
        {"source_branch": "work", "target_branch": "main", "title": "By hand"}
    )
    return gitlab.project.merge_requests[1]


def test_a_task_shows_its_life_on_the_commit(gitlab):
    callbacks = GitlabCommitStatusNotifier.callbacks(
        project="mlops/demo", sha="{{ params.sha }}", description="Run {{ ti.run_id }}"
    )
    seen = []
    for name in ("on_execute_callback", "on_failure_callback", "on_execute_callback", "on_success_callback"):
        callbacks[name](context())
        (shown,) = gitlab.project.commit_statuses
        seen.append(shown.status)
    assert seen == ["running", "failed", "running", "success"]
    assert (shown.name, shown.target_url, shown.description) == ("train.fit", PAGE, "Run r1")
    assert shown.sha == gitlab.project.repository.branches()["main"]


def test_a_retry_says_running_again_without_an_error(gitlab, caplog):
    for _ in range(2):
        status(state="running")(context())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert gitlab.requests.count("POST", "/statuses/") == 2


def test_other_refusals_are_errors(gitlab):
    refused(status(state="running", sha="0" * 40), "not found")
    refused(status(state="done", sha="main"), "done")
    refused(status(state="running", sha=""), "sha is empty")
    refused(status(state="running", sha="main", project="mlops/none"), "mlops/none")
    refused(status(state="running", sha="main", gitlab_conn_id="gitlab_none"), "gitlab_none")


def test_what_is_too_long_for_gitlab_is_cut(gitlab):
    status(state="failed", sha="main", description="x" * 300)(context(log_url="http://a/" + "y" * 300))
    (shown,) = gitlab.project.commit_statuses
    assert (len(shown.description), shown.target_url) == (255, None)


def test_a_whole_run_goes_by_the_dags_name(gitlab):
    whole = context()
    del whole["ti"]
    status(state="success", sha="main", target_url="http://airflow.example.com/dags/train")(whole)
    (shown,) = gitlab.project.commit_statuses
    assert (shown.name, shown.target_url) == ("train", "http://airflow.example.com/dags/train")


def test_a_retry_changes_its_earlier_comment(gitlab, merge_request):
    for number in (1, 2, 3):
        comment()(context(try_number=number))
    (note,) = merge_request.notes.values()
    assert note.body.startswith("try 3\n\n<!-- airflow-note: ")


def test_other_tasks_and_mapped_ones_comment_on_their_own(gitlab, merge_request):
    for ti in ({}, {"task_id": "other"}, {"map_index": 0}, {"map_index": 1}, {"map_index": 1}):
        comment()(context(**ti))
    assert len(merge_request.notes) == 4


def test_words_of_people_are_left_alone(gitlab, merge_request):
    comment()(context())
    (ours,) = merge_request.notes.values()
    ann = gitlab.store.add_user("ann")
    ours.author = ann
    for _ in range(2):
        comment(body="later")(context())
    assert [note.body.split("\n")[0] for note in merge_request.notes.values()] == ["try 1", "later"]


def test_it_takes_the_output_of_a_merge_request_task(gitlab, merge_request):
    comment(merge_request={"kind": "gitlab.merge_request", "iid": 1, "status": "merged"})(context())
    comment(merge_request={"kind": "gitlab.merge_request", "iid": None, "status": "unchanged"})(context())
    assert len(merge_request.notes) == 1
    refused(comment(merge_request="latest"), "latest")
    refused(comment(merge_request=99), "not found")


def test_tokens_get_into_no_comment_and_no_status(gitlab, merge_request, written):
    comment(body=f"see {gitlab.token} and {gitlab.trigger_token}")(context())
    status(state="failed", sha="main", description=f"token {gitlab.token}")(context())
    (note,) = merge_request.notes.values()
    (shown,) = gitlab.project.commit_statuses
    text = note.body + shown.description
    assert "***" in text
    for secret in (gitlab.token, gitlab.trigger_token):
        assert secret not in text + written()


@pytest.mark.skipif(not AIRFLOW_3, reason="notifiers can be awaited from Airflow 3 on")
def test_it_can_be_awaited_in_a_triggerer(gitlab):
    async def run() -> None:
        await status(state="failed", sha="main", name="deadline", context={"dag_run": {"dag_id": "train"}})

    asyncio.run(run())
    (shown,) = gitlab.project.commit_statuses
    assert (shown.name, shown.status) == ("deadline", "failed")

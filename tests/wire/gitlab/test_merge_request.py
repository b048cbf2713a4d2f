"""A merge request as a task: opened or adopted, never two, and merged by whom the author says."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    RemoteObjectNotFound,
)
from airflow_provider_mlops.external_job.adapter import JobHandle
from airflow_provider_mlops.gitlab.errors import (
    BranchNotFound,
    MergeRequestClosed,
    MergeRequestConflict,
    MergeRequestNotMergeable,
    MergeRequestPipelineFailed,
    SourceBranchMoved,
)
from airflow_provider_mlops.gitlab.hook import GitlabHook
from airflow_provider_mlops.operators import GitlabMergeRequestOperator
from airflow_provider_mlops.testing.gitlab import Fail, Gate, GitlabStandIn, Log, Scenario
from tests.wire.gitlab.conftest import Task, connect
from tests.wire.gitlab.test_commit import CommitTask

waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])
OPENING = r"/merge_requests$"
MERGING = r"/merge$"


class MergeTask(Task):
    """Attempts of one merge request task."""

    def operator(self) -> Any:
        defaults = {"project": "mlops/demo", "source_branch": "work", "poll_interval": 0.2}
        return GitlabMergeRequestOperator(task_id=self.task_id, **{**defaults, **self.arguments})


@pytest.fixture
def branch(gitlab: GitlabStandIn) -> str:
    """A branch with one commit; gives its sha."""
    return commit(gitlab, "work", "a.txt", "1")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlops.gitlab.merge_request_session._PIPELINE_LAG", 0.3)
    monkeypatch.setattr("airflow_provider_mlops.external_job.pacing._LONGEST_BACKOFF", 0.3)


def commit(gitlab: GitlabStandIn, branch: str, path: str, content: str) -> str:
    repository = gitlab.project.repository
    if branch not in repository.branches():
        repository.git("branch", branch, "main")
    return repository.add(path, content, branch=branch)


def person() -> Any:
    return GitlabHook().client.projects.get("mlops/demo")


def requests_of(gitlab: GitlabStandIn) -> list[Any]:
    return list(gitlab.project.merge_requests.values())


def when(happened: Callable[[], Any], call: Callable[..., Any], *arguments: Any) -> None:
    """Call something from another thread as soon as the condition holds."""

    def wait() -> None:
        while not happened():
            time.sleep(0.02)
        call(*arguments)

    threading.Thread(target=wait, daemon=True).start()


def watched(gitlab: GitlabStandIn, looks: int = 2, iid: int = 1) -> Callable[[], bool]:
    """Whether the task has looked at the merge request so often."""
    return lambda: gitlab.requests.count("GET", rf"/merge_requests/{iid}$") >= looks


@waiting_or_deferred
def test_it_waits_until_a_person_merges(gitlab, branch, deferrable, task_log):
    when(watched(gitlab), lambda: person().mergerequests.get(1).merge())
    payload = MergeTask({"title": "Release v2", "deferrable": deferrable}).attempt()
    (request,) = requests_of(gitlab)
    assert payload == {
        "schema": 1,
        "kind": "gitlab.merge_request",
        "state": "succeeded",
        "status": "merged",
        "url": f"{gitlab.url}/mlops/demo/-/merge_requests/1",
        "project": "mlops/demo",
        "source_branch": "work",
        "target_branch": "main",
        "iid": 1,
        "sha": branch,
        "merge_commit_sha": request.merge_commit_sha,
    }
    assert request.title == "Release v2"
    assert gitlab.requests.count("PUT", MERGING) == 1
    assert any("waits for its merge (mergeable)" in line for line in task_log())


@waiting_or_deferred
def test_a_commits_output_is_merged_at_once_and_nothing_else(gitlab, deferrable):
    made = CommitTask({"branch": "release/v2", "start_branch": "main"}).attempt()
    payload = MergeTask(
        {"source_branch": made, "project": None, "merge": "now", "remove_source_branch": True, "deferrable": deferrable}
    ).attempt()  # fmt: skip
    assert (payload["status"], payload["sha"]) == ("merged", made["sha"])
    assert gitlab.project.repository.read("main", "values.yaml") == b"image: v2\n"
    assert "release/v2" not in gitlab.project.repository.branches()
    assert gitlab.requests.count("PUT", MERGING) == 1
    again = CommitTask({"branch": "release/v2", "start_branch": "main"}, task_id="next_day").attempt()
    unchanged = MergeTask({"source_branch": again["branch"], "merge": "now"}, task_id="next").attempt()
    assert (unchanged["status"], unchanged["iid"]) == ("unchanged", None)
    assert unchanged["sha"] == payload["merge_commit_sha"]
    assert len(requests_of(gitlab)) == 1


def test_the_author_says_what_it_looks_like(gitlab, branch):
    gitlab.store.add_user("ann")
    MergeTask(
        {
            "description": "Please **review**.",
            "labels": ["release", "airflow"],
            "reviewers": ["ann"],
            "assignees": ["airflow"],
            "squash": True,
            "wait_for_completion": False,
        }
    ).attempt()
    (request,) = requests_of(gitlab)
    assert request.description.startswith("Please **review**.\n\n<!-- airflow-job: af-")
    assert request.labels == ["release", "airflow"]
    assert [user.username for user in request.reviewers] == ["ann"]
    assert [user.username for user in request.assignees] == ["airflow"]
    assert request.squash
    assert request.title == "Merge work into main"


def test_a_squash_names_the_squashed_commit(gitlab, branch):
    payload = MergeTask({"squash": True, "merge": "now"}).attempt()
    assert payload["merge_commit_sha"] == gitlab.project.repository.branches()["main"]
    assert payload["merge_commit_sha"] != branch


@waiting_or_deferred
@pytest.mark.parametrize("pipeline", ["success", "failure"])
def test_checks_are_waited_for(monkeypatch, deferrable, pipeline):
    scenario = Scenario({"test": [Gate("go"), Log("tested\n") if pipeline == "success" else Fail()]})
    with GitlabStandIn(executor=scenario) as gitlab:
        connect(monkeypatch, gitlab)
        sha = commit(gitlab, "work", "a.txt", "1")
        started = person().pipelines.create({"ref": "work"})
        when(watched(gitlab, 3), scenario.release, "go")
        task = MergeTask({"merge": "when_checks_pass", "deferrable": deferrable})
        if pipeline == "success":
            assert task.attempt()["sha"] == sha
            assert gitlab.pipelines()[0].status == "success"
        else:
            with pytest.raises(MergeRequestPipelineFailed, match=f"pipeline {started.id}") as raised:
                task.attempt()
            assert isinstance(raised.value, AirflowFailException)
            assert raised.value.url == started.web_url
            assert requests_of(gitlab)[0].state == "opened"


def test_approvals_are_waited_for(gitlab, branch):
    gitlab.knobs.merge_statuses[1] = "not_approved"
    when(watched(gitlab), gitlab.knobs.merge_statuses.clear)
    assert MergeTask({"merge": "when_checks_pass"}).attempt()["status"] == "merged"


def test_now_does_not_wait_for_approvals(gitlab, branch):
    gitlab.knobs.merge_statuses[1] = "not_approved"
    with pytest.raises(MergeRequestNotMergeable, match="not_approved"):
        MergeTask({"merge": "now"}).attempt()
    assert gitlab.requests.count("PUT", MERGING) == 0


def test_gitlab_may_need_a_while_to_see_whether_it_can_be_merged(gitlab, branch):
    gitlab.knobs.merge_statuses[1] = "checking"
    when(watched(gitlab), gitlab.knobs.merge_statuses.clear)
    gitlab.faults.status(405, method="PUT", path=MERGING, times=2)
    assert MergeTask({"merge": "now"}).attempt()["status"] == "merged"


def test_a_merge_that_is_refused_for_good_ends_with_gitlabs_words(gitlab, branch):
    gitlab.faults.status(
        422, method="PUT", path=MERGING, times=None, body={"message": "Branch cannot be merged"}
    )
    with pytest.raises(MergeRequestNotMergeable, match="Branch cannot be merged"):
        MergeTask({"merge": "now"}).attempt()


def test_an_account_that_may_not_merge_is_told_so(gitlab, branch):
    gitlab.faults.status(401, method="PUT", path=MERGING, body={"message": "401 Unauthorized"})
    with pytest.raises(PermissionDenied, match="may not merge !1 into 'main'") as raised:
        MergeTask({"merge": "now"}).attempt()
    assert isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("merge", ["now", "when_checks_pass"])
def test_a_conflict_is_named(gitlab, branch, merge):
    commit(gitlab, "main", "a.txt", "2")
    with pytest.raises(MergeRequestConflict, match="work into main") as raised:
        MergeTask({"merge": merge}).attempt()
    assert isinstance(raised.value, AirflowFailException)
    assert requests_of(gitlab)[0].state == "opened"


@waiting_or_deferred
def test_a_closed_one_fails_and_only_clear_opens_another(gitlab, branch, deferrable):
    def close() -> None:
        request = person().mergerequests.get(1)
        request.state_event = "close"
        request.save()

    when(watched(gitlab), close)
    task = MergeTask({"deferrable": deferrable})
    with pytest.raises(MergeRequestClosed, match="by Airflow") as raised:
        task.attempt(1)
    assert isinstance(raised.value, AirflowFailException)
    with pytest.raises(MergeRequestClosed):
        task.attempt(2)
    assert len(requests_of(gitlab)) == 1
    when(watched(gitlab, 2, 2), lambda: person().mergerequests.get(2).merge())
    assert task.attempt(3, max_tries=4)["iid"] == 2


def test_a_commit_that_came_in_later_is_not_merged(gitlab, branch):
    theirs = commit(gitlab, "work", "b.txt", "unseen")
    with pytest.raises(SourceBranchMoved, match=theirs[:12]) as raised:
        MergeTask({"merge": "now", "sha": branch}).attempt()
    assert isinstance(raised.value, AirflowFailException)
    assert gitlab.requests.count("PUT", MERGING) == 0


def test_a_push_between_the_look_and_the_merge_is_looked_at_again(gitlab, branch):
    merging = gitlab.faults.slow(2, method="PUT", path=MERGING)
    when(lambda: merging.hits, commit, gitlab, "work", "b.txt", "late")
    payload = MergeTask({"merge": "now"}).attempt()
    assert payload["sha"] != branch
    assert gitlab.requests.count("PUT", MERGING) == 2


@pytest.mark.parametrize("fault", ["reset", "502"])
def test_a_lost_answer_leads_to_one_merge_request(gitlab, branch, fault):
    for path in (OPENING, MERGING):
        if fault == "reset":
            gitlab.faults.reset(method=None if path == MERGING else "POST", path=path, after=True)
        else:
            gitlab.faults.status(502, method="POST" if path == OPENING else "PUT", path=path, after=True)
    assert MergeTask({"merge": "now"}).attempt()["status"] == "merged"
    assert len(requests_of(gitlab)) == 1


def test_one_that_was_opened_at_the_same_moment_is_adopted(gitlab, branch):
    opening = gitlab.faults.slow(2, method="POST", path=OPENING)
    when(
        lambda: opening.hits,
        lambda: person().mergerequests.create(
            {"source_branch": "work", "target_branch": "main", "title": "By hand", "description": "Mine"}
        ),
    )
    payload = MergeTask({"merge": "now"}).attempt()
    (request,) = requests_of(gitlab)
    assert (payload["iid"], request.title, request.description) == (1, "By hand", "Mine")


def test_a_persons_one_is_adopted_as_it_is(gitlab, branch):
    person().mergerequests.create({"source_branch": "work", "target_branch": "main", "title": "By hand"})
    payload = MergeTask({"merge": "now", "title": "Mine"}).attempt()
    assert payload["iid"] == 1
    assert requests_of(gitlab)[0].title == "By hand"


def test_the_next_run_takes_over_what_an_earlier_one_left_open(gitlab, branch):
    MergeTask({"title": "v1", "labels": ["one"], "wait_for_completion": False}, task_id="monday").attempt()
    commit(gitlab, "work", "b.txt", "2")
    payload = MergeTask({"title": "v2", "labels": ["two"], "merge": "now"}, task_id="tuesday").attempt()
    (request,) = requests_of(gitlab)
    assert (payload["iid"], request.title, request.labels) == (1, "v2", ["one", "two"])


def test_clear_goes_on_with_the_one_that_is_open(gitlab, branch):
    task = MergeTask({"wait_for_completion": False, "close_on_kill": True})
    task.attempt(1)
    assert task.attempt(3, max_tries=4)["iid"] == 1
    assert requests_of(gitlab)[0].state == "opened"


@pytest.mark.parametrize("removed", [False, True])
def test_a_retry_finds_what_was_merged_while_the_worker_was_dead(gitlab, branch, removed):
    task = MergeTask({"wait_for_completion": False})
    task.attempt(1)
    person().mergerequests.get(1).merge(should_remove_source_branch=removed)
    for try_number, max_tries in ((2, 2), (4, 5)):
        payload = MergeTask({}).attempt(try_number, max_tries)
        assert (payload["iid"], payload["status"]) == (1, "merged")
    assert len(requests_of(gitlab)) == 1


def test_new_commits_after_a_merge_open_another(gitlab, branch):
    MergeTask({"merge": "now"}, task_id="monday").attempt()
    commit(gitlab, "work", "b.txt", "2")
    assert MergeTask({"merge": "now"}, task_id="tuesday").attempt()["iid"] == 2


def test_nothing_to_merge_opens_nothing(gitlab):
    gitlab.project.repository.git("branch", "work", "main")
    payload = MergeTask({"merge": "now"}).attempt()
    assert (payload["status"], payload["iid"], payload["url"]) == ("unchanged", None, None)
    assert requests_of(gitlab) == []


@waiting_or_deferred
def test_at_the_deadline_it_stays_open(gitlab, branch, deferrable):
    with pytest.raises(DeadlineExceeded, match="left running"):
        MergeTask({"timeout": 1, "deferrable": deferrable}).attempt()
    assert requests_of(gitlab)[0].state == "opened"


@pytest.mark.parametrize("close", [False, True])
def test_ending_the_task_closes_it_only_if_asked(gitlab, branch, close):
    task = MergeTask({"wait_for_completion": False, "close_on_kill": close})
    task.attempt()
    operator = task.operator()
    assert (operator.cancel_on_kill, operator.cancel_on_timeout) == (close, False)
    adapter = operator.adapter({})
    handle = JobHandle.from_json(task.xcoms[0]["external_job"]["handle"])
    connections = {"gitlab_default": connection_info("gitlab_default")}

    async def cancel() -> None:
        async with adapter.session(connections) as session:
            await session.cancel(handle)
            await session.cancel(handle)

    asyncio.run(cancel())
    assert requests_of(gitlab)[0].state == ("closed" if close else "opened")


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"source_branch": "none"}, BranchNotFound, "no branch 'none'"),
        ({"target_branch": "none"}, BranchNotFound, "no branch 'none'"),
        ({"source_branch": ""}, InvalidArgument, "source_branch is empty"),
        ({"source_branch": {"kind": "gitlab.pipeline"}}, InvalidArgument, "gitlab.pipeline"),
        ({"target_branch": ""}, InvalidArgument, "target_branch"),
        ({"merge": "always"}, InvalidArgument, "always"),
        ({"labels": "release"}, InvalidArgument, "labels"),
        ({"reviewers": ["nobody"]}, InvalidArgument, "nobody"),
        ({"project": None}, InvalidArgument, "project"),
        ({"merge": "now", "wait_for_completion": False}, InvalidArgument, "wait_for_completion"),
        ({"project": "mlops/none"}, RemoteObjectNotFound, "mlops/none"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_effect(gitlab, branch, arguments, kind, words):
    with pytest.raises(kind) as raised:
        MergeTask(arguments).attempt()
    assert words in raised.value.message
    assert isinstance(raised.value, AirflowFailException)
    assert requests_of(gitlab) == []


def test_a_connection_without_an_access_token_is_named(gitlab, monkeypatch):
    connect(monkeypatch, gitlab, password=None)
    with pytest.raises(ConnectionIncomplete, match="access token"):
        MergeTask({}).attempt()


def test_the_token_is_nowhere(gitlab, branch, written):
    when(watched(gitlab), lambda: person().mergerequests.get(1).merge())
    task = MergeTask({"deferrable": True})
    payload = task.attempt()
    assert task.triggers
    (request,) = requests_of(gitlab)
    shown = [json.dumps([payload, task.xcoms, task.triggers]), request.description, written()]
    assert all(gitlab.token not in text for text in shown)

"""A commit as a task: made once, locked against others, and not at all where nothing changes."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import CredentialsRejected, InvalidArgument, SourceEmpty, SubmitUncertain
from airflow_provider_mlops.gitlab.commit_plan import KEY_TRAILER, FileAction, FileVerb
from airflow_provider_mlops.gitlab.errors import (
    BranchNotFound,
    BranchProtected,
    FileChanged,
    FileConflict,
    FileMissing,
)
from airflow_provider_mlops.gitlab.hook import GitlabHook
from airflow_provider_mlops.operators import GitlabCommitOperator
from airflow_provider_mlops.testing.gitlab import GitlabStandIn
from tests.wire.gitlab.conftest import Task

COMMITS = r"/repository/commits$"
VALUES = {"action": "write", "file_path": "values.yaml", "content": "image: v2\n"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlops.gitlab.repository._PAUSES", (0.05, 0.05, 0.1, 0.2))


class CommitTask(Task):
    """Attempts of one commit task."""

    def operator(self) -> Any:
        defaults = {"project": "mlops/demo", "branch": "main", "message": "Deploy v2", "actions": [VALUES]}
        return GitlabCommitOperator(task_id=self.task_id, **{**defaults, **self.arguments})


def run(**arguments: Any) -> dict[str, Any]:
    return CommitTask(arguments).attempt()


def shas(gitlab: GitlabStandIn, branch: str = "main") -> list[str]:
    return gitlab.project.repository.git("log", "--format=%H", branch).decode().split()


def read(gitlab: GitlabStandIn, path: str, ref: str = "main") -> bytes | None:
    return gitlab.project.repository.read(ref, path)


def test_several_files_change_in_one_commit(gitlab, tmp_path):
    repository = gitlab.project.repository
    for name, content in (("old.txt", "moved"), ("gone.txt", "x"), ("run.sh", "#!/bin/sh\n"), ("same", "s")):
        repository.add(name, content)
    before = shas(gitlab)
    (tmp_path / "model.bin").write_bytes(b"\0\xff\r\n")
    payload = run(
        actions=[
            VALUES,
            {"action": "create", "file_path": "m/model.bin", "content_uri": str(tmp_path / "model.bin")},
            {"action": "update", "file_path": "same", "content": "s"},
            {"action": "move", "file_path": "new/ü.txt", "previous_path": "old.txt"},
            {"action": "delete", "file_path": "gone.txt"},
            {"action": "chmod", "file_path": "run.sh", "execute_filemode": True},
        ],
        message="Deploy v2\n\nRelease-Id: 7",
    )
    (sha,) = set(shas(gitlab)) - set(before)
    assert payload == {
        "schema": 1,
        "kind": "gitlab.commit",
        "project": "mlops/demo",
        "branch": "main",
        "sha": sha,
        "url": payload["url"],
        "changed": True,
        "paths": ["values.yaml", "m/model.bin", "same", "new/ü.txt", "gone.txt", "run.sh"],
    }
    assert sha in payload["url"]
    assert read(gitlab, "values.yaml") == b"image: v2\n"
    assert read(gitlab, "m/model.bin") == b"\0\xff\r\n"
    tree = repository.tree(sha)
    assert set(tree) == {".gitlab-ci.yml", "values.yaml", "m/model.bin", "same", "new/ü.txt", "run.sh"}
    assert tree["run.sh"].mode == "100755"
    message = repository.commit_of(sha).message
    assert message.startswith("Deploy v2\n\nRelease-Id: 7\n" + KEY_TRAILER)


def test_nothing_to_change_is_no_commit(gitlab):
    first = run()
    again = CommitTask({}, task_id="next_day").attempt()
    assert again == {**first, "changed": False}
    assert gitlab.requests.count("POST", COMMITS) == 1


def test_a_branch_is_begun_where_it_is_needed(gitlab):
    payload = run(branch="release/v2", start_branch="main")
    assert (payload["branch"], payload["changed"]) == ("release/v2", True)
    assert read(gitlab, "values.yaml", "release/v2") == b"image: v2\n"
    assert read(gitlab, "values.yaml") is None
    more = CommitTask(
        {"branch": "release/v2", "start_branch": "main", "actions": [{**VALUES, "content": "image: v3\n"}]},
        task_id="later",
    ).attempt()
    assert shas(gitlab, "release/v2")[:2] == [more["sha"], payload["sha"]]


def test_a_branch_is_not_begun_where_nothing_changes(gitlab):
    gitlab.project.add("values.yaml", "image: v2\n")
    payload = run(branch="release/v2", start_branch="main")
    assert (payload["branch"], payload["changed"], payload["sha"]) == ("main", False, shas(gitlab)[0])
    assert "release/v2" not in gitlab.project.repository.branches()


@pytest.mark.parametrize("fault", ["reset", "502"])
def test_a_lost_answer_leads_to_one_commit(gitlab, fault):
    before = len(shas(gitlab))
    if fault == "reset":
        gitlab.faults.reset(method="POST", path=COMMITS, after=True)
    else:
        gitlab.faults.status(502, method="POST", path=COMMITS, after=True)
    payload = run()
    assert shas(gitlab)[0] == payload["sha"]
    assert payload["changed"]
    assert len(shas(gitlab)) == before + 1


def test_a_request_that_never_arrived_is_sent_again(gitlab):
    gitlab.faults.reset(method="POST", path=COMMITS, times=2)
    assert run()["changed"]


def test_a_gitlab_that_keeps_silent_leaves_it_to_the_next_try(gitlab):
    task = CommitTask({})
    gitlab.faults.reset(method="POST", path=COMMITS, after=True)
    gitlab.faults.status(502, method="GET", path=r"/repository/commits\?", times=None, skip=1)
    with pytest.raises(Exception, match="502") as raised:
        task.attempt(1)
    assert not isinstance(raised.value, AirflowFailException)
    gitlab.faults.clear()
    payload = task.attempt(2)
    assert shas(gitlab)[0] == payload["sha"]
    assert payload["changed"]
    assert gitlab.requests.count("POST", COMMITS) == 1


def test_requests_that_never_arrive_end_in_an_uncertain_submission(gitlab):
    gitlab.faults.reset(method="POST", path=COMMITS, times=None)
    with pytest.raises(SubmitUncertain, match="branch 'main'") as raised:
        run()
    assert not isinstance(raised.value, AirflowFailException)


def test_a_retry_does_not_overrule_who_put_the_file_back(gitlab):
    gitlab.project.add("values.yaml", "image: v1\n")
    task = CommitTask({})
    first = task.attempt(1)
    gitlab.project.repository.add("values.yaml", "image: v1\n", message="Revert")
    again = task.attempt(2)
    assert again == first
    assert read(gitlab, "values.yaml") == b"image: v1\n"
    cleared = task.attempt(3, max_tries=4)
    assert cleared["sha"] != first["sha"]
    assert read(gitlab, "values.yaml") == b"image: v2\n"


def test_a_retry_after_the_branch_was_merged_and_removed_is_done(gitlab):
    task = CommitTask({"branch": "release/v2", "start_branch": "main"})
    first = task.attempt(1)
    repository = gitlab.project.repository
    repository.git("update-ref", "refs/heads/main", first["sha"])
    repository.git("update-ref", "-d", "refs/heads/release/v2")
    assert task.attempt(2) == {**first, "branch": "main"}
    assert "release/v2" not in repository.branches()


def test_an_outdated_lock_names_the_file_and_who_changed_it(gitlab):
    known = gitlab.project.add("values.yaml", "image: v0\n")
    theirs = gitlab.project.repository.add("values.yaml", "image: v1\n", message="Hotfix by hand")
    with pytest.raises(FileConflict, match=r"values\.yaml has changed since") as raised:
        run(actions=[{**VALUES, "last_commit_id": known}])
    assert "Stand-in" in raised.value.message
    assert "Hotfix by hand" in raised.value.message
    assert raised.value.commit_id == theirs
    assert isinstance(raised.value, AirflowFailException)
    assert read(gitlab, "values.yaml") == b"image: v1\n"
    assert run(actions=[{**VALUES, "last_commit_id": theirs}])["changed"]


@pytest.mark.parametrize(
    "words",
    [
        "The file has changed since you started editing it: values.yaml",
        "You are attempting to update a file that has changed since you started editing it.",
    ],
)
def test_a_change_at_the_same_moment_is_named_and_the_next_try_looks_again(gitlab, words):
    gitlab.project.add("values.yaml", "image: v0\n")
    task = CommitTask({})
    gitlab.faults.status(400, method="POST", path=COMMITS, body={"message": words})
    with pytest.raises(FileChanged, match=r"values\.yaml") as raised:
        task.attempt(1)
    assert not isinstance(raised.value, AirflowFailException)
    assert task.attempt(2)["changed"]


def test_a_real_race_is_lost_without_overwriting(gitlab):
    gitlab.project.add("values.yaml", "image: v0\n")
    sending = gitlab.faults.slow(2, method="POST", path=COMMITS)

    def be_faster() -> None:
        while not sending.hits:
            time.sleep(0.02)
        gitlab.project.repository.add("values.yaml", "image: v1\n", message="Somebody was faster")

    other = threading.Thread(target=be_faster)
    other.start()
    with pytest.raises(FileChanged, match="Somebody was faster"):
        run()
    other.join()
    assert read(gitlab, "values.yaml") == b"image: v1\n"


def test_others_may_commit_other_files_at_the_same_moment(gitlab):
    moved = {"message": "Could not update refs/heads/main. Please refresh and try again."}
    gitlab.faults.status(400, method="POST", path=COMMITS, body=moved)
    assert run()["changed"]


def test_four_at_once_on_one_branch_all_succeed(gitlab):
    made: list[str] = []

    def one(number: int) -> None:
        commit = (
            GitlabHook()
            .repository("mlops/demo")
            .commit(
                branch="work",
                start_branch="main",
                message=f"Add f{number}",
                actions=[FileAction(FileVerb.CREATE, f"f{number}", b"x")],
                key=f"af-{number:016x}",
                since=datetime.now(UTC) - timedelta(minutes=1),
            )
        )
        made.append(commit.sha)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(made) == set(shas(gitlab, "work")) - set(shas(gitlab))
    assert len(made) == 4


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"branch": "none"}, BranchNotFound, "no branch 'none'"),
        ({"branch": "none", "start_branch": "nor this"}, BranchNotFound, "nor this"),
        ({"actions": [{**VALUES, "action": "update", "file_path": "a/b"}]}, FileMissing, "a/b is not there"),
        (
            {"actions": [{**VALUES, "action": "create", "file_path": ".gitlab-ci.yml"}]},
            FileConflict,
            ".gitlab-ci.yml is already there with other content",
        ),
        ({"actions": [{"action": "create", "file_path": "a", "content_uri": "/none/x"}]}, SourceEmpty, "/none/x"),
        ({"message": " "}, InvalidArgument, "message"),
        ({"branch": ""}, InvalidArgument, "branch"),
        ({"actions": []}, InvalidArgument, "actions"),
        ({"project": "https://gitlab.example.com/a/b"}, InvalidArgument, "project"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_any_effect(gitlab, arguments, kind, words):
    before = gitlab.project.repository.branches()
    with pytest.raises(kind) as raised:
        run(**arguments)
    assert words in raised.value.message
    assert isinstance(raised.value, AirflowFailException)
    assert gitlab.project.repository.branches() == before
    assert gitlab.requests.count("POST") == 0


def test_a_protected_branch_is_named(gitlab):
    gitlab.faults.status(
        400,
        method="POST",
        path=COMMITS,
        body={"message": "You are not allowed to push into this branch"},
    )
    with pytest.raises(BranchProtected, match="not allowed to push") as raised:
        run()
    assert isinstance(raised.value, AirflowFailException)


def test_the_token_is_nowhere(gitlab, written):
    task = CommitTask({})
    payload = task.attempt(1)
    gitlab.faults.unauthorized(path="/repository/branches")
    with pytest.raises(CredentialsRejected) as raised:
        CommitTask({}, task_id="other").attempt()
    rendered = {name: getattr(task.operator(), name) for name in GitlabCommitOperator.template_fields}
    shown = [json.dumps([payload, task.xcoms, rendered]), str(raised.value), written()]
    message = gitlab.project.repository.commit_of(payload["sha"]).message
    assert all(gitlab.token not in text for text in [*shown, message])


def test_the_hook_serves_own_tasks(gitlab):
    repository = GitlabHook().repository("mlops/demo")
    run()
    assert repository.content("values.yaml", "main") == b"image: v2\n"
    assert repository.branch("none") is None
    assert repository.file("none", "main") is None

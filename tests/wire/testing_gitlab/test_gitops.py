"""Commits, files, branches, merge requests and commit statuses."""

from __future__ import annotations

import base64

import gitlab
import pytest

from airflow_provider_mlops.testing.gitlab import Fail, Gate, Scenario


@pytest.fixture
def server(start):
    return start(Scenario({"train": []}))


@pytest.fixture
def project(server, connect):
    return connect(server)


def _commit(project, *actions, branch="main", **keywords):
    return project.commits.create(
        {"branch": branch, "commit_message": "Change", "actions": list(actions), **keywords}
    )


def test_all_actions_of_a_commit(server, project):
    _commit(
        project,
        {"action": "create", "file_path": "a.txt", "content": "one"},
        {
            "action": "create",
            "file_path": "b.bin",
            "content": base64.b64encode(b"\0\xff").decode(),
            "encoding": "base64",
        },
        {"action": "create", "file_path": "run.sh", "content": "x"},
    )
    made = _commit(
        project,
        {"action": "update", "file_path": "a.txt", "content": "two"},
        {"action": "move", "file_path": "c.bin", "previous_path": "b.bin"},
        {"action": "chmod", "file_path": "run.sh", "execute_filemode": True},
    )

    repository = server.project.repository
    tree = repository.tree(made.id)
    assert set(tree) == {".gitlab-ci.yml", "a.txt", "c.bin", "run.sh"}
    assert tree["run.sh"].mode == "100755"
    assert project.files.raw("c.bin", ref="main") == b"\0\xff"
    assert (repository.folder / "a.txt").read_text() == "two"
    assert not (repository.folder / "b.bin").exists()
    file = project.files.get("a.txt", ref="main")
    assert (file.decode(), file.last_commit_id) == (b"two", made.id)
    assert project.files.head("a.txt", ref="main")["x-gitlab-last-commit-id"] == made.id
    _commit(project, {"action": "delete", "file_path": "a.txt"})
    with pytest.raises(gitlab.GitlabGetError, match="404 File Not Found"):
        project.files.raw("a.txt", ref="main")


def test_last_commit_id_is_an_optimistic_lock_with_two_wordings(project):
    old = _commit(project, {"action": "create", "file_path": "a", "content": "1"}).id
    _commit(project, {"action": "update", "file_path": "a", "content": "2", "last_commit_id": old})

    with pytest.raises(
        gitlab.GitlabCreateError, match="The file has changed since you started editing it: a"
    ):
        _commit(project, {"action": "update", "file_path": "a", "content": "3", "last_commit_id": old})
    with pytest.raises(
        gitlab.GitlabUpdateError, match="You are attempting to update a file that has changed"
    ):
        project.files.update(
            "a", {"branch": "main", "content": "3", "commit_message": "m", "last_commit_id": old}
        )
    assert project.files.raw("a", ref="main") == b"2"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"action": "create", "file_path": ".gitlab-ci.yml", "content": ""}, "already exists"),
        ({"action": "update", "file_path": "gone", "content": ""}, "doesn't exist"),
        ({"action": "delete", "file_path": "gone"}, "doesn't exist"),
        ({"action": "explode", "file_path": "gone"}, "does not have a valid value"),
    ],
)
def test_a_refused_action_changes_nothing(server, project, action, message):
    before = server.project.repository.branches()

    with pytest.raises(gitlab.GitlabCreateError, match=message) as refused:
        _commit(project, {"action": "create", "file_path": "ok", "content": ""}, action)

    assert refused.value.response_code == 400
    assert server.project.repository.branches() == before


def test_a_commit_may_start_a_branch_but_not_take_over_one(project):
    create = {"action": "create", "file_path": "a", "content": "1"}
    made = _commit(project, create, branch="work", start_branch="main")

    assert project.branches.get("work").commit["id"] == made.id
    with pytest.raises(gitlab.GitlabCreateError, match="already exists"):
        _commit(project, create, branch="work", start_branch="main")
    with pytest.raises(gitlab.GitlabCreateError, match="when you are on a branch"):
        _commit(project, create, branch="other")


def test_local_work_in_the_repository_survives_a_commit_through_the_api(server, project):
    folder = server.project.repository.folder
    (folder / "draft.txt").write_text("mine")

    _commit(project, {"action": "create", "file_path": "theirs.txt", "content": "x"})

    assert (folder / "draft.txt").read_text() == "mine"
    assert server.project.repository.git("status", "--porcelain") == b"?? draft.txt\n"


def _merge_request(project, source="work"):
    return project.mergerequests.create(
        {"source_branch": source, "target_branch": "main", "title": "Release"}
    )


def test_a_merge_request_from_creation_to_merge(server, project):
    head = _commit(
        project, {"action": "create", "file_path": "a", "content": "1"}, branch="work", start_branch="main"
    ).id
    _commit(project, {"action": "create", "file_path": "b", "content": "1"})
    request = _merge_request(project)
    assert (request.state, request.sha, request.detailed_merge_status) == ("opened", head, "mergeable")

    with pytest.raises(gitlab.GitlabCreateError, match="already exists for this source branch: !1") as twice:
        _merge_request(project)
    assert twice.value.response_code == 409
    assert [row.iid for row in project.mergerequests.list(state="opened", source_branch="work")] == [1]
    with pytest.raises(gitlab.GitlabMRClosedError, match="SHA does not match"):
        request.merge(sha="0" * 40)

    request.merge(sha=head, should_remove_source_branch=True)

    merged = project.mergerequests.get(1)
    assert (merged.state, merged.sha) == ("merged", head)
    assert set(server.project.repository.tree("main")) == {".gitlab-ci.yml", "a", "b"}
    assert [branch.name for branch in project.branches.list()] == ["main"]
    with pytest.raises(gitlab.GitlabMRClosedError) as closed:
        merged.merge()
    assert closed.value.response_code == 405


def test_a_conflict_cannot_be_merged(project):
    _commit(
        project, {"action": "create", "file_path": "a", "content": "1"}, branch="work", start_branch="main"
    )
    _commit(project, {"action": "create", "file_path": "a", "content": "2"})
    request = _merge_request(project)

    assert (request.has_conflicts, request.detailed_merge_status) == (True, "conflict")
    with pytest.raises(gitlab.GitlabError) as refused:
        request.merge()
    assert refused.value.response_code == 422


def test_a_merge_request_needs_its_branches(project):
    with pytest.raises(gitlab.GitlabCreateError) as refused:
        _merge_request(project, "nowhere")
    assert refused.value.response_code == 422


def test_commit_statuses_refuse_the_same_running_state_twice(server, project):
    commit = project.commits.get("main")

    commit.statuses.create(
        {"state": "running", "name": "airflow", "target_url": "http://airflow.example/run"}
    )
    with pytest.raises(gitlab.GitlabCreateError, match="Cannot transition status via :run from :running"):
        commit.statuses.create({"state": "running", "name": "airflow"})
    commit.statuses.create({"state": "success", "name": "airflow"})
    commit.statuses.create({"state": "success", "name": "airflow"})

    [status] = commit.statuses.list()
    assert (status.status, status.target_url) == ("success", "http://airflow.example/run")


def _branch_with_pipeline(server, project):
    head = _commit(
        project, {"action": "create", "file_path": "a", "content": "1"}, branch="work", start_branch="main"
    ).id
    return head, project.pipelines.create({"ref": "work"})


@pytest.mark.parametrize("flag", ["auto_merge", "merge_when_pipeline_succeeds"])
@pytest.mark.parametrize(("end", "state"), [([], "merged"), ([Fail()], "opened")])
def test_a_merge_waits_for_the_pipeline_of_the_source_branch(start, connect, flag, end, state):
    scenario = Scenario({"train": [Gate("go"), *end]})
    server = start(scenario)
    project = connect(server)
    head, pipeline = _branch_with_pipeline(server, project)
    request = _merge_request(project)
    assert [row.id for row in request.pipelines.list()] == [pipeline.id]
    assert request.head_pipeline["id"] == pipeline.id
    scenario.wait_reached("go")

    request.merge(**{flag: True}, sha=head)
    waiting = project.mergerequests.get(1)
    assert (waiting.state, waiting.merge_when_pipeline_succeeds) == ("opened", True)
    scenario.release("go")
    server.wait(pipeline.id)

    assert project.mergerequests.get(1).state == state
    assert not project.mergerequests.get(1).merge_when_pipeline_succeeds


def test_a_waiting_merge_can_be_called_off_and_a_finished_pipeline_is_not_waited_for(start, connect):
    scenario = Scenario({"train": [Gate("go")]})
    server = start(scenario)
    project = connect(server)
    _, pipeline = _branch_with_pipeline(server, project)
    request = _merge_request(project)
    request.merge(auto_merge=True)
    request.cancel_merge_when_pipeline_succeeds()
    scenario.release("go")
    server.wait(pipeline.id, "success")
    assert project.mergerequests.get(1).state == "opened"

    request.merge(auto_merge=True)

    assert project.mergerequests.get(1).state == "merged"


def test_drafts_cannot_be_merged_and_closed_requests_make_room(project):
    _commit(
        project, {"action": "create", "file_path": "a", "content": "1"}, branch="work", start_branch="main"
    )
    request = project.mergerequests.create(
        {"source_branch": "work", "target_branch": "main", "title": "Draft: Release"}
    )
    assert (request.draft, request.detailed_merge_status) == (True, "draft_status")
    with pytest.raises(gitlab.GitlabMRClosedError) as refused:
        request.merge()
    assert refused.value.response_code == 405
    request.state_event = "close"
    request.save()
    assert _merge_request(project).iid == 2
    with pytest.raises(gitlab.GitlabCreateError, match="same project/branch"):
        _merge_request(project, "main")


def test_comments_on_a_merge_request(project):
    _commit(
        project, {"action": "create", "file_path": "a", "content": "1"}, branch="work", start_branch="main"
    )
    request = _merge_request(project)

    note = request.notes.create({"body": "first"})
    request.notes.create({"body": "second"})
    note.body = "changed"
    note.save()

    assert [row.body for row in request.notes.list()] == ["second", "changed"]
    assert request.notes.get(note.id).author["username"] == "airflow"
    request.notes.delete(note.id)
    assert [row.body for row in request.notes.list(sort="asc")] == ["second"]
    with pytest.raises(gitlab.GitlabCreateError, match="body is missing"):
        request.notes.create({"body": None})


def test_commits_count_lines_and_name_the_wrong_action(project):
    made = _commit(project, {"action": "create", "file_path": "a", "content": "1\n2\n"})
    assert made.stats == {"additions": 2, "deletions": 0, "total": 2}
    assert project.commits.get(made.id).stats["total"] == 2

    with pytest.raises(gitlab.GitlabCreateError, match=r"actions\[1\]\[file_path\] is missing"):
        _commit(project, {"action": "delete", "file_path": "a"}, {"action": "create"})
    with pytest.raises(gitlab.GitlabCreateError, match="mutually exclusive"):
        _commit(project, branch="x", start_branch="main", start_sha="main")
    with pytest.raises(gitlab.GitlabHttpError, match="branch is missing, commit_message is missing, actions"):
        project.manager.gitlab.http_post("/projects/1/repository/commits", post_data={})
    by_sha = _commit(
        project,
        {"action": "create", "file_path": "b", "content": ""},
        branch="old",
        start_sha=made.parent_ids[0],
    )
    assert by_sha.parent_ids == made.parent_ids


def test_a_file_that_somebody_else_changed_is_not_deleted(project):
    old = _commit(project, {"action": "create", "file_path": "a", "content": "1"}).id
    _commit(project, {"action": "update", "file_path": "a", "content": "2"})

    with pytest.raises(gitlab.GitlabHttpError, match="delete a file that has been previously updated"):
        project.manager.gitlab.http_delete(
            "/projects/1/repository/files/a", branch="main", commit_message="m", last_commit_id=old
        )
    assert [row["path"] for row in project.repository_tree()] == [".gitlab-ci.yml", "a"]


def test_folders_are_listed(project):
    _commit(project, {"action": "create", "file_path": "deep/er/x.txt", "content": ""})

    assert [(row["path"], row["type"]) for row in project.repository_tree("deep", recursive=True)] == [
        ("deep/er", "tree"),
        ("deep/er/x.txt", "blob"),
    ]
    assert [row["name"] for row in project.repository_tree("deep")] == ["er"]
    with pytest.raises(gitlab.GitlabGetError, match="404 Tree Not Found"):
        project.repository_tree("nowhere")


def test_a_status_may_name_its_pipeline(server, project):
    pipeline = project.pipelines.create({"ref": "main"})
    commit = project.commits.get("main")

    commit.statuses.create({"state": "success", "name": "a", "pipeline_id": pipeline.id})
    commit.statuses.create({"state": "failed", "name": "b", "description": "why"})

    assert [row.pipeline_id for row in commit.statuses.list(name="a")] == [pipeline.id]
    for wrong, match in (({"state": "success", "pipeline_id": 9}, "404"), ({"state": "done"}, "valid value")):
        with pytest.raises(gitlab.GitlabCreateError, match=match):
            commit.statuses.create({"name": "c", **wrong})

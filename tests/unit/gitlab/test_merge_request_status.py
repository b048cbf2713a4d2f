"""What a merge request's entity means: decisions without a GitLab."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from airflow_provider_mlops.external_job.adapter import JobKey, JobState
from airflow_provider_mlops.gitlab.errors import (
    MergeRequestClosed,
    MergeRequestConflict,
    MergeRequestNotMergeable,
    MergeRequestPipelineFailed,
    SourceBranchMoved,
)
from airflow_provider_mlops.gitlab.job_key import Mark
from airflow_provider_mlops.gitlab.merge_request_status import (
    DescriptionMark,
    failure_of,
    judge,
    moved_status,
    result_of,
)

KEY = JobKey("airflow", "d", "r", "t", -1, 2)


def row(state: str = "opened", word: str = "mergeable", pipeline: str | None = None, **more: Any) -> Any:
    head = {"status": pipeline, "sha": "c1", "id": 7, "web_url": "u/7"} if pipeline else None
    return {
        "iid": 1,
        "state": state,
        "detailed_merge_status": word,
        "sha": "c1",
        "head_pipeline": head,
        **more,
    }


POLICIES = ("never", "when_checks_pass", "now")
WORDS = (
    "mergeable",
    "checking",
    "unchecked",
    "preparing",
    "conflict",
    "need_rebase",
    "ci_must_pass",
    "ci_still_running",
    "not_approved",
    "draft_status",
    "discussions_not_resolved",
    "commits_status",
    "a_word_of_gitlab_25",
)
PIPELINES = (None, "created", "running", "success", "failed", "canceled", "manual", "a_status_of_gitlab_25")


@pytest.mark.parametrize("merge", POLICIES)
def test_merged_and_closed_mean_the_same_whoever_merges(merge):
    assert judge(row("merged"), merge).status.state is JobState.SUCCEEDED
    closed = judge(row("closed"), merge).status
    assert (closed.state, closed.permanent) == (JobState.FAILED, True)
    assert judge(row("locked"), merge).status.state is JobState.RUNNING


@pytest.mark.parametrize(("word", "pipeline"), list(itertools.product(WORDS, PIPELINES)))
def test_what_people_merge_is_waited_for_and_never_merged(word, pipeline):
    verdict = judge(row(word=word, pipeline=pipeline), "never")
    assert (verdict.status.state, verdict.ready) == (JobState.BLOCKED, False)
    assert word in verdict.status.detail


@pytest.mark.parametrize(("word", "pipeline"), list(itertools.product(WORDS, PIPELINES)))
def test_only_what_gitlab_calls_mergeable_is_merged(word, pipeline):
    for merge in ("now", "when_checks_pass"):
        verdict = judge(row(word=word, pipeline=pipeline), merge)
        assert not verdict.ready or word == "mergeable"
        assert not verdict.ready or verdict.status.state is JobState.RUNNING
    waiting = judge(row(word=word, pipeline=pipeline), "when_checks_pass")
    if pipeline in ("created", "running", "failed", "canceled"):
        assert not waiting.ready


@pytest.mark.parametrize(
    ("merge", "word", "pipeline", "state", "reason"),
    [
        ("now", "mergeable", "running", JobState.RUNNING, "opened"),
        ("now", "not_approved", None, JobState.FAILED, "not_mergeable"),
        ("now", "ci_still_running", "running", JobState.FAILED, "not_mergeable"),
        ("now", "conflict", None, JobState.FAILED, "conflict"),
        ("now", "checking", None, JobState.RUNNING, "opened"),
        ("when_checks_pass", "mergeable", "running", JobState.RUNNING, "opened"),
        ("when_checks_pass", "mergeable", "failed", JobState.FAILED, "pipeline_failed"),
        ("when_checks_pass", "ci_must_pass", "canceled", JobState.FAILED, "pipeline_failed"),
        ("when_checks_pass", "ci_must_pass", None, JobState.BLOCKED, "opened"),
        ("when_checks_pass", "not_approved", "success", JobState.BLOCKED, "opened"),
        ("when_checks_pass", "draft_status", "success", JobState.BLOCKED, "opened"),
        ("when_checks_pass", "need_rebase", "success", JobState.FAILED, "conflict"),
        ("when_checks_pass", "commits_status", None, JobState.FAILED, "not_mergeable"),
    ],
)
def test_what_holds_a_merge_up(merge, word, pipeline, state, reason):
    status = judge(row(word=word, pipeline=pipeline), merge).status
    assert (status.state, status.reason) == (state, reason)
    assert status.permanent == (state is JobState.FAILED)


def test_a_pipeline_that_may_not_be_there_yet_is_waited_for():
    assert not judge(row(), "when_checks_pass", settled=False).ready
    stale = row(pipeline="success")
    stale["head_pipeline"]["sha"] = "c0"
    assert not judge(stale, "when_checks_pass", settled=False).ready
    assert judge(row(pipeline="success"), "when_checks_pass", settled=False).ready
    assert judge(row(), "when_checks_pass", settled=True).ready
    assert judge(row(), "now", settled=False).ready


def test_another_head_is_late_or_somebody_elses():
    assert moved_status("c2", "c2").state is JobState.RUNNING
    for head in ("c3", None):
        assert moved_status(head, "c2").permanent


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (judge(row("closed"), "never").status, MergeRequestClosed, "closed without a merge by Ann"),
        (judge(row(word="conflict"), "now").status, MergeRequestConflict, "conflict"),
        (judge(row(pipeline="failed"), "when_checks_pass").status, MergeRequestPipelineFailed, "pipeline 7"),
        (judge(row(word="not_approved"), "now").status, MergeRequestNotMergeable, "not_approved"),
        (moved_status("c3", "c2"), SourceBranchMoved, "c3"),
    ],
)
def test_failures_are_named(status, kind, words):
    error = failure_of("!1", row(pipeline="failed", closed_by={"name": "Ann"}), status)
    assert type(error) is kind
    assert words in error.message
    assert error.next_step


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        ({"merge_commit_sha": "m", "squash_commit_sha": "s"}, "m"),
        ({"merge_commit_sha": None, "squash_commit_sha": "s"}, "s"),
        ({"merge_commit_sha": None, "squash_commit_sha": None}, "c1"),
    ],
)
def test_the_commit_that_brought_the_change_is_named_however_it_was_merged(commits, expected):
    assert result_of(row("merged", **commits))["merge_commit_sha"] == expected


def test_the_mark_in_a_description_is_replaced_and_hidden():
    first = DescriptionMark(Mark.of(KEY, 1), 1000)
    second = DescriptionMark(Mark.of(KEY, 2), 2000)
    text = second.write(first.write("Please review.\n"))
    assert text.startswith("Please review.\n\n<!-- ")
    assert text.count("airflow-job") == 1
    assert DescriptionMark.read(text) == second
    assert DescriptionMark.read("Please review.") is None
    assert DescriptionMark.read(None) is None
    assert DescriptionMark.read("<!-- airflow-job: nonsense 12 -->") is None


def test_an_open_one_of_another_epoch_is_taken_over_not_superseded():
    cleared = JobKey("airflow", "d", "r", "t", -1, 5)
    mark = DescriptionMark(Mark.of(KEY, 1), 1000)
    assert mark.answers(KEY, any_epoch=False, opened=True)
    assert not mark.answers(cleared, any_epoch=True, opened=True)
    assert mark.answers(cleared, any_epoch=True, opened=False)
    assert not mark.answers(cleared, any_epoch=False, opened=False)

"""What a merge request's entity means for whoever waits for its merge. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from airflow_provider_mlops.errors import PermanentError
from airflow_provider_mlops.external_job.adapter import JobKey, JobState, JobStatus, Json
from airflow_provider_mlops.gitlab.entities import Entity
from airflow_provider_mlops.gitlab.errors import (
    MergeRequestClosed,
    MergeRequestConflict,
    MergeRequestNotMergeable,
    MergeRequestPipelineFailed,
    SourceBranchMoved,
)
from airflow_provider_mlops.gitlab.job_key import Mark

#: Who merges: people (or GitLab's own auto-merge), the task once every check passed, or the task at once.
MergePolicy = Literal["never", "when_checks_pass", "now"]

#: GitLab computes whether a merge is possible only after it was asked.
_CHECKING = frozenset({"checking", "preparing", "unchecked", "approvals_syncing"})
#: ``detailed_merge_status`` that only a person can do something about, and then not by a click.
_STUCK = frozenset({"conflict", "need_rebase"})
_PIPELINE_ACTIVE = frozenset(
    {
        "created",
        "waiting_for_resource",
        "preparing",
        "waiting_for_callback",
        "pending",
        "running",
        "canceling",
        "scheduled",
    }
)
_PIPELINE_BAD = frozenset({"failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of the merge request; ``ready``: the task may merge it now."""

    status: JobStatus
    ready: bool = False


def judge(row: Entity, merge: MergePolicy, *, settled: bool = True) -> Verdict:
    """What the entity means.

    :param row: the merge request, asked for alone (lists leave the pipeline out).
    :param merge: what the author wants.
    :param settled: its pipeline, if it gets one, would be shown by now.
    """
    match row["state"]:
        case "merged":
            return _verdict(JobState.SUCCEEDED, "merged")
        case "closed":
            return _failed("closed", "closed without a merge")
        case "locked":
            return _verdict(JobState.RUNNING, "locked", "GitLab is merging it")
    word = str(row.get("detailed_merge_status") or "unchecked")
    if merge == "never":
        return _verdict(JobState.BLOCKED, "opened", f"waits for its merge ({word})")
    if word in _CHECKING:
        return _verdict(JobState.RUNNING, "opened", f"GitLab looks whether it can be merged ({word})")
    if word in _STUCK:
        return _failed("conflict", word)
    if merge == "now":
        if word == "mergeable":
            return _verdict(JobState.RUNNING, "opened", "mergeable", ready=True)
        return _failed("not_mergeable", word)
    pipeline = _pipeline_word(row)
    if pipeline in _PIPELINE_BAD:
        return _failed("pipeline_failed", f"its pipeline {pipeline}")
    if pipeline in _PIPELINE_ACTIVE or word == "ci_still_running":
        return _verdict(JobState.RUNNING, "opened", f"its pipeline is {pipeline or 'on its way'}")
    if word == "commits_status":
        return _failed("not_mergeable", word)
    if word != "mergeable":
        return _verdict(JobState.BLOCKED, "opened", f"waits ({word})")
    if not settled and not _pipeline_is_of_head(row):
        return _verdict(JobState.RUNNING, "opened", "its pipeline may not be there yet")
    return _verdict(JobState.RUNNING, "opened", "mergeable", ready=True)


def moved_status(head: str | None, guard: str) -> JobStatus:
    """The state where the merge request shows another commit than the one that may be merged.

    :param head: the source branch's head; if that is the right one, GitLab is only late.
    :param guard: the commit that may be merged.
    """
    if head == guard:
        return _verdict(JobState.RUNNING, "opened", "GitLab has not taken up the last commit yet").status
    return _failed(
        "moved", f"the source branch is at {(head or 'no commit')[:12]}, not at {guard[:12]}"
    ).status


def refused_status(words: str) -> JobStatus:
    """The state where GitLab calls it mergeable, but refuses to merge it again and again."""
    return _failed("not_mergeable", words).status


def _pipeline_word(row: Entity) -> str:
    return str((row.get("head_pipeline") or {}).get("status") or "")


def _pipeline_is_of_head(row: Entity) -> bool:
    return bool(row.get("head_pipeline")) and row["head_pipeline"].get("sha") == row.get("sha")


def _verdict(state: JobState, reason: str, detail: str = "", *, ready: bool = False) -> Verdict:
    return Verdict(JobStatus(state, reason, detail), ready)


def _failed(reason: str, detail: str) -> Verdict:
    return Verdict(JobStatus(JobState.FAILED, reason, detail, permanent=True))


def failure_of(label: str, row: Entity, status: JobStatus) -> PermanentError:
    """The typed error of a merge request that was not merged.

    :param label: what it is called in messages.
    """
    facts: dict[str, Any] = {"url": row.get("web_url"), "iid": row.get("iid"), "reason": status.detail}
    match status.reason:
        case "closed":
            who = (row.get("closed_by") or {}).get("name")
            return MergeRequestClosed(
                f"{label} was closed without a merge{f' by {who}' if who else ''}", **facts
            )
        case "conflict":
            return MergeRequestConflict(
                f"{label} conflicts with its target branch ({status.detail})", **facts
            )
        case "pipeline_failed":
            pipeline = row.get("head_pipeline") or {}
            facts["url"] = pipeline.get("web_url") or facts["url"]
            return MergeRequestPipelineFailed(
                f"{label}: {status.detail} (pipeline {pipeline.get('id')})", pipeline_id=pipeline.get("id"), **facts
            )  # fmt: skip
        case "moved":
            return SourceBranchMoved(f"{label}: {status.detail}", **facts)
        case _:
            return MergeRequestNotMergeable(f"{label} cannot be merged: {status.detail}", **facts)


def result_of(row: Entity) -> dict[str, Json]:
    """The payload's part that a merged merge request gives."""
    return {
        "iid": row["iid"],
        "url": row.get("web_url"),
        "status": str(row["state"]),
        "sha": row.get("sha"),
        # A fast-forward merge has no commit of its own: the head itself is on the target branch.
        "merge_commit_sha": row.get("merge_commit_sha") or row.get("squash_commit_sha") or row.get("sha"),
    }


# --- the hidden line in the description --------------------------------------------------------------

_NOTE = re.compile(r"\n*<!-- airflow-job: (\S+) (\d+) -->")


@dataclass(frozen=True, slots=True)
class DescriptionMark:
    """What a merge request says of the task that opened it, or took it over last.

    :param since: Unix time of that.
    """

    mark: Mark
    since: int

    @classmethod
    def read(cls, description: str | None) -> Self | None:
        """From the description; ``None`` if no task of this package has written it."""
        match = _NOTE.search(description or "")
        mark = Mark.search(match.group(1)) if match else None
        return None if match is None or mark is None else cls(mark, int(match.group(2)))

    def write(self, description: str) -> str:
        """The description with this mark as a comment that GitLab does not show."""
        text = _NOTE.sub("", description).rstrip()
        return f"{text}\n\n<!-- airflow-job: {self.mark} {self.since} -->"

    @property
    def moment(self) -> datetime:
        """The time as such."""
        return datetime.fromtimestamp(self.since, UTC)

    def answers(self, key: JobKey, *, any_epoch: bool, opened: bool) -> bool:
        """Whether the engine should be told of the merge request.

        One of another epoch that is still open is taken over by the next submission: nothing is superseded.
        """
        if self.mark.belongs_to(key, any_epoch=False):
            return True
        return any_epoch and not opened and self.mark.belongs_to(key, any_epoch=True)


def wanted_fields(
    spec: Mapping[str, Any], description: str, reviewers: list[int], assignees: list[int]
) -> dict[str, Any]:
    """Fields of the merge request as GitLab takes them; those that the author left open are left out."""
    fields: dict[str, Any] = {"title": spec["title"], "description": description}
    if spec["labels"]:
        fields["labels"] = ",".join(spec["labels"])
    if reviewers:
        fields["reviewer_ids"] = reviewers
    if assignees:
        fields["assignee_ids"] = assignees
    if spec["remove_source_branch"]:
        fields["remove_source_branch"] = True
    if spec["squash"] is not None:
        fields["squash"] = spec["squash"]
    return fields

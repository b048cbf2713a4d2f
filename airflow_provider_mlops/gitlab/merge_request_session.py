"""Open connection to one project's merge requests: what the engine asks for, done with the client.

GitLab keeps at most one open merge request for a pair of branches, so the branches are the natural key: a
submission adopts what is open, and one whose answer was lost is simply repeated. A mark in the description tells
later tries of the task about a merge request that was merged or closed meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    InvalidArgument,
    PermissionDenied,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Json,
    Strength,
)
from airflow_provider_mlops.gitlab.answers import is_missing_project
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.entities import Entity, parse_time
from airflow_provider_mlops.gitlab.errors import BranchNotFound
from airflow_provider_mlops.gitlab.job_key import Mark
from airflow_provider_mlops.gitlab.merge_request_status import (
    DescriptionMark,
    MergePolicy,
    failure_of,
    judge,
    moved_status,
    refused_status,
    result_of,
    wanted_fields,
)

log = logging.getLogger(__name__)

#: Seconds until a new head's pipeline is surely shown, if it gets one.
_PIPELINE_LAG = 20.0

#: A merge request may be unreadable (404) for this long after its creation: reads may go to a replica.
_FRESH = 60.0

#: Merges that GitLab may refuse although it calls the merge request mergeable: the word may be older than the refusal.
_REFUSALS = 5


class MergeRequestSession:
    """A :class:`~airflow_provider_mlops.external_job.adapter.JobSession`.

    :param spec: fields of :class:`~airflow_provider_mlops.gitlab.merge_request.MergeRequestSpec`.
    :param guard: the only commit that may be merged.
    :param close_on_cancel: cancelling closes the merge request; otherwise it stays for people.
    """

    def __init__(
        self,
        client: GitlabClient,
        spec: Mapping[str, Any],
        *,
        merge: MergePolicy,
        guard: str | None,
        close_on_cancel: bool,
    ) -> None:
        self._client = client
        self._spec = spec
        self._source: str = spec["source_branch"]
        self._target: str = spec["target_branch"]
        self._label = f"GitLab project {str(spec['project'])!r}"
        self._merge = merge
        self._guard = guard
        self._close_on_cancel = close_on_cancel
        self._since = datetime.now(UTC)
        #: Merge requests that this session has submitted, whatever their descriptions say.
        self._mine: dict[int, DescriptionMark] = {}
        self._first_seen: dict[str, float] = {}
        self._refused = 0

    async def strength(self, key: JobKey) -> Strength:
        """Always unique."""
        return Strength(
            Strength.UNIQUE, "GitLab keeps one open merge request for a pair of branches, and it is adopted."
        )

    # --- starting --------------------------------------------------------------------------------

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        """Open the merge request; or take the one that is open, or that has merged this very head already.

        :raises BranchNotFound: one of the branches does not exist.
        """
        mark = DescriptionMark(Mark.of(key, try_number), int(time.time()))
        if self._source == self._target:
            return self._nothing(key, "source and target are the same branch")
        rows = await self._rows()
        if is_open := [row for row in rows if row["state"] == "opened"]:
            return await self._adopt(is_open[0], mark)
        head = await self._head(self._source)
        if await self._head(self._target) is None:
            raise BranchNotFound(f"{self._label} has no branch {self._target!r}", branch=self._target)
        merged = [row for row in rows if row["state"] == "merged" and self._is_ours(row, head)]
        if merged:
            log.info("Merge request !%s has merged this head already", merged[0]["iid"])
            return self._keep(merged[0], mark)
        if head is None:
            raise BranchNotFound(f"{self._label} has no branch {self._source!r}", branch=self._source)
        comparison = await self._client.read(
            f"repository/compare?from={quote(self._target, safe='')}&to={quote(self._source, safe='')}"
        )
        if not comparison.get("commits"):
            return self._nothing(key, "the target branch has every commit of the source branch")
        return await self._open(mark)

    async def _open(self, mark: DescriptionMark) -> JobHandle:
        fields = await self._fields(mark)
        body = {"source_branch": self._source, "target_branch": self._target, **fields}
        try:
            return self._keep(await self._client.write("POST", "merge_requests", body), mark)
        except RequestRefused as error:
            if error.fields.get("status") != 409:
                raise
        rows = [row for row in await self._rows() if row["state"] == "opened"]
        if not rows:
            raise RemoteUnavailable(f"{self._label}: the merge request that was in the way is gone")
        return await self._adopt(rows[0], mark)

    async def _adopt(self, row: Entity, mark: DescriptionMark) -> JobHandle:
        """Take an open merge request over. A person's one stays as it is; one of a task's gets our words."""
        known = DescriptionMark.read(row.get("description"))
        if known is None:
            log.info("Adopting merge request !%s, which no task has opened: it stays as it is", row["iid"])
        elif known.mark != mark.mark:
            log.info("Adopting merge request !%s of an earlier task or run", row["iid"])
            fields = await self._fields(mark)
            if "labels" in fields:
                fields["add_labels"] = fields.pop("labels")
            await self._client.write("PUT", f"merge_requests/{row['iid']}", fields)
        return self._keep(row, mark)

    async def _fields(self, mark: DescriptionMark) -> dict[str, Any]:
        reviewers = [await self._account(name) for name in self._spec["reviewers"]]
        assignees = [await self._account(name) for name in self._spec["assignees"]]
        return wanted_fields(self._spec, mark.write(self._spec["description"]), reviewers, assignees)

    async def _account(self, name: str) -> int:
        account = await self._client.account(name)
        if account is None:
            raise InvalidArgument(
                f"GitLab has no account {name!r}, or it is not visible to ours",
                next_step="Use the user name, not the full name.",
            )
        return int(account["id"])

    def _keep(self, row: Entity, mark: DescriptionMark) -> JobHandle:
        self._mine[row["iid"]] = mark
        return _handle(row, mark.mark.generation)

    def _nothing(self, key: JobKey, why: str) -> JobHandle:
        log.info("Nothing to merge from %s into %s: %s", self._source, self._target, why)
        return JobHandle(key.generation, {"iid": None, "source_branch": self._source})

    def _is_ours(self, row: Entity, head: str | None) -> bool:
        """Whether a merged merge request is what this task would open: it merged this head, or removed the branch."""
        if head is not None:
            return bool(row.get("sha") == head)
        merged_at = parse_time(row.get("merged_at"))
        return merged_at is not None and merged_at >= self._since

    # --- finding ---------------------------------------------------------------------------------

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        """Merge requests of these branches that carry the key, newest first."""
        self._since = since
        found = []
        for row in await self._rows():
            mark = self._mine.get(row["iid"]) or DescriptionMark.read(row.get("description"))
            if mark is None or not mark.answers(key, any_epoch=any_epoch, opened=row["state"] == "opened"):
                continue
            status = judge(row, "never").status
            handle = _handle(row, mark.mark.generation)
            found.append(FoundJob(handle, status, mark.mark.try_number, mark.mark.epoch, mark.moment))
        return found

    async def _rows(self) -> list[Entity]:
        return await self._client.rows(
            "merge_requests",
            source_branch=self._source,
            target_branch=self._target,
            state="all",
            order_by="created_at",
            sort="desc",
        )

    # --- watching --------------------------------------------------------------------------------

    async def status(self, handle: JobHandle) -> JobStatus | None:
        """State of the merge request; merges it if it is due, which GitLab does once however often it is asked."""
        if handle.ref["iid"] is None:
            return JobStatus(JobState.SUCCEEDED, "unchanged", "nothing to merge")
        row = await self._row(handle)
        if row is None:
            mine = self._mine.get(int(str(handle.ref["iid"])))
            young = mine is not None and time.time() - mine.since < _FRESH
            return JobStatus(JobState.PENDING, "created") if young else None
        sha = str(row.get("sha"))
        first = self._first_seen.setdefault(sha, time.monotonic())
        verdict = judge(row, self._merge, settled=time.monotonic() - first >= _PIPELINE_LAG)
        if self._merge != "never" and row["state"] == "opened" and self._guard not in (None, sha):
            assert self._guard is not None
            return moved_status(await self._head(self._source), self._guard)
        return await self._merge_now(row, sha, verdict.status) if verdict.ready else verdict.status

    async def _merge_now(self, row: Entity, sha: str, status: JobStatus) -> JobStatus:
        body: dict[str, Any] = {"sha": sha}
        if self._spec["squash"] is not None:
            body["squash"] = self._spec["squash"]
        if self._spec["remove_source_branch"]:
            body["should_remove_source_branch"] = True
        try:
            merged = await self._client.write("PUT", f"merge_requests/{row['iid']}/merge", body)
        except CredentialsRejected as error:
            # GitLab answers 401 to an account that may read the merge request, but not merge it.
            raise PermissionDenied(
                f"{self._label}: the account may not merge !{row['iid']} into {self._target!r}: {error.message}",
                url=row.get("web_url"),
            ) from error
        except RequestRefused as error:
            self._refused += 1
            if self._refused >= _REFUSALS:
                return refused_status(error.message)
            log.info("!%s is not merged yet: %s", row["iid"], error.message)
            return status
        return judge(merged, self._merge).status

    async def _row(self, handle: JobHandle) -> Entity | None:
        try:
            return await self._client.read(f"merge_requests/{handle.ref['iid']}")
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            return None

    async def _head(self, branch: str) -> str | None:
        try:
            told = await self._client.read(f"repository/branches/{quote(branch, safe='')}")
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            return None
        return str(told["commit"]["id"])

    # --- ending ----------------------------------------------------------------------------------

    async def result(self, handle: JobHandle) -> Mapping[str, Json]:
        """The payload of a merge request that was merged, or of nothing to merge."""
        branches: dict[str, Json] = {
            "project": str(self._spec["project"]),
            "source_branch": self._source,
            "target_branch": self._target,
        }
        if handle.ref["iid"] is None:
            head = await self._head(self._source)
            return {
                **branches, "iid": None, "url": None, "status": "unchanged", "sha": head, "merge_commit_sha": None
            }  # fmt: skip
        return {**branches, **result_of(await self._client.read(f"merge_requests/{handle.ref['iid']}"))}

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        """The typed error of a merge request that was not merged."""
        row = await self._row(handle) or {}
        label = f"{self._label}, merge request !{handle.ref['iid']} ({self._source} into {self._target})"
        return failure_of(label, row, status)

    async def cancel(self, handle: JobHandle) -> None:
        """Close the merge request if the author asked for that; otherwise leave it to the people who read it."""
        if not self._close_on_cancel or handle.ref["iid"] is None:
            return
        row = await self._row(handle)
        if row is not None and row["state"] == "opened":
            await self._client.write("PUT", f"merge_requests/{row['iid']}", {"state_event": "close"})


def _handle(row: Entity, generation: int) -> JobHandle:
    return JobHandle(generation, {"iid": row["iid"], "project_id": row["project_id"]}, row.get("web_url"))

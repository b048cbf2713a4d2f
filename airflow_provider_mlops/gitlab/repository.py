"""A project's repository from a worker: branches, files, and commits that are made once. I/O only.

Over a python-gitlab client; see :meth:`GitlabHook.repository`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_mlops.errors import (
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
    SubmitUncertain,
)
from airflow_provider_mlops.gitlab.access import project_path
from airflow_provider_mlops.gitlab.answers import is_missing_project
from airflow_provider_mlops.gitlab.commit_plan import (
    FileAction,
    Obstacle,
    Refusal,
    RemoteFile,
    changed_paths,
    has_key,
    plan,
    refusal_of,
    with_key,
)
from airflow_provider_mlops.gitlab.entities import Entity
from airflow_provider_mlops.gitlab.errors import (
    BranchNotFound,
    BranchProtected,
    FileChanged,
    FileConflict,
    FileMissing,
)

if TYPE_CHECKING:
    from gitlab import Gitlab

log = logging.getLogger(__name__)

#: Seconds before a commit whose answer was lost is looked for, and sent again if it is not there; where others
#: moved the branch at the same moment, at most that long.
_PAUSES = (1.0, 2.0, 4.0, 8.0)

#: Commits of the branch that are looked through for the job key.
_LOOK_BACK = 1000


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a branch.

    :param made: it was made for the key that was asked for, now or by an earlier try; otherwise it is the
        branch's head, which already was as wanted.
    """

    sha: str
    url: str | None
    branch: str
    made: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """One look at the branch."""

    base: str
    exists: bool
    head: Entity
    files: Mapping[str, RemoteFile | None]


class Repository:
    """The repository of one project.

    :param client: of python-gitlab; it repeats reads, never writes.
    :param project: number or full path.
    :param errors: translates python-gitlab's errors, see :meth:`GitlabHook.errors`.
    :raises InvalidArgument: ``project`` is neither a number nor a path.
    """

    def __init__(
        self, client: Gitlab, project: str | int, errors: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._client = client
        self._path = f"/projects/{project_path(project)}"
        self._label = f"GitLab project {str(project)!r}"
        self._errors = errors

    # --- reading ---------------------------------------------------------------------------------

    def branch(self, name: str) -> Entity | None:
        """A branch with its head (``["commit"]["id"]``), or ``None``.

        :raises RemoteObjectNotFound: there is no such project, or it is not visible to the account.
        """
        try:
            return self._get(f"/repository/branches/{quote(name, safe='')}", f"branch {name!r}")
        except RemoteObjectNotFound as error:
            if is_missing_project(error):
                raise
            return None

    def file(self, path: str, ref: str) -> RemoteFile | None:
        """What a file is at a branch, tag or commit, without its content; ``None`` if it is not there."""
        url = f"{self._path}/repository/files/{quote(path, safe='')}"
        try:
            with self._errors(f"{self._label}, file {path!r} at {ref!r}"):
                told = self._client.http_head(url, ref=ref)
        except RemoteObjectNotFound:
            return None
        return RemoteFile(
            sha256=told["X-Gitlab-Content-Sha256"],
            last_commit_id=told["X-Gitlab-Last-Commit-Id"],
            executable=str(told.get("X-Gitlab-Execute-Filemode")).lower() == "true",
        )

    def content(self, path: str, ref: str) -> bytes:
        """A file's content.

        :raises RemoteObjectNotFound: it is not there.
        """
        url = f"{self._path}/repository/files/{quote(path, safe='')}/raw"
        with self._errors(f"{self._label}, file {path!r} at {ref!r}"):
            response = self._client.http_request("get", url, query_data={"ref": ref})
        content: bytes = response.content
        return content

    def commits(self, ref: str, since: datetime) -> Iterator[Entity]:
        """Commits of a branch that are younger than ``since``, newest first."""
        query = {"ref_name": ref, "since": since.isoformat(), "per_page": 100}
        with self._errors(f"{self._label}, commits of {ref!r}"):
            rows = self._client.http_list(f"{self._path}/repository/commits", query_data=query, iterator=True)
            for row in rows:
                assert isinstance(row, dict)
                yield row

    # --- committing ------------------------------------------------------------------------------

    def commit(
        self,
        *,
        branch: str,
        message: str,
        actions: Sequence[FileAction],
        key: str,
        since: datetime,
        start_branch: str | None = None,
    ) -> Commit:
        """Make the branch as the actions want it, with one commit at most for one key, however often it is asked.

        A commit that carries the key is the answer, whatever has happened to the files since: somebody who put
        them back is not overruled by a retry. What is on the branch already is not sent again.

        :param key: goes into the message as trailer ``Airflow-Job-Key``.
        :param since: the key cannot have been used earlier.
        :param start_branch: where the branch begins if there is none of that name yet.
        :raises BranchNotFound: neither the branch nor ``start_branch`` exists.
        :raises FileMissing: an action needs a file that is not there.
        :raises FileConflict: the branch has other content than the author expects.
        :raises FileChanged: somebody changed a file at the same moment; nothing was committed.
        :raises BranchProtected: the account may not push to the branch.
        :raises SubmitUncertain: the answer was lost, and no commit with the key is to be seen.
        """
        what = f"{self._label}, branch {branch!r}"
        unsure: Exception | None = None
        for pause in _PAUSES:
            seen = self._look(branch, start_branch, actions)
            if earlier := self._made_earlier(seen.base, key, since):
                log.info("%s: commit %s was made by an earlier try", what, earlier["id"])
                return Commit(earlier["id"], earlier.get("web_url"), seen.base, made=True)
            left = plan(actions, seen.files)
            if left.obstacles:
                raise self._obstacle(what, left.obstacles)
            if not left.changes:
                return Commit(seen.head["id"], seen.head.get("web_url"), seen.base, made=False)
            body = {"branch": branch, "commit_message": with_key(message, key), "actions": left.changes}
            if not seen.exists:
                body["start_branch"] = seen.base
            try:
                made = self._post(what, body)
            except RemoteUnavailable as error:
                log.warning("%s; looking for the commit in %.0f s", error.message, pause)
                unsure = error
                time.sleep(pause)
            except RequestRefused as error:
                self._judge(what, error, seen, branch, start_branch, actions, key, since)
                unsure = error
                time.sleep(pause * random.random())
            else:
                return Commit(made["id"], made.get("web_url"), branch, made=True)
        raise SubmitUncertain(
            f"{what}: no commit was confirmed in {len(_PAUSES)} attempts; last: {unsure}",
            next_step="The next try of the task looks for the commit before it makes another.",
        ) from unsure

    def _look(self, branch: str, start_branch: str | None, actions: Sequence[FileAction]) -> _Seen:
        base, exists = branch, True
        found = self.branch(branch)
        if found is None and start_branch is not None:
            base, exists = start_branch, False
            found = self.branch(start_branch)
        if found is None:
            names = " nor ".join(repr(name) for name in dict.fromkeys((branch, start_branch)) if name)
            raise BranchNotFound(f"{self._label} has no branch {names}", branch=branch)
        head: Entity = found["commit"]
        # All at one commit, or a change between two questions would look like a state that never was.
        files = {path: self.file(path, head["id"]) for action in actions for path in action.paths}
        return _Seen(base, exists, head, files)

    def _made_earlier(self, ref: str, key: str, since: datetime) -> Entity | None:
        for number, row in enumerate(self.commits(ref, since)):
            if has_key(row.get("message") or "", key):
                return row
            if number >= _LOOK_BACK:
                break
        return None

    def _post(self, what: str, body: Mapping[str, Any]) -> Entity:
        with self._errors(what):
            made = self._client.http_post(f"{self._path}/repository/commits", post_data=dict(body))
        if not isinstance(made, dict) or "id" not in made:
            raise RemoteUnavailable(f"{what}: the answer to the commit is no commit")
        return made

    def _judge(
        self,
        what: str,
        error: RequestRefused,
        seen: _Seen,
        branch: str,
        start_branch: str | None,
        actions: Sequence[FileAction],
        key: str,
        since: datetime,
    ) -> None:
        """Return if another round may go better, which it also does when an unanswered request has come through."""
        match refusal_of(error.message):
            case Refusal.BRANCH_MOVED:
                log.info("%s moved meanwhile; looking again", what)
            case Refusal.PROTECTED:
                raise BranchProtected(error.message, branch=branch) from error
            case Refusal.FILE_CHANGED:
                now = self._look(branch, start_branch, actions)
                if self._made_earlier(now.base, key, since):
                    return
                paths = changed_paths(list(seen.files), seen.files, now.files) or list(seen.files)
                after = now.files.get(paths[0])
                raise FileChanged(
                    f"{what}: {paths[0]} was changed at the same moment"
                    f"{self._by(after.last_commit_id if after else now.head['id'])}: {error.message}",
                    paths=paths,
                ) from error
            case _:
                raise error

    def _obstacle(self, what: str, obstacles: Sequence[Obstacle]) -> Exception:
        first = obstacles[0]
        more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
        paths = [obstacle.path for obstacle in obstacles]
        if first.commit_id is None:
            return FileMissing(f"{what}: {first.path} {first.why}{more}", paths=paths)
        by = self._by(first.commit_id)
        return FileConflict(
            f"{what}: {first.path} {first.why}{by}{more}", paths=paths, commit_id=first.commit_id
        )

    def _by(self, commit_id: str) -> str:
        """Who made a commit, for a message."""
        try:
            told = self._get(f"/repository/commits/{quote(commit_id, safe='')}", f"commit {commit_id}")
        except RemoteObjectNotFound:
            return f" (commit {commit_id[:8]})"
        return f" (by {told.get('author_name')} in {commit_id[:8]}, {told.get('title')!r}, {told.get('created_at')})"

    def _get(self, path: str, what: str) -> Entity:
        with self._errors(f"{self._label}, {what}"):
            told = self._client.http_get(f"{self._path}{path}")
        if not isinstance(told, dict):
            raise RemoteUnavailable(f"{self._label}, {what}: the answer is not an object")
        return told

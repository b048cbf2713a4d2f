"""The project's real Git repository, driven through the ``git`` command."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class RepositoryError(Exception):
    """Git refused; the text is its own."""


@dataclass(frozen=True)
class Commit:
    """A commit's facts; dates are ISO 8601."""

    id: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_date: str
    committer_name: str
    committer_email: str
    committed_date: str
    message: str


@dataclass(frozen=True)
class Entry:
    """A file of a tree: its mode (``100644`` or ``100755``) and blob."""

    mode: str
    blob: str


_SMALL = 65_536
_FULL_SHA = re.compile(r"[0-9a-f]{40}")
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Stand-in",
    "GIT_AUTHOR_EMAIL": "stand-in@example.com",
    "GIT_COMMITTER_NAME": "Stand-in",
    "GIT_COMMITTER_EMAIL": "stand-in@example.com",
}


# A push to the checked-out branch updates the working folder; a clean-up would only cost time.
_CONFIG = """\
[receive]
\tdenyCurrentBranch = updateInstead
[user]
\tname = Stand-in
\temail = stand-in@example.com
[gc]
\tauto = 0
"""


class Repository:
    """A repository with a working folder, so that callers may also commit into it by hand or push to it."""

    def __init__(self, folder: Path, default_branch: str = "main") -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._commits: dict[str, Commit] = {}
        self._files: dict[tuple[str, str], bytes] = {}
        if not (folder / ".git").exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.git("init", "-q", "-b", default_branch)
            with (folder / ".git" / "config").open("a") as config:
                config.write(_CONFIG)

    def git(self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        """Run git here.

        :raises RepositoryError: it ended with an error.
        """
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**clean, **(env or {})},
            check=False,
        )
        if done.returncode:
            raise RepositoryError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def _first_commit(self, *names: str) -> str | None:
        for name in names:
            try:
                return (
                    self.git("rev-parse", "--verify", "-q", "--end-of-options", f"{name}^{{commit}}")
                    .decode()
                    .strip()
                )
            except RepositoryError:
                continue
        return None

    def find_ref(self, name: str) -> tuple[str, bool] | None:
        """The commit of a branch or tag, and whether it is a tag; a branch wins over a tag of its name."""
        form = "--format=%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
        places = f"refs/heads/{name}", f"refs/tags/{name}"
        rows = self.git("for-each-ref", form, *places).decode().splitlines()
        found = dict(row.rsplit(" ", 1) for row in rows)
        for place in places:
            if place in found:
                return found[place], place.startswith("refs/tags/")
        return None

    def resolve_ref(self, name: str) -> str | None:
        """The commit of a branch or tag, or None."""
        found = self.find_ref(name)
        return None if found is None else found[0]

    def resolve(self, name: str) -> str | None:
        """The commit a branch, tag or sha names, or None."""
        return self.resolve_ref(name) or self._first_commit(name)

    def branches(self) -> dict[str, str]:
        """Branch names and their commits."""
        rows = self.git("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads").decode()
        return {name: sha for sha, name in (row.split(" ", 1) for row in rows.splitlines())}

    def tags(self) -> dict[str, str]:
        """Tag names and their commits, newest name first."""
        form = (
            "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end) %(refname:lstrip=2)"
        )
        rows = self.git("for-each-ref", "--sort=-refname", form, "refs/tags").decode()
        return {name: sha for sha, name in (row.split(" ", 1) for row in rows.splitlines())}

    def listing(self, sha: str, folder: str, *, recursive: bool) -> list[dict[str, str]]:
        """Files and folders below a folder of a commit (the root is empty), as the tree API shows them."""
        flags = ["-r", "-t"] if recursive else []
        place = [f"{folder}/"] if folder else []
        found = []
        for row in self.git("ls-tree", "-z", *flags, sha, "--", *place).decode().split("\0"):
            if row:
                facts, path = row.split("\t", 1)
                mode, kind, blob = facts.split()
                if path != folder:
                    name = path.rpartition("/")[2]
                    found.append({"id": blob, "name": name, "type": kind, "path": path, "mode": mode})
        return found

    def stats(self, sha: str) -> dict[str, int]:
        """How many lines a commit added and deleted; binary files count nothing."""
        rows = self.git("show", "--numstat", "--format=", "--first-parent", "-m", sha).decode(
            errors="replace"
        )
        counts = [row.split("\t")[:2] for row in rows.splitlines() if row]
        additions = sum(int(added) for added, _ in counts if added.isdigit())
        deletions = sum(int(deleted) for _, deleted in counts if deleted.isdigit())
        return {"additions": additions, "deletions": deletions, "total": additions + deletions}

    def tree(self, sha: str) -> dict[str, Entry]:
        """Every file of a commit."""
        entries = {}
        for row in self.git("ls-tree", "-r", "-z", sha).decode().split("\0"):
            if row:
                facts, path = row.split("\t", 1)
                mode, _, blob = facts.split()
                entries[path] = Entry(mode, blob)
        return entries

    def read(self, sha: str, path: str) -> bytes | None:
        """A file's content at a commit, or None; small files are read once, since commits never change."""
        if (sha, path) in self._files:
            return self._files[sha, path]
        try:
            content = self.git("cat-file", "blob", f"{sha}:{path}")
        except RepositoryError:
            return None
        if len(content) <= _SMALL and _FULL_SHA.fullmatch(sha):
            self._files[sha, path] = content
        return content

    def commit_of(self, sha: str) -> Commit:
        """A commit's facts; commits never change, so each is read once."""
        if sha in self._commits:
            return self._commits[sha]
        form = "%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
        fields = self.git("log", "-1", f"--format={form}", sha).decode(errors="replace").split("\0")
        sha, parents, author, author_email, authored, committer, committer_email, committed, message = fields
        self._commits[sha] = Commit(
            id=sha,
            parents=tuple(parents.split()),
            author_name=author,
            author_email=author_email,
            authored_date=authored,
            committer_name=committer,
            committer_email=committer_email,
            committed_date=committed,
            message=message.rstrip("\n"),
        )
        return self._commits[sha]

    def last_commit_touching(self, sha: str, path: str) -> str | None:
        """The newest commit up to ``sha`` that changed ``path``."""
        return self.git("log", "-1", "--format=%H", sha, "--", path).decode().strip() or None

    def store(self, content: bytes) -> str:
        """Write a blob."""
        return self.git("hash-object", "-w", "--stdin", stdin=content).decode().strip()

    def commit(
        self,
        branch: str,
        tree: Mapping[str, Entry],
        message: str,
        *,
        parents: Sequence[str] = (),
        expected: str | None = None,
        author: tuple[str, str] | None = None,
    ) -> str:
        """Make a commit and move the branch to it, only if the branch still is at ``expected``.

        A checked-out branch takes its working folder along; local changes elsewhere stay.

        :raises RepositoryError: the branch moved, or the working folder is in the way.
        """
        env = dict(_IDENTITY)
        if author:
            env.update(GIT_AUTHOR_NAME=author[0], GIT_AUTHOR_EMAIL=author[1])
        rows = "".join(f"{entry.mode} {entry.blob}\t{path}\0" for path, entry in tree.items())
        with self._lock, tempfile.TemporaryDirectory() as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.git("update-index", "-z", "--add", "--index-info", stdin=rows.encode(), env=index)
            tree_id = self.git("write-tree", env=index).decode().strip()
            flags = [flag for parent in parents for flag in ("-p", parent)]
            sha = self.git("commit-tree", tree_id, *flags, stdin=message.encode(), env=env).decode().strip()
            self.git("update-ref", f"refs/heads/{branch}", sha, expected or "0" * 40)
            if self.git("symbolic-ref", "-q", "HEAD").decode().strip() == f"refs/heads/{branch}":
                self.git("read-tree", "-m", "-u", *([expected] if expected else []), sha)
        return sha

    def add(
        self, path: str, content: str | bytes, *, branch: str = "main", message: str | None = None
    ) -> str:
        """Commit one file; gives the new commit's id."""
        data = content.encode() if isinstance(content, str) else content
        with self._lock:
            head = self.resolve(branch)
            tree = self.tree(head) if head else {}
            mode = tree[path].mode if path in tree else "100644"
            tree[path] = Entry(mode, self.store(data))
            return self.commit(
                branch, tree, message or f"Add {path}", parents=(head,) if head else (), expected=head
            )

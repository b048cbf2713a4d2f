"""What a commit has to change, given what the branch holds already. Pure.

The caller says how the files should be (:class:`FileAction`) and what the branch has (:class:`RemoteFile`);
:func:`plan` answers with the actions that are left to send, each with GitLab's optimistic lock, and with what
stands in the way. What is on the branch already is left out, so a plan without changes needs no commit.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument

#: Trailer of the commit message by which a retry finds the commit of an earlier try.
KEY_TRAILER = "Airflow-Job-Key"

_TRAILER_LINE = re.compile(r"[A-Za-z][A-Za-z0-9-]*: \S")


class FileVerb(StrEnum):
    """What is done to a file: GitLab's own words, and ``write``."""

    CREATE = "create"
    UPDATE = "update"
    #: Create or update, whichever it takes.
    WRITE = "write"
    DELETE = "delete"
    MOVE = "move"
    CHMOD = "chmod"

    @property
    def takes_content(self) -> bool:
        """Whether the file's new content is part of it (of ``move``: may be)."""
        return self not in (FileVerb.DELETE, FileVerb.CHMOD)


@dataclass(frozen=True, slots=True)
class FileAction:
    """How one file should be.

    :param path: from the root of the repository.
    :param content: the whole new content; only ``move`` may leave it as it is.
    :param previous_path: of ``move``: where the file is now.
    :param executable: set or clear the execute bit; ``None`` leaves it.
    :param last_commit_id: the last commit that the author knows to have changed the file (of ``move``: the one at
        ``previous_path``): any later change is a conflict.
    """

    verb: FileVerb
    path: str
    content: bytes | None = None
    previous_path: str | None = None
    executable: bool | None = None
    last_commit_id: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path whose present state counts."""
        return (self.path,) if self.previous_path is None else (self.previous_path, self.path)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as a branch has it.

    :param sha256: of its content, hexadecimal.
    :param last_commit_id: the commit that changed it last.
    """

    sha256: str
    last_commit_id: str
    executable: bool = False

    def holds(self, action: FileAction) -> bool:
        """Whether content and execute bit are already as the action wants them."""
        same = action.content is None or hashlib.sha256(action.content).hexdigest() == self.sha256
        return same and action.executable in (None, self.executable)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an action cannot be done.

    :param path: the file that stands in the way, or is not there.
    :param why: goes on after the path: ``"is already there with other content"``.
    :param commit_id: the commit that brought it about; ``None``: the file is missing.
    """

    path: str
    why: str
    commit_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """What is left to do.

    :param changes: ``actions`` of GitLab's commit API; none if the branch is as wanted.
    :param obstacles: nothing may be sent while there are any.
    """

    changes: Sequence[Mapping[str, Any]] = ()
    obstacles: Sequence[Obstacle] = ()


def plan(actions: Sequence[FileAction], files: Mapping[str, RemoteFile | None]) -> CommitPlan:
    """Compare what is wanted with what is there.

    :param actions: each path named once (see :func:`checked_actions`).
    :param files: state of every path of the actions; ``None`` or left out: not there.
    """
    changes: list[Mapping[str, Any]] = []
    obstacles: list[Obstacle] = []
    for action in actions:
        answer = _changes_of(action, files.get(action.path), files.get(action.previous_path or ""))
        if isinstance(answer, Obstacle):
            obstacles.append(answer)
        else:
            changes.extend(answer)
    return CommitPlan(changes, obstacles)


def _changes_of(
    action: FileAction, there: RemoteFile | None, previous: RemoteFile | None
) -> list[dict[str, Any]] | Obstacle:
    match action.verb:
        case FileVerb.DELETE:
            if there is None:
                return []
            return _locked(action, there) or [_sent("delete", action.path, there)]
        case FileVerb.MOVE:
            return _move(action, there, previous)
        case FileVerb.CREATE if there is not None and not there.holds(action):
            return Obstacle(action.path, "is already there with other content", there.last_commit_id)
        case FileVerb.UPDATE | FileVerb.CHMOD if there is None:
            return Obstacle(action.path, "is not there")
    if there is None:
        return [_sent("create", action.path, None, action.content), *_mode(action, False)]
    if there.holds(action):
        return []
    if obstacle := _locked(action, there):
        return obstacle
    same = there.holds(FileAction(action.verb, action.path, action.content))
    update = [] if same else [_sent("update", action.path, there, action.content)]
    return [*update, *_mode(action, there.executable)]


def _move(
    action: FileAction, there: RemoteFile | None, previous: RemoteFile | None
) -> list[dict[str, Any]] | Obstacle:
    assert action.previous_path is not None
    if previous is None:
        if there is None:
            return Obstacle(action.previous_path, "is not there")
        if there.holds(action):
            return []
        return Obstacle(action.path, "is already there with other content", there.last_commit_id)
    if there is not None:
        return Obstacle(action.path, "is already there, beside the file to move", there.last_commit_id)
    if obstacle := _locked(action, previous, action.previous_path):
        return obstacle
    moved = _sent("move", action.path, previous, action.content)
    return [{**moved, "previous_path": action.previous_path}, *_mode(action, previous.executable)]


def _locked(action: FileAction, there: RemoteFile, path: str | None = None) -> Obstacle | None:
    if action.last_commit_id in (None, there.last_commit_id):
        return None
    why = f"has changed since {action.last_commit_id}, the last commit that the author knew"
    return Obstacle(path or action.path, why, there.last_commit_id)


def _sent(verb: str, path: str, there: RemoteFile | None, content: bytes | None = None) -> dict[str, Any]:
    """One action as GitLab takes it; locked to the state that was seen."""
    sent: dict[str, Any] = {"action": verb, "file_path": path}
    if there is not None:
        sent["last_commit_id"] = there.last_commit_id
    if content is not None:
        # Base64 carries texts and bytes alike, with every line ending as it is.
        sent |= {"content": base64.b64encode(content).decode(), "encoding": "base64"}
    return sent


def _mode(action: FileAction, executable: bool) -> list[dict[str, Any]]:
    """GitLab looks at the execute bit in actions of its own only."""
    if action.executable in (None, executable):
        return []
    return [{"action": "chmod", "file_path": action.path, "execute_filemode": action.executable}]


def changed_paths(
    paths: Sequence[str], before: Mapping[str, RemoteFile | None], after: Mapping[str, RemoteFile | None]
) -> list[str]:
    """Paths that somebody changed between two looks."""
    return [path for path in paths if before.get(path) != after.get(path)]


# --- the author's arguments --------------------------------------------------------------------------

_KEYS = {
    "action",
    "file_path",
    "previous_path",
    "content",
    "content_uri",
    "execute_filemode",
    "last_commit_id",
}


def checked_actions(given: Any) -> list[tuple[FileAction, str | None]]:
    """Actions from the author's objects, each with the URI that its content is to be read from, if any.

    :raises InvalidArgument: one of them cannot be meant; nothing was read or done yet.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise InvalidArgument("actions: no list of file actions", next_step="Name at least one file.")
    actions = [_checked(f"actions[{number}]", entry) for number, entry in enumerate(given)]
    seen: set[str] = set()
    for action, _ in actions:
        for path in action.paths:
            if path in seen:
                raise InvalidArgument(
                    f"actions: {path!r} is named twice",
                    next_step="Say in one action how the file should be; execute_filemode may be part of it.",
                )
            seen.add(path)
    return actions


def _checked(label: str, entry: Any) -> tuple[FileAction, str | None]:
    if not isinstance(entry, Mapping):
        raise InvalidArgument(f"{label}: {type(entry).__name__} is no object with 'action' and 'file_path'")
    if unknown := sorted(set(entry) - _KEYS):
        raise InvalidArgument(f"{label}: unknown {unknown}", next_step=f"Known are {sorted(_KEYS)}.")
    if entry.get("action") not in set(FileVerb):
        raise InvalidArgument(
            f"{label}: action is {entry.get('action')!r}", next_step=f"Use one of {', '.join(FileVerb)}."
        )
    verb = FileVerb(entry["action"])
    path = _path(label, "file_path", entry.get("file_path"))
    label = f"{label} ({verb} {path})"
    content, uri = entry.get("content"), entry.get("content_uri")
    if content is not None and not isinstance(content, str):
        raise InvalidArgument(
            f"{label}: content is {type(content).__name__}, not a text",
            next_step="Write it to a file and name that as content_uri, or make it a text in the template.",
        )
    if (content is not None) + (uri is not None) != 1 and verb.takes_content and verb is not FileVerb.MOVE:
        raise InvalidArgument(f"{label}: needs either content or content_uri")
    if (content is not None or uri is not None) and not verb.takes_content:
        raise InvalidArgument(f"{label}: takes no content")
    if content is not None and uri is not None:
        raise InvalidArgument(f"{label}: content and content_uri exclude each other")
    previous = entry.get("previous_path")
    if (previous is not None) != (verb is FileVerb.MOVE):
        raise InvalidArgument(f"{label}: previous_path belongs to a move, and only there")
    mode = entry.get("execute_filemode")
    if not isinstance(mode, bool | None) or (mode is None and verb is FileVerb.CHMOD):
        raise InvalidArgument(f"{label}: execute_filemode is {mode!r}", next_step="Use True or False.")
    return (
        FileAction(
            verb,
            path,
            None if content is None else content.encode(),
            None if previous is None else _path(label, "previous_path", previous),
            mode,
            entry.get("last_commit_id"),
        ),
        uri,
    )


def _path(label: str, name: str, path: Any) -> str:
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(part in ("", ".", "..", ".git") for part in parts):
        raise InvalidArgument(
            f"{label}: {name} is {path!r}",
            next_step="Give the path of a file from the root of the repository, without a slash in front.",
        )
    return str(path)


# --- the commit message ------------------------------------------------------------------------------


def with_key(message: str, slot: str) -> str:
    """The message with the job key as its last trailer."""
    text = message.rstrip()
    last = text.rpartition("\n\n")[2] if "\n\n" in text else ""
    beside = bool(last) and all(_TRAILER_LINE.match(line) for line in last.splitlines())
    return f"{text}{'' if beside else chr(10)}\n{KEY_TRAILER}: {slot}\n"


def has_key(message: str, slot: str) -> bool:
    """Whether a commit's message carries the job key, also as a part of a squashed one."""
    return any(line.strip() == f"{KEY_TRAILER}: {slot}" for line in message.splitlines())


# --- refusals ----------------------------------------------------------------------------------------


class Refusal(StrEnum):
    """What a 400 of the commit API means for whoever wants to go on."""

    #: A file is not as it was seen.
    FILE_CHANGED = "file changed"
    #: The branch moved, or came into being, at the same moment: look again, send again.
    BRANCH_MOVED = "branch moved"
    #: The account may not push there.
    PROTECTED = "protected"
    OTHER = "other"


_REFUSALS = (
    # The commit API and the files API word it differently.
    (re.compile(r"changed since you started editing", re.I), Refusal.FILE_CHANGED),
    (re.compile(r"a file with this name (already exists|doesn't exist)", re.I), Refusal.FILE_CHANGED),
    (
        re.compile(
            r"could not update|already exists\. switch to that branch|reference update|please refresh", re.I
        ),
        Refusal.BRANCH_MOVED,
    ),
    (re.compile(r"not allowed to push|protected branch", re.I), Refusal.PROTECTED),
)


def refusal_of(words: str) -> Refusal:
    """The meaning of GitLab's sentence."""
    for pattern, meaning in _REFUSALS:
        if pattern.search(words):
            return meaning
    return Refusal.OTHER

"""What a commit has to change: decisions without a GitLab."""

from __future__ import annotations

import base64
import hashlib

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab.commit_plan import (
    FileAction,
    FileVerb,
    Obstacle,
    Refusal,
    RemoteFile,
    checked_actions,
    has_key,
    plan,
    refusal_of,
    with_key,
)

SLOT = "af-0123456789abcdef"


def there(content: bytes, commit: str = "c1", *, executable: bool = False) -> RemoteFile:
    return RemoteFile(hashlib.sha256(content).hexdigest(), commit, executable)


def sent(verb: str, path: str = "a", content: bytes | None = None, lock: str | None = None, **more):
    action = {"action": verb, "file_path": path, **more}
    if lock:
        action["last_commit_id"] = lock
    if content is not None:
        action |= {"content": base64.b64encode(content).decode(), "encoding": "base64"}
    return action


@pytest.mark.parametrize(
    ("action", "files", "changes"),
    [
        (FileAction(FileVerb.CREATE, "a", b"1"), {}, [sent("create", content=b"1")]),
        (FileAction(FileVerb.CREATE, "a", b"1"), {"a": there(b"1")}, []),
        (FileAction(FileVerb.UPDATE, "a", b"1"), {"a": there(b"0")}, [sent("update", content=b"1", lock="c1")]),
        (FileAction(FileVerb.UPDATE, "a", b"1"), {"a": there(b"1")}, []),
        (FileAction(FileVerb.WRITE, "a", b"1"), {}, [sent("create", content=b"1")]),
        (FileAction(FileVerb.WRITE, "a", b"1"), {"a": there(b"0")}, [sent("update", content=b"1", lock="c1")]),
        (FileAction(FileVerb.WRITE, "a", b""), {"a": there(b"")}, []),
        (FileAction(FileVerb.DELETE, "a"), {"a": there(b"0")}, [sent("delete", lock="c1")]),
        (FileAction(FileVerb.DELETE, "a"), {"a": None}, []),
        (
            FileAction(FileVerb.MOVE, "a", previous_path="b"),
            {"b": there(b"0")},
            [sent("move", lock="c1", previous_path="b")],
        ),
        (
            FileAction(FileVerb.MOVE, "a", b"1", previous_path="b"),
            {"b": there(b"0")},
            [sent("move", content=b"1", lock="c1", previous_path="b")],
        ),
        (FileAction(FileVerb.MOVE, "a", previous_path="b"), {"a": there(b"0")}, []),
        (FileAction(FileVerb.MOVE, "a", b"1", previous_path="b"), {"a": there(b"1")}, []),
        (
            FileAction(FileVerb.CHMOD, "a", executable=True),
            {"a": there(b"0")},
            [sent("chmod", execute_filemode=True)],
        ),
        (FileAction(FileVerb.CHMOD, "a", executable=True), {"a": there(b"0", executable=True)}, []),
        (
            FileAction(FileVerb.CREATE, "a", b"1", executable=True),
            {},
            [sent("create", content=b"1"), sent("chmod", execute_filemode=True)],
        ),
        (
            FileAction(FileVerb.WRITE, "a", b"1", executable=True),
            {"a": there(b"1")},
            [sent("chmod", execute_filemode=True)],
        ),
        (
            FileAction(FileVerb.UPDATE, "a", b"1", executable=False),
            {"a": there(b"0", executable=False)},
            [sent("update", content=b"1", lock="c1")],
        ),
    ],
)  # fmt: skip
def test_what_is_there_already_is_left_out_and_the_rest_is_locked(action, files, changes):
    left = plan([action], files)
    assert list(left.changes) == changes
    assert not left.obstacles


@pytest.mark.parametrize(
    ("action", "files", "path", "commit"),
    [
        (FileAction(FileVerb.CREATE, "a", b"1"), {"a": there(b"0")}, "a", "c1"),
        (FileAction(FileVerb.UPDATE, "a", b"1"), {}, "a", None),
        (FileAction(FileVerb.CHMOD, "a", executable=True), {}, "a", None),
        (FileAction(FileVerb.MOVE, "a", previous_path="b"), {}, "b", None),
        (
            FileAction(FileVerb.MOVE, "a", previous_path="b"),
            {"a": there(b"", "ca"), "b": there(b"")},
            "a",
            "ca",
        ),
        (FileAction(FileVerb.MOVE, "a", b"1", previous_path="b"), {"a": there(b"0", "ca")}, "a", "ca"),
        (FileAction(FileVerb.UPDATE, "a", b"1", last_commit_id="c0"), {"a": there(b"0")}, "a", "c1"),
        (FileAction(FileVerb.DELETE, "a", last_commit_id="c0"), {"a": there(b"0")}, "a", "c1"),
        (
            FileAction(FileVerb.MOVE, "a", previous_path="b", last_commit_id="c0"),
            {"b": there(b"0")},
            "b",
            "c1",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(action, files, path, commit):
    left = plan([action], files)
    assert not left.changes
    (obstacle,) = left.obstacles
    assert isinstance(obstacle, Obstacle)
    assert (obstacle.path, obstacle.commit_id) == (path, commit)


@pytest.mark.parametrize("verb", [FileVerb.UPDATE, FileVerb.DELETE])
def test_an_outdated_lock_does_not_matter_where_nothing_is_left_to_do(verb):
    action = FileAction(verb, "a", b"1" if verb.takes_content else None, last_commit_id="c0")
    files = {"a": there(b"1")} if verb.takes_content else {}
    assert plan([action], files) == plan([], {})


def test_one_obstacle_does_not_hide_the_others():
    actions = [FileAction(FileVerb.UPDATE, path, b"1") for path in "abc"]
    left = plan(actions, {"b": there(b"0")})
    assert [obstacle.path for obstacle in left.obstacles] == ["a", "c"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("create", "object"),
        ({"action": "explode", "file_path": "a"}, "explode"),
        ({"action": "create", "file_path": "a", "content": "", "contents": ""}, "contents"),
        ({"action": "create", "file_path": "a"}, "content"),
        ({"action": "create", "file_path": "a", "content": "", "content_uri": "b"}, "either"),
        ({"action": "move", "file_path": "a", "previous_path": "b", "content": "", "content_uri": "b"}, "exclude"),
        ({"action": "create", "file_path": "a", "content": {"image": "x"}}, "dict"),
        ({"action": "delete", "file_path": "a", "content": "x"}, "no content"),
        ({"action": "move", "file_path": "a"}, "previous_path"),
        ({"action": "create", "file_path": "a", "content": "", "previous_path": "b"}, "previous_path"),
        ({"action": "chmod", "file_path": "a"}, "execute_filemode"),
        ({"action": "chmod", "file_path": "a", "execute_filemode": "yes"}, "yes"),
        *(({"action": "delete", "file_path": path}, "file_path") for path in ("", "/a", "a/../b", "a//b", "./a", None, ".git/config")),
    ],
)  # fmt: skip
def test_an_action_that_cannot_be_meant_is_refused(entry, words):
    with pytest.raises(InvalidArgument, match=words):
        checked_actions([entry])


@pytest.mark.parametrize("given", [None, "", [], {}, "create"])
def test_there_has_to_be_something_to_do(given):
    with pytest.raises(InvalidArgument, match="actions"):
        checked_actions(given)


def test_a_file_is_named_once():
    entries = [
        {"action": "move", "file_path": "b", "previous_path": "a"},
        {"action": "create", "file_path": "a", "content": "x"},
    ]
    with pytest.raises(InvalidArgument, match="'a' is named twice"):
        checked_actions(entries)


def test_texts_and_uris_are_told_apart():
    (text, no_uri), (empty, uri) = checked_actions(
        [
            {"action": "write", "file_path": "a", "content": "ä\r\n"},
            {"action": "write", "file_path": "b", "content_uri": "s3://bucket/b", "last_commit_id": "c"},
        ]
    )
    assert (text.content, no_uri) == ("ä\r\n".encode(), None)
    assert (empty.content, uri, empty.last_commit_id) == (None, "s3://bucket/b", "c")


@pytest.mark.parametrize(
    ("message", "whole"),
    [
        ("Deploy", f"Deploy\n\nAirflow-Job-Key: {SLOT}\n"),
        ("Deploy\n\nSome words.\n", f"Deploy\n\nSome words.\n\nAirflow-Job-Key: {SLOT}\n"),
        ("Deploy\n\nRelease-Id: 7", f"Deploy\n\nRelease-Id: 7\nAirflow-Job-Key: {SLOT}\n"),
        ("Fix: it", f"Fix: it\n\nAirflow-Job-Key: {SLOT}\n"),
    ],
)
def test_the_key_is_a_trailer(message, whole):
    assert with_key(message, SLOT) == whole
    assert has_key(whole, SLOT)
    assert has_key("Squashed\n\n* Deploy\n\n  " + whole, SLOT)
    assert not has_key(whole, SLOT[:-1])
    assert not has_key(f"I saw Airflow-Job-Key: {SLOT} somewhere", SLOT)


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("The file has changed since you started editing it: a/b.yaml", Refusal.FILE_CHANGED),
        ("You are attempting to update a file that has changed since you started editing it.", Refusal.FILE_CHANGED),
        ("A file with this name already exists", Refusal.FILE_CHANGED),
        ("A file with this name doesn't exist", Refusal.FILE_CHANGED),
        ("Could not update refs/heads/main. Please refresh and try again.", Refusal.BRANCH_MOVED),
        ("A branch called 'x' already exists. Switch to that branch in order to make changes", Refusal.BRANCH_MOVED),
        ("You are not allowed to push into this branch", Refusal.PROTECTED),
        ("commit_message is missing", Refusal.OTHER),
    ],
)  # fmt: skip
def test_refusals_are_told_apart_by_their_words(words, meaning):
    assert refusal_of(words) is meaning

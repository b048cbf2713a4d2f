"""Finds credentials in the files of a Bento before it is stored: what is in a Bento is in every image of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# scheme://user:password@host, or a token alone in front of the @ (long: `git@` and the like are no secrets).
_URL = re.compile(
    rb"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://(?:([^\s/:@'\"<>]{1,200}):([^\s/@'\"<>]{1,400})|([^\s/:@'\"<>]{20,400}))@"
)

# A variable, a template or asterisks in place of the password are how documentation is written.
_PLACEHOLDER = re.compile(rb"[${}%*<>\[\]]|^(?:password|passwd|pass|pw|secret|token|x+|\.+)$", re.IGNORECASE)

#: Shorter values would be found everywhere by chance.
_SECRET_MIN = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """A credential in a file; the credential itself is not kept."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.what})"


def find_credentials(files: Iterable[tuple[str, bytes]], secrets: Iterable[str] = ()) -> Iterator[Finding]:
    """Look through files for URLs with credentials and for the values of known secrets.

    :param files: path and content of each file.
    :param secrets: values that the build knew; those under six characters are not searched.
    """
    known = [secret.encode() for secret in secrets if len(secret) >= _SECRET_MIN]
    for path, content in files:
        for match in _URL.finditer(content):
            if not _PLACEHOLDER.search(match[2] or match[3]):
                yield Finding(path, _line(content, match.start()), "URL with credentials")
        for secret in known:
            at = content.find(secret)
            if at >= 0:
                yield Finding(path, _line(content, at), "value of a secret that the build used")


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1

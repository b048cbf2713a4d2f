"""Image references: ``registry.example.com/team/name:tag@sha256:...`` and ``file:///folder/name``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from airflow_provider_mlops.connection import is_loopback
from airflow_provider_mlops.oci.errors import InvalidReference

LAYOUT_SCHEME = "file://"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Grammar of the distribution specification: lower case, separators only between alphanumerics.
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")


def may_use_http(host: str | None, *, allow_http: bool) -> bool:
    """Whether plain http is acceptable for this host: on the machine itself, or when the connection says so."""
    return allow_http or is_loopback(host)


def is_digest(text: str) -> bool:
    """Whether the text is a whole ``sha256:`` digest."""
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether a registry accepts the text as a tag."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Reference:
    """An image, or with neither tag nor digest a repository.

    :param host: ``registry.example.com`` or ``registry.example.com:5000``; empty for a layout folder.
    :param path: path of the repository, or the absolute path of the layout folder.
    """

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def is_layout(self) -> bool:
        """Whether this is a folder with an OCI image layout."""
        return not self.host

    @property
    def repository(self) -> str:
        """``host/path``, or ``file:///folder/name``."""
        return f"{LAYOUT_SCHEME}{self.path}" if self.is_layout else f"{self.host}/{self.path}"

    @property
    def selector(self) -> str | None:
        """What picks the image: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"

    @classmethod
    def parse(cls, text: str, *, location: str | None = None) -> Self:
        """Read a reference.

        :param text: the reference. Without a host (``team/name:tag``) it is taken relative to ``location``.
        :param location: a registry host, or ``file:///folder``.
        :raises InvalidReference: not a reference, or it has no host and there is no ``location``.
        """
        rest, digest = text.strip(), None
        if "@" in rest:
            rest, digest = rest.rsplit("@", 1)
            if not is_digest(digest):
                raise InvalidReference(f"Image reference {text!r}: {digest!r} is not a sha256 digest")
        rest, tag = _split_tag(rest)
        if tag is not None and not is_tag(tag):
            raise InvalidReference(f"Image reference {text!r}: {tag!r} is not a tag")
        if not rest.startswith(LAYOUT_SCHEME) and not _has_host(rest):
            if not location:
                raise InvalidReference(f"Image reference {text!r} names no registry")
            rest = f"{location.rstrip('/')}/{rest}"
        if rest.startswith(LAYOUT_SCHEME):
            return cls("", _layout_path(rest, text), tag, digest)
        host, _, path = rest.partition("/")
        if not _HOST.fullmatch(host) or not _PATH.fullmatch(path):
            raise InvalidReference(f"Image reference {text!r}: {rest!r} is not a repository")
        return cls(host, path, tag, digest)


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, tail = text.rpartition(":")
    # A colon before the last slash belongs to a port or to file://.
    if not colon or "/" in tail:
        return text, None
    return head, tail


def _has_host(text: str) -> bool:
    first, slash, _ = text.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _layout_path(uri: str, text: str) -> str:
    path = uri.removeprefix(LAYOUT_SCHEME).rstrip("/")
    if not path.startswith("/"):
        raise InvalidReference(
            f"Image reference {text!r}: a layout folder is written file:///absolute/folder"
        )
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise InvalidReference(
            f"Image reference {text!r}: the folder must not contain empty, '.' or '..' parts"
        )
    return path

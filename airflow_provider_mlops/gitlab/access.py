"""What a ``gitlab`` connection gives access to: address, tokens and TLS settings, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, urlsplit

from airflow_provider_mlops.connection import ConnectionInfo, is_loopback
from airflow_provider_mlops.errors import ConnectionIncomplete, InvalidArgument


@dataclass(frozen=True, slots=True)
class GitlabAccess:
    """Address and credentials. ``repr`` shows no secret.

    :param url: base URL, with the path of a relative installation, without ``/api/v4``.
    :param token: personal, project or group access token; ``None`` reads public projects only.
    :param trigger_token: pipeline trigger token; it can start pipelines, not read them.
    :param verify: ``True``, ``False``, or the path of a CA bundle.
    """

    conn_id: str
    url: str
    token: str | None = field(default=None, repr=False)
    trigger_token: str | None = field(default=None, repr=False)
    verify: bool | str = True

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> Self:
        """Check the connection's fields.

        :raises ConnectionIncomplete: no host, a malformed one, or a token that would travel over plain http.
        """
        url = info.base_url().removesuffix("/api/v4")
        access = cls(
            conn_id=info.conn_id,
            url=url,
            token=info.password,
            trigger_token=info.extra.get("trigger_token") or None,
            verify=info.verify,
        )
        has_secret = access.token is not None or access.trigger_token is not None
        if has_secret and not info.flag("allow_http", default=False) and _plain_http(url):
            raise ConnectionIncomplete(
                f"Connection {info.conn_id!r}: the token would travel unencrypted to {url}",
                next_step="Use https, or tick 'Allow http' in the connection.",
                conn_id=info.conn_id,
            )
        return access

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return tuple(secret for secret in (self.token, self.trigger_token) if secret)


def project_path(project: str | int) -> str:
    """The project as one segment of an API path: its number, or its full path, encoded.

    :raises InvalidArgument: empty, or a URL instead of a path.
    """
    text = str(project).strip().strip("/")
    if not text or "://" in text:
        raise InvalidArgument(
            f"project {project!r} is neither a number nor a path",
            next_step="Use the number, or the path with its groups, such as 'group/subgroup/name'.",
        )
    return quote(text, safe="")


def _plain_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname)

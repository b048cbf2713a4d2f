"""A connection as plain data, so that clients and stores need no Airflow."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_mlops.errors import ConnectionIncomplete


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What an Airflow connection holds. ``repr`` shows neither password nor extra.

    :param conn_id: name of the Airflow connection, for messages.
    :param host: host name or base URL, as typed by the user.
    :param schema: the connection's schema field.
    :param login: user name.
    :param password: the main secret.
    :param port: TCP port.
    :param extra: the decoded extra field.
    """

    conn_id: str
    host: str | None = None
    schema: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    port: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def flag(self, name: str, *, default: bool) -> bool:
        """A yes-or-no field of the extra. Forms hold booleans; URIs and files written by hand hold texts."""
        value = self.extra.get(name, default)
        return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)

    @property
    def verify(self) -> bool | str:
        """How to check the server's certificate, from the extra fields ``verify_tls`` and ``ca_path``: ``True``,
        ``False`` for not at all, or the path of a CA bundle.
        """
        ca_path = self.extra.get("ca_path")
        return self.flag("verify_tls", default=True) and (str(ca_path) if ca_path else True)

    def base_url(self, *, default_scheme: str = "https") -> str:
        """URL of the service, from ``host`` (a host name or a whole URL), ``schema`` and ``port``.

        :raises ConnectionIncomplete: no host, or not an http(s) URL.
        """
        if not self.host:
            raise ConnectionIncomplete(f"Connection {self.conn_id!r} has no host", conn_id=self.conn_id)
        text = self.host if "://" in self.host else f"{self.schema or default_scheme}://{self.host}"
        parts = urlsplit(text.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectionIncomplete(
                f"Connection {self.conn_id!r}: host {self.host!r} is not a host name or an http(s) URL",
                conn_id=self.conn_id,
            )
        if "@" in parts.netloc:
            raise ConnectionIncomplete(
                f"Connection {self.conn_id!r}: the host field holds credentials",
                next_step="Put them into login and password.",
                conn_id=self.conn_id,
            )
        netloc = parts.netloc
        if self.port and parts.port is None:
            netloc = f"{netloc}:{self.port}"
        return f"{parts.scheme}://{netloc}{parts.path}"


def is_loopback(host: str | None) -> bool:
    """Whether the host is this machine, so that plain http shows nothing to a network."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False

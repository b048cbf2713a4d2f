"""Connections on a machine without Airflow, from the environment variables in which Airflow itself takes them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, ConnectionMissing

_PREFIX = "AIRFLOW_CONN_"


def connection_from_environment(conn_id: str) -> ConnectionInfo:
    """The connection that ``AIRFLOW_CONN_<ID>`` holds, as a JSON object or as a URI.

    :param conn_id: in any case; the variable's name is in capitals.
    :raises ConnectionMissing: there is no such variable.
    :raises ConnectionIncomplete: it is neither of both.
    """
    variable = _PREFIX + conn_id.upper()
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConnectionMissing(
            f"Connection {conn_id!r}: this process has no environment variable {variable}",
            next_step="Set it for the workers, as JSON or as a URI, in the way their platform keeps secrets.",
            conn_id=conn_id,
        )
    try:
        return _from_json(conn_id, value) if value.startswith("{") else _from_uri(conn_id, value)
    except (ValueError, TypeError, AttributeError):
        # The value may hold a secret, and so may what the parser says of it.
        raise ConnectionIncomplete(
            f"Connection {conn_id!r}: {variable} is neither JSON nor a URI, or one of its fields is malformed",
            conn_id=conn_id,
        ) from None


def _from_json(conn_id: str, text: str) -> ConnectionInfo:
    fields: Mapping[str, Any] = json.loads(text)
    port = fields.get("port")
    return ConnectionInfo(
        conn_id,
        host=fields.get("host") or None,
        schema=fields.get("schema") or None,
        login=fields.get("login") or None,
        password=fields.get("password") or None,
        port=int(port) if port else None,
        extra=_extra(fields.get("extra")),
    )


def _from_uri(conn_id: str, uri: str) -> ConnectionInfo:
    kind, separator, rest = uri.partition("://")
    if not kind or not separator:
        raise ValueError("no URI")
    # "weaviate://https://host": the host goes with a scheme of its own.
    scheme, separator, behind = rest.partition("://")
    parts = urlsplit(f"//{behind if separator else rest}")
    host = unquote(parts.hostname or "")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = query.pop("__extra__", None)
    return ConnectionInfo(
        conn_id,
        host=(f"{scheme}://{host}" if separator else host) or None,
        schema=unquote(parts.path[1:]) or None,
        login=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        port=parts.port,
        extra=_extra(extra) if extra else query,
    )


def _extra(value: Any) -> Mapping[str, Any]:
    extra = json.loads(value) if isinstance(value, str) and value else value or {}
    if not isinstance(extra, Mapping):
        raise TypeError("the extra is no object")
    return extra

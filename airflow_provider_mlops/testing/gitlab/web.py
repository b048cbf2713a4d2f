"""Requests, answers and paging, apart from sockets."""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

MAX_PER_PAGE = 100
_KEY = re.compile(r"\[([^\]]*)\]")


class ApiError(Exception):
    """An answer that is no success; ``body`` is sent as JSON."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def not_found(what: str = "") -> ApiError:
    """``404 Project Not Found`` and its like."""
    return ApiError(404, {"message": f"404 {what + ' ' if what else ''}Not Found"})


def unauthorized() -> ApiError:
    """No or unknown credentials."""
    return ApiError(401, {"message": "401 Unauthorized"})


def forbidden(why: str = "") -> ApiError:
    """``403 Forbidden - why``."""
    return ApiError(403, {"message": "403 Forbidden" + (f" - {why}" if why else "")})


def bad_request(message: Any) -> ApiError:
    """A validation message."""
    return ApiError(400, {"message": message})


def missing(name: str) -> ApiError:
    """A required parameter is missing."""
    return ApiError(400, {"error": f"{name} is missing"})


@dataclass(frozen=True)
class Response:
    """``body`` is JSON, unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def payload(self) -> tuple[bytes, str]:
        """The bytes to send and their type."""
        if isinstance(self.body, bytes):
            return self.body, self.headers.get("Content-Type", "application/octet-stream")
        if self.status == 204:
            return b"", "text/plain"
        return json.dumps(self.body).encode(), "application/json"


def _nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """``a[b]=1`` and ``a[]=1`` as Rails reads them."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        name, bracket, _ = key.partition("[")
        parts = _KEY.findall(key[len(name) :]) if bracket else []
        if not parts:
            result[name] = value
        elif parts == [""]:
            result.setdefault(name, []).append(value)
        elif parts[0] == "":
            rows = result.setdefault(name, [])
            if not rows or parts[1] in rows[-1]:
                rows.append({})
            rows[-1][parts[1]] = value
        else:
            result.setdefault(name, {})[parts[0]] = value
    return result


def _multipart(content_type: str, data: bytes) -> dict[str, Any]:
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + data)
    pairs = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            pairs.append((name, content.decode()))
    return _nested(pairs)


def parse_parameters(query: str, content_type: str, data: bytes) -> dict[str, Any]:
    """Query and body in one, the body winning.

    :raises ApiError: the body is no valid JSON.
    """
    parameters = _nested(parse_qsl(query, keep_blank_values=True))
    if not data:
        return parameters
    if content_type.startswith("application/json"):
        try:
            body = json.loads(data)
        except ValueError as error:
            raise ApiError(400, {"error": "Problems parsing JSON"}) from error
        if not isinstance(body, dict):
            raise ApiError(400, {"error": "The provided content-type 'application/json' needs an object"})
        parameters |= body
    elif content_type.startswith("multipart/form-data"):
        parameters |= _multipart(content_type, data)
    else:
        parameters |= _nested(parse_qsl(data.decode(), keep_blank_values=True))
    return parameters


@dataclass(frozen=True)
class Request:
    """One call: ``path`` is still encoded, ``parameters`` hold query and body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    parameters: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A required parameter.

        :raises ApiError: it is missing.
        """
        value = self.parameters.get(name)
        if value is None:
            raise missing(name)
        return str(value)

    def flag(self, name: str) -> bool:
        """A boolean parameter, False by default."""
        return str(self.parameters.get(name, "")).lower() in ("true", "1", "yes", "on")

    def number(self, name: str, default: int, *, low: int | None = None, high: int | None = None) -> int:
        """A number within bounds.

        :raises ApiError: it is none, or out of bounds.
        """
        value = self.parameters.get(name, default)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ApiError(400, {"error": f"{name} is invalid"}) from None
        if (low is not None and number < low) or (high is not None and number > high):
            raise ApiError(400, {"error": f"{name} does not have a valid value"})
        return number

    def many(self, name: str) -> list[str]:
        """A parameter that may be given several times, as ``name[]``, or once."""
        value = self.parameters.get(name)
        return (
            [] if value is None else [str(item) for item in (value if isinstance(value, list) else [value])]
        )


def paged(request: Request, rows: Sequence[Any], base: str, *, totals: bool = True) -> Response:
    """One page of rows, with the headers of offset paging.

    :param base: The server's address, for ``Link``.
    :raises ApiError: ``per_page`` is 0 or no number.
    """
    per_page = min(request.number("per_page", 20, low=1), MAX_PER_PAGE)
    page = max(request.number("page", 1), 1)
    pages = max(-(-len(rows) // per_page), 1)
    plain = [(key, value) for key, value in parse_qsl(request.query) if key not in ("page", "per_page")]

    def link(number: int, relation: str) -> str:
        query = urlencode([*plain, ("page", str(number)), ("per_page", str(per_page))], quote_via=quote)
        return f'<{base}{request.path}?{query}>; rel="{relation}"'

    links = []
    if page > 1:
        links.append(link(page - 1, "prev"))
    if page < pages:
        links.append(link(page + 1, "next"))
    links.append(link(1, "first"))
    headers = {
        "X-Page": str(page),
        "X-Per-Page": str(per_page),
        "X-Next-Page": str(page + 1) if page < pages else "",
        "X-Prev-Page": str(page - 1) if page > 1 else "",
    }
    if totals:
        headers |= {"X-Total": str(len(rows)), "X-Total-Pages": str(pages)}
        links.append(link(pages, "last"))
    headers["Link"] = ", ".join(links)
    return Response(200, list(rows[(page - 1) * per_page : page * per_page]), headers)

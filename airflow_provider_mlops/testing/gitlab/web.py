"""Requests, answers and paging, apart from sockets."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

T = TypeVar("T")
MAX_PER_PAGE = 100
# Counting more rows than these would be slow, so GitLab leaves the totals out.
MAX_COUNTED = 10_000
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


def conflict(message: Any) -> ApiError:
    """``409`` with a message."""
    return ApiError(409, {"message": message})


def invalid(name: str) -> ApiError:
    """A parameter is of the wrong type."""
    return ApiError(400, {"error": f"{name} is invalid"})


def not_a_value(name: str) -> ApiError:
    """A parameter is none of the values it may have."""
    return ApiError(400, {"error": f"{name} does not have a valid value"})


def missing(*names: str) -> ApiError:
    """Required parameters are missing."""
    return ApiError(400, {"error": ", ".join(f"{name} is missing" for name in names)})


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
        if self.status in (204, 304):
            return b"", "text/plain"
        return json.dumps(self.body).encode(), "application/json"


def conditional(request: Request, response: Response) -> Response:
    """Give a text or JSON answer its ``ETag``, and leave the body out when the client has it already."""
    if request.method != "GET" or response.status != 200:
        return response
    content, content_type = response.payload()
    if content_type not in ("application/json", "text/plain"):
        return response
    tag = f'W/"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    headers = {**response.headers, "ETag": tag, "Cache-Control": "max-age=0, private, must-revalidate"}
    known = [entry.strip() for entry in request.headers.get("if-none-match", "").split(",")]
    if tag in known or tag.removeprefix("W/") in known or "*" in known:
        return Response(304, None, headers)
    return replace(response, body=content, headers={**headers, "Content-Type": content_type})


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

    def require(self, *names: str) -> None:
        """Check that parameters are there.

        :raises ApiError: some are not; the answer names all of them.
        """
        absent = [name for name in names if self.parameters.get(name) is None]
        if absent:
            raise missing(*absent)

    def text(self, name: str) -> str:
        """A required parameter.

        :raises ApiError: it is missing.
        """
        self.require(name)
        return str(self.parameters[name])

    def choice(self, name: str, values: Collection[str], default: str | None = None) -> str | None:
        """A parameter that has a fixed set of values.

        :raises ApiError: it has another one.
        """
        value = self.parameters.get(name, default)
        if value is not None and str(value) not in values:
            raise not_a_value(name)
        return None if value is None else str(value)

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
            raise invalid(name) from None
        if (low is not None and number < low) or (high is not None and number > high):
            raise not_a_value(name)
        return number

    def many(self, name: str) -> list[str]:
        """A parameter that may be given several times, as ``name[]``, or once."""
        value = self.parameters.get(name)
        if isinstance(value, Mapping):
            value = list(value.values())
        return (
            [] if value is None else [str(item) for item in (value if isinstance(value, list) else [value])]
        )


def _link(request: Request, base: str, relation: str, **changes: str) -> str:
    plain = [(key, value) for key, value in parse_qsl(request.query) if key not in changes]
    query = urlencode([*plain, *changes.items()], quote_via=quote)
    return f'<{base}{request.path}?{query}>; rel="{relation}"'


def paged(
    request: Request, rows: Sequence[T], base: str, render: Callable[[T], Any], *, totals: bool = True
) -> Response:
    """One page of rows, with the headers of offset paging; only what is shown is rendered.

    :param base: The server's address, for ``Link``.
    :raises ApiError: ``per_page`` is 0 or no number.
    """
    per_page = min(request.number("per_page", 20, low=1), MAX_PER_PAGE)
    page = max(request.number("page", 1), 1)
    pages = max(-(-len(rows) // per_page), 1)

    def link(number: int, relation: str) -> str:
        return _link(request, base, relation, page=str(number), per_page=str(per_page))

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
    if totals and len(rows) <= MAX_COUNTED:
        headers |= {"X-Total": str(len(rows)), "X-Total-Pages": str(pages)}
        links.append(link(pages, "last"))
    headers["Link"] = ", ".join(links)
    return Response(200, [render(row) for row in rows[(page - 1) * per_page : page * per_page]], headers)


def keyset_paged(
    request: Request, rows: Sequence[T], base: str, render: Callable[[T], Any], number_of: Callable[[T], int]
) -> Response:
    """One page of rows, newest first, that goes on where ``cursor`` says; only ``Link`` leads to the next.

    :raises ApiError: 405 for another order than by id.
    """
    if request.parameters.get("order_by", "id") != "id" or request.parameters.get("sort", "desc") != "desc":
        raise ApiError(405, {"error": "Keyset pagination is not yet available for this type of request"})
    per_page = min(request.number("per_page", 20, low=1), MAX_PER_PAGE)
    left = rows
    if cursor := request.parameters.get("cursor"):
        try:
            last = int(json.loads(base64.urlsafe_b64decode(str(cursor)))["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(400, {"error": "cursor is invalid"}) from error
        left = [row for row in rows if number_of(row) < last]
    shown = left[:per_page]
    links = []
    if len(left) > per_page:
        following = json.dumps({"id": str(number_of(shown[-1])), "_kd": "n"}).encode()
        changes = {"cursor": base64.urlsafe_b64encode(following).decode(), "per_page": str(per_page)}
        links.append(_link(request, base, "next", **changes))
    return Response(200, [render(row) for row in shown], {"Link": ", ".join(links)} if links else {})

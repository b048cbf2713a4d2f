"""The object storage that artifact redirects point at: another origin, where GitLab's tokens mean nothing."""

from __future__ import annotations

import secrets

from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import ApiError, Response, not_found

_TOKENS = ("private-token", "job-token")
_REFUSAL = "Only one auth mechanism allowed"


def keep(call: Call, content: bytes) -> str:
    """Store a file; gives its address, whose key is the only permission it needs.

    The same server under another name, so that clients notice that they leave for another origin.
    """
    key = secrets.token_urlsafe(12)
    call.api.storage[key] = content
    return f"{call.api.url.replace('127.0.0.1', 'localhost')}/api/v4/storage/{key}"


def get(call: Call) -> Response:
    """The file; as S3 does, an ``Authorization`` beside the signed address is refused."""
    refused = ("authorization", *(_TOKENS if call.api.knobs.storage_refuses_tokens else ()))
    if any(name in call.request.headers for name in refused):
        raise ApiError(400, _REFUSAL)
    content = call.api.storage.get(call.parts["key"])
    if content is None:
        raise not_found()
    return Response(200, content, {"Content-Type": "application/zip"})


ROUTES = [Route("GET", "/storage/:key", get, open=True)]
